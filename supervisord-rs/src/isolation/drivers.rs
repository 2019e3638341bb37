//! The contract: effects in, events out; who lives where.
//!
//! | file | concept |
//! |---|---|
//! | `drivers` | who lives where, and the effects that concern no other file |
//! | `domain` | a fault domain, and its process |
//! | `launching` | what an incarnation is launched with |
//! | `launched` | what came of a launch; those that are withdrawn |
//! | `output` | where what it writes goes |
//! | `keeping` | what a successor needs, into the fd store |
//! | `helpers` | the supervisor's own small processes: probes, stop commands, hooks |
//! | `hooks` | hooks, and what they leave behind |
//! | `start_before` | the command that runs before a launch |
//! | `stopping` | from asking it to stop to nothing being left |
//! | `collecting` | what has happened since |
//! | `queue` | in what order the machine hears of it |
//! | `adopting` | taking over what a predecessor's workers left |
//! | `endings` | from an exit, or from what a board says, to an event |
//! | `remains` | what is left of a family whose main process is gone |
//! | `hearing` | what workers say: notify sockets, readiness pipes, lines of output |
//! | `views` | what can be seen |

pub mod adopting;
mod collecting;
pub(super) mod domain;
mod endings;
mod hearing;
mod helpers;
mod hooks;
mod keeping;
mod launched;
mod launching;
mod output;
mod queue;
mod remains;
pub(super) mod start_before;
mod stopping;
mod unbegun;
mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use supervision::{Cause, DomainId, Ending, Event, FaultId, Incarnation, Spec, Status, WorkerId};
use workers::board::monotonic_ns;
use workers::fault::Fault;

use super::closer;
use super::exits::adopted::Obituaries;
use super::exits::orphans;
use super::exits::reaper;
use super::helper::Summons;
use super::launch::{Child, Inherited, advice};
use super::launcher::Launchers;
use super::live::event_fd;
use super::registry::Registry;
use super::sockets::Sockets;
use super::surroundings::Failed;
use super::tree::census::Census;
use super::tree::cgroup::Cgroups;
use super::tree::environs;
use super::tree::family::house_of;
use super::watch::{Token, Watch};
use crate::config::settings::Limits;
use crate::config::{Launch, Settings};
use crate::record::black_box::BlackBox;
use crate::record::event::What;
use crate::record::evidence::Evidence;
use crate::record::logs::Logs;
use crate::service_manager::FdStore;
use domain::{Process, Resident, Yields};
use hooks::Hook;
use launched::{Answers, Withdrawn};
use launching::Progress;
use queue::Queue;
pub use start_before::{BeforeEnded, StartBefore};

/// Everything that runs, and the means to start and end it.
#[derive(Debug)]
pub struct Drivers {
    /// Who lives where.
    registry: Registry,
    events: Queue,
    remarks: VecDeque<Remark>,
    stop_commands: VecDeque<(Incarnation, Summons)>,
    starts_before: VecDeque<StartBefore>,
    /// By number: hooks that run, and what those that have ended have left.
    hooks: BTreeMap<usize, Hook>,
    next_hook: usize,
    environment: Arc<Inherited>,
    /// The code that is registered.
    code: workers::Registry,
    logs: Logs,
    sockets: Sockets,
    cgroups: Cgroups,
    /// What is kept for a successor.
    store: FdStore,
    obituaries: Obituaries,
    /// What tells our families from those of others.
    house: String,
    /// Looks at the process table, for families without a cgroup.
    census: Rc<Census>,
    cells: BTreeMap<String, Limits>,
    log_dir: std::path::PathBuf,
    black_box: Rc<BlackBox>,
    watch: Watch,
    /// Threads ring it when they have taken datagrams that came with descriptors.
    bell: Arc<OwnedFd>,
    launchers: Launchers,
    answers: Answers,
    /// Launches that were withdrawn and are not over.
    withdrawn: Vec<Withdrawn>,
    /// What was ready when we last looked, and has not been taken yet.
    ready: VecDeque<Token>,
    /// Whose launch waits until one that was withdrawn is over.
    deferred: Vec<Incarnation>,
    /// Domains whose main process is gone and whose family is not, or may not be.
    remains: BTreeSet<DomainId>,
    /// Whether orphans that have exited may be left.
    may_have_dead: bool,
    /// When to look at them next, in monotonic nanoseconds.
    next_look: Option<u64>,
    /// How long to wait after that.
    pause: Duration,
    /// What the last look at the process table took.
    cost: Duration,
    /// Domains of which only a look at the process table tells what is left, that was begun at
    /// this moment or later, in monotonic nanoseconds.
    awaited: BTreeMap<DomainId, u64>,
    /// Of those, the ones that were not asked for yet.
    fresh: Vec<DomainId>,
    /// Workers whose notify sockets wait until it is known who has spoken.
    unheard: BTreeSet<WorkerId>,
    patience: orphans::Patience,
}

