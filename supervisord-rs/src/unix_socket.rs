//! A Unix socket at its final name: bound there and nowhere else, so that `getsockname(2)` shows
//! the name that clients know (sd_is_socket_unix(3) compares the two), and never open to more users
//! than it should be.
//!
//! bind(2) takes a path, and getsockname(2) shows just that path: bound by a descriptor of its
//! directory (`/proc/self/fd/N/NAME`) a socket would have a name that no client knows. So it is
//! bound by its path. Everything else is done in the directory that was reached before, and the
//! socket must lie there afterwards: who swaps the directory meanwhile gets a name without a server
//! elsewhere, with no owner or bits of his choice, and the bind fails.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchownat};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::reach::Reached;

/// Who may use it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Its owner, where that is not the supervisor's user.
    pub(crate) user: Option<u32>,
    /// Its group, where that is not the supervisor's.
    pub(crate) group: Option<u32>,
}

/// The file at which a socket is bound. Something else may lie at its path later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    device: u64,
    inode: u64,
}

impl Bound {
    /// The socket that lies there, if one does.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        let is_socket = found.file_type().is_socket();
        is_socket.then(|| Self { device: found.dev(), inode: found.ino() })
    }

    /// Whether it still lies there.
    pub(crate) fn is_at(self, path: &Path) -> bool {
        Self::at(path) == Some(self)
    }
}

/// A socket bound at `path`. Replaces a socket without a server: clients are refused before and
/// after, and for the moment in between there is no socket.
///
/// # Errors
/// `AddrInUse` when a server answers there, or another kind of file has the name; otherwise those
/// of bind(2), chown(2) or chmod(2).
pub(crate) fn bind(path: &Path, kind: Type, access: Access) -> io::Result<Socket> {
    bind_in(&Reached::of(path)?, path, kind, access)
}

/// `reached`: where `path` led.
fn bind_in(reached: &Reached, path: &Path, kind: Type, access: Access) -> io::Result<Socket> {
    remove_dead(reached, path, kind)?;
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    // The file gets the bits of the socket, less the umask: it is never open to others, not even
    // for a moment (unix(7) does not say so; net/unix/af_unix.c does).
    fchmod(socket.as_fd(), Mode::from_bits_truncate(access.mode & 0o700))?;
    socket.bind(&SockAddr::unix(path)?)?;
    arrange_in(reached, access).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::from_raw_os_error(libc::ESTALE),
        _ => error,
    })?;
    Ok(socket)
}

/// Gives the socket at `path` its owner, its group and its bits, in this order: it is never open to
/// another group.
///
/// # Errors
/// `NotFound` and `AddrInUse` when there is no socket; those of chown(2) or chmod(2).
pub(crate) fn arrange(path: &Path, access: Access) -> io::Result<()> {
    arrange_in(&Reached::of(path)?, access)
}

fn arrange_in(reached: &Reached, access: Access) -> io::Result<()> {
    // By a descriptor: a user who may write to the directory could put a link in its place
    // meanwhile.
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let found = File::options().read(true).custom_flags(flags).open(reached.path())?;
    if !found.metadata()?.file_type().is_socket() {
        return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    }
    if access.user.is_some() || access.group.is_some() {
        let (user, group) = (access.user.map(Uid::from_raw), access.group.map(Gid::from_raw));
        fchownat(&found, "", user, group, AtFlags::AT_EMPTY_PATH)?;
    }
    // A descriptor of O_PATH takes no fchmod(2) before Linux 6.6.
    let by_descriptor = format!("/proc/self/fd/{}", found.as_raw_fd());
    fs::set_permissions(by_descriptor, fs::Permissions::from_mode(access.mode))
}

fn remove_dead(reached: &Reached, path: &Path, kind: Type) -> io::Result<()> {
    let found = match fs::symlink_metadata(reached.path()) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let why = format!("{} is in its place: remove it", kind_of(&found));
        return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    }
    if is_served(path, kind)? {
        return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    }
    fs::remove_file(reached.path())
}

fn kind_of(found: &fs::Metadata) -> &'static str {
    match found.file_type() {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_file() => "a regular file",
        _ => "another kind of file",
    }
}

/// Whether a server has it open.
pub(crate) fn is_served(path: &Path, kind: Type) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    // A server that accepts no client has a full queue, and a blocking connect would wait
    // (connect(2), EAGAIN).
    probe.set_nonblocking(true)?;
    Ok(match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => true,
        // EPROTOTYPE: there is a server, of another socket type.
        Err(error) => {
            error.kind() == io::ErrorKind::WouldBlock
                || error.raw_os_error() == Some(libc::EPROTOTYPE)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_the_name_that_it_was_given_and_its_bits_and_a_dead_one_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.sock");
        let access = Access { mode: 0o666, user: None, group: None };
        for kind in [Type::STREAM, Type::DGRAM, Type::SEQPACKET] {
            let socket = bind(&path, kind, access).expect("bound");
            assert_eq!(socket.local_addr().expect("bound").as_pathname(), Some(path.as_path()));
            assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o666);
            if kind != Type::DGRAM {
                socket.listen(1).expect("listens");
            }
            let taken = bind(&path, kind, access).expect_err("it is served");
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{taken}");
        }
        assert_eq!(
            fs::read_dir(directory.path()).expect("ours").count(),
            1,
            "nothing else is left"
        );
    }

    #[test]
    fn a_directory_that_is_swapped_meanwhile_gets_no_socket_that_is_served() {
        let directory = tempfile::tempdir().expect("a directory");
        let (there, other) = (directory.path().join("there"), directory.path().join("other"));
        for made in [&there, &other] {
            fs::create_dir(made).expect("made");
        }
        let path = there.join("x.sock");
        let reached = Reached::of(&path).expect("there");
        fs::rename(&there, directory.path().join("moved")).expect("moved");
        std::os::unix::fs::symlink(&other, &there).expect("a link");
        let access = Access { mode: 0o666, user: None, group: None };
        let error = bind_in(&reached, &path, Type::STREAM, access).expect_err("it is elsewhere");
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE), "{error}");
        // Nothing was opened to others there.
        let mode = |path: &Path| path.symlink_metadata().map(|found| found.permissions().mode());
        assert!(mode(&other.join("x.sock")).is_ok_and(|mode| mode & 0o077 == 0));
        assert!(!is_served(&other.join("x.sock"), Type::STREAM).expect("asked"));
    }

    #[test]
    fn what_is_no_socket_is_not_touched() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, file) = (directory.path().join("x.sock"), directory.path().join("file"));
        fs::write(&file, "x").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
        std::os::unix::fs::symlink(&file, &path).expect("a link");
        let access = Access { mode: 0o666, user: None, group: None };
        assert_eq!(
            bind(&path, Type::STREAM, access).expect_err("a link").kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(arrange(&path, access).is_err());
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    }
}
