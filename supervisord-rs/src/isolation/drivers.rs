//! The contract: effects in, events out; who lives where.

mod endings;
mod launching;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use supervision::spec::DomainKind;
use supervision::{Cause, DomainId, Ending, Event, FaultId, Incarnation, Spec, Status, WorkerId};
use workers::Registry;
use workers::board::{LastWords, Reading, monotonic_ns};
use workers::fault::Fault;

use super::evidence::Evidence;
use super::host::Host;
use super::launch::{Child, advice};
use super::live::{Live, Page};
use super::reaper;
use super::watch::{Token, Wakeup, Watch};
use crate::config::{Launch, Settings};
use crate::record::black_box::BlackBox;
use crate::record::log_capture::{LogCapture, StreamId};
use crate::record::scribe::Scribe;

/// Turns of reading before other inputs get their chance: a worker that floods must not starve operators.
const ROUNDS: usize = 16;

/// Everything that runs, and the means to start and end it.
#[derive(Debug)]
pub struct Drivers {
    launches: Vec<Launch>,
    domains: Vec<Domain>,
    domain_of: Vec<DomainId>,
    /// By worker: its present incarnation.
    live: Vec<Option<Live>>,
    /// By worker: the memory of its board, kept from one incarnation to the next so that progress goes on.
    pages: Vec<Option<Page>>,
    /// By worker: what is known of its last incarnation that ended.
    evidence: HashMap<WorkerId, (Incarnation, Evidence)>,
    events: VecDeque<Event>,
    environment: BTreeMap<OsString, OsString>,
    registry: Registry,
    capture: LogCapture,
    black_box: Rc<BlackBox>,
    watch: Watch,
}

/// A fault domain as it is now.
#[derive(Debug)]
struct Domain {
    name: String,
    kind: DomainKind,
    /// Written to by whoever wants its boards looked at; made when first needed.
    poke: Option<Arc<OwnedFd>>,
    resident: Option<Resident>,
}

/// The process of a domain.
#[derive(Debug)]
struct Resident {
    process: Process,
    /// A cell's own output; a worker's own streams belong to its `Live`.
    streams: Vec<StreamId>,
    /// Who was last told to end it whole.
    recycled_for: Option<Incarnation>,
}

#[derive(Debug)]
enum Process {
    Command(Child),
    Host(Host),
}

impl Process {
    fn child(&self) -> &Child {
        match self {
            Self::Command(child) => child,
            Self::Host(host) => &host.child,
        }
    }
}

impl Drivers {
    /// Nothing runs yet. `environment` is what processes inherit.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM from epoll_create1(2).
    pub fn new(
        settings: &Settings,
        registry: Registry,
        environment: BTreeMap<OsString, OsString>,
        capture: LogCapture,
        black_box: Rc<BlackBox>,
    ) -> io::Result<Self> {
        let Spec { workers, domains, .. } = &settings.spec;
        let domains = domains
            .iter()
            .map(|domain| Domain { name: domain.name.clone(), kind: domain.kind, poke: None, resident: None })
            .collect();
        Ok(Self {
            launches: settings.launches.clone(),
            domains,
            domain_of: workers.iter().map(|worker| worker.domain).collect(),
            live: workers.iter().map(|_| None).collect(),
            pages: workers.iter().map(|_| None).collect(),
            evidence: HashMap::new(),
            events: VecDeque::new(),
            environment,
            registry,
            capture,
            black_box,
            watch: Watch::new()?,
        })
    }

    // Effects.

    /// Launches an incarnation. Waits for `execve`, not for the worker. Answered by `Launched` or `LaunchFailed`.
    pub fn launch(&mut self, incarnation: Incarnation) {
        let event = match self.try_launch(incarnation) {
            Ok(()) => Event::Launched { incarnation },
            Err(failure) => {
                let message = Some(advice(failure, &self.program(incarnation.worker)));
                let now = monotonic_ns();
                let evidence = Evidence { seen_at: now, message, ..Evidence::default() };
                self.evidence.insert(incarnation.worker, (incarnation, evidence));
                self.release(incarnation.worker);
                Event::LaunchFailed { incarnation, failure }
            }
        };
        self.events.push_back(event);
    }

    /// Reaps every exit; then says that the incarnation lives, unless it has just turned out not to.
    pub fn confirm(&mut self, incarnation: Incarnation) {
        let domain = self.domain_of[incarnation.worker.index()];
        self.reap(domain);
        self.look_at_boards(domain);
        if self.live(incarnation).is_some() {
            self.events.push_back(Event::Confirmed { incarnation });
        }
    }

