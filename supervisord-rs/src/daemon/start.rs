//! Before the first turn: directories, the lock, the predecessor's story, the black box, the control socket.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use supervision::{Incarnation, IncidentId, Inherited, InheritedDeath, InheritedWorker, Machine, WorkerId};
use tokio::sync::mpsc;
use workers::Registry;
use workers::board::monotonic_ns;

use super::REQUESTS;
use crate::config::{Isolation, Settings};
use crate::control::{self, request::Request};
use crate::isolation::{Drivers, Evidence};
use crate::record::black_box::BlackBox;
use crate::record::events::{Events, wall};
use crate::record::incidents::{Incidents, Names};
use crate::record::logs::Logs;
use crate::record::post_mortem::PostMortem;
use crate::record::runtime_lock::{LockError, RuntimeLock};
use crate::record::scribe::{Scribe, has_audience, shared_path};
use crate::service_manager::{self, ServiceManager};

/// Instances that can be added while the supervisor runs.
const SPARE_PAGES: usize = 256;

/// Why the supervisor could not start. Nothing has been launched then.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("cannot create {what} {}: {source}; create it, or set `{key}:` to a directory that this user may write", path.display())]
    Directory { what: &'static str, key: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot create the black box in {}: {source}", path.display())]
    BlackBox { path: PathBuf, source: io::Error },
    #[error("cannot listen on the control socket {}: {source}", path.display())]
    Control { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Incidents { path: PathBuf, source: io::Error },
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
    pub(super) around: Surroundings,
}

/// What stays as it is while the supervisor runs.
pub(super) struct Surroundings {
    /// The origin of the machine's clock, in monotonic nanoseconds.
    pub(super) base: u64,
    pub(super) started_at: String,
    pub(super) guardian: Option<i32>,
    pub(super) black_box: Rc<BlackBox>,
    pub(super) inherited_evidence: Option<Vec<(Incarnation, Evidence)>>,
    /// Whether the first incident is the predecessor's death; when it died, as its guardian saw it.
    pub(super) inherited_death: Option<Option<u64>>,
    pub(super) scribe: Scribe,
    requests: mpsc::Sender<Request>,
    service_manager: Option<ServiceManager>,
    pub(super) server: Option<control::server::Server>,
    socket: PathBuf,
    /// Held as long as we live; the kernel lets go of it however we die.
    _lock: RuntimeLock,
}

/// Makes everything ready. Must be called within the runtime, on the main thread.
pub(super) fn start(settings: Settings, registry: Registry) -> Result<Started, StartError> {
    let supervisor = &settings.supervisor;
    directory(&supervisor.runtime_dir, "the runtime directory", "supervisor.runtime_dir")?;
    directory(&supervisor.state_dir, "the state directory", "supervisor.state_dir")?;
    directory(&supervisor.log_dir, "the log directory", "supervisor.log_dir")?;
    let lock = RuntimeLock::acquire(&supervisor.runtime_dir)?;
    let base = monotonic_ns();

    let names = names(&settings);
    let path = shared_path(&supervisor.state_dir, "incidents.jsonl");
    let incidents = Incidents::load(std::sync::Arc::clone(&path), names.clone())
        .map_err(|source| StartError::Incidents { path: path.to_path_buf(), source })?;
    let story = predecessor(&supervisor.runtime_dir);
    let seen = service_manager::predecessor(&supervisor.runtime_dir)
        .filter(|seen| story.as_ref().is_some_and(|story| story.pid == seen.pid));
    let (inherited, evidence) = inherit(&settings, story.as_ref(), seen, incidents.last_id(), base);

    let black_box = Rc::new(create_black_box(&settings, story.as_ref())?);
    workers::crash::on_fatal(BlackBox::on_fatal);
    workers::crash::install()?;

    let (sender, requests) = mpsc::channel(REQUESTS);
    let socket = supervisor.runtime_dir.join("control.sock");
    let server = serve(&socket, &settings, sender.clone())
        .map_err(|source| StartError::Control { path: socket.clone(), source })?;

    let scribe = Scribe::start()?;
    let echo = has_audience(supervisor.echo).then(|| scribe.echo());
    let logs = Logs::start(echo, supervisor.log_cap)?;
    let drivers = Drivers::new(&settings, registry, environment(), logs, Rc::clone(&black_box), base)?;
    let inherited_death = inherited.death.is_some().then(|| seen.map(|seen| seen.died_at_ns));
    let machine = Machine::new(settings.spec.clone(), inherited);
    let around = Surroundings {
        base,
        started_at: wall(SystemTime::now()),
        guardian: service_manager::guardian_pid(),
        black_box,
        inherited_evidence: Some(evidence),
        inherited_death,
        scribe,
        requests: sender,
        service_manager: ServiceManager::from_env(),
        server: Some(server),
        socket,
        _lock: lock,
    };
    Ok(Started { settings, machine, drivers, names, events: Events::default(), incidents, requests, around })
}

impl Surroundings {
    pub(super) fn announce_ready(&self, workers: usize) {
        tracing::info!(socket = %self.socket.display(), workers, "supervising");
        if let Some(manager) = &self.service_manager {
            manager.ready();
            manager.status(&format!("supervising {workers} workers"));
        }
    }

    pub(super) fn announce_stopping(&self) {
        if let Some(manager) = &self.service_manager {
            manager.stopping();
        }
    }

    /// Makes the control socket anew where somebody has removed it.
    pub(super) fn reopen_control(&mut self, settings: &Settings) -> io::Result<()> {
        if self.socket.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&settings.supervisor.runtime_dir)?;
        let server = serve(&self.socket, settings, self.requests.clone())?;
        // Whoever is connected to the old one is served to the end.
        self.server = Some(server);
        Ok(())
    }

    /// After the last worker: the mark that tells a clean end from a death.
    pub(super) fn end(&self) {
        self.announce_stopping();
        self.black_box.mark_clean();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(
    socket: &Path,
    settings: &Settings,
    requests: mpsc::Sender<Request>,
) -> io::Result<control::server::Server> {
    let supervisor = &settings.supervisor;
    let (listener, admission) =
        control::socket::bind(socket, supervisor.control_mode, supervisor.control_group.as_deref())?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    Ok(control::server::Server::start(listener, admission, requests))
}

fn directory(path: &Path, what: &'static str, key: &'static str) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StartError::Directory { what, key, path: path.into(), source })
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

/// A bad black box is said and set aside: the supervisor starts as if there had been none.
fn predecessor(runtime_dir: &Path) -> Option<PostMortem> {
    match PostMortem::read(runtime_dir) {
        Ok(story) => story,
        Err(error) => {
            tracing::warn!(%error, "the predecessor's black box cannot be read: nothing is known of its end");
            None
        }
    }
}

fn create_black_box(settings: &Settings, story: Option<&PostMortem>) -> Result<BlackBox, StartError> {
    let pages: Vec<&str> = settings.launches.iter().map(|launch| launch.name.as_str()).collect();
    let runtime_dir = &settings.supervisor.runtime_dir;
    // Room for instances that are added while we run.
    let spare = if settings.templates.is_empty() { 0 } else { SPARE_PAGES };
    let black_box = BlackBox::create(runtime_dir, &pages, spare)
        .map_err(|source| StartError::BlackBox { path: runtime_dir.clone(), source })?;
    // Progress goes on where it was: the units were done.
    for worker in story.iter().flat_map(|story| &story.workers) {
        if let Some(index) = settings.launches.iter().position(|launch| launch.name == worker.name) {
            black_box.carry_progress(index, worker.progress);
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

/// Turns the predecessor's story into what the machine and the record take over.
fn inherit(
    settings: &Settings,
    story: Option<&PostMortem>,
    seen: Option<service_manager::Predecessor>,
    last_recorded: Option<u64>,
    base: u64,
) -> (Inherited, Vec<(Incarnation, Evidence)>) {
    let Some(story) = story else {
        let last_incident = last_recorded.map(IncidentId);
        return (Inherited { last_incident, ..Inherited::default() }, Vec::new());
    };
    let id = |name: &str| {
        let index = settings.launches.iter().position(|launch| launch.name == name)?;
        Some(WorkerId(u32::try_from(index).ok()?))
    };
    let known: Vec<_> = story.workers.iter().filter_map(|worker| Some((id(&worker.name)?, worker))).collect();
    let workers = known
        .iter()
        .map(|(worker, past)| InheritedWorker {
            worker: *worker,
            generation: supervision::Generation(past.generation),
            restarts: past.restarts,
            attempt: past.attempt,
            failures_ago: past
                .failures
                .iter()
                .map(|at| Duration::from_nanos(base.saturating_sub(*at)))
                .collect(),
            stopped: past.stopped,
        })
        .collect();
    let last_incident = [last_recorded, NonZeroU64::new(story.last_incident).map(NonZeroU64::get)]
        .into_iter()
        .flatten()
        .max()
        .map(IncidentId);
    let incarnation = |worker: WorkerId, generation| Incarnation {
        worker,
        generation: supervision::Generation(generation),
    };
    let running: Vec<Incarnation> = known
        .iter()
        .filter(|(_, past)| past.was_running)
        .map(|(worker, past)| incarnation(*worker, past.generation))
        .collect();
    let culprit = story.culprit().and_then(|past| Some(incarnation(id(&past.name)?, past.generation)));
    let death = (!story.is_clean).then(|| InheritedDeath {
        running,
        culprit,
        ending: story.ending(seen),
        injected: story.culprit().and_then(|past| past.fault_ordered()),
    });
    let evidence = known
        .iter()
        .map(|(worker, past)| (incarnation(*worker, past.generation), past.evidence(base, story.died_at)))
        .collect();
    (Inherited { workers, death, last_incident }, evidence)
}
