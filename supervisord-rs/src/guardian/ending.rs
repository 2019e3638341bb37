//! The end, in order, also where no supervisor is there to carry it out: one is started once more
//! to take over what there is and stop it as the configuration says; where that is not to be had,
//! everyone is asked, has its time, and is killed.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

use super::launching::Purpose;
use super::{Guardian, Killed, orphans, say};
use crate::service_manager::{Ending, Predecessor};
use crate::waiting::Limit;

/// Between two looks at who is left.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

impl Guardian {
    /// Ends everything. The supervisor's exit status where one did it in order, else 0: then we
    /// did.
    pub(super) fn end_in_order(&mut self, predecessor: Predecessor) -> u8 {
        match self.launch(Some(predecessor), Purpose::ShutDown) {
            Ok(child) => {
                let death = match self.watch(child) {
                    Ok((_, death)) => death,
                    Err(unkillable) => return self.end_around(unkillable),
                };
                if let (Ending::Exited(code), true) = (death.ending, death.was_stopping) {
                    let code = u8::try_from(code).unwrap_or(1);
                    return status_of_end(code, &kill_what_is_left());
                }
                say(&format!("the supervisor that was to stop everything {}", death.ending));
            }
            Err(why) => say(&format!("no supervisor can be started to stop everything: {why}")),
        }
        status_of_end(0, &self.stop_what_is_left())
    }

    /// Asks all that is left to end, and kills what has not when the time is over, or at a second
    /// order.
    fn stop_what_is_left(&mut self) -> Killed {
        let asked = self.ask_all(|guardian| {
            let exit_records = &mut guardian.exit_records;
            orphans::reap(|_| false, |status| exit_records.write(status), None);
            // The children of those that have ended come to us, and are asked too.
            crate::process_table::children()
        });
        if asked > 0 {
            say(&format!("{asked} processes were asked to end"));
        }
        kill_what_is_left()
    }

    /// Asks each process that is left to end, once. Waits until none is left, their time is over or
    /// a second order comes. How many were asked.
    pub(super) fn ask_all(&mut self, mut left: impl FnMut(&mut Self) -> Vec<i32>) -> usize {
        let mut limit = Limit::new(self.policy.rules().shutdown_timeout);
        let mut asked = BTreeSet::new();
        let mut orders = 0;
        loop {
            let left = left(self);
            if left.is_empty() || orders > 0 || limit.is_over() {
                return asked.len();
            }
            for pid in left {
                if asked.insert(pid) {
                    ask(Pid::from_raw(pid));
                }
            }
            limit.timed(PAUSE, || self.wait_for_signals(PAUSE));
            while let Ok(Some(signal)) = self.signals.read_signal() {
                orders += usize::from(super::is_order_to_end(signal.ssi_signo));
            }
        }
    }
}

/// With all of its process group, where it leads one. It is an unreaped child of the guardian, so
/// no other process can have its PID.
pub(super) fn ask(pid: Pid) {
    let leads = getpgid(Some(pid)) == Ok(pid);
    for signal in [Signal::SIGTERM, Signal::SIGCONT] {
        let _ = if leads { killpg(pid, signal) } else { kill(pid, signal) };
    }
}

/// Ends every process that is left.
pub(super) fn kill_what_is_left() -> Killed {
    let killed = orphans::kill_all();
    if !killed.left.is_empty() {
        say(&format!("these processes do not die of SIGKILL: {:?}", killed.left));
    }
    killed
}

/// The exit status after an end with this one: success is none while processes are left.
pub(super) fn status_of_end(code: u8, killed: &Killed) -> u8 {
    if killed.left.is_empty() { code } else { code.max(1) }
}
