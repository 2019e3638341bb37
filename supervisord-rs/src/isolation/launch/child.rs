//! The child, from birth to `execve`. It runs in our memory while we wait: system calls that
//! signal-safety(7) lists, or bare ones, and nothing else. Nothing is allocated, and nothing that
//! the C library keeps for all threads is touched: its `setuid` would change the user of *our*
//! threads, the bare system call changes the child alone.
#![expect(unsafe_code, reason = "between clone and exec only bare system calls are allowed")]

use std::ffi::{CStr, CString, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr;

use nix::errno::Errno;
use supervision::{LaunchFailure, LaunchStage};

use super::{Attempt, Credentials, Limit, failure};

/// What the child reads and writes in our memory while we wait.
pub(super) struct Orders<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) candidates: &'a [CString],
    pub(super) argv: *const *const libc::c_char,
    pub(super) environment: *const *const libc::c_char,
    /// `LISTEN_PID=` with room for ten digits and a NUL, or null.
    pub(super) listen_pid: *mut u8,
    pub(super) directory: *const libc::c_char,
    /// From our number to the child's, ascending by the child's.
    pub(super) descriptors: &'a [(RawFd, RawFd)],
    /// What it keeps under its number, ascending, and above those.
    pub(super) passed: &'a [RawFd],
    /// It shares our table of descriptors, and takes a copy of those below this number; -1: it has
    /// a copy of the whole from the start.
    pub(super) own_end: RawFd,
    pub(super) parent: i32,
    pub(super) parent_death_signal: c_int,
    /// The signals that it has blocked when it executes.
    pub(super) held: libc::sigset_t,
    /// Whether its core limit stays ours.
    pub(super) dumps_core: bool,
    /// Whether it is wanted also without its parent: its parent-death signal waits for it.
    pub(super) is_to_outlive: bool,
    pub(super) credentials: &'a Credentials,
    pub(super) umask: Option<u32>,
    pub(super) limits: &'a [Limit],
    /// Soft limits that it gets back, by resource.
    pub(super) originals: &'a [(u32, u64)],
    pub(super) family_mark: Option<u64>,
    pub(super) nice: Option<i32>,
    pub(super) io_priority: Option<i32>,
    pub(super) oom_score_adj: Option<&'a CStr>,
    pub(super) cpus: Option<libc::cpu_set_t>,
    pub(super) own_session: bool,
    /// By bit, signal 1 first: the signals that may not have their default action.
    pub(super) to_reset: u64,
    /// `cgroup.procs` of the cgroup to move to, or -1.
    pub(super) cgroup_procs: RawFd,
    /// Whether its table of descriptors is its own.
    pub(super) has_own: bool,
    /// Since boot, when the child began to run.
    pub(super) ran_at: libc::timespec,
    pub(super) failed: Option<LaunchFailure>,
}

/// The processors as the kernel wants them.
pub(super) fn cpu_set(cpus: &[usize]) -> libc::cpu_set_t {
    // SAFETY: a cpu_set_t is a bit mask; all zero is the empty set. CPU_SET ignores numbers beyond
    // its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &cpu in cpus {
            libc::CPU_SET(cpu, &mut set);
        }
        set
    }
}

/// Where the child begins, and ends if a step fails.
pub(super) extern "C" fn child(orders: *mut c_void) -> c_int {
    // SAFETY: `birth` passes a valid `Orders` that nothing else uses while the child runs.
    let orders = unsafe { &mut *orders.cast::<Orders<'_>>() };
    // SAFETY: getpid has no effects. clock_gettime is listed in signal-safety(7), and stores into
    // `orders`.
    unsafe {
        orders.attempt.begin(libc::getpid());
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut orders.ran_at);
    }
    // Whatever it opened or closed before would be opened or closed in us.
    let own = take_descriptors(orders.own_end);
    orders.has_own = own.is_ok();
    let failed = own.and_then(|()| prepare(orders)).and_then(|()| execute(orders)).err();
    orders.failed = failed;
    // SAFETY: _exit is async-signal-safe and runs nothing of the parent's.
    unsafe { libc::_exit(127) }
}

/// A table of descriptors of its own, where it shares ours.
fn take_descriptors(end: RawFd) -> Result<(), LaunchFailure> {
    if end < 0 {
        return Ok(());
    }
    // SAFETY: a bare system call, which changes this process alone (close_range(2)).
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, end, c_int::MAX, libc::CLOSE_RANGE_UNSHARE) };
    check(LaunchStage::Descriptors, if result < 0 { -1 } else { 0 })
}

