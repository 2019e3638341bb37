//! Workers as the product runs them: on a thread of this process, or in hosts, which are cells and
//! processes. The worker is one that only waits (`sleeper`).

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use serde_json::Value;
use workers::runtime::board::State;
use workers::runtime::briefing::Briefing;
use workers::runtime::endowment::Endowment;
use workers::runtime::host::{BOARD, HostOrder, OUTPUT, WAKE, send};
use workers::runtime::mapping::Mapping;
use workers::runtime::run::{IncarnationPlan, OnPanic, spawn};
use workers::runtime::scheduling::Scheduling;

use crate::child::{self, Role};

/// A worker has so long to be ready, and to end.
const DEADLINE: Duration = Duration::from_secs(60);
const KIND: &str = "sleeper";

/// A child process that runs workers as threads: a cell, or the process of one worker.
#[derive(Debug)]
pub(crate) struct Host {
    child: Child,
    way: OwnedFd,
}

impl Host {
    /// Starts one, without workers.
    pub(crate) fn start() -> Result<Self, String> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (way, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(|error| format!("a socket: {}", error.desc()))?;
        Ok(Self { child: child::start(Role::Host, theirs)?, way })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        child::pid(&self.child)
    }

    /// Has it run a worker. `is_single`: the process is this worker's own.
    pub(crate) fn run(&self, is_single: bool) -> Result<Sleeper, String> {
        let (sleeper, output) = Sleeper::new()?;
        let order = HostOrder {
            name: KIND,
            kind: KIND,
            generation: 1,
            args: &Value::Null,
            on_panic: OnPanic::Abort,
            single: is_single,
            scheduling: &Scheduling::INHERITED,
            briefing: &Briefing::NONE,
        };
        let given =
            [(BOARD, sleeper.mapping.fd()), (WAKE, sleeper.wake.as_fd()), (OUTPUT, output.as_fd())];
        let deadline = Instant::now() + DEADLINE;
        loop {
            match send(self.way.as_fd(), &order, &given) {
                Ok(()) => return Ok(sleeper),
                // It has not read the orders before.
                Err(error)
                    if error.kind() == std::io::ErrorKind::WouldBlock
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(error) => return Err(format!("a host takes no order: {error}")),
            }
        }
    }

    /// Waits until it has ended by itself, as the process of one worker does.
    pub(crate) fn await_end(mut self) {
        child::end(&mut self.child, DEADLINE);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It takes its workers along, whatever they do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A worker that waits for its end, and this side's view of it.
#[derive(Debug)]
pub(crate) struct Sleeper {
    mapping: Arc<Mapping>,
    wake: TimerFd,
}

impl Sleeper {
    fn new() -> Result<(Self, File), String> {
        let words = |error: nix::errno::Errno| format!("a timer: {}", error.desc());
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let wake = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(words)?;
        let mapping = Mapping::sealed(KIND).map_err(|error| format!("a board: {error}"))?;
        mapping.board().begin(KIND, 1);
        let output = File::options().write(true).open("/dev/null");
        let output = output.map_err(|error| format!("/dev/null: {error}"))?;
        Ok((Self { mapping: Arc::new(mapping), wake }, output))
    }

    /// On a thread of this process, as a supervisor runs it.
    pub(crate) fn start_here() -> Result<Self, String> {
        let words = |error: std::io::Error| format!("cannot start a worker: {error}");
        let (sleeper, output) = Self::new()?;
        let poke = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let plan = IncarnationPlan {
            name: KIND.to_owned(),
            kind: KIND.to_owned(),
            generation: 1,
            args: Value::Null,
            on_panic: OnPanic::Abort,
            scheduling: Scheduling::INHERITED,
            mapping: Arc::clone(&sleeper.mapping),
            page: 0,
            poke: Arc::new(poke.map_err(|error| error.desc().to_owned())?.into()),
            wake: sleeper.wake.as_fd().try_clone_to_owned().map_err(words)?,
            output: output.into(),
            endowment: Endowment::default(),
            briefing: Briefing::default(),
            at_end: None,
        };
        spawn(plan, &workers::builtin::registry()).map_err(words)?;
        Ok(sleeper)
    }

    /// Waits until it works.
    pub(crate) fn await_ready(&self) -> Result<(), String> {
        self.await_state(|state| state == State::Ready)
    }

    /// Orders its end, and waits for that.
    pub(crate) fn stop(&self) -> Result<(), String> {
        self.mapping.board().order_stop();
        let at_once = Expiration::OneShot(Duration::from_nanos(1).into());
        let _ = self.wake.set(at_once, TimerSetTimeFlags::empty());
        self.await_state(|state| state == State::Returned)
    }

    fn await_state(&self, is_it: impl Fn(State) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.mapping.board().read().map(|reading| reading.state) {
                Some(state) if is_it(state) => return Ok(()),
                Some(State::Unregistered | State::NotStarted | State::Failed) => {
                    return Err("a worker could not start".to_owned());
                }
                _ if Instant::now() > deadline => return Err("a worker hangs".to_owned()),
                // On one processor it needs this one.
                _ => std::thread::yield_now(),
            }
        }
    }
}
