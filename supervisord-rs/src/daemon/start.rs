//! Before the first turn, stage by stage; each has what the ones before it have made:
//!
//! | stage | makes |
//! |---|---|
//! | `ground` | the directories, the locks; later the record of incidents |
//! | `patiently` | how those are asked for, so that no disk holds up a successor |
//! | `left` | what a predecessor left: its story, the store, what the guardian keeps |
//! | [`create_black_box`] | our own black box, which does not count yet |
//! | `control` | the control socket, and the thread that serves it |
//! | [`drivers`] | what launches and carries output |
//! | [`take_over`] | the processes adopted, the machine with what it inherits |
//! | [`publish`] | from here on our black box counts |

mod control;
mod ground;
mod left;
mod patiently;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use supervision::{Incarnation, Machine};
use tokio::sync::mpsc;
use workers::Registry;
use workers::board::monotonic_ns;

use control::Control;
use ground::{incidents, locks, make_directories};
use left::Left;

use super::around::Around;
use super::hand_over::Gate;
use super::in_force::{self, Origin};
use super::lapse::Lapse;
use super::succession;
use super::upkeep::{Troubles, Upkeep};
use crate::config::settings::OnDeath;
use crate::config::{Isolation, Settings, SupervisorSettings};
use crate::control::request::Request;
use crate::isolation::drivers::Keeping;
use crate::isolation::drivers::adopting::Past;
use crate::isolation::launch::{file_size_limit, short_of_open_files};
use crate::isolation::{Drivers, Evidence};
use crate::record::black_box::{BlackBox, Count};
use crate::record::echo::{Echo, has_audience};
use crate::record::events::{Events, wall};
use crate::record::incidents::{Incidents, Names};
use crate::record::logs::{Logs, Surviving};
use crate::record::post_mortem::PostMortem;
use crate::record::runtime_lock::LockError;
use crate::record::scribe::Scribe;
use crate::service_manager::{self, BLACK_BOX, CONFIGURATION, FdStore, Heritage, ServiceManager};

/// Instances that can be added while the supervisor runs.
const SPARE_PAGES: usize = 256;