/// In the order of [`LaunchStage`]: what needs our rights comes before they are given up.
fn prepare(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    reset_signals(orders.to_reset);
    take_place(orders)?;
    limit(orders)?;
    schedule(orders)?;
    become_user(orders.credentials)?;
    tie(orders)?;
    // Before the steps that may hang: a child that hangs then blocks nothing else.
    pass_descriptors(orders)?;
    enter_directory(orders)?;
    if !orders.listen_pid.is_null() {
        // SAFETY: behind the name there is room for ten digits and a NUL (see `Orders`).
        unsafe { write_pid(orders.listen_pid.add(b"LISTEN_PID=".len())) };
    }
    // SAFETY: sigprocmask is listed in signal-safety(7), and reads a mask that outlives the call.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const orders.held, ptr::null_mut()) };
    Ok(())
}

/// Every signal has its default action: the parent may have ignored some.
fn reset_signals(which: u64) {
    // The kernel's own structure, all zero: the default action, no flags, no mask. The C library
    // would refuse the two signals that it reserves.
    let default = [0_u64; 4];
    for signal in (1..=64).filter(|signal| which >> (signal - 1) & 1 == 1) {
        // Fails for KILL and STOP, which need nothing.
        let none: *mut c_void = ptr::null_mut();
        // SAFETY: a bare system call, which reads `default` and writes nothing.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, size_of::<u64>())
        };
    }
}

/// Its cgroup, where it was not born there; its session or process group; its umask.
fn take_place(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    // SAFETY: write, setsid, setpgid and umask are listed in signal-safety(7); the text is a
    // literal.
    unsafe {
        if orders.cgroup_procs >= 0 {
            let written = libc::write(orders.cgroup_procs, c"0".as_ptr().cast(), 1);
            check(LaunchStage::Cgroup, if written == 1 { 0 } else { -1 })?;
        }
        check(
            LaunchStage::Session,
            if orders.own_session { libc::setsid() } else { libc::setpgid(0, 0) },
        )?;
        if let Some(mask) = orders.umask {
            libc::umask(mask);
        }
    }
    Ok(())
}

/// What it gets of the machine, and when the kernel ends it first.
fn schedule(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    // SAFETY: open, write and close are listed in signal-safety(7); the C library's setpriority and
    // sched_setaffinity are the system calls alone. All pointers outlive their calls.
    unsafe {
        if let Some(nice) = orders.nice {
            check(LaunchStage::Nice, libc::setpriority(libc::PRIO_PROCESS, 0, nice))?;
        }
        if let Some(priority) = orders.io_priority {
            const WHO_PROCESS: c_int = 1;
            let result = libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority);
            check(LaunchStage::IoPriority, if result < 0 { -1 } else { 0 })?;
        }
        if let Some(score) = orders.oom_score_adj {
            let file =
                libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            check(LaunchStage::OomScore, file)?;
            let written = libc::write(file, score.as_ptr().cast(), score.count_bytes());
            check(LaunchStage::OomScore, if written < 0 { -1 } else { 0 })?;
            libc::close(file);
        }
        if let Some(cpus) = &orders.cpus {
            check(
                LaunchStage::Affinity,
                libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cpus),
            )?;
        }
    }
    Ok(())
}

/// Ties its life to ours; after the change of user, which would untie it. Until it executes it ends
/// with us, whatever comes after; one that is wanted without us finds the signal when it can take
/// it.
fn tie(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    let first = if orders.is_to_outlive { orders.parent_death_signal } else { libc::SIGKILL };
    // SAFETY: prctl is the system call alone, and takes a number.
    let tied = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, first) };
    check(LaunchStage::ParentDeathSignal, tied)?;
    is_wanted(orders)
}

/// Each descriptor under its number, and none besides.
fn pass_descriptors(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    let mut next = 0;
    for &(source, target) in orders.descriptors {
        close(next, target - 1);
        // SAFETY: dup2 is listed in signal-safety(7); the child's table of descriptors is its own.
        check(LaunchStage::Descriptors, unsafe { libc::dup2(source, target) })?;
        next = target + 1;
    }
    for &passed in orders.passed {
        close(next, passed - 1);
        // SAFETY: as above, for fcntl.
        let kept = unsafe { libc::fcntl(passed, libc::F_SETFD, 0) };
        check(LaunchStage::Descriptors, kept)?;
        next = passed + 1;
    }
    close(next, c_int::MAX);
    Ok(())
}

fn enter_directory(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    if orders.directory.is_null() {
        return Ok(());
    }
    orders.attempt.enter(LaunchStage::Directory);
    // SAFETY: chdir is listed in signal-safety(7); the path is a C string (see `Orders`).
    check(LaunchStage::Directory, unsafe { libc::chdir(orders.directory) })
}

