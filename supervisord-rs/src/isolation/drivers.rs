//! The contract: effects in, events out; who lives where.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;
use supervision::spec::DomainKind;
use supervision::{
    Cause, DomainId, Ending, Event, FaultId, Incarnation, LaunchFailure, LaunchStage, Spec, Status, WorkerId,
};
use workers::Registry;
use workers::board::{LastWords, Reading, State, monotonic_ns};
use workers::fault::Fault;
use workers::mapping::Mapping;

use super::evidence::{self, Evidence};
use super::host::{Host, Surroundings};
use super::launch::{Child, advice};
use super::live::{Live, Page, Sdk, event_fd, hush};
use super::thread::{Order, from_io};
use super::watch::{Token, Wakeup, Watch};
use super::{command, reaper, thread};
use crate::config::{Isolation, Launch, Program, Settings};
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

    // Launching.

    fn try_launch(&mut self, incarnation: Incarnation) -> Result<(), LaunchFailure> {
        self.capture.close_all(self.live[incarnation.worker.index()].take().map(|live| live.streams));
        let launch = self.launches[incarnation.worker.index()].clone();
        match (&launch.program, &launch.isolation) {
            (Program::Command(argv), _) => self.launch_command(incarnation, &launch, argv),
            (Program::Worker { kind, args }, isolation) => {
                let order = Order {
                    name: &launch.name,
                    kind,
                    generation: incarnation.generation.0,
                    args,
                    on_panic: launch.on_panic,
                };
                match isolation {
                    Isolation::Thread => self.launch_thread(incarnation, &launch, &order),
                    Isolation::Cell(_) => self.launch_in_cell(incarnation, &launch, &order),
                    Isolation::Process => self.launch_process(incarnation, &launch, &order),
                }
            }
        }
    }

    fn launch_command(
        &mut self,
        incarnation: Incarnation,
        launch: &Launch,
        argv: &[String],
    ) -> Result<(), LaunchFailure> {
        let (streams, stdout, stderr) = self.open_streams(launch)?;
        let environment = self.environment_of(launch);
        let child = command::launch(
            argv,
            &environment,
            launch.cwd.as_deref(),
            stdout.as_fd(),
            stderr.as_ref().unwrap_or(&stdout).as_fd(),
        );
        self.settle(incarnation, streams, None, Some(child.map(Process::Command)))
    }

    fn launch_process(
        &mut self,
        incarnation: Incarnation,
        launch: &Launch,
        order: &Order<'_>,
    ) -> Result<(), LaunchFailure> {
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let (streams, stdout, stderr) = self.open_streams(launch)?;
        let poke = self.poke(self.domain_of[incarnation.worker.index()])?;
        let surroundings = Surroundings {
            title: &launch.name,
            environment: &self.environment_of(launch),
            directory: launch.cwd.as_deref(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_ref().unwrap_or(&stdout).as_fd(),
        };
        let host = Host::launch(&surroundings, &poke).and_then(|host| {
            let ordered = host.order(order, true, &sdk, stdout.as_fd());
            ordered.map(|()| host)
        });
        self.settle(incarnation, streams, Some(sdk), Some(host.map(Process::Host)))
    }

    fn launch_in_cell(
        &mut self,
        incarnation: Incarnation,
        launch: &Launch,
        order: &Order<'_>,
    ) -> Result<(), LaunchFailure> {
        let domain = self.domain_of[incarnation.worker.index()];
        self.bring_up_cell(domain)?;
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let (streams, stdout, _stderr) = self.open_streams(launch)?;
        let resident = self.domains[domain.index()].resident.as_ref().expect("brought up above");
        let Process::Host(host) = &resident.process else {
            unreachable!("a cell's process is a host: bring_up_cell makes no other");
        };
        if let Err(failure) = host.order(order, false, &sdk, stdout.as_fd()) {
            self.capture.close_all(Some(streams));
            return Err(failure);
        }
        self.settle(incarnation, streams, Some(sdk), None)
    }

    fn launch_thread(
        &mut self,
        incarnation: Incarnation,
        launch: &Launch,
        order: &Order<'_>,
    ) -> Result<(), LaunchFailure> {
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let (streams, stdout, _stderr) = self.open_streams(launch)?;
        let poke = self.poke(self.domain_of[incarnation.worker.index()])?;
        if let Err(failure) = thread::launch(&sdk, order, &self.registry, &poke, stdout) {
            self.capture.close_all(Some(streams));
            return Err(failure);
        }
        self.settle(incarnation, streams, Some(sdk), None)
    }

    /// Writes down who lives now, with the process of its own that it may have.
    fn settle(
        &mut self,
        incarnation: Incarnation,
        streams: Vec<StreamId>,
        sdk: Option<Sdk>,
        process: Option<Result<Process, LaunchFailure>>,
    ) -> Result<(), LaunchFailure> {
        let domain = self.domain_of[incarnation.worker.index()];
        let housed = process.map_or(Ok(()), |process| self.house(domain, process?, Vec::new()));
        if let Err(failure) = housed {
            self.capture.close_all(Some(streams));
            return Err(failure);
        }
        self.watch_streams(&streams);
        let is_thread = self.domains[domain.index()].kind == DomainKind::Supervisor;
        if let Some(sdk) = sdk.as_ref().filter(|_| !is_thread) {
            self.black_box.mirror(incarnation.worker.index(), Some(sdk.board()));
        }
        let live = Live { incarnation, domain, sdk, streams, struck_at: None, is_ready: false };
        self.live[incarnation.worker.index()] = Some(live);
        Ok(())
    }

    /// Gives a domain its process, and watches it. A process that cannot be watched is ended at once.
    fn house(
        &mut self,
        domain: DomainId,
        process: Process,
        streams: Vec<StreamId>,
    ) -> Result<(), LaunchFailure> {
        let watched = self.watch.add(process.child().pidfd.as_fd(), Token::Exit { domain: domain.0 });
        if let Err(errno) = watched {
            reaper::signal_group(process.child(), nix::libc::SIGKILL);
            reaper::discard(&process.child().pidfd);
            self.capture.close_all(Some(streams));
            return Err(super::launch::failure(LaunchStage::Descriptors, errno));
        }
        self.domains[domain.index()].resident = Some(Resident { process, streams, recycled_for: None });
        Ok(())
    }

    fn bring_up_cell(&mut self, domain: DomainId) -> Result<(), LaunchFailure> {
        if self.domains[domain.index()].resident.is_some() {
            return Ok(());
        }
        let name = self.domains[domain.index()].name.clone();
        let (stream, output) = self.capture.open_cell(&name).map_err(|errno| from_pipes(&errno))?;
        let poke = self.poke(domain)?;
        let surroundings = Surroundings {
            title: &format!("cell {name}"),
            environment: &self.environment,
            directory: None,
            stdout: output.as_fd(),
            stderr: output.as_fd(),
        };
        let host = Host::launch(&surroundings, &poke).inspect_err(|_| self.capture.close(stream))?;
        self.watch_streams(&[stream]);
        self.house(domain, Process::Host(host), vec![stream])
    }

    fn prepare_board(&mut self, incarnation: Incarnation, name: &str) -> Result<Sdk, LaunchFailure> {
        let index = incarnation.worker.index();
        let domain = &self.domains[self.domain_of[index].index()];
        let page = match (domain.kind, &self.pages[index]) {
            (DomainKind::Supervisor, _) => {
                Page { mapping: self.black_box.mapping(), number: self.black_box.page(index) }
            }
            (DomainKind::Cell | DomainKind::Process, Some(page)) => page.clone(),
            (DomainKind::Cell | DomainKind::Process, None) => {
                let mapping = Mapping::sealed(name).map_err(|error| from_io(LaunchStage::Board, &error))?;
                Page { mapping: Arc::new(mapping), number: 0 }
            }
        };
        self.pages[index] = Some(page.clone());
        Sdk::new(page, name, incarnation)
    }

    fn open_streams(
        &mut self,
        launch: &Launch,
    ) -> Result<(Vec<StreamId>, OwnedFd, Option<OwnedFd>), LaunchFailure> {
        let opened = self.capture.open(&launch.name, &launch.stdout);
        let (first, stdout) = opened.map_err(|errno| from_pipes(&errno))?;
        if launch.stdout == launch.stderr {
            return Ok((vec![first], stdout, None));
        }
        match self.capture.open(&launch.name, &launch.stderr) {
            Ok((second, stderr)) => Ok((vec![first, second], stdout, Some(stderr))),
            Err(errno) => {
                self.capture.close(first);
                Err(from_pipes(&errno))
            }
        }
    }

    fn watch_streams(&self, streams: &[StreamId]) {
        for &stream in streams {
            if let Some(fd) = self.capture.fd(stream) {
                let _ = self.watch.add(fd, Token::Output { stream: stream.0 });
            }
        }
    }

    fn unwatch(&mut self, stream: StreamId) {
        if let Some(fd) = self.capture.fd(stream) {
            self.watch.remove(fd);
        }
    }

    fn poke(&mut self, domain: DomainId) -> Result<Arc<OwnedFd>, LaunchFailure> {
        if let Some(poke) = &self.domains[domain.index()].poke {
            return Ok(Arc::clone(poke));
        }
        let poke = Arc::new(event_fd()?);
        self.watch
            .add(poke.as_fd(), Token::Poke { domain: domain.0 })
            .map_err(|errno| super::launch::failure(LaunchStage::Board, errno))?;
        self.domains[domain.index()].poke = Some(Arc::clone(&poke));
        Ok(poke)
    }

    fn environment_of(&self, launch: &Launch) -> BTreeMap<OsString, OsString> {
        let mut environment = self.environment.clone();
        environment.extend(launch.env.iter().map(|(name, value)| (name.into(), value.into())));
        environment
    }

    fn program(&self, worker: WorkerId) -> String {
        match &self.launches[worker.index()].program {
            Program::Command(argv) => argv.first().cloned().unwrap_or_default(),
            Program::Worker { kind, .. } => format!("worker {kind}"),
        }
    }

    // Endings.

    fn reap(&mut self, domain: DomainId) {
        let slot = &mut self.domains[domain.index()];
        let Some(resident) = &slot.resident else { return };
        let Some(status) = reaper::reap(resident.process.child()) else { return };
        let resident = slot.resident.take().expect("looked at above");
        let kind = slot.kind;
        for stream in resident.streams {
            self.capture.close(stream);
        }
        let members: Vec<Incarnation> = self
            .live
            .iter()
            .flatten()
            .filter(|live| live.domain == domain)
            .map(|live| live.incarnation)
            .collect();
        match kind {
            DomainKind::Process => {
                for incarnation in members {
                    let sdk = self.live(incarnation).and_then(|live| live.sdk.as_ref());
                    let ending = match sdk {
                        Some(sdk) => evidence::of_process(status, sdk.reading(incarnation).as_ref()),
                        None => evidence::of_command(status),
                    };
                    self.end(incarnation, ending);
                }
            }
            DomainKind::Cell | DomainKind::Supervisor => {
                self.end_domain(domain, status, members, resident.recycled_for);
            }
        }
    }

    fn end_domain(
        &mut self,
        domain: DomainId,
        status: Status,
        members: Vec<Incarnation>,
        recycled_for: Option<Incarnation>,
    ) {
        let now = monotonic_ns();
        let readings: Vec<(Incarnation, Reading)> = members
            .iter()
            .filter_map(|&member| Some((member, self.live(member)?.sdk.as_ref()?.reading(member)?)))
            .collect();
        let culprit = recycled_for
            .or_else(|| evidence::culprit(readings.iter().map(|(member, reading)| (*member, reading))));
        let spoken = readings.iter().find(|(member, _)| Some(*member) == culprit).map(|(_, reading)| reading);
        let ending = evidence::of_domain(status, spoken);
        for &member in &members {
            self.note_end(member, now);
            self.release(member.worker);
        }
        self.events.push_back(Event::DomainEnded { domain, members, culprit, ending });
    }

    fn end(&mut self, incarnation: Incarnation, ending: Ending) {
        self.note_end(incarnation, monotonic_ns());
        self.release(incarnation.worker);
        self.events.push_back(Event::Ended { incarnation, ending });
    }

    /// Keeps what is known of an incarnation before its board goes to the next.
    fn note_end(&mut self, incarnation: Incarnation, now: u64) {
        let Some(live) = self.live(incarnation) else { return };
        let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
        let evidence = Evidence::new(reading, now, live.struck_at);
        self.evidence.insert(incarnation.worker, (incarnation, evidence));
    }

    fn release(&mut self, worker: WorkerId) {
        if let Some(live) = self.live[worker.index()].take() {
            self.capture.close_all(Some(live.streams));
            self.black_box.mirror(worker.index(), None);
        }
    }

    fn answer_poke(&mut self, domain: DomainId) {
        if let Some(poke) = &self.domains[domain.index()].poke {
            hush(poke.as_fd());
        }
        self.look_at_boards(domain);
    }

    /// Takes from the boards of a domain what their workers have said since.
    fn look_at_boards(&mut self, domain: DomainId) {
        let is_process = self.domains[domain.index()].kind == DomainKind::Process;
        let said: Vec<(Incarnation, State)> = self
            .live
            .iter()
            .flatten()
            .filter(|live| live.domain == domain)
            .filter_map(|live| Some((live.incarnation, live.sdk.as_ref()?.reading(live.incarnation)?.state)))
            .collect();
        for (incarnation, state) in said {
            // The end of a process is its exit, whatever its board says.
            let ending = evidence::of_thread(state).filter(|_| !is_process);
            let Some(live) = self.live_mut(incarnation) else { continue };
            let was_ready = live.is_ready;
            live.is_ready = was_ready || state == State::Ready;
            if let Some(ending) = ending {
                self.end(incarnation, ending);
            } else if state == State::Ready && !was_ready {
                self.events.push_back(Event::Ready { incarnation });
            }
        }
    }

    /// Whether the thread that the board claims is no more, though nobody said so (`pthread_exit`, `SYS_exit`).
    fn is_thread_gone(&self, domain: DomainId, reading: &Reading) -> bool {
        let pid = match self.domains[domain.index()].kind {
            DomainKind::Supervisor => nix::unistd::getpid().as_raw(),
            DomainKind::Cell => match self.child(domain) {
                Some(child) => child.pid,
                None => return false,
            },
            // Its process lives: the machine kills what does not beat.
            DomainKind::Process => return false,
        };
        reading.tid > 0 && !std::path::Path::new(&format!("/proc/{pid}/task/{}", reading.tid)).exists()
    }

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

fn from_pipes(errno: &Errno) -> LaunchFailure {
    super::launch::failure(LaunchStage::Pipes, *errno)
}
