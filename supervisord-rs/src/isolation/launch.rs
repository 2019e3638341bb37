//! From a plan to a running process: `clone3` with `CLONE_VM | CLONE_VFORK`, some system calls,
//! `execve`.
//!
//! Why not `std::process::Command`: anything between fork and exec (`pre_exec`, a user) makes it
//! copy the page tables of the supervisor, which thread workers make large (25 ms instead of 0.5 ms
//! beside 512 MB). A child that borrows our memory until its `execve` costs the same however large
//! we are; a failed step is written straight into the plan, so that no pipe is needed to report it;
//! the pidfd comes with the process, so that its number can never be another's (clone(2),
//! `CLONE_PIDFD`, Linux 5.2); and it is born in its cgroup (`CLONE_INTO_CGROUP`, Linux 5.7): moving
//! a process later waits for all processors (milliseconds), and leaves a moment in which it is
//! elsewhere.
//!
//! | file | concept |
//! |---|---|
//! | `launch` | the plan, made with all allocations before the child exists |
//! | `birth` | how the child is made: in its cgroup, or moving there; sharing our descriptors, or not |
//! | `clone3` | the system call for that, by architecture |
//! | `birthday` | when the child was born, without a look at the process table |
//! | `dispositions` | the signals that a child has to reset |
//! | `environment` | the variables of a process to be |
//! | `child` | what the child does until its `execve`; async-signal-safe |
//! | `attempt` | a launch while it is on its way, as others see it; how it is withdrawn |
//! | `own_limits` | the limits that we raise for ourselves alone |
//! | `dumpable` | whether we dump core, which a child that changes its user takes from us |
//! | `reading`, `binding` | a file read, a Unix socket named, by a child that can be abandoned |
//! | `given` | a descriptor for the child |
//! | `window` | the low end of our table of descriptors, which a child gets a copy of |
//! | `rights` | what a step needs a right for |
//! | `advice` | a failed step in words, and what to do about it |

mod advice;
mod attempt;
pub(super) mod binding;
mod birth;
mod birthday;
mod child;
mod clone3;
mod dispositions;
mod dumpable;
mod environment;
mod given;
mod own_limits;
pub(super) mod reading;
pub(super) mod rights;
pub(super) mod window;

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, Signal};
use supervision::{LaunchFailure, LaunchStage};

use crate::process_table;

pub use advice::advice;
pub use attempt::Attempt;
pub(super) use dispositions::become_foreign;
pub use environment::{Environment, Inherited};
use given::Given;
pub use own_limits::{file_size_limit, raise_file_size, raise_limits, raise_stack, told};

/// Numbers of descriptors that a child can be given one by one lie below this.
const TARGETS: RawFd = 64;

/// A process that we have created, or taken over.
#[derive(Debug)]
pub struct Child {
    /// Its number; also that of its process group, and mostly of its session.
    pub pid: i32,
    /// The handle to wait for it and to signal it.
    pub pidfd: OwnedFd,
    /// When it was born, in clock ticks since boot (proc_pid_stat(5)); with the number it means
    /// this process for ever. 0: not known.
    pub start_time: u64,
    /// Whether another supervisor was its parent: then we cannot wait for it, and its number may
    /// become another's as soon as it has exited.
    pub is_adopted: bool,
}

/// Who the child is, in the kernel's numbers.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// User; `None`: ours.
    pub uid: Option<u32>,
    /// Group; `None`: ours.
    pub gid: Option<u32>,
    /// Supplementary groups; `None`: ours.
    pub groups: Option<Vec<u32>>,
}

/// A resource limit: number, soft, hard.
pub type Limit = (u32, u64, Option<u64>);

