//! Whoever ends up as our child: orphans are reaped as they die, and after the supervisor's death everyone is killed.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// For the processes of a dead supervisor to die of SIGKILL. What takes longer is stuck in the kernel, and is named.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at processes that are dying.
const PAUSE: Duration = Duration::from_micros(500);

/// Reaps every dead child but the supervisor, whose status belongs to its watcher. Does not block.
pub(super) fn reap_orphans(supervisor: i32) {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, peek) {
        match status.pid() {
            Some(pid) if pid.as_raw() != supervisor => drop(waitpid(pid, None)),
            // Nobody is dead, or the supervisor is: its watcher comes to it at once.
            Some(_) | None => return,
        }
    }
}

/// Kills and reaps every child until there is none; the children of a killed one become ours and follow. Returns how
/// many there were. Blocks until they are dead, at most [`DEADLINE`].
pub(super) fn kill_all() -> usize {
    let end = Instant::now() + DEADLINE;
    let mut reaped = 0;
    loop {
        for pid in children() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) => reaped += 1,
                // ECHILD: there is nobody left.
                Err(_) => return reaped,
            }
        }
        if Instant::now() >= end {
            super::say(&format!("these processes do not die of SIGKILL: {:?}", children()));
            return reaped;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Our children, by the kernel's list where it keeps one (`CONFIG_PROC_CHILDREN`), else by looking at every process.
fn children() -> Vec<i32> {
    let own = std::process::id();
    if let Ok(list) = fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        return list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    }
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent(*pid) == Some(own)).collect()
}

fn parent(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, brackets too: proc_pid_stat(5).
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
