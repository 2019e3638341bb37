//! Pipes: one for each thread that carries, and what one holds.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};

use super::borrowed;
use super::stream::CHUNK;

/// A pipe of a thread's own: bytes on their way from a worker's pipe to a file. The worker's pipe is not locked while
/// the file hangs.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) pipe: Option<(OwnedFd, OwnedFd)>,
    pub(super) buffer: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        // Without one, a thread cannot splice; it copies then.
        let pipe = pipe2(OFlag::O_CLOEXEC).ok();
        Self { pipe, buffer: vec![0; CHUNK] }
    }
}

/// So many bytes out of a pipe that holds them.
pub(super) fn take(pipe: &OwnedFd, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let mut done = 0;
    while done < count {
        match read(pipe, &mut bytes[done..])? {
            0 => break,
            more => done += more,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Bytes that are in a pipe now.
#[expect(unsafe_code, reason = "nix has no FIONREAD without a macro of its own")]
pub(super) fn waiting(pipe: &OwnedFd) -> u64 {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD stores an int at the address given (pipe(7)); it is a local of ours.
    let result = unsafe { libc::ioctl(borrowed(pipe).as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if Errno::result(result).is_ok() { u64::try_from(count).unwrap_or(0) } else { 0 }
}
