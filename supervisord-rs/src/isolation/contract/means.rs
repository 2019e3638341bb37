//! What drivers are lent for a call: who lives where, and the means to start and end it.
//!
//! | file | concept |
//! |---|---|
//! | `means` | what there is, and the effects that concern no other file |
//! | `launching` | what an incarnation is launched with |
//! | `launched` | what came of a launch; those that are withdrawn |
//! | `unbegun` | launches that are not wanted any more |
//! | `start_before` | the command that runs before a launch |
//! | `output` | where what it writes goes |
//! | `keeping` | what a successor needs, into the fd store |
//! | `helpers` | the supervisor's own small processes: probes, stop commands, hooks |
//! | `stopping` | from asking it to stop to nothing being left |
//! | `adopting` | taking over what a predecessor's workers left |
//! | `endings` | from an exit, or from what a board says, to an event |
//! | `remains`, `looks` | what is left of a family whose main process is gone; when to look again |
//! | `news`, `queue` | what the daemon is to hear, and in what order the machine hears of it |

pub mod adopting;
mod endings;
mod helpers;
mod keeping;
pub(super) mod launched;
mod launching;
mod looks;
mod news;
mod output;
mod queue;
mod remains;
pub(super) mod start_before;
mod stopping;
mod unbegun;

use std::collections::BTreeMap;
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
use super::domain::{Process, Resident, Yields};
use super::exits::adopted::Obituaries;
use super::exits::reaper;
use super::launch::failed::Failed;
use super::launch::{Child, Inherited, advice};
use super::live::event_fd;
use super::registry::Registry;
use super::sockets::Sockets;
use super::tree::census::Census;
use super::tree::cgroup::Cgroups;
use super::tree::environs;
use super::tree::family::house_of;
use super::watch::{Token, Watch};
use crate::config::Settings;
use crate::config::settings::Limits;
use crate::record::black_box::BlackBox;
use crate::record::event::What;
use crate::record::evidence::Evidence;
use crate::record::logs::Logs;
use crate::service_manager::FdStore;
use launched::Underway;
use launching::Progress;
use looks::Looks;
use news::News;
pub use news::Remark;
pub use start_before::{BeforeEnded, StartBefore};

/// What is lent to a driver.
#[derive(Debug)]
pub(super) struct Means {
    /// Who lives where.
    pub(super) registry: Registry,
    pub(super) news: News,
    pub(super) underway: Underway,
    pub(super) looks: Looks,
    /// What processes inherit.
    pub(super) environment: Arc<Inherited>,
    /// The code that is registered.
    pub(super) code: workers::Registry,
    pub(super) logs: Logs,
    pub(super) sockets: Sockets,
    pub(super) cgroups: Cgroups,
    /// What is kept for a successor.
    pub(super) store: FdStore,
    pub(super) obituaries: Obituaries,
    /// What tells our families from those of others.
    pub(super) house: String,
    /// Looks at the process table, for families without a cgroup.
    pub(super) census: Rc<Census>,
    pub(super) cells: BTreeMap<String, Limits>,
    pub(super) log_dir: std::path::PathBuf,
    pub(super) black_box: Rc<BlackBox>,
    pub(super) watch: Watch,
    /// Threads ring it when they have taken datagrams that came with descriptors.
    pub(super) bell: Arc<OwnedFd>,
}

/// What outlives us, and what outlived our predecessor.
#[derive(Debug)]
pub struct Keeping {
    /// Where descriptors are kept for a successor.
    pub store: FdStore,
    /// How orphans ended, as the guardian writes it down.
    pub obituaries: Option<OwnedFd>,
}

impl Means {
    /// Nothing runs yet. `environment` is what processes inherit.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM from epoll_create1(2).
    pub(super) fn new(
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
        let underway = Underway::new()?;
        watch.add_for_ever(underway.wakeup(), Token::Launched)?;
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
            news: News::default(),
            underway,
            looks: Looks::default(),
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
        })
    }

    /// Launches an incarnation: at once where that waits for nothing, else on a launcher thread.
    /// Answered by `Launched` or `LaunchFailed`. `is_again`: the worker has failed since it was
    /// last stable; others may pass it.
    pub(in crate::isolation) fn launch(&mut self, incarnation: Incarnation, is_again: bool) {
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

    pub(in crate::isolation) fn fail_launch(&mut self, incarnation: Incarnation, failed: Failed) {
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
    pub(in crate::isolation) fn confirm(&mut self, incarnation: Incarnation) {
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
    pub(in crate::isolation) fn pause(&self, incarnation: Incarnation) {
        if let Some(live) = self.registry.live(incarnation) {
            self.signal_family(live.domain, &[libc::SIGSTOP]);
        }
    }

    /// Lets it go on.
    pub(in crate::isolation) fn resume(&mut self, incarnation: Incarnation) {
        if let Some(live) = self.registry.live_mut(incarnation) {
            live.said.alive_at = monotonic_ns();
            live.asked_at = None;
            let domain = live.domain;
            self.signal_family(domain, &[libc::SIGCONT]);
        }
    }

    /// Reads the last sign of life. Answered by `Heartbeat`, by the ending of one that is gone
    /// without a word, or by that of its domain, which is dying.
    pub(in crate::isolation) fn read_heartbeat(&mut self, incarnation: Incarnation) {
        let Some(live) = self.registry.live(incarnation) else { return };
        // Its threads end one after the other: none of them has vanished, all end with the process.
        if self.is_dying(live.domain) {
            self.looks.soon(live.domain);
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
    pub(in crate::isolation) fn inject(&mut self, incarnation: Incarnation, fault: FaultId) {
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
    pub(in crate::isolation) fn signal(&mut self, incarnation: Incarnation, signal: i32) {
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

    /// Something has happened to a worker. Those that share a process are heard of in order.
    pub(in crate::isolation) fn say(&mut self, worker: WorkerId, event: Event) {
        let yields = self.yields(self.registry[worker].domain);
        self.news.say(worker, event, yields);
    }

    /// Whether what happens in a domain lets others pass.
    pub(in crate::isolation) fn yields(&self, domain: DomainId) -> bool {
        self.registry[domain].yields.as_ref().is_some_and(Yields::holds)
    }

    /// Something has happened to this worker, or to no run of one.
    pub(in crate::isolation) fn remark(
        &mut self,
        incarnation: Option<Incarnation>,
        what: What<'static>,
    ) {
        self.news.remark(Remark { incarnation, what });
    }

    pub(in crate::isolation) fn signal_family(&self, domain: DomainId, signals: &[i32]) {
        if let Some(resident) = self.registry.resident(domain) {
            let Resident { process, family, is_over, .. } = resident;
            family.signal(process.child(), signals, is_over);
        }
    }
}
