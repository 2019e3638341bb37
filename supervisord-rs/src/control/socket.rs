//! The listening socket: made with its mode from birth, a stale one replaced, a live one respected; and who may speak.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::unistd::{Group, getuid};

use super::request::Peer;

/// Who may use the API, besides root: the supervisor's own user, and members of this group.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    owner: u32,
    group: Option<u32>,
}

impl Admission {
    /// Whether this peer may. The mode of the socket has let it in already; this holds also where a socket's mode is
    /// ignored, and says so in words.
    #[must_use]
    pub fn admits(&self, peer: Peer) -> bool {
        peer.uid == 0 || peer.uid == self.owner || self.group == Some(peer.gid)
    }
}

/// Listens on `path` with the permission bits `mode`, owned by `group` if given. A socket that nobody answers on is
/// replaced: its supervisor is dead, since the caller holds the lock of the runtime directory.
///
/// # Errors
/// `AddrInUse` when somebody answers there; `NotFound` for an unknown group; else what bind(2) or chmod(2) say.
pub fn bind(path: &Path, mode: u32, group: Option<&str>) -> io::Result<(UnixListener, Admission)> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another supervisor answers there"));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let group = group.map(group_id).transpose()?;
    // Bound under a name that nobody knows yet, and renamed when its mode and owner are right: there is no moment in
    // which it is open to more than it should be. The directory is ours alone or at least not writable for others.
    let hidden = path.with_extension("new");
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    if let Some(group) = group {
        chown(&hidden, None, Some(group))?;
    }
    fs::set_permissions(&hidden, fs::Permissions::from_mode(mode))?;
    fs::rename(&hidden, path)?;
    Ok((listener, Admission { owner: getuid().as_raw(), group }))
}

/// Who may use a socket that was bound before, by a predecessor or by a service manager.
///
/// # Errors
/// `NotFound` for an unknown group.
pub fn admission(group: Option<&str>) -> io::Result<Admission> {
    let group = group.map(group_id).transpose()?;
    Ok(Admission { owner: getuid().as_raw(), group })
}

fn group_id(name: &str) -> io::Result<u32> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no group is called {name}"));
    Group::from_name(name).map_err(io::Error::from)?.map(|group| group.gid.as_raw()).ok_or_else(unknown)
}
