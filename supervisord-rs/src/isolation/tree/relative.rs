//! A number of a process that means the same process for ever.

use crate::isolation::child::Child;
use crate::isolation::exits::reaper;
use crate::process_table::{self, Stat};

/// One of a process tree: a number with its time of birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Relative {
    pid: i32,
    start_time: u64,
}

impl Relative {
    pub(in crate::isolation) const fn new(pid: i32, start_time: u64) -> Self {
        Self { pid, start_time }
    }

    pub(in crate::isolation) const fn of(main: &Child) -> Self {
        Self::new(main.pid, main.start_time)
    }

    pub(in crate::isolation) const fn pid(self) -> i32 {
        self.pid
    }

    /// Whether another process has the number.
    pub(super) fn is_stranger(self, stat: &Stat) -> bool {
        self.start_time != 0 && stat.start_time != self.start_time
    }

    /// The handle first, and then once more whether the number means the same process.
    pub(in crate::isolation) fn signal(self, signals: &[i32]) {
        if let Ok(pidfd) = reaper::open(self.pid)
            && process_table::start_time(self.pid) == Some(self.start_time)
        {
            for signal in signals {
                let _ = reaper::signal_by(&pidfd, *signal);
            }
        }
    }
}