/// Why the supervisor could not start. Nothing has been launched then.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(
        "cannot create {what} {}: {source}; create it, or set `{key}:` to a directory that this \
         user may write", path.display())]
    Directory { what: &'static str, key: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot create the black box in {}: {source}", path.display())]
    BlackBox { path: PathBuf, source: io::Error },
    #[error("cannot listen on the control socket {}: {source}", path.display())]
    Control { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Incidents { path: PathBuf, source: io::Error },
    #[error("the hard limit on the size of files is {} KiB, and this configuration needs {}: \
        raise it (`ulimit -Hf`, `LimitFSIZE=`)", there / 1024, needed.div_ceil(1024))]
    FileSize { there: u64, needed: u64 },
    #[error("cannot take signals: {0}")]
    Signals(io::Error),
    #[error("cannot set up: {0}")]
    Setup(#[from] io::Error),
}

/// Everything that the loop needs.
pub(super) struct Started {
    pub(super) settings: Settings,
    pub(super) machine: Machine,
    pub(super) drivers: Drivers,
    pub(super) names: Names,
    pub(super) events: Events,
    pub(super) incidents: Incidents,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) around: Around,
    pub(super) upkeep: Upkeep,
    /// Counts from the moment that the machine's first deadlines count from.
    pub(super) lapse: Lapse,
}

/// Makes everything ready, and takes over what a predecessor left. Must be called within the
/// runtime, on the main thread.
///
/// Until the new black box is published the predecessor's is what counts: a successor after a
/// death in between starts over from that.
pub(super) fn start(
    settings: Settings,
    origin: Origin,
    registry: Registry,
    mut heritage: Heritage,
    gate: Option<Gate>,
) -> Result<Started, StartError> {
    let mut troubles = Troubles::new();
    let answers = make_directories(&settings.supervisor, origin, &mut troubles)?;
    if origin == Origin::File {
        check_file_size(&settings)?;
    }
    let whence = (origin, answers);
    let (lock, state_lock) = locks(&settings.supervisor, whence, &mut heritage, &mut troubles)?;
    let Left { obituaries, orderly_end, of_unit, keeper, black_boxes, story, seen } =
        Left::claim(&mut heritage, gate.is_some(), &settings.supervisor.runtime_dir);
    let story = story.as_ref();
    let settings = with_its_scale(settings, &registry, story);
    let supervisor = &settings.supervisor;
    let store = of_processes(supervisor, &keeper);
    warn_of_open_files(&settings);

    let names = names(&settings);
    let incidents = incidents(supervisor, whence, &names, &mut troubles)?;
    let black_box = Rc::new(create_black_box(&settings, origin, story)?);
    if let Some(descriptor) = black_box.descriptor() {
        keeper.keep(&format!("{BLACK_BOX}{}", std::process::id()), &[descriptor]);
    }
    workers::crash::on_fatal(BlackBox::on_fatal);
    workers::crash::install()?;

    let Control { sender, requests, socket, unit_socket, server, api_thread, bound } =
        Control::open(&settings, origin, of_unit, &mut heritage, &store, &mut troubles)?;
    let scribe = Scribe::start(black_box.counter(Count::LostRecords))?;
    let keeping = Keeping { store: store.clone(), obituaries };
    let mut drivers = drivers(&settings, registry, story, &black_box, keeping)?;

    let TakenOver { mut machine, lapse, evidence, inherited_death, changed } =
        take_over(&settings, (story, seen), &mut drivers, &mut heritage, incidents.last_id());
    let last_incident = incidents.last_id().max(story.map(|story| story.last_incident));
    publish(&black_box, &mut machine, last_incident, &mut troubles)
        .map_err(|source| StartError::BlackBox { path: supervisor.runtime_dir.clone(), source })?;
    for (name, _) in black_boxes {
        keeper.forget(&name);
    }
    // A predecessor's, which is in force, is kept already.
    if heritage.claim(CONFIGURATION).is_none() || origin == Origin::File {
        in_force::keep(&settings.source, &keeper);
    }
    drivers.begin(&heritage);
    for trouble in troubles.values() {
        tracing::error!("{trouble}");
    }

    let around = Around {
        started_at: wall(SystemTime::now()),
        guardian: service_manager::guardian_pid(),
        is_under_predecessor: false,
        black_box,
        inherited_evidence: Some(evidence),
        changed,
        inherited_death,
        scribe,
        custody: settings.supervisor.custody,
        requests: sender,
        service_manager: ServiceManager::from_env(),
        orderly_end,
        server,
        api_thread,
        socket,
        control: bound,
        unit_socket,
        store,
        keeper,
        gate,
        terminal: super::hangup::Terminal::controlling(),
        watchdog: interval(&settings),
        lock,
        state_lock,
    };
    let upkeep = Upkeep::new(troubles);
    let events = Events::default();
    Ok(Started {
        settings,
        machine,
        drivers,
        names,
        events,
        incidents,
        requests,
        around,
        upkeep,
        lapse,
    })
}

/// What the machine goes on with.
struct TakenOver {
    machine: Machine,
    lapse: Lapse,
    evidence: Vec<(Incarnation, Evidence)>,
    inherited_death: Option<Option<u64>>,
    changed: succession::Changed,
}

/// Adopts the processes of the predecessor, and tells the machine what it takes over.
///
/// `seen`: how the predecessor ended, as its guardian saw it.
fn take_over(
    settings: &Settings,
    (story, seen): (Option<&PostMortem>, Option<service_manager::Predecessor>),
    drivers: &mut Drivers,
    heritage: &mut Heritage,
    last_recorded: Option<u64>,
) -> TakenOver {
    // A pause that comes before the loop turns counts against no worker either.
    let lapse = Lapse::new(Duration::from_nanos(monotonic_ns()));
    let past = succession::past(settings, story);
    let to_adopt = if is_to_start_afresh(story) { Past::new() } else { past.clone() };
    let adopted = drivers.adopt(heritage, &to_adopt);
    let (inherited, evidence) =
        succession::inherit(settings, story, seen, &past, &adopted, last_recorded);
    TakenOver {
        inherited_death: inherited.death.is_some().then(|| seen.map(|seen| seen.died_at_ns)),
        machine: Machine::new(policy(settings), inherited),
        lapse,
        evidence,
        changed: succession::changed(settings, story, &past),
    }
}

/// What launches and carries output, with what a predecessor had in its hands.
fn drivers(
    settings: &Settings,
    registry: Registry,
    story: Option<&PostMortem>,
    black_box: &Rc<BlackBox>,
    keeping: Keeping,
) -> io::Result<Drivers> {
    let echo = has_audience(settings.supervisor.echo).then(Echo::start).transpose()?;
    let carried = story.map(|story| story.carried.clone()).unwrap_or_default();
    let store = keeping.store.clone();
    let surviving = Surviving { carriers: black_box.carriers(), carried, store };
    let logs = Logs::start(echo, settings.supervisor.log_cap, surviving)?;
    Drivers::new(settings, registry, environment(), logs, Rc::clone(black_box), keeping)
}

/// What was being stopped is not gone on with: it is ended, and started afresh.
fn is_to_start_afresh(story: Option<&PostMortem>) -> bool {
    story.is_some_and(|story| story.was_stopping && !service_manager::is_to_shut_down())
}

/// From now on our black box counts, with all that the machine has taken over.
fn publish(
    black_box: &BlackBox,
    machine: &mut Machine,
    last_incident: Option<u64>,
    troubles: &mut Troubles,
) -> io::Result<()> {
    while let Some(worker) = machine.poll_changed() {
        if let Some(memo) = machine.memo(worker) {
            black_box.note(worker.index()).remember(&memo);
        }
    }
    if let Some(last) = last_incident {
        black_box.set_last_incident(last);
    }
    black_box.publish()?;
    // Before the old ones are let go: else it would be chance whether their room is free already.
    // Where there is no room but theirs, it is made by the upkeep.
    let reserve = black_box.reserve();
    if let Err(error) = reserve.make() {
        troubles.insert("the black box", reserve.trouble(&error));
    }
    Ok(())
}

/// What is to be kept running: nothing, where everything is only to be stopped.
fn policy(settings: &Settings) -> supervision::Spec {
    let mut spec = settings.spec.clone();
    for worker in &mut spec.workers {
        worker.autostart &= !service_manager::is_to_shut_down();
    }
    spec
}

/// How often it is to be said that the loop turns: often enough for the guardian and for the
/// service manager.
fn interval(settings: &Settings) -> Option<std::time::Duration> {
    let custody =
        settings.supervisor.custody.watchdog.filter(|_| service_manager::guardian_pid().is_some());
    custody.map(|limit| limit / 2).into_iter().chain(service_manager::watchdog()).min()
}

/// With as many instances as the predecessor had been told to have.
fn with_its_scale(settings: Settings, registry: &Registry, story: Option<&PostMortem>) -> Settings {
    let scale = story.map(|story| succession::scale(&settings, story)).unwrap_or_default();
    if scale.is_empty() {
        return settings;
    }
    match settings.source.settings(registry, &scale) {
        Ok(scaled) => scaled,
        Err(problems) => {
            tracing::warn!(
                "the configuration cannot be read with as many instances as there were: {problems}"
            );
            settings
        }
    }
}

/// Where the processes of this configuration need more descriptors than the limit allows.
fn warn_of_open_files(settings: &Settings) {
    let processes =
        settings.launches.iter().filter(|launch| launch.isolation == Isolation::Process);
    if let Some(warning) = short_of_open_files(processes.count()) {
        tracing::warn!("{warning}");
    }
}

/// Where that is kept by which processes outlive us, if they are to and there is such a place.
fn of_processes(supervisor: &SupervisorSettings, keeper: &FdStore) -> FdStore {
    let store = match supervisor.on_death {
        OnDeath::Kill => FdStore::none(),
        OnDeath::Keep => keeper.clone(),
    };
    if !store.is_there() && supervisor.on_death == OnDeath::Keep {
        let why = if service_manager::guardian_pid().is_some() {
            "its guardian has no room for its descriptors (raise the limit of open files: \
             `LimitNOFILE=`, `ulimit -n`)"
        } else {
            "no guardian or service manager keeps its descriptors (run it under its guardian, or \
             as a unit with FileDescriptorStoreMax=)"
        };
        tracing::info!("process workers end with this supervisor: {why}");
    }
    store
}

fn names(settings: &Settings) -> Names {
    Names {
        workers: settings.launches.iter().map(|launch| launch.name.clone()).collect(),
        isolations: settings.launches.iter().map(|launch| isolation(&launch.isolation)).collect(),
        domains: settings.spec.domains.iter().map(|domain| domain.name.clone()).collect(),
    }
}

pub(super) fn isolation(isolation: &Isolation) -> &'static str {
    match isolation {
        Isolation::Thread => "thread",
        Isolation::Cell(_) => "cell",
        Isolation::Process => "process",
    }
}