/// What outlives us, and what outlived our predecessor.
#[derive(Debug)]
pub struct Keeping {
    /// Where descriptors are kept for a successor.
    pub store: FdStore,
    /// How orphans ended, as the guardian writes it down.
    pub obituaries: Option<OwnedFd>,
}

/// Something that is no event of the machine, and that people should know.
#[derive(Debug)]
pub struct Remark {
    /// To whom it happened.
    pub incarnation: Option<Incarnation>,
    /// What happened.
    pub what: What<'static>,
}

impl Drivers {
    /// Nothing runs yet. `environment` is what processes inherit.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM from epoll_create1(2).
    pub fn new(
        settings: &Settings,
        code: workers::Registry,
        environment: BTreeMap<OsString, OsString>,
        logs: Logs,
        black_box: Rc<BlackBox>,
        keeping: Keeping,
    ) -> io::Result<Self> {
        let Keeping { store, obituaries } = keeping;
        let Spec { workers, domains, .. } = &settings.spec;
        let watch = Watch::new()?;
        watch.add_for_ever(logs.wakeup(), Token::Logs)?;
        let answers = Answers::new()?;
        watch.add_for_ever(answers.wakeup(), Token::Launched)?;
        let bell = event_fd().map_err(|failure| io::Error::from_raw_os_error(failure.errno))?;
        let bell = Arc::new(bell);
        watch.add_for_ever(bell.as_fd(), Token::Taken)?;
        closer::begin();
        environs::begin();
        let census = Rc::new(Census::new()?);
        watch.add_for_ever(census.wakeup(), Token::Census)?;
        // Orphans of workers come to us: nothing that a worker started is out of sight (prctl(2)).
        nix::sys::prctl::set_child_subreaper(true)?;
        super::launch::raise_limits();
        let mut registry = Registry::default();
        let homes = workers.iter().map(|worker| worker.domain);
        registry.extend(homes.zip(&settings.launches), domains);
        Ok(Self {
            registry,
            events: Queue::default(),
            remarks: VecDeque::new(),
            stop_commands: VecDeque::new(),
            starts_before: VecDeque::new(),
            hooks: BTreeMap::new(),
            next_hook: 0,
            environment: Arc::new(Inherited::new(environment)),
            code,
            logs,
            sockets: Sockets::new(store.clone()),
            cgroups: Cgroups::discover(&settings.supervisor.runtime_dir),
            store,
            obituaries: Obituaries::new(obituaries),
            house: house_of(&settings.supervisor.runtime_dir),
            census,
            cells: settings.cells.clone(),
            log_dir: settings.supervisor.log_dir.clone(),
            black_box,
            watch,
            bell,
            launchers: Launchers::start()?,
            answers,
            withdrawn: Vec::new(),
            ready: VecDeque::new(),
            deferred: Vec::new(),
            remains: BTreeSet::new(),
            may_have_dead: false,
            next_look: None,
            pause: Duration::ZERO,
            cost: Duration::ZERO,
            awaited: BTreeMap::new(),
            fresh: Vec::new(),
            unheard: BTreeSet::new(),
            patience: orphans::Patience::default(),
        })
    }

    /// More workers, each with what it is launched with. Their domains are appended likewise.
    pub fn extend(
        &mut self,
        workers: &[(DomainId, Launch)],
        domains: &[supervision::spec::DomainSpec],
    ) {
        let workers = workers.iter().map(|(domain, launch)| (*domain, launch));
        self.registry.extend(workers, domains);
    }

    /// Launches an incarnation: at once where that waits for nothing, else on a launcher thread.
    /// Answered by `Launched` or `LaunchFailed`. `is_again`: the worker has failed since it was
    /// last stable; others may pass it.
    pub fn launch(&mut self, incarnation: Incarnation, is_again: bool) {
        let domain = self.registry[incarnation.worker].domain;
        self.registry[incarnation.worker].is_failing = is_again;
        let is_alone = self.registry[domain].capabilities.is_alone();
        let yields = match incarnation.generation.0 {
            _ if !is_alone => None,
            _ if is_again => Some(Yields::Failing),
            0 | 1 => Some(Yields::until_proven()),
            _ => None,
        };
        self.registry[domain].yields = yields;
        match self.try_launch(incarnation) {
            Ok(Progress::Launched) => self.say(incarnation.worker, Event::Launched { incarnation }),
            Ok(Progress::OnItsWay) => {}
            Err(failed) => self.fail_launch(incarnation, failed),
        }
    }

    fn fail_launch(&mut self, incarnation: Incarnation, failed: Failed) {
        let Failed { failure, subject } = failed;
        let subject = subject.unwrap_or_else(|| self.program(incarnation.worker));
        let message = Some(advice(failure, &subject));
        // It did nothing.
        let work = Some((0, 0));
        let evidence = Evidence { seen_at: monotonic_ns(), message, work, ..Evidence::default() };
        self.registry[incarnation.worker].evidence = Some((incarnation, evidence));
        self.release(incarnation.worker);
        self.say(incarnation.worker, Event::LaunchFailed { incarnation, failure });
    }

