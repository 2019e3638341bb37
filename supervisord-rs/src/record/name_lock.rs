//! One supervisor to a runtime directory, also where the directory is deleted and made again: a name that nothing can
//! delete, an abstract socket (unix(7)) called after the place of the directory. The lock in the directory is the stronger
//! one, since such names belong to a network namespace: this one holds where that one is gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, sockopt};
use nix::unistd::getuid;

use super::runtime_lock::{LockError, PATIENCE, PAUSE};
use crate::process_table;

/// For a holder that has its name and does not listen yet.
const BIRTH: Duration = Duration::from_secs(1);

/// The name, held as long as we live.
#[derive(Debug)]
pub struct NameLock(Option<OwnedFd>);

impl NameLock {
    /// Takes the name; one that a predecessor passes on is held by both. Waits only for what a dead supervisor has left.
    ///
    /// # Errors
    /// [`LockError::Held`] when another supervisor of ours, or of root, has it. A stranger who has it keeps it: that is
    /// said, and holds up nobody.
    pub fn acquire(runtime_dir: &Path, inherited: Option<OwnedFd>) -> Result<Self, LockError> {
        if inherited.is_some() {
            return Ok(Self(inherited));
        }
        let Ok(name) = name_of(runtime_dir) else { return Ok(Self(None)) };
        let begun = Instant::now();
        loop {
            let bound = SocketAddr::from_abstract_name(&name).and_then(|name| UnixListener::bind_addr(&name));
            match bound {
                Ok(listener) => return Ok(Self(Some(listener.into()))),
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    tracing::warn!(%error, "the runtime directory has no name that outlives it");
                    return Ok(Self(None));
                }
                Err(_) => {}
            }
            match holder(&name) {
                Some((pid, uid)) if uid == getuid().as_raw() || uid == 0 => {
                    if process_table::is_alive(pid) || begun.elapsed() > PATIENCE {
                        let pid = if pid > 0 { pid.to_string() } else { "?".into() };
                        return Err(LockError::Held { pid, path: runtime_dir.into() });
                    }
                }
                None if begun.elapsed() < BIRTH => {}
                stranger => {
                    tracing::warn!(name, ?stranger, "somebody else holds the name of the runtime directory");
                    return Ok(Self(None));
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The same name, to be passed on.
    #[must_use]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }
}

/// The directory above stays when this one is deleted.
fn name_of(runtime_dir: &Path) -> io::Result<String> {
    let real = runtime_dir.canonicalize().unwrap_or_else(|_| runtime_dir.into());
    let (Some(above), Some(last)) = (real.parent(), real.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let above = above.metadata()?;
    let last = super::stable_hash::stable_hash(last.as_encoded_bytes().iter().copied());
    Ok(format!("supervisord-rs/runtime/{:x}-{:x}-{last:x}", above.dev(), above.ino()))
}

/// Process and user of whoever listens there.
fn holder(name: &str) -> Option<(i32, u32)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    let address = UnixAddr::new_abstract(name.as_bytes()).ok()?;
    socket::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &address).ok()?;
    let peer = socket::getsockopt(&socket, sockopt::PeerCredentials).ok()?;
    Some((peer.pid(), peer.uid()))
}