/// What to execute, and with what.
#[derive(Debug)]
pub struct Plan {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    environment: Environment,
    has_listen_pid: bool,
    directory: Option<CString>,
    descriptors: Vec<(Given, RawFd)>,
    passed: Vec<RawFd>,
    parent_death_signal: Option<Signal>,
    held: SigSet,
    dumps_core: bool,
    pub(super) credentials: Credentials,
    pub(super) umask: Option<u32>,
    pub(super) limits: Vec<Limit>,
    pub(super) nice: Option<i32>,
    pub(super) io_priority: Option<i32>,
    oom_score_adj: Option<CString>,
    pub(super) cpus: Vec<usize>,
    pub(super) own_session: bool,
    cgroup: Option<OwnedFd>,
    keeps_limits: bool,
    family_mark: Option<u64>,
    /// Held as long as the child may want its copies.
    shown: Option<window::Shown>,
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
            directory: None,
            descriptors: Vec::new(),
            passed: Vec::new(),
            parent_death_signal: Some(Signal::SIGKILL),
            held: SigSet::empty(),
            dumps_core: false,
            credentials: Credentials::default(),
            umask: None,
            limits: Vec::new(),
            nice: None,
            io_priority: None,
            oom_score_adj: None,
            cpus: Vec::new(),
            own_session: true,
            cgroup: None,
            keeps_limits: false,
            family_mark: None,
            shown: None,
        })
    }

    /// The whole environment of the child.
    ///
    /// # Errors
    /// `Exec` with EINVAL when a name or a value has a NUL byte in it.
    pub fn environment(mut self, environment: Environment) -> Result<Self, LaunchFailure> {
        if environment.has_nul() {
            return Err(failure(LaunchStage::Exec, Errno::EINVAL));
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

    /// The working directory of the child.
    ///
    /// # Errors
    /// `Directory` with EINVAL when it has a NUL byte in it.
    pub fn directory(mut self, directory: &Path) -> Result<Self, LaunchFailure> {
        let text = c_string(directory.as_os_str());
        self.directory = Some(text.map_err(|_| failure(LaunchStage::Directory, Errno::EINVAL))?);
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
        if target >= TARGETS || self.descriptors.iter().any(|(_, taken)| *taken == target) {
            return Err(failure(LaunchStage::Descriptors, Errno::EINVAL));
        }
        self.descriptors.push((given, target));
        Ok(self)
    }

    /// The number that [`descriptor`](Self::descriptor) would give.
    #[must_use]
    pub fn next_descriptor(&self) -> RawFd {
        (0..).find(|number| !self.descriptors.iter().any(|(_, taken)| taken == number)).unwrap_or(0)
    }

    /// Leaves these to the child, under the numbers that they have here, and our own limits of open
    /// files and of their size, so that it can have them. They must stay open until it is launched.
    #[must_use]
    pub fn pass(mut self, descriptors: &[BorrowedFd<'_>]) -> Self {
        self.passed = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        self.passed.sort_unstable();
        self.keeps_limits = true;
        self
    }

    /// The signal that the child gets when the thread that launches it ends; SIGKILL by default.
    /// `None`: it goes on.
    #[must_use]
    pub fn parent_death_signal(mut self, signal: Option<Signal>) -> Self {
        self.parent_death_signal = signal;
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
        self.held = held.iter().copied().collect();
        self.dumps_core = true;
        self
    }

    /// Its weight for the OOM killer, -1000 to 1000.
    #[must_use]
    pub fn oom_score_adj(mut self, score: Option<i32>) -> Self {
        self.oom_score_adj = score.and_then(|score| CString::new(score.to_string()).ok());
        self
    }

    /// The directory of the cgroup (version 2) that it is born in.
    #[must_use]
    pub fn cgroup(mut self, directory: Option<OwnedFd>) -> Self {
        self.cgroup = directory;
        self
    }

    /// A limit of real-time processor time that limits nothing and tells whose it is, with all that
    /// it starts.
    #[must_use]
    pub fn family_mark(mut self, mark: Option<u64>) -> Self {
        self.family_mark = mark;
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
        self.clear_targets()?;
        let mut listen_pid = *b"LISTEN_PID=0\0\0\0\0\0\0\0\0\0\0";
        let mut environment = pointers(self.environment.words());
        if self.has_listen_pid {
            environment.insert(0, listen_pid.as_ptr().cast());
        }
        let argv = pointers(self.argv.iter());
        let mut descriptors: Vec<(RawFd, RawFd)> =
            self.descriptors.iter().map(|(source, target)| (source.number(), *target)).collect();
        descriptors.sort_unstable_by_key(|(_, target)| *target);
        self.shown = if self.passed.is_empty() { window::show(&mut descriptors)? } else { None };
        let originals = own_limits::originals();
        let mut orders = child::Orders {
            attempt,
            candidates: &self.candidates,
            argv: argv.as_ptr(),
            environment: environment.as_ptr(),
            listen_pid: if self.has_listen_pid { listen_pid.as_mut_ptr() } else { ptr::null_mut() },
            directory: self.directory.as_ref().map_or(ptr::null(), |directory| directory.as_ptr()),
            descriptors: &descriptors,
            passed: &self.passed,
            own_end: self.shown.as_ref().map_or(-1, |shown| shown.end),
            parent: nix::unistd::getpid().as_raw(),
            parent_death_signal: self.parent_death_signal.map_or(0, |signal| signal as libc::c_int),
            held: *self.held.as_ref(),
            dumps_core: self.dumps_core,
            is_to_outlive: self
                .parent_death_signal
                .is_some_and(|signal| self.held.contains(signal)),
            credentials: &self.credentials,
            umask: self.umask,
            limits: &self.limits,
            originals: if self.keeps_limits { &[] } else { &originals },
            family_mark: self.family_mark,
            nice: self.nice,
            io_priority: self.io_priority,
            oom_score_adj: self.oom_score_adj.as_deref(),
            cpus: if self.cpus.is_empty() { None } else { Some(child::cpu_set(&self.cpus)) },
            own_session: self.own_session,
            cgroup_procs: -1,
            to_reset: dispositions::ALL,
            has_own: false,
            ran_at: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            failed: None,
        };
        if attempt.is_withdrawn() {
            return Err(failure(attempt.stage(), Errno::ETIMEDOUT));
        }
        let changing = self.credentials.are_others().then(dumpable::Changing::begin);
        let asked_at = birthday::now();
        let born = birth::give(&mut orders, self.cgroup.as_ref());
        attempt.end();
        drop(changing);
        let (pid, pidfd) = born?;
        match orders.failed {
            None => Ok(Child {
                pid,
                pidfd,
                start_time: birthday::between(asked_at, orders.ran_at.into())
                    .or_else(|| process_table::start_time(pid))
                    .unwrap_or(0),
                is_adopted: false,
            }),
            Some(failure) => {
                // It has exited already: vfork semantics made us wait for that. Nothing but its
                // zombie is left.
                super::exits::reaper::discard(&pidfd);
                // A sandbox may answer what it likes.
                if orders.has_own || orders.own_end < 0 || failure.transient {
                    return Err(failure);
                }
                self.shown = None;
                window::refuse();
                self.launch_as(attempt)
            }
        }
    }

    /// Moves what we hold out of the way of the numbers that the child gets, so that none is
    /// overwritten before it is copied.
    fn clear_targets(&mut self) -> Result<(), LaunchFailure> {
        let above =
            self.descriptors.iter().map(|(_, target)| target.saturating_add(1)).max().unwrap_or(0);
        for (source, _) in &mut self.descriptors {
            if source.number() < above {
                *source = Given::Own(copy_above(source.as_fd(), above)?);
            }
        }
        Ok(())
    }
}

impl Credentials {
    /// Whether the child has another user or group than we have.
    fn are_others(&self) -> bool {
        self.uid.is_some() || self.gid.is_some() || self.groups.is_some()
    }
}

/// What a supervisor has open without workers, with some room, and what each process adds to it.
const OPEN_FILES_OWN: usize = 80;
const OPEN_FILES_EACH: usize = 6;

/// What is to be said where so many workers that are processes need more open files than we may
/// have; measured generously, so that who heeds it has peace.
#[must_use]
pub fn short_of_open_files(processes: usize) -> Option<String> {
    use nix::sys::resource::{Resource, getrlimit};
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let need = OPEN_FILES_OWN + OPEN_FILES_EACH * processes;
    let workers =
        if processes == 1 { "worker that is a process" } else { "workers that are processes" };
    (usize::try_from(limit).unwrap_or(usize::MAX) < need).then(|| {
        format!(
            "short of descriptors: the hard limit of open files is {limit}, and {processes} \
             {workers} need about {need}; launches may fail, and workers may end with this \
             supervisor: raise it (`LimitNOFILE=`, `ulimit -n`)"
        )
    })
}

/// Descriptors that launches leave free: for clients of the control API, records, and logs that are
/// reopened. Without them, a supervisor that is short of descriptors could not be asked why.
const RESERVE: u64 = 16;

/// What a launch opens on its thread besides: the handle of the child, and a file or directory at a
/// time.
pub(super) const LAUNCH_OPENS: usize = 3;

/// Whether there are descriptors for one more of our processes, which needs so many of its `own`.
/// `owed`: what we are bound to open yet, without it.
///
/// # Errors
/// `Descriptors` with EMFILE.
pub(super) fn has_room(own: usize, owed: impl FnOnce() -> usize) -> Result<(), LaunchFailure> {
    use nix::sys::resource::{Resource, getrlimit};
    let none = failure(LaunchStage::Descriptors, Errno::EMFILE);
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    if own as u64 <= MOST_EACH && LOOK.still_counts(limit) {
        return Ok(());
    }
    // The lowest free number: all below it are taken.
    let lowest = copy_above(io::stdin().as_fd(), 0).map_err(|_| none)?.as_raw_fd();
    // There may be gaps below others: the kernel counts them all (Linux 6.2; 0 before).
    let open = std::fs::metadata("/proc/self/fd").map_or(0, |found| found.len());
    let taken = u64::try_from(lowest).unwrap_or(0).max(open);
    let taken = taken.saturating_add((own + owed()) as u64);
    LOOK.was_made(limit, taken);
    if taken.saturating_add(RESERVE) < limit { Ok(()) } else { Err(none) }
}

/// Where much is free, a look at what is open counts for some launches.
static LOOK: Look = Look { limit: AtomicU64::new(0), left: AtomicU64::new(0) };
/// With fewer free descriptors each launch looks.
const PLENTY: u64 = 1024;
/// A launch that opens more looks.
const MOST_EACH: u64 = 64;

struct Look {
    /// The limit that it found.
    limit: AtomicU64,
    /// The launches that it still counts for. What else is opened meanwhile has as much room.
    left: AtomicU64,
}

impl Look {
    fn still_counts(&self, limit: u64) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.limit.load(Ordering::Relaxed) == limit
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn was_made(&self, limit: u64, taken: u64) {
        let free = limit.saturating_sub(taken);
        let left = if free > PLENTY { free / 2 / MOST_EACH } else { 0 };
        self.limit.store(limit, Ordering::Relaxed);
        self.left.store(left, Ordering::Relaxed);
    }
}

/// A failed step. What the machine is short of now it may have later.
#[must_use]
pub const fn failure(stage: LaunchStage, errno: Errno) -> LaunchFailure {
    let transient = matches!(errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE);
    LaunchFailure { stage, errno: errno as i32, transient }
}

fn copy_above(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, LaunchFailure> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(lowest)).map_err(|errno| {
        // There is no number as high as that within our limit (fcntl(2)).
        let errno = if errno == Errno::EINVAL { Errno::EMFILE } else { errno };
        failure(LaunchStage::Descriptors, errno)
    })?;
    #[expect(unsafe_code, reason = "nix returns a number")]
    // SAFETY: the kernel has just given us this descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn candidates(program: &OsStr, path: &OsStr) -> Result<Vec<CString>, LaunchFailure> {
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(program)?]);
    }
    std::env::split_paths(path)
        .map(|directory| c_string(directory.join(program).as_os_str()))
        .collect()
}

fn c_string(text: &OsStr) -> Result<CString, LaunchFailure> {
    CString::new(text.as_bytes()).map_err(|_| failure(LaunchStage::Exec, Errno::EINVAL))
}

fn pointers<'a>(strings: impl Iterator<Item = &'a CString>) -> Vec<*const libc::c_char> {
    strings.map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}
