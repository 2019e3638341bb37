//! What drivers are lent for a call: who lives where, and the means to start and end it.
//!
//! | file | concept |
//! |---|---|
//! | `means` | what there is, and the effects that concern no other file |
//! | `launching` | what each launch begins with; the process of a domain |
//! | `boards`, `speech` | boards; how workers tell that they are ready |
//! | `launched` | what came of a launch; those that are withdrawn |
//! | `unbegun` | launches that are not wanted any more |
//! | `start_before` | the command that runs before a launch |
//! | `output` | where what it writes goes |
//! | `persist` | what a successor needs, into the fd store |
//! | `helpers` | the supervisor's own small processes: probes, stop commands, hooks |
//! | `leftovers` | what those have left behind |
//! | `stopping` | from asking it to stop to nothing being left |
//! | `adopting`, `adopted_process` | taking over what a predecessor's workers left |
//! | `endings` | from an exit, or from what a board says, to an event |
//! | `culprits` | whose doing the death of a domain was |
//! | `strays` | boards of workers that are not configured any more |
//! | `likely_limit` | which of its limits has most likely ended it |
//! | `remains`, `looks` | what is left where the main process is gone; when to look again |
//! | `news`, `queue` | what the daemon is to hear, and in what order the machine hears of it |

mod adopted_process;
pub mod adopting;
mod boards;
mod culprits;
mod endings;
mod helpers;
mod launched;
pub(in crate::isolation) mod launching;
mod leftovers;
mod likely_limit;
mod looks;
mod news;
pub(in crate::isolation) mod output;
mod persist;
mod queue;
mod remains;
mod sharing;
mod sockets;
mod speech;
mod start_before;
mod stopping;
mod strays;
mod unbegun;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use supervision::{Cause, DomainId, Ending, Event, FaultId, Incarnation, Spec, Status, WorkerId};
use workers::fault::Fault;
use workers::runtime::board::{LastWords, monotonic_ns};

use super::{Driver, Order, Progress};
use crate::config::Settings;
use crate::config::settings::Declared;
use crate::isolation::closer;
use crate::isolation::domain::{Process, Resident, Yields};
use crate::isolation::exits::adopted::ExitRecords;
use crate::isolation::exits::reaper;
use crate::isolation::launch::failed::Failed;
use crate::isolation::launch::{BaseEnvironment, Child, advice};
use crate::isolation::live::{Live, event_fd};
use crate::isolation::own_process::OwnProcess;
use crate::isolation::registry::Registry;
use crate::isolation::resources::{self, Resources};
use crate::isolation::shares::{Names, Shares};
use crate::isolation::sockets::Sockets;
use crate::isolation::tree::census::Census;
use crate::isolation::tree::cgroup::Cgroups;
use crate::isolation::tree::environs;
use crate::isolation::tree::marks::instance_id_of;
use crate::isolation::watch::{Token, Watch};
use crate::record::black_box::BlackBox;
use crate::record::event::What;
use crate::record::evidence::Evidence;
use crate::record::logs::Logs;
use crate::service_manager::FdStore;
use launched::Underway;
use looks::Looks;
use news::News;
pub use news::Remark;
pub use start_before::{BeforeEnded, StartBefore};
use strays::Stray;

/// What is lent to a driver.
#[derive(Debug)]
pub struct Means {
    drivers: &'static [&'static dyn Driver],
    /// Who lives where.
    pub(in crate::isolation) registry: Registry,
    pub(in crate::isolation) news: News,
    pub(in crate::isolation) underway: Underway,
    pub(in crate::isolation) looks: Looks,
    /// Boards of workers that are not configured any more, of which threads go on.
    strays: Vec<Stray>,
    /// What processes inherit.
    pub(in crate::isolation) environment: Arc<BaseEnvironment>,
    /// The code that is registered.
    pub(in crate::isolation) code: workers::Registry,
    pub(in crate::isolation) logs: Logs,
    pub(in crate::isolation) sockets: Sockets,
    /// What workers share, and the definitions of it.
    pub(in crate::isolation) shares: Shares,
    pub(in crate::isolation) declared: Vec<Declared>,
    pub(in crate::isolation) resources: Resources,
    pub(in crate::isolation) cgroups: Cgroups,
    /// What is kept for a successor.
    pub(in crate::isolation) store: FdStore,
    pub(in crate::isolation) exit_records: ExitRecords,
    /// What tells our process trees from those of others.
    pub(in crate::isolation) instance_id: String,
    /// What this process was, once code of a worker runs in it.
    pub(in crate::isolation) own_process: Option<OwnProcess>,
    /// Looks at the process table, for process trees without a cgroup.
    pub(in crate::isolation) census: Rc<Census>,
    pub(in crate::isolation) log_dir: std::path::PathBuf,
    pub(in crate::isolation) black_box: Rc<BlackBox>,
    pub(in crate::isolation) watch: Watch,
    /// Threads ring it when they have taken datagrams that came with descriptors.
    pub(in crate::isolation) bell: Arc<OwnedFd>,
}