    /// Asks an incarnation to stop: SDK code through its board, a command by its stop signal.
    pub fn stop(&mut self, incarnation: Incarnation) {
        let signal = self.launches[incarnation.worker.index()].stop_signal;
        let Some(live) = self.live(incarnation) else { return };
        if let Some(sdk) = &live.sdk {
            sdk.order_stop();
        } else if let Some(child) = self.child(live.domain) {
            reaper::signal_group(child, signal);
            // A stopped process keeps a signal for later: let it go on, so that it can end.
            reaper::signal_group(child, nix::libc::SIGCONT);
        }
    }

    /// Kills the process of an incarnation, with its process group.
    pub fn kill(&mut self, incarnation: Incarnation) {
        if let Some(child) = self.live(incarnation).and_then(|live| self.child(live.domain)) {
            reaper::signal_group(child, nix::libc::SIGKILL);
        }
    }

    /// Forgets a thread. Its board goes to its successor: the SDK fences off a thread whose generation is past.
    pub fn abandon(&mut self, incarnation: Incarnation) {
        if self.live(incarnation).is_some() {
            self.note_end(incarnation, monotonic_ns());
            self.release(incarnation.worker);
        }
    }

    /// Ends a domain whole. For the supervisor's own domain this does not return.
    pub fn recycle(&mut self, domain: DomainId, culprit: Incarnation) {
        if let Some(live) = self.live(culprit)
            && let Some(sdk) = &live.sdk
        {
            sdk.board().write_last_words(LastWords::Hang, 0, 0, 0, 0);
        }
        let slot = &mut self.domains[domain.index()];
        match (&slot.kind, &mut slot.resident) {
            (DomainKind::Supervisor, _) => {
                tracing::error!("a thread of the supervisor hangs and `on_hang: recycle` is set: aborting");
                std::process::abort();
            }
            (DomainKind::Cell | DomainKind::Process, Some(resident)) => {
                resident.recycled_for = Some(culprit);
                reaper::signal_group(resident.process.child(), nix::libc::SIGKILL);
            }
            (DomainKind::Cell | DomainKind::Process, None) => {}
        }
    }

    /// Reads the last sign of life. Answered by `Heartbeat`, or by the ending of one that is gone without a word.
    pub fn read_heartbeat(&mut self, incarnation: Incarnation, base: u64) {
        let Some(live) = self.live(incarnation) else { return };
        let Some(sdk) = &live.sdk else { return };
        let now = monotonic_ns();
        let reading = sdk.reading(incarnation);
        if reading.as_ref().is_some_and(|reading| self.is_thread_gone(live.domain, reading)) {
            let ending = Ending { status: Status::Unknown, cause: Cause::Vanished };
            self.end(incarnation, ending);
            return;
        }
        let last = match &reading {
            Some(reading) if reading.is_waiting => now,
            Some(reading) => reading.heartbeat_at.unwrap_or(0),
            // Garbage on the board is no sign of life.
            None => 0,
        };
        let last_beat = std::time::Duration::from_nanos(last.saturating_sub(base));
        self.events.push_back(Event::Heartbeat { incarnation, last_beat });
    }

    /// Commits a fault: SDK code does it itself, at its next checkpoint; a command gets a signal.
    pub fn inject(&mut self, incarnation: Incarnation, fault: FaultId) {
        let signal = Fault::from_code(fault.code).and_then(|fault| fault.signal());
        let Some(live) = self.live_mut(incarnation) else { return };
        match (&live.sdk, signal) {
            (Some(sdk), None) => sdk.order_fault(fault.code, fault.parameter),
            (_, Some(signal)) => {
                live.struck_at = Some(monotonic_ns());
                self.signal(incarnation, signal);
            }
            (None, None) => {}
        }
    }

    /// Sends a signal to the process of an incarnation. Threads share their domain's process: it gets the signal.
    pub fn signal(&mut self, incarnation: Incarnation, signal: i32) {
        let Some(live) = self.live(incarnation) else { return };
        match self.domains[live.domain.index()].kind {
            DomainKind::Supervisor => {
                let own = nix::unistd::getpid();
                if let Ok(signal) = nix::sys::signal::Signal::try_from(signal) {
                    let _ = nix::sys::signal::kill(own, signal);
                }
            }
            DomainKind::Cell | DomainKind::Process => {
                if let Some(child) = self.child(live.domain) {
                    let _ = reaper::signal(child, signal);
                }
            }
        }
    }

