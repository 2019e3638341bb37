//! waitid(2) as the kernel has it. nix reads the signal into an enumeration of those that have a
//! name and answers EINVAL for a real-time one, though the status was there: what we ask for is
//! how a process ended, so numbers stay numbers.
#![expect(unsafe_code, reason = "nix has no waitid that takes real-time signals")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use supervision::Status;

/// Whom is asked about.
#[derive(Clone, Copy, Debug)]
pub(in crate::isolation) enum Whom<'a> {
    /// Any child.
    Anyone,
    /// The child with this number.
    Pid(i32),
    /// The child behind a pidfd.
    Handle(BorrowedFd<'a>),
}

/// A child that has exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its number.
    pub pid: i32,
    /// How it ended.
    pub status: Status,
}

/// The child that has exited, and stays a zombie. `None`: none has, or the kernel keeps it back for
/// its tracer (ptrace(2)). Does not block.
///
/// # Errors
/// ECHILD, and that alone says that there is no such child.
pub(in crate::isolation) fn peek(whom: Whom<'_>) -> nix::Result<Option<Exit>> {
    wait(whom, libc::WNOWAIT)
}

/// The same, and it is reaped.
///
/// # Errors
/// As [`peek`].
pub(in crate::isolation) fn take(whom: Whom<'_>) -> nix::Result<Option<Exit>> {
    BEGUN.fetch_add(1, Ordering::SeqCst);
    let taken = wait(whom, 0);
    OVER.fetch_add(1, Ordering::SeqCst);
    taken
}

/// How often a thread began to reap, and how often one was done.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicU64 = AtomicU64::new(0);
/// Attempts to look while none of our threads reaps.
const LOOKS: usize = 4;

/// A look at our children while none of them is reaped: the kernel's list of them is complete then.
/// `None`: there was no such moment, or no such list.
pub(in crate::isolation) fn undisturbed<T>(look: impl Fn() -> Option<T>) -> Option<T> {
    for _ in 0..LOOKS {
        let over = OVER.load(Ordering::SeqCst);
        let begun = BEGUN.load(Ordering::SeqCst);
        let found = look()?;
        if begun == over && BEGUN.load(Ordering::SeqCst) == begun {
            return Some(found);
        }
    }
    None
}

fn wait(whom: Whom<'_>, options: libc::c_int) -> nix::Result<Option<Exit>> {
    let (kind, id) = match whom {
        Whom::Anyone => (libc::P_ALL, 0),
        Whom::Pid(pid) => (libc::P_PID, libc::id_t::try_from(pid).map_err(|_| Errno::ECHILD)?),
        Whom::Handle(handle) => {
            (libc::P_PIDFD, libc::id_t::try_from(handle.as_raw_fd()).map_err(|_| Errno::EBADF)?)
        }
    };
    loop {
        // SAFETY: a siginfo_t is plain numbers, for which zeroes are a value.
        let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: needed because nix refuses some statuses. The kernel writes no more than a
        // siginfo_t to where one is.
        let result = unsafe {
            libc::waitid(kind, id, &raw mut found, libc::WEXITED | libc::WNOHANG | options)
        };
        match Errno::result(result) {
            Ok(_) => return Ok(read(&found)),
            // A signal to us interrupted it, as it may any call: we learnt nothing.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn read(found: &libc::siginfo_t) -> Option<Exit> {
    // SAFETY: waitid fills in the fields of SIGCHLD, or leaves the zeroes where no child exited
    // (waitid(2)).
    let (pid, number) = unsafe { (found.si_pid(), found.si_status()) };
    let status = match found.si_code {
        libc::CLD_EXITED => Status::Exited(number),
        libc::CLD_KILLED => Status::Signaled { signal: number, core_dumped: false },
        libc::CLD_DUMPED => Status::Signaled { signal: number, core_dumped: true },
        _ => Status::Unknown,
    };
    (pid != 0).then_some(Exit { pid, status })
}