/// Closes what is not the child's: copies of all that is open in us, and whatever a library opened
/// without close-on-exec. Fails before Linux 5.9: then they end at the exec, by our own discipline.
fn close(first: c_int, last: c_int) {
    if first <= last {
        // SAFETY: a bare system call; the child's table of descriptors is its own.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// Whether its launch was not withdrawn, and its parent is there: otherwise nothing would know of
/// it, or end it. A supervisor is needed also without its guardian: it ends what runs.
fn is_wanted(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    // SAFETY: getppid has no effects.
    if !orders.is_to_outlive && unsafe { libc::getppid() } != orders.parent {
        return Err(failure(LaunchStage::ParentDeathSignal, Errno::ESRCH));
    }
    if orders.attempt.is_withdrawn() {
        return Err(failure(orders.attempt.stage(), Errno::ETIMEDOUT));
    }
    Ok(())
}

/// No core of a worker unless it is asked for; the limits that we were started with; then what is
/// configured.
fn limit(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    // SAFETY: getrlimit and setrlimit are the system calls alone; the pointers are to locals.
    unsafe {
        let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if !orders.dumps_core
            && libc::getrlimit(libc::RLIMIT_CORE, &raw mut now) == 0
            && now.rlim_cur != 0
        {
            now.rlim_cur = 0;
            check(LaunchStage::Limits, libc::setrlimit(libc::RLIMIT_CORE, &raw const now))?;
        }
        for &(resource, soft) in orders.originals {
            if libc::getrlimit(resource, &raw mut now) == 0 {
                let soft = if soft < now.rlim_max { soft } else { now.rlim_max };
                if soft != now.rlim_cur {
                    now.rlim_cur = soft;
                    libc::setrlimit(resource, &raw const now);
                }
            }
        }
        if let Some(mark) = orders.family_mark {
            // Where ours is lower already, and we may not raise it, there is no mark.
            let mark = libc::rlimit { rlim_cur: mark, rlim_max: mark };
            libc::setrlimit(libc::RLIMIT_RTTIME, &raw const mark);
        }
        for &(resource, soft, hard) in orders.limits {
            check(LaunchStage::Limits, libc::getrlimit(resource, &raw mut now))?;
            now.rlim_max = hard.unwrap_or(if now.rlim_max > soft { now.rlim_max } else { soft });
            now.rlim_cur = soft;
            check(LaunchStage::Limits, libc::setrlimit(resource, &raw const now))?;
        }
    }
    Ok(())
}

fn become_user(credentials: &Credentials) -> Result<(), LaunchFailure> {
    let result = |result: libc::c_long| if result < 0 { -1 } else { 0 };
    // SAFETY: bare system calls, which change this process alone; the list of groups outlives the
    // call.
    unsafe {
        if let Some(groups) = &credentials.groups {
            let done = libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr());
            check(LaunchStage::Group, result(done))?;
        }
        if let Some(gid) = credentials.gid {
            check(LaunchStage::Group, result(libc::syscall(libc::SYS_setresgid, gid, gid, gid)))?;
        }
        if let Some(uid) = credentials.uid {
            check(LaunchStage::User, result(libc::syscall(libc::SYS_setresuid, uid, uid, uid)))?;
        }
    }
    Ok(())
}

/// Writes our own number as decimal digits and a NUL.
///
/// # Safety
/// There is room for eleven bytes.
unsafe fn write_pid(place: *mut u8) {
    // SAFETY: getpid has no effects; ten digits hold every pid, and the caller gives room for them.
    unsafe {
        let mut pid = libc::getpid().unsigned_abs();
        let mut digits = [0_u8; 10];
        let mut count = 0;
        while pid > 0 && count < digits.len() {
            digits[count] = b'0' + u8::try_from(pid % 10).unwrap_or(0);
            pid /= 10;
            count += 1;
        }
        for index in 0..count {
            *place.add(index) = digits[count - 1 - index];
        }
        *place.add(count) = 0;
    }
}

/// Tries each candidate as execvp(3) does: a missing one is passed over, one without permission is
/// remembered. Unlike there, a directory of `PATH` that may not be searched is passed over too: it
/// does not make a program that is missing everywhere one that is there.
fn execute(orders: &Orders<'_>) -> Result<(), LaunchFailure> {
    orders.attempt.enter(LaunchStage::Exec);
    // SAFETY: prctl is the system call alone, and takes a number.
    let tied = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, orders.parent_death_signal) };
    check(LaunchStage::ParentDeathSignal, tied)?;
    is_wanted(orders)?;
    let mut worst = Errno::ENOENT;
    for candidate in orders.candidates {
        // SAFETY: execve is listed in signal-safety(7); argv and environment are arrays of C
        // strings that end with a null pointer.
        unsafe { libc::execve(candidate.as_ptr(), orders.argv, orders.environment) };
        match Errno::last() {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES if orders.candidates.len() == 1 || is_there(candidate) => {
                worst = Errno::EACCES;
            }
            Errno::EACCES => {}
            other => return Err(failure(LaunchStage::Exec, other)),
        }
    }
    Err(failure(LaunchStage::Exec, worst))
}

fn is_there(path: &CStr) -> bool {
    // SAFETY: access(2) is async-signal-safe and reads a string that ends with a null character.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

fn check(stage: LaunchStage, result: c_int) -> Result<(), LaunchFailure> {
    if result >= 0 { Ok(()) } else { Err(failure(stage, Errno::last())) }
}
