//! Before the first turn: directories, the lock, the predecessor's story, the black box, the control socket.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use supervision::{Incarnation, Machine};
use tokio::sync::mpsc;
use workers::Registry;

use super::hand_over::{Gate, LOCK};
use super::{REQUESTS, succession};
use crate::config::settings::OnDeath;
use crate::config::{self, Isolation, Settings, SupervisorSettings};
use crate::control::{self, request::Request};
use crate::guardian::obituary::OBITUARIES;
use crate::isolation::drivers::Keeping;
use crate::isolation::drivers::adopting::Past;
use crate::isolation::{Drivers, Evidence};
use crate::record::black_box::BlackBox;
use crate::record::events::{Events, wall};
use crate::record::incidents::{Incidents, Names};
use crate::record::logs::{Logs, Surviving};
use crate::record::post_mortem::PostMortem;
use crate::record::runtime_lock::{LockError, RuntimeLock};
use crate::record::scribe::{Scribe, has_audience, shared_path};
use crate::service_manager::{self, FdStore, Heritage, ServiceManager};

/// The control socket of a socket unit (`FileDescriptorName=`, systemd.socket(5)), which is not ours to remove.
const CONTROL_OF_UNIT: &str = "control";
/// Our own in the store.
const CONTROL: &str = "control-socket";
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
    pub(super) started_at: String,
    pub(super) guardian: Option<i32>,
    pub(super) black_box: Rc<BlackBox>,
    /// Workers that run as an earlier configuration says; restarted where a person had it read anew.
    pub(super) changed: succession::Changed,
    pub(super) inherited_evidence: Option<Vec<(Incarnation, Evidence)>>,
    /// Whether the first incident is the predecessor's death; when it died, as its guardian saw it.
    pub(super) inherited_death: Option<Option<u64>>,
    pub(super) scribe: Scribe,
    requests: mpsc::Sender<Request>,
    service_manager: Option<ServiceManager>,
    pub(super) server: Option<control::server::Server>,
    pub(super) socket: PathBuf,
    /// The same, where it belongs to a socket unit, which goes on listening when we have ended.
    unit_socket: Option<OwnedFd>,
    store: FdStore,
    /// Our predecessor waits there until we are ready.
    gate: Option<Gate>,
    /// Whether we had a terminal to be hung up with.
    pub(super) has_terminal: bool,
    /// How often the service manager wants to hear that the loop turns.
    pub(super) watchdog: Option<Duration>,
    /// Held as long as we live; the kernel lets go of it however we die.
    lock: RuntimeLock,
}