/// Instances of which more can be added need room.
fn spare(settings: &Settings) -> usize {
    if settings.templates.is_empty() { 0 } else { SPARE_PAGES }
}

/// A successor needs files of the same size, and nothing that fails then ends its workers: so a
/// limit that is too low is refused before there are any.
fn check_file_size(settings: &Settings) -> Result<(), StartError> {
    let black_box = BlackBox::size(settings.launches.len() + spare(settings))?;
    let needed = black_box.max(in_force::size(&settings.source)?);
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    match file_size_limit() {
        there if there < needed => Err(StartError::FileSize { there, needed }),
        _ => Ok(()),
    }
}

fn create_black_box(
    settings: &Settings,
    origin: Origin,
    story: Option<&PostMortem>,
) -> Result<BlackBox, StartError> {
    let pages: Vec<&str> = settings.launches.iter().map(|launch| launch.name.as_str()).collect();
    let runtime_dir = &settings.supervisor.runtime_dir;
    let spare = spare(settings);
    let create = match origin {
        Origin::File => BlackBox::create,
        Origin::Predecessor => BlackBox::create_anywhere,
    };
    let black_box = create(runtime_dir, &pages, spare)
        .map_err(|source| StartError::BlackBox { path: runtime_dir.clone(), source })?;
    if let Some(story) = story.filter(|story| !story.is_clean) {
        black_box.carry_counts(story.counts);
    }
    // Progress goes on where it was: the units were done.
    for worker in story.iter().flat_map(|story| &story.workers) {
        if let Some(index) = settings.launches.iter().position(|launch| launch.name == worker.name)
        {
            black_box.carry_progress(index, worker.progress);
            black_box.carry_carried(index, worker.carried);
            if let Some((incident, work)) = worker.incident_work {
                black_box.note(index).set_incident_work(incident, work);
            }
            if let Some((ending, words)) = worker.memo.last_ending.zip(worker.ending.as_ref()) {
                black_box.account(index).write(ending, words);
            }
            if story.is_some_and(|story| !story.is_clean) {
                black_box.carry_losses(index, worker.losses);
            }
        }
    }
    Ok(black_box)
}

/// What processes inherit: our environment without what was meant for us alone.
fn environment() -> BTreeMap<OsString, OsString> {
    std::env::vars_os()
        .filter(|(name, _)| !service_manager::NOT_FOR_CHILDREN.iter().any(|own| name == own))
        .collect()
}
