//! The steps of a launch at which it may fail, by number and name. Black boxes store the numbers,
//! and clients read the names: neither changes. New ones go to the end.

use supervision::LaunchStage;

macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $constant:ident = $number:literal, $name:literal;)+) => {
        $($(#[doc = $doc])+ pub(crate) const $constant: LaunchStage = LaunchStage($number);)+

        /// By number.
        const NAMES: &[&str] = &[$($name),+];

        /// All of them.
        #[cfg(test)]
        pub(crate) const ALL: &[LaunchStage] = &[$($constant),+];
    };
}

stages! {
    /// Creating the worker's board.
    BOARD = 0, "board";
    /// Creating the pipes that capture its output.
    PIPES = 1, "pipes";
    /// Creating the process (`clone`).
    CLONE = 2, "clone";
    /// Creating the thread.
    THREAD = 3, "thread";
    /// Opening its listening sockets.
    SOCKET = 4, "socket";
    /// Reading its environment from a file.
    ENV_FILE = 5, "env-file";
    /// Reading a secret.
    SECRET = 6, "secret";
    /// Its own cgroup.
    CGROUP = 7, "cgroup";
    /// The limits of its cgroup (`memory.max`, `cpu.max`, ...).
    CGROUP_LIMITS = 8, "cgroup-limits";
    /// A session or process group of its own (`setsid`, `setpgid`).
    SESSION = 9, "session";
    /// The signal that ends it with the supervisor (`PR_SET_PDEATHSIG`).
    PARENT_DEATH_SIGNAL = 10, "parent-death-signal";
    /// The working directory (`chdir`).
    DIRECTORY = 11, "directory";
    /// Its file descriptors (`dup2`).
    DESCRIPTORS = 12, "descriptors";
    /// Its resource limits (`setrlimit`).
    LIMITS = 13, "limits";
    /// Its scheduling priority (`setpriority`).
    NICE = 14, "nice";
    /// Its I/O priority (`ioprio_set`).
    IO_PRIORITY = 15, "io-priority";
    /// Its weight for the OOM killer (`/proc/self/oom_score_adj`).
    OOM_SCORE = 16, "oom-score";
    /// Its processors (`sched_setaffinity`).
    AFFINITY = 17, "affinity";
    /// Its group and supplementary groups (`setgroups`, `setgid`).
    GROUP = 18, "group";
    /// Its user (`setuid`).
    USER = 19, "user";
    /// The program itself (`execve`).
    EXEC = 20, "exec";
    /// Handing the launch order to the cell.
    CELL = 21, "cell";
    /// The program started but does not know this worker (`worker:` not registered, bad `args:`).
    REGISTRATION = 22, "registration";
    /// The command that runs before it (`start_before:`).
    START_BEFORE = 23, "start-before";
    /// How it takes turns on a processor (`sched_setattr`).
    SCHEDULER = 24, "scheduler";
    /// Making what it shares with others.
    RESOURCE = 25, "resource";
}

/// Its name. `unknown`: a later version has stored it.
#[must_use]
pub(crate) fn name(stage: LaunchStage) -> &'static str {
    NAMES.get(usize::from(stage.0)).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_a_place_in_the_list() {
        let numbers = ALL.iter().map(|stage| usize::from(stage.0));
        assert!(numbers.eq(0..NAMES.len()));
        assert_eq!(name(LaunchStage(u8::MAX)), "unknown");
        // The machine tells these two from the others.
        assert_eq!((CLONE, START_BEFORE), (LaunchStage::CLONE, LaunchStage::START_BEFORE));
    }
}
