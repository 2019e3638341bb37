//! An incarnation without a supervisor, and the supervisor's side of it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;
use workers::runtime::board::{Board, Reading};
use workers::runtime::endowment::Endowment;
use workers::runtime::mapping::Mapping;
use workers::runtime::run::{IncarnationPlan, OnPanic};
use workers::runtime::threads::Started;
use workers::{Context, Registry, Worker, WorkerError};

/// A function as a worker.
struct Function<F>(F);

impl<F: FnMut(&Context) -> Result<(), WorkerError> + Send> Worker for Function<F> {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        (self.0)(context)
    }
}

/// One incarnation.
pub struct Live {
    pub mapping: Arc<Mapping>,
    pub thread: Started,
    wake: EventFd,
}

impl Live {
    /// The first run of a worker, on a board of its own.
    pub fn start(
        on_panic: OnPanic,
        run: impl Fn(&Context) -> Result<(), WorkerError> + Send + Sync + Clone + 'static,
    ) -> Self {
        let mapping = Arc::new(Mapping::sealed("test").expect("a memfd"));
        let output = std::fs::File::create("/dev/null").expect("/dev/null");
        Self::on(&mapping, 1, on_panic, output.into(), run)
    }

    /// A run on this board, with this output.
    pub fn on(
        mapping: &Arc<Mapping>,
        generation: u64,
        on_panic: OnPanic,
        output: OwnedFd,
        run: impl Fn(&Context) -> Result<(), WorkerError> + Send + Sync + Clone + 'static,
    ) -> Self {
        mapping.board().begin("w", generation);
        let wake = EventFd::new().expect("an eventfd");
        let make =
            move |_: serde_json::Value| -> Result<_, WorkerError> { Ok(Function(run.clone())) };
        let plan = IncarnationPlan {
            name: "w".into(),
            kind: "w".into(),
            generation,
            args: serde_json::Value::Null,
            on_panic,
            scheduling: Default::default(),
            mapping: Arc::clone(mapping),
            page: 0,
            poke: Arc::new(OwnedFd::from(EventFd::new().expect("an eventfd"))),
            wake: wake.as_fd().try_clone_to_owned().expect("a copy"),
            output,
            endowment: Endowment::default(),
            briefing: Default::default(),
            at_end: None,
        };
        let registry = Registry::default().with("w", "", make);
        let thread = workers::runtime::run::spawn(plan, &registry).expect("a thread");
        Self { mapping: Arc::clone(mapping), thread, wake }
    }

    pub fn board(&self) -> &Board {
        self.mapping.board()
    }

    pub fn reading(&self) -> Reading {
        self.board().read().expect("a board")
    }

    /// Orders it to stop, and waits for its end.
    pub fn stop(&self) -> Reading {
        self.board().order_stop();
        self.wake.write(1).expect("room");
        self.ended()
    }

    pub fn ended(&self) -> Reading {
        until("its end", || self.thread.is_finished().then(|| self.reading()))
    }

    /// Orders a fault, and wakes it for that.
    pub fn commit(&self, fault: workers::fault::Fault) {
        self.board().order_fault(fault.code(), 0);
        self.wake.write(1).expect("room");
    }
}

/// Waits for a condition.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
