//! A worker on a thread of the test's process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use serde_json::Value;

use super::child;
use super::drain::Drain;
use super::running::Running;
use crate::registry::Registry;
use crate::runtime::briefing::{Briefing, PreviousEnding};
use crate::runtime::crash;
use crate::runtime::endowment::{Endowment, SHARED, SOCKET};
use crate::runtime::mapping::Mapping;
use crate::runtime::run::{IncarnationPlan, OnPanic, spawn};
use crate::runtime::scheduling::Scheduling;
use crate::shared::{OnOwnerDeath, Segment};
use crate::worker::Worker;

/// The time that each wait of a test has, unless [`Harness::deadline`] says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// The default of `stop: { timeout: }`.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A worker that a test is about to [`start`](Self::start), and all that it is handed.
#[derive(Debug)]
pub struct Harness {
    registry: Registry,
    kind: String,
    args: Value,
    name: String,
    generation: u64,
    deadline: Duration,
    heartbeat: Option<Duration>,
    stop_timeout: Duration,
    endowment: Endowment,
    briefing: Briefing,
}

impl Harness {
    /// A worker that the test has made. It runs once.
    ///
    /// ```
    /// use workers::testing::{Ending, Harness};
    /// use workers::{Context, Worker, WorkerError};
    ///
    /// struct Fails;
    ///
    /// impl Worker for Fails {
    ///     fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
    ///         context.log_line("begins");
    ///         Err("no disk".into())
    ///     }
    /// }
    ///
    /// let running = Harness::of(Fails).name("disk-a").generation(2).start();
    /// assert!(matches!(running.wait_end(), Ending::Failed(why) if why == "no disk"));
    /// assert!(running.output().starts_with("begins\n"), "{}", running.output());
    /// ```
    pub fn of(worker: impl Worker + 'static) -> Self {
        let worker = Mutex::new(Some(worker));
        let take = move |_: Value| {
            let worker = worker.lock().unwrap_or_else(PoisonError::into_inner).take();
            worker.ok_or_else(|| "it runs once".into())
        };
        Self::new(&Registry::default().with("worker", "", take), "worker", Value::Null)
    }

    /// The worker that is registered as `kind`, with `args:` as a configuration has them.
    ///
    /// ```
    /// use workers::testing::{Ending, Harness};
    ///
    /// let registry = workers::builtin::registry();
    /// let args = serde_json::json!({ "interval": "soon" });
    /// let Ending::NotStarted(why) = Harness::new(&registry, "ticker", args).start().wait_end()
    /// else {
    ///     panic!("it takes no such interval");
    /// };
    /// assert!(why.starts_with("args of ticker: "), "{why}");
    /// ```
    #[must_use]
    pub fn new(registry: &Registry, kind: &str, args: Value) -> Self {
        Self {
            registry: registry.clone(),
            kind: kind.to_owned(),
            args,
            name: kind.to_owned(),
            generation: 1,
            deadline: DEADLINE,
            heartbeat: None,
            stop_timeout: STOP_TIMEOUT,
            endowment: Endowment::default(),
            briefing: Briefing::default(),
        }
    }

    /// Its [`name`](crate::Context::name); otherwise that of its kind.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Its [`generation`](crate::Context::generation); otherwise 1.
    #[must_use]
    pub const fn generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// How the run before [ended](crate::Context::previous_ending); otherwise there was none.
    #[must_use]
    pub fn previous_ending(mut self, ending: PreviousEnding) -> Self {
        self.briefing.previous_ending = Some(ending);
        self
    }

    /// The time that each wait has until it panics; otherwise 10 s.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Its `heartbeat:`, which [`Context::heartbeat_interval`](crate::Context::heartbeat_interval)
    /// tells; otherwise none. The test does not end one that gives no signs of life: see
    /// [`Running::wait_for`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use workers::testing::Harness;
    /// use workers::{Context, Registry, WorkerError};
    ///
    /// fn tells(context: &Context, (): ()) -> Result<(), WorkerError> {
    ///     context.log_line(format!("within {:?}", context.heartbeat_interval()));
    ///     context.wait_for_stop();
    ///     let left = context.stop_deadline().map(|by| by - std::time::Instant::now());
    ///     context.log_line(format!("in time: {}", left <= Some(Duration::from_secs(2))));
    ///     Ok(())
    /// }
    ///
    /// let registry = Registry::default().function("tells", "", tells);
    /// let running = Harness::new(&registry, "tells", serde_json::Value::Null)
    ///     .heartbeat(Duration::from_secs(1))
    ///     .stop_timeout(Duration::from_secs(2))
    ///     .start();
    /// running.wait_output("within Some(1s)");
    /// running.stop();
    /// assert!(running.output().ends_with("in time: true\n"));
    /// ```
    #[must_use]
    pub const fn heartbeat(mut self, within: Duration) -> Self {
        self.heartbeat = Some(within);
        self
    }