    /// Ends every process that is left, and waits for it. For the very end: everything has been stopped before, and
    /// what is left are cells without workers.
    pub fn end_all(&mut self) {
        for domain in &mut self.domains {
            if let Some(resident) = domain.resident.take() {
                let child = resident.process.child();
                reaper::signal_group(child, nix::libc::SIGKILL);
                reaper::discard(&child.pidfd);
                for stream in resident.streams {
                    self.capture.close(stream);
                }
            }
        }
    }

    // Events.

    /// Tells the event loop that runs now when there is something to [`collect`](Self::collect).
    ///
    /// # Errors
    /// EMFILE.
    pub fn wakeup(&self) -> io::Result<Wakeup> {
        Wakeup::new(&self.watch)
    }

    /// Takes what has happened: exits first. True when there may be more, and the caller should come again.
    pub fn collect(&mut self) -> bool {
        for _ in 0..ROUNDS {
            let ready = self.watch.ready();
            if ready.is_empty() {
                return false;
            }
            for token in ready {
                match token {
                    Token::Exit { domain } => self.reap(DomainId(domain)),
                    Token::Poke { domain } => self.answer_poke(DomainId(domain)),
                    Token::Output { stream } => {
                        if self.capture.read(StreamId(stream)) {
                            self.unwatch(StreamId(stream));
                        }
                    }
                }
            }
        }
        true
    }

    /// The next event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // Views.

    /// What is known of a worker's incarnation that has ended; the last one's only.
    #[must_use]
    pub fn evidence(&self, incarnation: Incarnation) -> Option<&Evidence> {
        self.evidence
            .get(&incarnation.worker)
            .filter(|(of, _)| *of == incarnation)
            .map(|(_, evidence)| evidence)
    }

    /// The same; for one that has not ended, what can be seen of it now.
    #[must_use]
    pub fn evidence_or_now(&self, incarnation: Incarnation) -> Option<Evidence> {
        if let Some(known) = self.evidence(incarnation) {
            return Some(known.clone());
        }
        let live = self.live(incarnation)?;
        let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
        Some(Evidence::new(reading, monotonic_ns(), live.struck_at))
    }

    /// Takes over what a predecessor's black box says of its incarnations.
    pub fn adopt_evidence(&mut self, evidence: Vec<(Incarnation, Evidence)>) {
        for (incarnation, evidence) in evidence {
            self.evidence.insert(incarnation.worker, (incarnation, evidence));
        }
    }

    /// The present process of a worker's incarnation; the supervisor's own for a thread.
    #[must_use]
    pub fn pid(&self, worker: WorkerId) -> Option<i32> {
        let live = self.live[worker.index()].as_ref()?;
        match self.domains[live.domain.index()].kind {
            DomainKind::Supervisor => Some(nix::unistd::getpid().as_raw()),
            DomainKind::Cell | DomainKind::Process => self.child(live.domain).map(|child| child.pid),
        }
    }

    /// What stands on a worker's board now; `None` for a command, for one that never ran, and for garbage.
    #[must_use]
    pub fn reading(&self, worker: WorkerId) -> Option<Reading> {
        self.pages[worker.index()].as_ref()?.board().read()
    }

    /// Whether this incarnation is the present one and has not ended.
    #[must_use]
    pub fn is_live(&self, incarnation: Incarnation) -> bool {
        self.live(incarnation).is_some()
    }

    /// Records and pieces of output lost so far, because the disk was too slow or took no writes.
    #[must_use]
    pub fn lost_records(&self) -> u64 {
        self.capture.lost()
    }

    /// The hand that writes records.
    pub fn scribe(&mut self) -> &mut Scribe {
        self.capture.scribe()
    }

    // Look-ups.

    fn live(&self, incarnation: Incarnation) -> Option<&Live> {
        self.live.get(incarnation.worker.index())?.as_ref().filter(|live| live.incarnation == incarnation)
    }

    fn live_mut(&mut self, incarnation: Incarnation) -> Option<&mut Live> {
        self.live.get_mut(incarnation.worker.index())?.as_mut().filter(|live| live.incarnation == incarnation)
    }

    fn child(&self, domain: DomainId) -> Option<&Child> {
        self.domains[domain.index()].resident.as_ref().map(|resident| resident.process.child())
    }
}
