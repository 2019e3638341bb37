//! The loop: the only clock. One input at a time → the machine → effects → drivers and records.
//!
//! One turn: wait for one input or the next deadline, tell the machine, carry out its effects, and
//! repeat until neither has anything more, or the turn's time is over. A dead worker is never
//! promoted: the machine asks (`Confirm`) before it reports a worker as running.

use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use supervision::Machine;
use tokio::sync::mpsc;
use tokio::time::Instant;
use workers::Registry;
use workers::runtime::board::monotonic_ns;

use crate::config::Settings;
use crate::control::request::Request;
use crate::held_signals::GUARDIAN_GONE;
use crate::isolation::{Drivers, Wakeup};
use crate::probing::Probing;
use crate::record::black_box::BlackBox;
use crate::record::incidents::{Incidents, Names};
use crate::record::own_log;
use crate::record::record_writer::RecordWriter;
use crate::service_manager::{self, InheritedDescriptors, OWN};

mod around;
mod background;
mod control_socket;
mod drafts;
mod effects;
mod end;
mod failures;
mod giving_up;
pub mod hand_over;
mod histories;
pub mod in_force;
mod launches;
mod locks;
mod naming;
mod observers;
mod orders;
mod predecessor;
mod recovery;
mod report;
pub mod runtime_lock;
mod sharing;
pub mod signals;
mod start;
mod turn;
mod upkeep;
mod view;
mod world;

use observers::Observers;
use orders::{Unanswered, Waiters};
use start::Published;
use turn::lapse::{self, Lapse};
use turn::{Pace, Signs, Turns, Work};

/// Requests of clients that wait for their turn; a client beyond that waits for a place.
const REQUESTS: usize = 64;