    /// The `timeout:` of its `stop:`, which
    /// [`Context::stop_deadline`](crate::Context::stop_deadline) tells after an order to stop;
    /// otherwise 10 s, as in a configuration. The test does not end one that takes longer: its wait
    /// has a [deadline](Self::deadline).
    #[must_use]
    pub const fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// Hands it a listening socket, as `sockets: [{ name: .. }]` does.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use workers::testing::Harness;
    /// use workers::{Context, Registry, WorkerError};
    ///
    /// fn accepts(context: &Context, (): ()) -> Result<(), WorkerError> {
    ///     let (client, _) = context.listener("http")?.accept()?;
    ///     context.log_line(format!("client: {}", client.peer_addr().is_ok()));
    ///     Ok(())
    /// }
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    /// let address = listener.local_addr().expect("an address");
    /// // It waits in the queue of the socket, as clients do while a worker restarts.
    /// let _client = TcpStream::connect(address).expect("room in the queue");
    /// let registry = Registry::default().function("accepts", "", accepts);
    /// let running = Harness::new(&registry, "accepts", serde_json::Value::Null)
    ///     .socket("http", listener)
    ///     .start();
    /// running.wait_end();
    /// assert_eq!(running.output(), "client: true\n");
    /// ```
    #[must_use]
    pub fn socket(mut self, name: &str, socket: impl Into<OwnedFd>) -> Self {
        self.endowment.add(format!("{SOCKET}{name}"), socket.into());
        self
    }

    /// Has it share this, as `uses: [name]` does: what [`Blueprint::make`] has made, of which the
    /// test may have one too.
    ///
    /// [`Blueprint::make`]: crate::shared::Blueprint::make
    ///
    /// # Panics
    /// When this process has no descriptor left.
    #[must_use]
    pub fn resource(mut self, name: &str, segment: &Segment) -> Self {
        let copy = segment.fd().try_clone_to_owned().expect("a descriptor for a worker");
        self.endowment.add(format!("{SHARED}{name}"), copy);
        self
    }

    /// What follows for it when the owner of a resource dies; otherwise it repairs it.
    #[must_use]
    pub fn on_owner_death(mut self, name: &str, on_owner_death: OnOwnerDeath) -> Self {
        self.briefing.on_owner_death.insert(name.to_owned(), on_owner_death);
        self
    }

    /// Starts it on a thread of its own.
    ///
    /// # Panics
    /// When this process lacks descriptors, memory or threads for it.
    #[must_use]
    pub fn start(self) -> Running {
        self.begin().expect("descriptors, memory and a thread for a worker")
    }

    fn begin(self) -> io::Result<Running> {
        crash::install()?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let wake = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let is_in_child = child::is_child();
        let on_panic = if is_in_child { OnPanic::Abort } else { OnPanic::Contain };
        let (output, mut writer) = Drain::begin()?;
        if is_in_child {
            // To the test that waits: what is in this process goes with it.
            writer = io::stdout().as_fd().try_clone_to_owned()?;
        }
        let mapping = match child::board() {
            Some(mapping) => mapping,
            None => Mapping::sealed(&self.name)?,
        };
        let mapping = Arc::new(mapping);
        mapping.board().begin(&self.name, self.generation);
        mapping.board().talk.set_heartbeat(self.heartbeat);
        let plan = IncarnationPlan {
            name: self.name,
            kind: self.kind,
            generation: self.generation,
            args: self.args,
            on_panic,
            scheduling: Scheduling::INHERITED,
            mapping: Arc::clone(&mapping),
            page: 0,
            poke: Arc::new(
                EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?.into(),
            ),
            wake: wake.as_fd().try_clone_to_owned()?,
            output: writer,
            endowment: self.endowment,
            briefing: self.briefing,
            at_end: None,
        };
        let thread = spawn(plan, &self.registry)?;
        let (deadline, stop_timeout) = (self.deadline, self.stop_timeout);
        Ok(Running { mapping, wake, thread, output, deadline, stop_timeout, is_in_child })
    }
}
