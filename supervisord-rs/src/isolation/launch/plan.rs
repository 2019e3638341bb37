//! What to execute, and with what: all that allocates is made before the child exists.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use supervision::LaunchFailure;

use super::given::Given;
use super::into_cgroup::IntoCgroup;
use super::steps::{self, Credentials, Exec, Newborn, Steps, candidates};
use super::{
    Attempt, Child, Environment, c_string, child, copy_above, dispositions, dumpable, failed,
    failure, spawn, spawn_time, window,
};
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::exits::reaper;
use crate::process_table;
use crate::stages;

/// See above.
#[derive(Debug)]
pub struct Plan {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    environment: Environment,
    has_listen_pid: bool,
    steps: Steps,
    parent_death_signal: Option<Signal>,
    cgroup: IntoCgroup,
}

impl Plan {
    /// A plan to execute `program` (looked up in `path`, a `PATH`, unless it has a slash), with
    /// `argv` as its arguments, the first of which is the name that it goes by.
    ///
    /// # Errors
    /// `Exec` with EINVAL when a word has a NUL byte in it.
    pub fn new<S: AsRef<OsStr>>(
        program: &OsStr,
        argv: &[S],
        path: &OsStr,
    ) -> Result<Self, LaunchFailure> {
        let argv =
            argv.iter().map(|word| c_string(word.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let candidates = candidates(program, path)?;
        Ok(Self {
            candidates,
            argv,
            environment: Environment::default(),
            has_listen_pid: false,
            steps: Steps::default(),
            parent_death_signal: Some(Signal::SIGKILL),
            cgroup: IntoCgroup::default(),
        })
    }

    /// The whole environment of the child.
    ///
    /// # Errors
    /// `Exec` with EINVAL when a name or a value has a NUL byte in it.
    pub fn environment(mut self, environment: Environment) -> Result<Self, LaunchFailure> {
        if environment.has_nul() {
            return Err(failure(stages::EXEC, Errno::EINVAL));
        }
        self.environment = environment;
        Ok(self)
    }

    /// Adds `LISTEN_PID` with the child's own number to its environment, as sd_listen_fds(3) wants
    /// it.
    #[must_use]
    pub fn listen_pid(mut self) -> Self {
        self.has_listen_pid = true;
        self
    }

    /// What the configuration asks for, and who it is.
    ///
    /// # Errors
    /// `Directory` with EINVAL when that has a NUL byte in it.
    pub(in crate::isolation) fn execution_of(
        mut self,
        execution: &ExecutionEnvironment,
        credentials: Credentials,
    ) -> failed::Result<Self> {
        self.steps.prepare(execution)?;
        self.steps.credentials = credentials;
        Ok(self)
    }

    /// Gives the child a copy of `fd` as its next descriptor: the first is its 0, then 1, and so
    /// on. It gets no others.
    ///
    /// # Errors
    /// `Descriptors` with EMFILE or ENFILE.
    pub fn descriptor(self, fd: BorrowedFd<'_>) -> Result<Self, LaunchFailure> {
        let next = self.next_descriptor();
        self.descriptor_at(fd, next)
    }

    /// Gives the child our standard input, output and error as its own.
    ///
    /// # Errors
    /// As [`descriptor`](Self::descriptor).
    pub fn standard_streams(self) -> Result<Self, LaunchFailure> {
        self.descriptor(io::stdin().as_fd())?
            .descriptor(io::stdout().as_fd())?
            .descriptor(io::stderr().as_fd())
    }

    /// Gives the child a copy of `fd` as its descriptor `target`, which must be below 64.
    ///
    /// # Errors
    /// `Descriptors` with EMFILE or ENFILE; EINVAL when the number is too high or taken.
    pub fn descriptor_at(self, fd: BorrowedFd<'_>, target: RawFd) -> Result<Self, LaunchFailure> {
        self.give(copy_above(fd, 0)?, target)
    }

    /// Gives the child `fd` as its descriptor `target`, which must be below 64. Ours is closed when
    /// the child has it.
    ///
    /// # Errors
    /// `Descriptors` with EINVAL when the number is too high or taken.
    pub fn give(self, fd: OwnedFd, target: RawFd) -> Result<Self, LaunchFailure> {
        self.give_as(Given::Own(fd), target)
    }

    /// Gives the child `/dev/null` as its descriptor `target`, which must be below 64.
    ///
    /// # Errors
    /// As [`give`](Self::give), and what open(2) says.
    pub fn give_nothing(self, target: RawFd) -> Result<Self, LaunchFailure> {
        self.give_as(Given::nothing()?, target)
    }

    fn give_as(mut self, given: Given, target: RawFd) -> Result<Self, LaunchFailure> {
        self.steps.descriptors.give(given, target)?;
        Ok(self)
    }

    /// The number that [`descriptor`](Self::descriptor) would give.
    #[must_use]
    pub fn next_descriptor(&self) -> RawFd {
        self.steps.descriptors.next()
    }

    /// Leaves these to the child, under the numbers that they have here, and our own limits of open
    /// files and of their size, so that it can have them. They must stay open until it is launched.
    #[must_use]
    pub fn pass(mut self, descriptors: &[BorrowedFd<'_>]) -> Self {
        self.steps.descriptors.pass(descriptors);
        self.steps.limits.stay_ours = true;
        self
    }

    /// The signal that the child gets when the thread that launches it ends; SIGKILL by default.
    /// `None`: it goes on.
    #[must_use]
    pub fn parent_death_signal(mut self, signal: Option<Signal>) -> Self {
        self.parent_death_signal = signal;
        self.tie();
        self
    }

    /// What to execute where the program cannot be found by then.
    ///
    /// # Errors
    /// `Exec` with EINVAL when it has a NUL byte in it.
    pub fn or(mut self, program: &OsStr) -> Result<Self, LaunchFailure> {
        self.candidates.push(c_string(program)?);
        Ok(self)
    }

    /// It is a supervisor: these signals are blocked when it executes, so that they wait until it
    /// takes them, and its core limit is ours. Where its parent-death signal is one of them, it is
    /// launched also when its parent dies meanwhile.
    #[must_use]
    pub fn supervisor(mut self, held: &[Signal]) -> Self {
        self.steps.mask.0 = held.iter().copied().collect();
        self.steps.limits.dumps_core = true;
        self.tie();
        self
    }

    fn tie(&mut self) {
        let signal = self.parent_death_signal;
        let is_held = signal.is_some_and(|signal| self.steps.mask.0.contains(signal));
        let number = signal.map_or(0, |signal| signal as libc::c_int);
        (self.steps.life, self.steps.last) = steps::ties(number, is_held);
    }

    /// Its weight for the OOM killer, -1000 to 1000.
    #[must_use]
    pub fn oom_score_adj(mut self, score: Option<i32>) -> Self {
        self.steps.priorities.weigh(score);
        self
    }

    /// The cgroup that it is born in.
    #[must_use]
    pub(in crate::isolation) fn born_in(mut self, cgroup: IntoCgroup) -> Self {
        self.cgroup = cgroup;
        self
    }

    /// A limit of real-time processor time that limits nothing and tells whose it is, with all that
    /// it starts.
    #[must_use]
    pub fn tree_mark(mut self, mark: Option<u64>) -> Self {
        self.steps.limits.tree_mark = mark;
        self
    }

    /// Creates the process and waits until it has executed its program, or failed to.
    ///
    /// The child leads a session or process group of its own, has default signal dispositions and a
    /// mask of what it [holds](Self::supervisor) alone, whatever ours are, dumps no core unless its
    /// limits say so or it is a supervisor (a dump delays the notice of a death by half a second),
    /// has our *original* limits of open files and of their size, and gets its parent-death signal
    /// when the thread that calls this ends: call it on a thread that lives as long as we do
    /// (`PR_SET_PDEATHSIG`, prctl(2)).
    ///
    /// # Errors
    /// The stage that failed, with its errno. There is no process then.
    pub fn launch(mut self) -> Result<Child, LaunchFailure> {
        self.launch_as(&Attempt::default())
    }

    /// The same, for others to look at meanwhile, and to withdraw.
    ///
    /// # Errors
    /// The same; ETIMEDOUT when it was withdrawn before it came to anything.
    pub fn launch_as(&mut self, attempt: &Attempt) -> Result<Child, LaunchFailure> {
        let own_end = self.steps.descriptors.place()?;
        let exec = Exec::new(&self.candidates, &self.argv, &self.environment, self.has_listen_pid);
        let mut orders = child::Orders {
            newborn: Newborn {
                attempt,
                parent: nix::unistd::getpid().as_raw(),
                to_reset: dispositions::ALL,
                cgroup_procs: -1,
            },
            steps: &self.steps.in_order(&exec),
            own_end,
            has_own: false,
            ran_at: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            failed: None,
        };
        if attempt.is_withdrawn() {
            return Err(failure(attempt.stage(), Errno::ETIMEDOUT));
        }
        let changing = self.steps.credentials.are_others().then(dumpable::Changing::begin);
        let asked_at = spawn_time::now();
        let born = spawn::give(&mut orders, self.cgroup.directory());
        attempt.end();
        drop(changing);
        let (pid, pidfd) = born?;
        match orders.failed {
            None if orders.has_never_run() && !attempt.is_withdrawn() => {
                reaper::discard(&pidfd);
                if !self.cgroup.take_another()? {
                    return Err(failure(stages::CGROUP, Errno::ECANCELED));
                }
                self.steps.descriptors.unplace();
                self.launch_as(attempt)
            }
            None => Ok(Child {
                pid,
                pidfd,
                start_time: spawn_time::between(asked_at, orders.ran_at.into())
                    .or_else(|| process_table::start_time(pid))
                    .unwrap_or(0),
                is_adopted: false,
            }),
            Some(failure) => {
                // It has exited already: vfork semantics made us wait for that. Nothing but its
                // zombie is left.
                reaper::discard(&pidfd);
                // A sandbox may answer what it likes.
                if orders.has_own || orders.own_end < 0 || failure.transient {
                    return Err(failure);
                }
                self.steps.descriptors.unplace();
                window::refuse();
                self.launch_as(attempt)
            }
        }
    }
}