/// What outlives us, and what outlived our predecessor.
#[derive(Debug)]
pub struct Persistence {
    /// Where descriptors are kept for a successor.
    pub store: FdStore,
    /// How orphans ended, as the guardian writes it down.
    pub exit_records: Option<OwnedFd>,
}

impl Means {
    /// Nothing runs yet. `environment` is what processes inherit.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM from epoll_create1(2).
    pub(in crate::isolation) fn new(
        drivers: &'static [&'static dyn Driver],
        settings: &Settings,
        code: workers::Registry,
        environment: BTreeMap<OsString, OsString>,
        logs: Logs,
        black_box: Rc<BlackBox>,
        persist: Persistence,
    ) -> io::Result<Self> {
        let Persistence { store, exit_records } = persist;
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
        crate::isolation::launch::raise_limits();
        let mut registry = Registry::default();
        let homes = workers.iter().map(|worker| worker.domain);
        registry.extend(homes.zip(&settings.launches), domains);
        registry.limit(&settings.cells);
        Ok(Self {
            drivers,
            registry,
            news: News::default(),
            underway,
            looks: Looks::default(),
            strays: Vec::new(),
            environment: Arc::new(BaseEnvironment::new(environment)),
            code,
            logs,
            sockets: Sockets::new(store.clone()),
            shares: Shares::new(
                store.clone(),
                Names::new(&settings.supervisor.runtime_dir, settings.launches.iter()),
            ),
            declared: settings.resources.clone(),
            resources: resources::STANDARD,
            cgroups: Cgroups::discover(&settings.supervisor.runtime_dir),
            store,
            exit_records: ExitRecords::new(exit_records),
            instance_id: instance_id_of(&settings.supervisor.runtime_dir),
            own_process: None,
            census,
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
            Ok(Progress::Launched) => self.say_launched(incarnation),
            Ok(Progress::OnItsWay) => {}
            Err(failed) => self.fail_launch(incarnation, failed),
        }
    }

    /// It runs; and it may have asked for patience already.
    pub(in crate::isolation) fn say_launched(&mut self, incarnation: Incarnation) {
        self.say(incarnation.worker, Event::Launched { incarnation });
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        live.is_launched = true;
        let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
        self.note_extended(incarnation, reading.map_or(0, |reading| reading.extended_until));
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

    /// Reads the last sign of life. Answered by `Heartbeat`, by the ending of one that is gone
    /// without a word, or by that of its domain, which is dying.
    pub(in crate::isolation) fn read_heartbeat(&mut self, incarnation: Incarnation) {
        let Some(live) = self.registry.live(incarnation) else { return };
        let domain = live.domain;
        if self.ends_with_its_process(incarnation) {
            self.looks.soon(domain);
            return;
        }
        let Some(live) = self.registry.live(incarnation) else { return };
        let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
        if self.end_if_gone(incarnation) {
            return;
        }
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        let last_beat = Duration::from_nanos(live.last_beat(reading.as_ref(), monotonic_ns()));
        let event = if self.is_suspended(domain) {
            Event::Suspended { incarnation, last_beat }
        } else {
            Event::Heartbeat { incarnation, last_beat }
        };
        self.say(incarnation.worker, event);
    }

    /// Ends one whose thread is gone without a word. False: it is there, as far as is known.
    pub(in crate::isolation) fn end_if_gone(&mut self, incarnation: Incarnation) -> bool {
        let Some(live) = self.registry.live(incarnation) else { return false };
        let Some(reading) = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation)) else {
            return false;
        };
        if self.process_without(incarnation.worker, &reading).is_none() {
            return false;
        }
        let domain = live.domain;
        let is_replaced = self.runs_another_program(domain);
        if self.registry[domain].capabilities.has_own_process {
            self.end_without(incarnation, is_replaced);
            return true;
        }
        if is_replaced {
            self.end_for_its_program(domain);
            return true;
        }
        // It cannot say so any more.
        if let Some(sdk) = self.registry.live(incarnation).and_then(|live| live.sdk.as_ref()) {
            sdk.board().thread_ended(incarnation.generation.0);
        }
        let ending = Ending { status: Status::Unknown, cause: Cause::Vanished };
        self.end(incarnation, ending);
        true
    }

    /// Commits a fault: SDK code does it itself, at its next checkpoint; a command gets a signal.
    pub(in crate::isolation) fn inject(&mut self, incarnation: Incarnation, fault: FaultId) {
        let signal = Fault::from_code(fault.code).and_then(|fault| fault.signal());
        if fault.at_launch {
            self.registry[incarnation.worker].at_launch = Some((incarnation, fault));
            return;
        }
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        match (&live.sdk, signal) {
            (Some(sdk), None) => sdk.order_fault(fault.code, fault.parameter),
            (_, Some(signal)) => {
                live.struck_at = Some(monotonic_ns());
                live.struck_by = Some(signal);
                self.order(incarnation, Order::Signal(signal));
            }
            (None, None) => {}
        }
    }

    /// Gives an order to the driver of an incarnation.
    pub(in crate::isolation) fn order(&mut self, incarnation: Incarnation, order: Order) {
        let Some(live) = self.registry.live(incarnation) else { return };
        let driver = self.driver(live.domain);
        driver.order(self, incarnation, order);
    }

    /// Lets one go on that was suspended.
    pub(in crate::isolation) fn resume(&mut self, incarnation: Incarnation) {
        if let Some(live) = self.registry.live_mut(incarnation) {
            live.notify_state.alive_at = monotonic_ns();
            live.asked_at = None;
        }
        self.order(incarnation, Order::Resume);
    }

    /// Asks an incarnation to stop, which has so long for it.
    pub(in crate::isolation) fn stop(&mut self, incarnation: Incarnation, patience: Duration) {
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        live.is_stopping = true;
        live.extended_until = 0;
        if let Some(sdk) = &live.sdk {
            sdk.give_time(patience);
        }
        let driver = self.driver_of(incarnation.worker);
        driver.stop(self, incarnation);
    }

    /// Orders an incarnation of registered code to reload. False: it asks for no such orders.
    pub(in crate::isolation) fn reload(&mut self, incarnation: Incarnation) -> bool {
        let sdk = self.registry.live(incarnation).and_then(|live| live.sdk.as_ref());
        let sdk = sdk.filter(|sdk| sdk.board().talk.heeds_reloads());
        sdk.map(|sdk| sdk.order_reload()).is_some()
    }

    /// Ends an incarnation without asking.
    pub(in crate::isolation) fn kill(&mut self, incarnation: Incarnation) {
        let Some(live) = self.registry.live(incarnation) else { return };
        let driver = self.driver(live.domain);
        driver.kill(self, incarnation);
    }

    /// Ends a domain whole, because of one of its workers, which hangs.
    pub(in crate::isolation) fn recycle(&mut self, domain: DomainId, culprit: Incarnation) {
        if let Some(live) = self.registry.live(culprit)
            && let Some(sdk) = &live.sdk
        {
            sdk.board().write_last_words(LastWords::Hang, 0, 0, 0, 0);
        }
        let driver = self.driver(domain);
        driver.recycle(self, domain, culprit);
    }

    /// The driver of a domain.
    pub(in crate::isolation) fn driver(&self, domain: DomainId) -> &'static dyn Driver {
        let wanted = self.registry[domain].capabilities;
        let mut all = self.drivers.iter();
        *all.find(|driver| driver.capabilities().label == wanted.label)
            .expect("a domain has the capabilities of a driver, whose label is its own")
    }

    /// The driver of a worker.
    pub(in crate::isolation) fn driver_of(&self, worker: WorkerId) -> &'static dyn Driver {
        self.driver(self.registry[worker].domain)
    }

    /// An incarnation lives from now on, and runs no SDK code.
    pub fn enter(&mut self, incarnation: Incarnation) {
        let domain = self.registry[incarnation.worker].domain;
        self.registry[incarnation.worker].live = Some(Live::new(incarnation, domain, None));
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

    pub(in crate::isolation) fn signal_tree(&self, domain: DomainId, signals: &[i32]) {
        if let Some(resident) = self.registry.resident(domain) {
            let Resident { process, process_tree, is_over, .. } = resident;
            process_tree.signal(process.child(), signals, is_over);
        }
    }
}
