//! Who is at the other end of a Unix socket, beyond what `SO_PEERCRED` says.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// More groups than a process is likely to have; one that has more is asked again.
const LIKELY: usize = 32;

/// The supplementary groups that the peer had when it connected (`SO_PEERGROUPS`, Linux 4.13).
///
/// # Errors
/// What getsockopt(2) says; not that they are many.
pub fn groups(socket: impl AsFd) -> io::Result<Vec<libc::gid_t>> {
    let mut groups = vec![0; LIKELY];
    loop {
        match read(&socket, &mut groups) {
            Ok(count) => {
                groups.truncate(count);
                return Ok(groups);
            }
            // The kernel says how many there are (net/core/sock.c); they are those of the time of
            // connecting.
            Err((error, needed))
                if error.raw_os_error() == Some(libc::ERANGE) && needed > groups.len() =>
            {
                groups.resize(needed, 0);
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// How many were read; or why not, and how many there are.
#[expect(unsafe_code, reason = "neither nix nor rustix nor socket2 knows this option")]
fn read(socket: &impl AsFd, into: &mut [libc::gid_t]) -> Result<usize, (io::Error, usize)> {
    let mut bytes =
        libc::socklen_t::try_from(size_of_val(into)).expect("some thousand groups at most");
    // SAFETY: the descriptor is borrowed for the call; the buffer is as long as `bytes` says and
    // takes any bytes.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            into.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let count = bytes as usize / size_of::<libc::gid_t>();
    if status == 0 { Ok(count) } else { Err((io::Error::last_os_error(), count)) }
}