/// Makes everything ready, and takes over what a predecessor left. Must be called within the runtime, on the main thread.
///
/// Until the new black box is published the predecessor's is what counts: whoever comes after a death in between starts
/// over from that.
pub(super) fn start(
    settings: Settings,
    registry: Registry,
    mut heritage: Heritage,
) -> Result<Started, StartError> {
    directory(&settings.supervisor.runtime_dir, "the runtime directory", "supervisor.runtime_dir")?;
    directory(&settings.supervisor.state_dir, "the state directory", "supervisor.state_dir")?;
    directory(&settings.supervisor.log_dir, "the log directory", "supervisor.log_dir")?;
    let gate = Gate::claim(&mut heritage);
    let lock = RuntimeLock::acquire(&settings.supervisor.runtime_dir, heritage.claim(LOCK))?;
    let story = predecessor(&settings.supervisor.runtime_dir);
    let settings = with_its_scale(settings, &registry, story.as_ref());
    let supervisor = &settings.supervisor;
    // Not of the store: it is handed over besides.
    let obituaries = heritage.claim(OBITUARIES);
    let store = fd_store(supervisor, &heritage, gate.is_some());

    let names = names(&settings);
    let path = shared_path(&supervisor.state_dir, "incidents.jsonl");
    let incidents = Incidents::load(std::sync::Arc::clone(&path), names.clone())
        .map_err(|source| StartError::Incidents { path: path.to_path_buf(), source })?;
    let seen = service_manager::predecessor(&supervisor.runtime_dir)
        .filter(|seen| story.as_ref().is_some_and(|story| story.pid == seen.pid));

    let black_box = Rc::new(create_black_box(&settings, story.as_ref())?);
    workers::crash::on_fatal(BlackBox::on_fatal);
    workers::crash::install()?;

    let (sender, requests) = mpsc::channel(REQUESTS);
    let socket = supervisor.runtime_dir.join("control.sock");
    let of_unit = heritage.claim(CONTROL_OF_UNIT);
    let unit_socket = of_unit.as_ref().map(OwnedFd::try_clone).transpose()?;
    let inherited = of_unit.or_else(|| heritage.claim(CONTROL));
    let server = serve(&socket, &settings, sender.clone(), inherited, unit_socket.is_some(), &store)
        .map_err(|source| StartError::Control { path: socket.clone(), source })?;

    let scribe = Scribe::start()?;
    let echo = has_audience(supervisor.echo).then(|| scribe.echo());
    let carried = story.as_ref().map(|story| story.carried.clone()).unwrap_or_default();
    let surviving = Surviving { carriers: black_box.carriers(), carried, store: store.clone() };
    let logs = Logs::start(echo, supervisor.log_cap, surviving)?;
    let keeping = Keeping { store: store.clone(), obituaries };
    let mut drivers = Drivers::new(&settings, registry, environment(), logs, Rc::clone(&black_box), keeping)?;

    // What was being stopped is not gone on with: it is ended, and started afresh.
    let past = succession::past(&settings, story.as_ref());
    let to_adopt =
        if story.as_ref().is_some_and(|story| story.was_stopping) { Past::new() } else { past.clone() };
    let fates = drivers.adopt(&mut heritage, &to_adopt);
    let (inherited, evidence) =
        succession::inherit(&settings, story.as_ref(), seen, &past, &fates, incidents.last_id());
    let inherited_death = inherited.death.is_some().then(|| seen.map(|seen| seen.died_at_ns));
    let mut machine = Machine::new(settings.spec.clone(), inherited);
    while let Some(worker) = machine.poll_changed() {
        if let Some(memo) = machine.memo(worker) {
            black_box.note(worker.index()).remember(&memo);
        }
    }
    if let Some(last) = incidents.last_id().max(story.as_ref().map(|story| story.last_incident)) {
        black_box.set_last_incident(last);
    }
    let published = black_box.publish();
    published.map_err(|source| StartError::BlackBox { path: supervisor.runtime_dir.clone(), source })?;
    drivers.begin(&heritage);

    let around = Surroundings {
        started_at: wall(SystemTime::now()),
        guardian: service_manager::guardian_pid(),
        black_box,
        inherited_evidence: Some(evidence),
        changed: succession::changed(&settings, story.as_ref(), &past),
        inherited_death,
        scribe,
        requests: sender,
        service_manager: ServiceManager::from_env(),
        server: Some(server),
        socket,
        unit_socket,
        store,
        gate,
        has_terminal: has_terminal(),
        watchdog: service_manager::watchdog(),
        lock,
    };
    Ok(Started { settings, machine, drivers, names, events: Events::default(), incidents, requests, around })
}

/// With as many instances as the predecessor had been told to have.
fn with_its_scale(settings: Settings, registry: &Registry, story: Option<&PostMortem>) -> Settings {
    let scale = story.map(|story| succession::scale(&settings, story)).unwrap_or_default();
    if scale.is_empty() {
        return settings;
    }
    match config::load_scaled(&settings.file, registry, &scale) {
        Ok(scaled) => scaled,
        Err(problems) => {
            tracing::warn!(
                "the configuration cannot be read with as many instances as there were: {problems}"
            );
            settings
        }
    }
}

