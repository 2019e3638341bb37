//! When a child was born, in the kernel's clock ticks: with its number, that means one process for
//! ever.
//!
//! The kernel takes the time since boot when it makes a process, and shows it in ticks
//! (proc_pid_stat(5), field 22; `start_boottime` in kernel/fork.c and fs/proc/array.c, Linux 6.12).
//! A moment before the birth and one after it mostly lie in the same tick, which is then that of
//! the birth. A look at the process table costs a fifth of a launch: once for the look, and once
//! more when the process is cleared away.

use std::sync::LazyLock;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// The length of a tick; `None` where it is no whole number of nanoseconds.
static TICK: LazyLock<Option<Duration>> = LazyLock::new(|| {
    let rate = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    let tick = 1_000_000_000_u64.checked_div(rate)?;
    (tick * rate == 1_000_000_000).then_some(Duration::from_nanos(tick))
});

/// Since boot; zero, long before any birth, where the kernel does not say.
pub(super) fn now() -> TimeSpec {
    clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap_or(TimeSpec::from_duration(Duration::ZERO))
}

/// The tick of a birth between these moments; `None` when they lie in two.
pub(super) fn between(before: TimeSpec, after: TimeSpec) -> Option<u64> {
    let tick = (*TICK)?;
    let number = |at: TimeSpec| Duration::from(at).as_nanos() / tick.as_nanos();
    let born = u64::try_from(number(before)).ok()?;
    (number(before) == number(after)).then_some(born)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process_table;

    #[test]
    fn it_is_what_the_process_table_says() {
        let mut known = 0;
        for _ in 0..100 {
            let before = now();
            let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
            let after = now();
            let pid = i32::try_from(child.id()).expect("a number");
            let said = process_table::start_time(pid).expect("it lives");
            child.kill().expect("our child");
            child.wait().expect("our child");
            if let Some(born) = between(before, after) {
                assert_eq!(born, said);
                known += 1;
            }
        }
        assert!(known > 0, "never the same tick in 100 births");
    }

    #[test]
    fn a_birth_beside_the_boundary_of_two_ticks_is_looked_up() {
        let at = |ns: u64| TimeSpec::from_duration(Duration::from_nanos(ns));
        let tick = u64::try_from((*TICK).expect("Linux").as_nanos()).expect("short");
        assert_eq!(between(at(7 * tick), at(8 * tick - 1)), Some(7));
        assert_eq!(between(at(7 * tick), at(8 * tick)), None);
        assert_eq!(between(at(0), at(8 * tick)), None, "a clock that the kernel does not have");
    }
}
