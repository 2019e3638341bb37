//! Signals to processes of a test, each with its effect: a signal that has been sent takes effect a
//! moment later, and on a busy machine that moment is long.

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use supervisord_rs::process_table::{self, children_of};

use super::{DEADLINE, Supervisor, until};

/// Sends a signal and does not wait for its effect.
#[track_caller]
pub fn kill(pid: i32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid), signal).expect("a live process");
}

/// Whether a process exists and has not exited.
pub fn is_alive(pid: i32) -> bool {
    process_table::is_alive(pid)
}

/// A process that stands still, with all of its threads, until this is dropped.
pub struct Stopped {
    pid: i32,
    born: Option<u64>,
}

impl Stopped {
    /// Returns when it stands still.
    #[track_caller]
    pub fn new(pid: i32) -> Self {
        kill(pid, Signal::SIGSTOP);
        let stopped = Self { pid, born: process_table::start_time(pid) };
        until(DEADLINE, || stands_still(pid).then_some(())).expect("suspended");
        stopped
    }

    /// Kills it where it stands.
    pub fn kill(self) {
        let _ = nix::sys::signal::kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        std::mem::forget(self);
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Its number may be another's by now.
        if self.born.is_some() && process_table::start_time(self.pid) == self.born {
            let _ = nix::sys::signal::kill(Pid::from_raw(self.pid), Signal::SIGCONT);
        }
    }
}

/// Whether no thread of it runs.
fn stands_still(pid: i32) -> bool {
    let mut states = process_table::threads(pid)
        .into_iter()
        .filter_map(|tid| process_table::thread_stat(pid, tid))
        .map(|stat| stat.state);
    states.all(|state| matches!(state, 'T' | 'Z' | 'X'))
}

/// Kills the guardian and its supervisor, in this order or the other, and returns when both are
/// dead. Neither learns of the other's death: a guardian would start a successor, and a supervisor
/// would end its workers in order. Until both are dead, their locks refuse the next run.
#[track_caller]
pub fn kill_together(supervisor: &mut Supervisor<'_>, is_guardian_first: bool) {
    let guardian = supervisor.child_pid();
    let guardian_stopped = Stopped::new(guardian);
    // There are two while a successor starts.
    let supervisors = children_of(guardian);
    let stopped: Vec<Stopped> = supervisors.iter().map(|pid| Stopped::new(*pid)).collect();
    if is_guardian_first {
        guardian_stopped.kill();
        stopped.into_iter().for_each(Stopped::kill);
    } else {
        stopped.into_iter().for_each(Stopped::kill);
        guardian_stopped.kill();
    }
    supervisor.child.wait().expect("our child");
    supervisor
        .bed
        .wait("the end of both", || (!supervisors.iter().any(|pid| is_alive(*pid))).then_some(()));
}
