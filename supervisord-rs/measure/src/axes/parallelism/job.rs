//! Jobs that wait, compute, or both, and notice when they run.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use workers::shared::{Mutex, Wait};

use crate::axes::window::now;
use crate::memory::in_words;

/// Of one job, when nothing holds it up.
pub(super) const LENGTH: Duration = Duration::from_millis(8);
/// A worker that has not looked at the clock for so long had no processor.
const AWAY_NS: u64 = 60_000;
const LONG: Duration = Duration::from_secs(30);

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Waiting,
    Computing,
    Mixed,
    Locked,
}

pub(super) const KINDS: [Kind; 4] = [Kind::Waiting, Kind::Computing, Kind::Mixed, Kind::Locked];

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Computing => "computing",
            Self::Mixed => "half waiting, half computing",
            Self::Locked => "computing, a quarter behind one lock",
        }
    }

    /// The part of a job that needs a processor.
    pub(super) const fn computing(self) -> f64 {
        match self {
            Self::Waiting => 0.0,
            Self::Computing | Self::Locked => 1.0,
            Self::Mixed => 0.5,
        }
    }

    /// The part of that which one worker at a time does.
    pub(super) const fn serial(self) -> f64 {
        match self {
            Self::Locked => 0.25,
            Self::Waiting | Self::Computing | Self::Mixed => 0.0,
        }
    }
}

/// A stretch in which a worker had a processor, in monotonic nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stretch {
    pub(super) cpu: usize,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Does one job; notes when it ran.
pub(super) fn carry_out(
    kind: Kind,
    length: Duration,
    lock: &Mutex,
    runs: &mut Vec<Stretch>,
) -> Result<(), String> {
    match kind {
        Kind::Waiting => std::thread::sleep(length),
        Kind::Computing => compute(length, runs),
        Kind::Mixed => {
            compute(length / 2, runs);
            std::thread::sleep(length / 2);
        }
        Kind::Locked => {
            compute(length * 3 / 4, runs);
            let guard = lock.lock(&Wait::at_most(LONG)).map_err(in_words)?.carry_on();
            compute(length / 4, runs);
            drop(guard);
        }
    }
    Ok(())
}

/// Needs a processor for so long, whenever it has one.
fn compute(length: Duration, runs: &mut Vec<Stretch>) {
    let begun = used();
    let mut last = now();
    runs.push(Stretch { cpu: cpu(), from: last, to: last });
    while used() - begun < length {
        let look = Instant::now();
        while look.elapsed() < Duration::from_micros(10) {
            std::hint::spin_loop();
        }
        let (at, on) = (now(), cpu());
        let run = runs.last_mut().expect("one was pushed above");
        if at - last > AWAY_NS || on != run.cpu {
            runs.push(Stretch { cpu: on, from: at, to: at });
        } else {
            run.to = at;
        }
        last = at;
    }
}

/// What this thread has had of processors.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The processor that this thread is on.
fn cpu() -> usize {
    nix::sched::sched_getcpu().unwrap_or(0)
}
