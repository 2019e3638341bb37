//! A child process reads the file. On a file system that does not answer the kernel blocks the
//! reader, and not even SIGKILL ends it: a *thread* of the supervisor in there would keep the
//! supervisor from dying, since a process ends with the last of its threads. The supervisor can
//! abandon a child (vfork(2)), which holds nothing of the supervisor.
#![expect(unsafe_code, reason = "between clone and exit only bare system calls are allowed")]

use std::ffi::{CString, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use supervision::{LaunchFailure, LaunchStage};

use super::{Attempt, failure, spawn};
use crate::stages;

/// What the child reads and writes in our memory while we wait.
struct Order<'a> {
    attempt: &'a Attempt,
    path: *const libc::c_char,
    parent: i32,
    buffer: *mut u8,
    room: usize,
    /// How many bytes it has read. Unchanged when it was killed.
    result: nix::Result<usize>,
}

/// All of a regular file of at most `most` bytes. May block; as long as it does, `attempt` can be
/// withdrawn.
///
/// # Errors
/// `stage`, with EMEDIUMTYPE for what is no regular file, EFBIG for what is too large, ETIMEDOUT
/// when it was withdrawn, or what open(2) and read(2) say. `Clone` when there can be no child.
pub(in crate::isolation) fn read(
    stage: LaunchStage,
    path: &Path,
    most: usize,
    attempt: &Attempt,
) -> Result<Vec<u8>, LaunchFailure> {
    attempt.enter(stage);
    let name =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| failure(stage, Errno::EINVAL))?;
    let mut content: Vec<u8> = Vec::with_capacity(most.saturating_add(1));
    let mut order = Order {
        attempt,
        path: name.as_ptr(),
        parent: nix::unistd::getpid().as_raw(),
        buffer: content.as_mut_ptr(),
        room: content.capacity(),
        result: Err(Errno::ETIMEDOUT),
    };
    if attempt.is_withdrawn() {
        return Err(failure(stage, Errno::ETIMEDOUT));
    }
    let born = spawn::borrowing(child, ptr::from_mut(&mut order).cast(), attempt);
    attempt.end();
    let (_, pidfd) = born.map_err(|errno| failure(stages::CLONE, errno))?;
    crate::isolation::exits::reaper::discard(&pidfd);
    match order.result {
        Ok(count) if count <= most => {
            // SAFETY: the child has filled so many bytes of it, through a pointer into the room
            // that it has.
            unsafe { content.set_len(count) };
            Ok(content)
        }
        Ok(_) => Err(failure(stage, Errno::EFBIG)),
        Err(errno) => Err(failure(stage, errno)),
    }
}

extern "C" fn child(order: *mut c_void) -> c_int {
    // SAFETY: `read` passes a valid `Order` that nothing else uses while the child runs.
    let order = unsafe { &mut *order.cast::<Order<'_>>() };
    order.result = fill(order);
    // SAFETY: _exit is async-signal-safe and runs nothing of the parent's.
    unsafe { libc::_exit(0) }
}

fn fill(order: &Order<'_>) -> nix::Result<usize> {
    // SAFETY: needed because this runs between clone and exit in borrowed memory; each of these is
    // a bare system call or listed in signal-safety(7). The path is a C string, the buffer has the
    // room that is given, both outlive the calls; `stat` is a local.
    unsafe {
        order.attempt.begin(libc::getpid());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != order.parent || order.attempt.is_withdrawn() {
            return Err(Errno::ETIMEDOUT);
        }
        // A blocked child then blocks nothing else.
        libc::syscall(libc::SYS_close_range, 0, c_int::MAX, 0);
        // A pipe without a writer would not be opened for ever (fifo(7)); a regular file does not
        // care (open(2)).
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file = Errno::result(libc::open(order.path, flags))?;
        let mut stat: libc::stat = std::mem::zeroed();
        Errno::result(libc::fstat(file, &raw mut stat))?;
        // A pipe or a device has no end.
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(Errno::EMEDIUMTYPE);
        }
        let mut count = 0;
        while count < order.room {
            match libc::read(file, order.buffer.add(count).cast(), order.room - count) {
                0 => break,
                more if more > 0 => count += more.unsigned_abs(),
                _ if Errno::last() == Errno::EINTR => {}
                _ => return Err(Errno::last()),
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let attempt = Attempt::default();
        let read =
            |most| read(stages::SECRET, &file, most, &attempt).map_err(|failed| failed.errno);
        assert_eq!(read(4), Err(Errno::ENOENT as i32));
        std::fs::write(&file, "1234").unwrap();
        assert_eq!(read(4), Ok(b"1234".to_vec()));
        assert_eq!(read(3), Err(Errno::EFBIG as i32));
        std::fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(4), Err(Errno::EMEDIUMTYPE as i32));
        attempt.withdraw();
        assert_eq!(read(4), Err(Errno::ETIMEDOUT as i32));
    }
}