/// For the answers that are on their way when the supervisor ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// For records that are on their way to the disk at the end.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// For the last lines of our own log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the supervisor until it has stopped everything, on this thread: it must be the main one,
/// since a successor dies with the thread that launched it (`PR_SET_PDEATHSIG`, prctl(2)).
///
/// `inherited_descriptors`: the descriptors from the service manager, which the supervisor takes
/// over; `gate`: the connection to a predecessor that waits.
///
/// Exit status: 0 after an orderly shutdown; that of the critical worker because of which it ended
/// (128 + n for a signal); 1 when a group escalated, the supervisor could not start, or processes
/// do not die of SIGKILL at the end; 78 is the caller's, for an invalid configuration.
#[must_use]
pub fn run(
    settings: Settings,
    origin: in_force::Origin,
    registry: Registry,
    inherited: InheritedDescriptors,
    gate: Option<hand_over::Gate>,
) -> ExitCode {
    let rested_at = gate.as_ref().and_then(hand_over::Gate::rested_at);
    let turns = Arc::new(Turns::default());
    let (sleeping, woken) = (Arc::clone(&turns), Arc::clone(&turns));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || sleeping.end(Work::Tasks))
        .on_thread_unpark(move || woken.begin())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("supervisord-rs: cannot start the event loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        // Before anything that takes time: an order to end that comes meanwhile is carried out
        // then.
        let signals = signals::Signals::new().map_err(start::StartError::Signals)?;
        let started = start::start(settings, origin, registry, inherited, gate)?;
        turns.begin();
        let daemon = Daemon::new(started, turns);
        if origin == in_force::Origin::File {
            daemon.warn_of_world();
        }
        daemon.run(signals, rested_at).await
    });
    // Tasks of clients are dropped, not waited for.
    runtime.shutdown_background();
    own_log::flush(LAST_LINES);
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("supervisord-rs: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The supervisor, running.
#[derive(Debug)]
struct Daemon {
    settings: Settings,
    machine: Machine,
    drivers: Drivers,
    names: Names,
    observers: Observers,
    incidents: Incidents,
    waiters: Waiters,
    unanswered: Unanswered,
    histories: histories::Histories,
    requests: mpsc::Receiver<Request>,
    black_box: Rc<BlackBox>,
    record_writer: RecordWriter,
    around: around::Around,
    control: control_socket::ControlSocket,
    locks: locks::Locks,
    upkeep: upkeep::Upkeep,
    hand_over: hand_over::Progress,
    probing: Probing,
    /// What goes on in the background, and what it has to say.
    background: background::Background,
    launches: launches::Launches,
    drafts: drafts::Drafts,
    predecessor: predecessor::Predecessor,
    pace: Pace,
    signs: Signs,
    /// Whether the loop ran when it wanted to.
    lapse: Lapse,
    /// How long the loop was held.
    turns: Arc<Turns>,
    end: end::End,
}

impl Daemon {
    fn new(started: Published, turns: Arc<Turns>) -> Self {
        let count = started.names.workers.len();
        let background = background::Background::new();
        let (black_box, record_writer) = (started.black_box, started.record_writer);
        let observers = Observers::new(
            &started.settings,
            started.settled,
            &black_box,
            &record_writer,
            &background,
        );
        Self {
            settings: started.settings,
            machine: started.machine,
            drivers: started.drivers,
            incidents: Incidents::new(started.names.clone()),
            names: started.names,
            observers,
            waiters: Waiters::default(),
            unanswered: Unanswered::default(),
            histories: histories::Histories::new(count),
            requests: started.requests,
            black_box,
            record_writer,
            around: started.around,
            control: started.control,
            locks: started.locks,
            upkeep: started.upkeep,
            hand_over: hand_over::Progress::default(),
            probing: Probing::default(),
            background,
            launches: launches::Launches::default(),
            drafts: drafts::Drafts::default(),
            predecessor: started.predecessor,
            pace: Pace::default(),
            signs: started.signs,
            lapse: started.lapse,
            turns,
            end: end::End::default(),
        }
    }

    /// The exit status.
    ///
    /// `rested_at`: since when no supervisor ran, where a predecessor gave way.
    async fn run(
        mut self,
        mut signals: signals::Signals,
        rested_at: Option<Duration>,
    ) -> Result<u8, start::StartError> {
        let wakeup = self.drivers.wakeup()?;
        self.begin(rested_at);
        while self.end.status().is_none() {
            // Due deadlines come before other input, so that no flood delays them.
            if self.next_deadline().is_some_and(|at| at <= self.now()) {
                self.on_deadline();
                self.turns.end(Work::Deadline);
                if self.end.status().is_some() {
                    break;
                }
            }
            let work = self.next_input(&wakeup, &mut signals).await?;
            self.turns.end(work);
            // However much else there is, one request is answered in each round.
            if work != Work::Request
                && self.end.status().is_none()
                && let Ok(request) = self.requests.try_recv()
            {
                self.on_request(request);
                self.turns.end(Work::Request);
            }
            self.hand_over_if_prepared(&mut signals).await;
            // The tasks in the background, and the kernel's news, have their turn.
            tokio::task::yield_now().await;
        }
        let code = self.end.status().unwrap_or(1);
        let is_all_gone = self.end().await;
        Ok(if is_all_gone { code } else { code.max(1) })
    }

    /// Everything that comes before the first look at the loop's sources.
    fn begin(&mut self, rested_at: Option<Duration>) {
        // Before the first thread worker runs: one that calls exit() at once is a death, not a
        // failure to start.
        if !self.around.announce_ready(self.names.workers.len(), self.control.path()) {
            // Nothing may be cleared away: all of it still belongs to the predecessor.
            leave(1);
        }
        self.resume_adopted();
        // The supervisor reads what workers sent while none ran, before it judges any.
        self.drivers.collect();
        if let Some(by) = rested_at.map(|at| lapse::granted(self.now().saturating_sub(at))) {
            self.lose(by);
        }
        if self.around.is_guardian_gone() {
            // Before anything is launched.
            self.on_signal(GUARDIAN_GONE as i32);
        } else if service_manager::is_to_shut_down() {
            tracing::info!("the predecessor died while it stopped everything: stopping the rest");
            self.shut_down(false);
        }
        self.turn(None);
        self.apply_changes();
    }

    /// Waits for one input or the next deadline, and carries it out. A random draw (`select!`)
    /// chooses among inputs that have come, so that none starves another.
    async fn next_input(
        &mut self,
        wakeup: &Wakeup,
        signals: &mut signals::Signals,
    ) -> io::Result<Work> {
        let (now, deadline) = (self.now(), self.next_deadline());
        let deadline = self.lapse.begin_to_wait(now, deadline, self.machine.next_judgement());
        Ok(tokio::select! {
            ready = wakeup.wait(|| self.drivers.collect()) => {
                ready?;
                self.turn(None);
                Work::Workers
            }
            came = signals.next() => {
                if let Some(signal) = self.hear(came) {
                    self.on_signal(signal);
                }
                Work::Signal
            }
            said = self.background.next() => {
                self.on_task_outcome(said);
                Work::Background
            }
            Some(request) = self.requests.recv() => {
                self.on_request(request);
                Work::Request
            }
            () = self.upkeep.loss() => {
                self.upkeep.on_loss(self.now());
                Work::Background
            }
            () = until(deadline) => {
                self.on_deadline();
                Work::Deadline
            }
        })
    }

    fn now(&self) -> Duration {
        now()
    }

    /// Nothing runs any more that was to run: leaves nothing else behind either. False: some
    /// processes do not die.
    async fn end(mut self) -> bool {
        self.around.say_last_steps();
        self.end_background().await;
        let is_all_gone = self.drivers.end_all();
        self.write_settled(None);
        // Streams of events end with their source; everyone else gets the answer that is on its
        // way.
        self.observers.stream.close();
        self.turn_away("shutting-down", "the supervisor is shutting down");
        let listener = self.control.end(LAST_ANSWERS).await;
        self.around.end();
        // This mark tells a clean end from a death.
        self.black_box.mark_clean();
        self.control.clear_away(listener.as_ref());
        tracing::info!("stopped");
        self.record_writer.flush(LAST_RECORDS);
        is_all_gone
    }
}

/// Ends this process without clearing anything away, as soon as its last lines are written: what is
/// there belongs to another supervisor. Blocks for [`LAST_LINES`] at most.
fn leave(status: i32) -> ! {
    own_log::flush(LAST_LINES);
    std::process::exit(status)
}

/// The machine's clock is `CLOCK_MONOTONIC` itself, so that times hold for a successor too.
fn now() -> Duration {
    Duration::from_nanos(monotonic_ns())
}

/// Until `deadline`; for ever without one. No timer is armed then.
async fn until(deadline: Option<Duration>) {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => {
            let rest = deadline.saturating_sub(Duration::from_nanos(monotonic_ns()));
            if !rest.is_zero() {
                tokio::time::sleep_until(Instant::now() + rest).await;
            }
        }
    }
}