/// Where descriptors are kept for a successor, if anything is to outlive us and there is such a place.
fn fd_store(supervisor: &SupervisorSettings, heritage: &Heritage, is_held: bool) -> FdStore {
    let store = match supervisor.on_death {
        OnDeath::Kill => FdStore::none(),
        OnDeath::Keep => FdStore::from_env(heritage.copies(), is_held),
    };
    if !store.is_there() && supervisor.on_death == OnDeath::Keep {
        tracing::info!(
            "process workers end with this supervisor: nobody keeps its descriptors (run it under its guardian, or as a unit with FileDescriptorStoreMax=)"
        );
    }
    store
}

impl Surroundings {
    /// Says that start-up is over; where a predecessor waits for that, to it. False: it goes on without us.
    pub(super) fn announce_ready(&mut self, workers: usize) -> bool {
        if self.gate.take().is_some_and(|gate| !gate.pass()) {
            return false;
        }
        if self.guardian.is_some() {
            // As of a supervisor that the guardian started: without it, we stop in order. Only now is it our parent.
            let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
        }
        self.store.release();
        tracing::info!(socket = %self.socket.display(), workers, "supervising");
        if let Some(manager) = &self.service_manager {
            manager.ready();
            manager.status(&format!("supervising {workers} workers"));
        }
        true
    }

    /// Whether process workers outlive us.
    pub(super) fn is_kept(&self) -> bool {
        self.store.is_there()
    }

    /// Copies of all that outlives us.
    pub(super) fn kept(&self) -> Vec<(String, OwnedFd)> {
        self.store.all()
    }

    /// The control socket, where it belongs to a socket unit, with the name by which it is passed.
    pub(super) fn unit_socket(&self) -> Option<(&'static str, BorrowedFd<'_>)> {
        self.unit_socket.as_ref().map(|socket| (CONTROL_OF_UNIT, socket.as_fd()))
    }

    /// A copy of the lock of the runtime directory: as long as anybody has one, it is held.
    pub(super) fn lock(&self) -> io::Result<OwnedFd> {
        self.lock.copy()
    }

    /// Names another process in our place.
    pub(super) fn name_successor(&self, pid: i32) {
        if let Some(manager) = &self.service_manager {
            manager.main_pid(pid);
        }
    }

    /// Says that a reload has begun, or that it is over and all is as it was.
    pub(super) fn say_reloading(&self, is_over: bool) {
        match &self.service_manager {
            Some(manager) if is_over => manager.ready(),
            Some(manager) => manager.reloading(),
            None => {}
        }
    }

    /// Says that the loop turns.
    pub(super) fn say_alive(&self) {
        if let Some(manager) = &self.service_manager {
            manager.alive();
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
        self.store.forget(CONTROL);
        let server = serve(&self.socket, settings, self.requests.clone(), None, false, &self.store)?;
        self.unit_socket = None;
        // Whoever is connected to the old one is served to the end.
        self.server = Some(server);
        Ok(())
    }

    /// After the last worker: the mark that tells a clean end from a death.
    pub(super) fn end(&self) {
        self.announce_stopping();
        self.black_box.mark_clean();
        if self.unit_socket.is_none() {
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

fn serve(
    socket: &Path,
    settings: &Settings,
    requests: mpsc::Sender<Request>,
    inherited: Option<OwnedFd>,
    is_of_unit: bool,
    store: &FdStore,
) -> io::Result<control::server::Server> {
    let supervisor = &settings.supervisor;
    let group = supervisor.control_group.as_deref();
    // Whoever asked while there was no supervisor waits in its queue.
    let inherited = inherited.map(UnixListener::from).filter(|_| socket.exists());
    let (listener, admission) = match inherited {
        Some(listener) => (listener, control::socket::admission(group)?),
        None => {
            store.forget(CONTROL);
            control::socket::bind(socket, supervisor.control_mode, group)?
        }
    };
    if !is_of_unit {
        store.keep(CONTROL, &[listener.as_fd()]);
    }
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    Ok(control::server::Server::start(listener, admission, requests))
}

/// Whether there is a controlling terminal (tty(4)).
pub(super) fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
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
