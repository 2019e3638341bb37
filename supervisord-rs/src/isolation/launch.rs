//! From a plan to a running process: `clone` with `CLONE_VM | CLONE_VFORK`, some system calls, `execve`.
//!
//! Why not `std::process::Command`: anything between fork and exec (`pre_exec`) makes it copy the page tables of the
//! supervisor, which thread workers make large (25 ms instead of 0.5 ms beside 512 MB). A child that borrows our
//! memory until its `execve` costs the same however large we are; a failed step is written straight into the plan, so
//! that no pipe is needed to report it; and the pidfd comes with the process, so that its number can never be
//! somebody else's (clone(2), `CLONE_PIDFD`, Linux 5.2).
#![expect(unsafe_code, reason = "clone(2) has no safe form")]

use std::ffi::{CString, OsStr, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use supervision::{LaunchFailure, LaunchStage};

/// Where descriptors meant for the child are kept in us: above every number that they get in the child.
const LOWEST_SOURCE: RawFd = 64;
/// Stack of the child until its `execve`; it makes a dozen system calls and calls nothing deep.
const STACK_SIZE: usize = 64 * 1024;

/// A process that we have just created.
#[derive(Debug)]
pub struct Child {
    /// Its number; also that of its session and process group.
    pub pid: i32,
    /// The handle to wait for it and to signal it.
    pub pidfd: OwnedFd,
}

/// What to execute, and with what.
#[derive(Debug)]
pub struct Plan {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    environment: Vec<CString>,
    directory: Option<CString>,
    descriptors: Vec<OwnedFd>,
    parent_death_signal: Signal,
}

impl Plan {
    /// A plan to execute `program` (looked up in `path`, a `PATH`, unless it has a slash), with `argv` as its arguments,
    /// the first of which is the name that it goes by.
    ///
    /// # Errors
    /// `Exec` with EINVAL when a word has a NUL byte in it.
    pub fn new<S: AsRef<OsStr>>(program: &OsStr, argv: &[S], path: &OsStr) -> Result<Self, LaunchFailure> {
        let argv = argv.iter().map(|word| c_string(word.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let candidates = candidates(program, path)?;
        Ok(Self {
            candidates,
            argv,
            environment: Vec::new(),
            directory: None,
            descriptors: Vec::new(),
            parent_death_signal: Signal::SIGKILL,
        })
    }

    /// The whole environment of the child.
    ///
    /// # Errors
    /// `Exec` with EINVAL when a name or a value has a NUL byte in it.
    pub fn environment<'a>(
        mut self,
        variables: impl Iterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> Result<Self, LaunchFailure> {
        for (name, value) in variables {
            let mut text = name.to_os_string();
            text.push("=");
            text.push(value);
            self.environment.push(c_string(&text)?);
        }
        Ok(self)
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

    /// Gives the child a copy of `fd` as its next descriptor: the first is its 0, then 1, and so on. It gets no others.
    ///
    /// # Errors
    /// `Descriptors` with EMFILE or ENFILE.
    pub fn descriptor(mut self, fd: BorrowedFd<'_>) -> Result<Self, LaunchFailure> {
        let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(LOWEST_SOURCE))
            .map_err(|errno| failure(LaunchStage::Descriptors, errno))?;
        // SAFETY: needed because nix returns a number. The kernel has just given us this descriptor, nobody else has it.
        self.descriptors.push(unsafe { OwnedFd::from_raw_fd(copy) });
        Ok(self)
    }

    /// The signal that the child gets when the thread that launches it ends; SIGKILL when nothing is said.
    #[must_use]
    pub fn parent_death_signal(mut self, signal: Signal) -> Self {
        self.parent_death_signal = signal;
        self
    }

    /// Creates the process and waits until it has executed its program, or failed to.
    ///
    /// The child leads a session of its own, has default signal dispositions and an empty mask whatever ours are,
    /// dumps no core (a dump would delay the notice of its death by half a second), and gets its parent-death signal
    /// when the thread that calls this ends: call it on the main thread only (`PR_SET_PDEATHSIG`, prctl(2)).
    ///
    /// # Errors
    /// The stage that failed, with its errno. There is no process then.
    pub fn launch(self) -> Result<Child, LaunchFailure> {
        let argv = pointers(&self.argv);
        let environment = pointers(&self.environment);
        let descriptors: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let mut orders = Orders {
            candidates: &self.candidates,
            argv: argv.as_ptr(),
            environment: environment.as_ptr(),
            directory: self.directory.as_ref().map_or(ptr::null(), |directory| directory.as_ptr()),
            descriptors: &descriptors,
            parent: nix::unistd::getpid().as_raw(),
            parent_death_signal: self.parent_death_signal as c_int,
            failed: None,
        };
        let (pid, pidfd) = clone_and_wait(&mut orders).map_err(|errno| failure(LaunchStage::Clone, errno))?;
        match orders.failed {
            None => Ok(Child { pid, pidfd }),
            Some(failure) => {
                // It has exited already: vfork semantics made us wait for that. Nothing but its zombie is left.
                super::reaper::discard(&pidfd);
                Err(failure)
            }
        }
    }
}

/// What the child reads and writes in our memory while we wait.
struct Orders<'a> {
    candidates: &'a [CString],
    argv: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    directory: *const libc::c_char,
    descriptors: &'a [RawFd],
    parent: i32,
    parent_death_signal: c_int,
    failed: Option<LaunchFailure>,
}

fn clone_and_wait(orders: &mut Orders<'_>) -> nix::Result<(i32, OwnedFd)> {
    let mut stack = vec![0_u128; STACK_SIZE / size_of::<u128>()];
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;

    // A handler of ours that ran in the child would run in our memory, on its stack: no signal until it has executed.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: needed because only clone(2) gives a child that borrows memory, with a pidfd. Sound because CLONE_VFORK
    // suspends this thread until the child has executed or exited, so that `stack`, `orders` and all that it points to
    // outlive the child's use of them and are not touched meanwhile; the stack is 16-byte aligned, grows down from its
    // end, and is only the child's; `child` makes async-signal-safe calls only, allocates nothing, and never returns.
    // Other threads go on: the child touches nothing of theirs.
    let pid = unsafe {
        libc::clone(
            child,
            stack.as_mut_ptr_range().end.cast(),
            flags,
            ptr::from_mut(orders).cast(),
            &raw mut pidfd,
        )
    };
    let result = Errno::result(pid);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    let pid = result?;
    // SAFETY: clone succeeded, so the kernel stored a new descriptor there, which is ours alone.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// The child, from birth to `execve`. Async-signal-safe calls only.
extern "C" fn child(orders: *mut c_void) -> c_int {
    // SAFETY: `clone_and_wait` passes a valid `Orders` that nobody else uses while we run.
    let orders = unsafe { &mut *orders.cast::<Orders<'_>>() };
    let failed = prepare(orders).and_then(|()| execute(orders)).err();
    orders.failed = failed;
    // SAFETY: _exit is async-signal-safe and runs nothing of the parent's.
    unsafe { libc::_exit(127) }
}

fn prepare(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    // SAFETY: needed because this runs between clone and exec, where only bare system calls are allowed; each of these
    // is listed in signal-safety(7) or is a bare system call. All pointers are valid for the calls (see `Orders`).
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=64 {
            // Fails for KILL, STOP and the two that the C library keeps; those need nothing.
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        check(LaunchStage::Session, libc::setsid())?;
        check(
            LaunchStage::ParentDeathSignal,
            libc::prctl(libc::PR_SET_PDEATHSIG, orders.parent_death_signal),
        )?;
        if libc::getppid() != orders.parent {
            // The supervisor died before the line above: nobody would end us.
            return Err(failure(LaunchStage::ParentDeathSignal, Errno::ESRCH));
        }
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
        let mut core = no_core;
        if libc::getrlimit(libc::RLIMIT_CORE, &raw mut core) == 0 {
            core.rlim_cur = 0;
            check(LaunchStage::Limits, libc::setrlimit(libc::RLIMIT_CORE, &raw const core))?;
        }
        if !orders.directory.is_null() {
            check(LaunchStage::Directory, libc::chdir(orders.directory))?;
        }
        let mut target = 0;
        for &source in orders.descriptors {
            check(LaunchStage::Descriptors, libc::dup2(source, target))?;
            target += 1;
        }
        // Whatever a library opened without close-on-exec ends here. Fails before Linux 5.11: then only our own
        // discipline counts.
        libc::syscall(libc::SYS_close_range, target, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
    Ok(())
}

/// Tries each candidate as execvp(3) does: a missing one is passed over, one without permission is remembered.
fn execute(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    let mut worst = Errno::ENOENT;
    for candidate in orders.candidates {
        // SAFETY: as in `prepare`; argv and environment are arrays of C strings that end with a null pointer.
        unsafe { libc::execve(candidate.as_ptr(), orders.argv, orders.environment) };
        match Errno::last() {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => worst = Errno::EACCES,
            other => return Err(failure(LaunchStage::Exec, other)),
        }
    }
    Err(failure(LaunchStage::Exec, worst))
}

fn check(stage: LaunchStage, result: c_int) -> Result<(), LaunchFailure> {
    Errno::result(result).map(drop).map_err(|errno| failure(stage, errno))
}

/// A failed step.
pub(super) const fn failure(stage: LaunchStage, errno: Errno) -> LaunchFailure {
    LaunchFailure { stage, errno: errno as i32 }
}

fn candidates(program: &OsStr, path: &OsStr) -> Result<Vec<CString>, LaunchFailure> {
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(program)?]);
    }
    std::env::split_paths(path).map(|directory| c_string(directory.join(program).as_os_str())).collect()
}

fn c_string(text: &OsStr) -> Result<CString, LaunchFailure> {
    CString::new(text.as_bytes()).map_err(|_| failure(LaunchStage::Exec, Errno::EINVAL))
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// What to do about a launch that failed, in a sentence; `program` is what was to be executed.
#[must_use]
pub fn advice(failure: LaunchFailure, program: &str) -> String {
    let errno = Errno::from_raw(failure.errno);
    let what = match failure.stage {
        LaunchStage::Board => "cannot create its board (memfd)".to_owned(),
        LaunchStage::Pipes => "cannot create the pipes that capture its output".to_owned(),
        LaunchStage::Clone => "cannot create a process".to_owned(),
        LaunchStage::Thread => "cannot create a thread".to_owned(),
        LaunchStage::Session => "cannot create a session (setsid)".to_owned(),
        LaunchStage::ParentDeathSignal => "cannot tie its life to the supervisor's".to_owned(),
        LaunchStage::Directory => "cannot enter its working directory".to_owned(),
        LaunchStage::Descriptors => "cannot hand over its file descriptors".to_owned(),
        LaunchStage::Limits => "cannot set its resource limits".to_owned(),
        LaunchStage::Exec => format!("cannot execute {program}"),
        LaunchStage::Cell => "cannot hand the launch order to its cell".to_owned(),
        LaunchStage::Registration => {
            return format!("{program} refused to start this worker: see its message");
        }
    };
    let hint = match (failure.stage, errno) {
        (LaunchStage::Exec, Errno::ENOENT) => ": install it, or write its full path in `command:`",
        (LaunchStage::Exec, Errno::EACCES) => {
            ": it is not executable for this user; check its mode and its directory's"
        }
        (LaunchStage::Exec, Errno::ENOEXEC) => {
            ": it is neither a binary of this machine nor a script with `#!`"
        }
        (LaunchStage::Directory, Errno::ENOENT) => ": create it, or correct `cwd:`",
        (_, Errno::EMFILE | Errno::ENFILE) => ": raise the limit of open files (`ulimit -n`, `LimitNOFILE=`)",
        (_, Errno::EAGAIN) => ": raise the limit of processes (`ulimit -u`, `TasksMax=`, cgroup `pids.max`)",
        (_, Errno::ENOMEM) => ": the machine or the cgroup is out of memory",
        _ => "",
    };
    format!("{what}: {}{hint}", errno.desc())
}