    /// Reaps every exit; then says that the incarnation lives, unless it has just turned out not
    /// to.
    pub fn confirm(&mut self, incarnation: Incarnation) {
        let domain = self.registry[incarnation.worker].domain;
        self.reap(domain);
        self.look_at_boards(domain);
        // How it ended may not be known yet: that it has is enough.
        let has_exited =
            self.registry.child(domain).is_some_and(|child| reaper::has_exited(&child.pidfd));
        if self.registry.live(incarnation).is_some() && !has_exited {
            self.say(incarnation.worker, Event::Confirmed { incarnation });
        }
    }

    /// Suspends all that belongs to an incarnation.
    pub fn pause(&self, incarnation: Incarnation) {
        if let Some(live) = self.registry.live(incarnation) {
            self.signal_family(live.domain, &[libc::SIGSTOP]);
        }
    }

    /// Lets it go on.
    pub fn resume(&mut self, incarnation: Incarnation) {
        if let Some(live) = self.registry.live_mut(incarnation) {
            live.said.alive_at = monotonic_ns();
            live.asked_at = None;
            let domain = live.domain;
            self.signal_family(domain, &[libc::SIGCONT]);
        }
    }

    /// Reads the last sign of life. Answered by `Heartbeat`, by the ending of one that is gone
    /// without a word, or by that of its domain, which is dying.
    pub fn read_heartbeat(&mut self, incarnation: Incarnation) {
        let Some(live) = self.registry.live(incarnation) else { return };
        // Its threads end one after the other: none of them has vanished, all end with the process.
        if self.is_dying(live.domain) {
            self.look_soon(live.domain);
            return;
        }
        let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
        if reading.as_ref().is_some_and(|reading| self.is_thread_gone(live.domain, reading)) {
            let ending = Ending { status: Status::Unknown, cause: Cause::Vanished };
            self.end(incarnation, ending);
            return;
        }
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        let last_beat = Duration::from_nanos(live.last_beat(reading.as_ref(), monotonic_ns()));
        let domain = live.domain;
        let event = if self.is_suspended_cell(domain) {
            Event::Suspended { incarnation, last_beat }
        } else {
            Event::Heartbeat { incarnation, last_beat }
        };
        self.say(incarnation.worker, event);
    }

    /// Commits a fault: SDK code does it itself, at its next checkpoint; a command gets a signal.
    pub fn inject(&mut self, incarnation: Incarnation, fault: FaultId) {
        let signal = Fault::from_code(fault.code).and_then(|fault| fault.signal());
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        match (&live.sdk, signal) {
            (Some(sdk), None) => sdk.order_fault(fault.code, fault.parameter),
            (_, Some(signal)) => {
                live.struck_at = Some(monotonic_ns());
                live.struck_by = Some(signal);
                self.signal(incarnation, signal);
            }
            (None, None) => {}
        }
    }

    /// Sends a signal to the main process of an incarnation; a fault from outside in a thread
    /// strikes its domain's process.
    pub fn signal(&mut self, incarnation: Incarnation, signal: i32) {
        let Some(live) = self.registry.live(incarnation) else { return };
        if self.registry[live.domain].capabilities.is_of_supervisor() {
            let own = nix::unistd::getpid();
            if let Ok(signal) = nix::sys::signal::Signal::try_from(signal) {
                let _ = nix::sys::signal::kill(own, signal);
            }
        } else if let Some(child) = self.registry.child(live.domain) {
            let _ = reaper::signal(live.said.main.as_ref().unwrap_or(child), signal);
        }
    }

    /// Takes no more output, and waits until what was taken is written. False: it hangs.
    pub fn hold_logs(&self, limit: Duration) -> bool {
        self.logs.hold(limit)
    }

    /// What [`hold_logs`](Self::hold_logs) waits for: whose output, and where it goes.
    #[must_use]
    pub fn logs_in_hand(&self) -> Vec<String> {
        self.logs.in_hand()
    }

    /// Where the guardian writes down how orphans ended.
    #[must_use]
    pub fn obituaries(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.obituaries.pipe()
    }

    /// Something has happened to a worker. Those that share a process are heard of in order.
    fn say(&mut self, worker: WorkerId, event: Event) {
        let yields = self.yields(self.registry[worker].domain);
        self.events.push(worker, event, yields);
    }

    /// Whether what happens in a domain lets others pass.
    fn yields(&self, domain: DomainId) -> bool {
        self.registry[domain].yields.as_ref().is_some_and(Yields::holds)
    }

    /// The next event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Something has happened to this worker, or to no run of one.
    fn remark(&mut self, incarnation: Option<Incarnation>, what: What<'static>) {
        self.remarks.push_back(Remark { incarnation, what });
    }

    /// The next remark.
    pub fn next_remark(&mut self) -> Option<Remark> {
        self.remarks.pop_front()
    }

    fn signal_family(&self, domain: DomainId, signals: &[i32]) {
        if let Some(resident) = self.registry.resident(domain) {
            let Resident { process, family, is_over, .. } = resident;
            family.signal(process.child(), signals, is_over);
        }
    }
}
