//! The listening socket: made with its mode from birth, a stale one replaced, a live one respected;
//! and who may speak.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::getuid;
use socket2::{SockRef, Type};

use super::request::Peer;
use crate::accounts;
use crate::isolation::peer;
use crate::unix_socket::{self, Access};

/// Clients that wait to be accepted: as many as the kernel takes (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Root, or the supervisor's own user: whatever others do, there is a place for it.
    Owner,
    /// A member of the group that may use the API.
    Member,
    /// Any other user.
    Stranger,
}

/// Who may use the API, besides root: the supervisor's own user, and members of this group.
#[derive(Clone, Debug)]
pub struct Admission {
    owner: u32,
    group: Option<u32>,
    /// For those who may not.
    who: Arc<str>,
}

impl Admission {
    /// Who may use the API, in words.
    #[must_use]
    pub fn who(&self) -> &str {
        &self.who
    }

    /// What this peer may. The mode of the socket has let it in already; this holds also where a
    /// socket's mode is ignored, and says so in words.
    ///
    /// All of its groups count, as they do for the mode of a file.
    #[must_use]
    pub fn standing(&self, peer: Peer, socket: impl std::os::fd::AsFd) -> Standing {
        let is_member = |group| {
            peer.gid == group || peer::groups(&socket).is_ok_and(|groups| groups.contains(&group))
        };
        if peer.uid == 0 || peer.uid == self.owner {
            Standing::Owner
        } else if self.group.is_some_and(is_member) {
            Standing::Member
        } else {
            Standing::Stranger
        }
    }
}

/// Listens on `path` with the permission bits `mode`, owned by `group` if given. Replaces a socket
/// without a server: its supervisor is dead, since the caller holds the lock of the runtime
/// directory.
///
/// # Errors
/// `AddrInUse` when a server answers there; `NotFound` for an unknown group; otherwise those of
/// bind(2) or chmod(2).
pub fn bind(path: &Path, mode: u32, group: Option<&str>) -> io::Result<(UnixListener, Admission)> {
    let admission = admission(group)?;
    let access = Access { mode, user: None, group: admission.group };
    let socket =
        unix_socket::bind(path, Type::STREAM, access).map_err(|error| explain(error, group))?;
    socket.listen(BACKLOG)?;
    Ok((OwnedFd::from(socket).into(), admission))
}

/// Who may use a socket that was bound before, by a predecessor.
///
/// # Errors
/// As [`bind`].
pub fn take_over(path: &Path, mode: u32, group: Option<&str>) -> io::Result<Admission> {
    let admission = admission(group)?;
    let access = Access { mode, user: None, group: admission.group };
    unix_socket::arrange(path, access).map_err(|error| explain(error, group))?;
    Ok(admission)
}

/// Who may use a socket that is the service manager's.
///
/// # Errors
/// `NotFound` for an unknown group.
pub fn admission(group: Option<&str>) -> io::Result<Admission> {
    let owner = getuid().as_raw();
    let id = group.map(group_id).transpose()?;
    Ok(Admission { owner, group: id, who: in_words(owner, group).into() })
}

/// Who may use the API of a supervisor of this user, and how others come to.
pub(crate) fn in_words(owner: u32, group: Option<&str>) -> String {
    let owner = match owner {
        0 => String::new(),
        owner => format!(" and the user {}", accounts::name_of_user(owner)),
    };
    match group {
        Some(group) => format!(
            "root{owner} may, and members of the group {group} (`usermod -aG {group} USER` makes \
             one, from the next login on)"
        ),
        None => format!(
            "only root{owner} may; `supervisor: {{ control: {{ group: NAME }} }}` lets in the \
             members of a group too"
        ),
    }
}

/// Sends away who waits in the queue of this listening socket, and who comes. To close it is not
/// enough as long as another process has a copy, such as a guardian that does not run: they would
/// wait for that.
pub fn send_away(listener: &UnixListener) {
    // For all copies: the kernel refuses every new connection from now on.
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
    while listener.accept().is_ok() {}
}

/// Opens the directory of the socket to members of the group, where it belongs to the supervisor
/// and admits no other user. Reports a directory above that keeps them out: it may be closed for a
/// reason.
///
/// # Errors
/// `NotFound` for an unknown group; what stat(2), chown(2) or chmod(2) say.
pub fn open_directory(directory: &Path, group: Option<&str>) -> io::Result<()> {
    let Some(name) = group else { return Ok(()) };
    let id = group_id(name)?;
    let found = directory.metadata()?;
    if !lets_in(&found, id) && found.uid() == getuid().as_raw() {
        chown(directory, None, Some(id)).map_err(|error| explain(error, group))?;
        let mode = found.permissions().mode() & 0o7777 | 0o050;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))?;
    }
    for above in directory.ancestors() {
        if above.metadata().is_ok_and(|found| !lets_in(&found, id)) {
            tracing::warn!(
                "members of the group {name} cannot reach the control socket: they may not enter \
                 {}; set `supervisor.runtime_dir:` to a place that they can reach",
                above.display()
            );
            break;
        }
    }
    Ok(())
}

/// Whether a directory can be entered by members of a group. Access lists are not looked at.
fn lets_in(directory: &std::fs::Metadata, group: u32) -> bool {
    let mode = directory.permissions().mode();
    mode & 0o001 != 0 || (directory.gid() == group && mode & 0o010 != 0)
}

fn group_id(name: &str) -> io::Result<u32> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no group is called {name}"));
    accounts::group(name).ok_or_else(unknown)
}

/// EPERM has one reason here.
fn explain(error: io::Error, group: Option<&str>) -> io::Error {
    match (error.kind(), group) {
        (io::ErrorKind::PermissionDenied, Some(group)) => {
            let why =
                format!("{error} (only root and members can give something to the group {group})");
            io::Error::new(io::ErrorKind::PermissionDenied, why)
        }
        _ => error,
    }
}
