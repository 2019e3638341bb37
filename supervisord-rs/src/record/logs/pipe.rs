//! Pipes: what one holds, and how to get at it.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::read;

use super::borrowed;

/// Fills the buffer from a pipe that holds so much. Whether it did.
pub(super) fn read_all(pipe: &OwnedFd, buffer: &mut [u8]) -> bool {
    let mut done = 0;
    while done < buffer.len() {
        match read(pipe, &mut buffer[done..]) {
            Ok(0) => return false,
            Ok(count) => done += count,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// A writing end for a held reading end of a pipe: opening that through /proc makes one (proc(5)).
pub(super) fn other_end(pipe: &OwnedFd) -> nix::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let opened = std::fs::OpenOptions::new().write(true).open(path);
    opened
        .map(OwnedFd::from)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// Bytes that are in a pipe now.
#[expect(unsafe_code, reason = "nix has no FIONREAD without a macro of its own")]
pub(super) fn waiting(pipe: &OwnedFd) -> u64 {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD stores an int at the address given (pipe(7)); it is a local variable.
    let result = unsafe { libc::ioctl(borrowed(pipe).as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if Errno::result(result).is_ok() { u64::try_from(count).unwrap_or(0) } else { 0 }
}
