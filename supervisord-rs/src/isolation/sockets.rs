//! Listening sockets that the supervisor opens once and hands to each incarnation: while a worker restarts, clients wait
//! in the socket's queue and nobody is refused.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use supervision::LaunchStage;

use super::surroundings::{Failed, Result};
use crate::accounts;
use crate::config::probes::Address;
use crate::config::settings::{SocketKind, SocketSpec};

/// All that are open. Workers that name the same one share it.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: HashMap<(String, SocketKindKey), OwnedFd>,
    paths: Vec<PathBuf>,
}

type SocketKindKey = u8;

impl Sockets {
    /// Opens those that are not open yet. They stay open until the supervisor ends.
    pub(super) fn open(&mut self, specs: &[SocketSpec]) -> Result<()> {
        for spec in specs {
            if self.get(spec).is_some() {
                continue;
            }
            let socket = listen(spec).map_err(|error| {
                let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
                Failed::about(LaunchStage::Socket, errno, spec.listen.clone())
            })?;
            if let Address::Unix(path) = &spec.address {
                self.paths.push(path.clone());
            }
            self.open.insert(key(spec), socket);
        }
        Ok(())
    }

    /// One of them.
    pub(super) fn get(&self, spec: &SocketSpec) -> Option<BorrowedFd<'_>> {
        self.open.get(&key(spec)).map(AsFd::as_fd)
    }

    /// At the very end: the names of Unix sockets go with them.
    pub(super) fn remove(&mut self) {
        self.open.clear();
        for path in self.paths.drain(..) {
            let _ = fs::remove_file(path);
        }
    }
}

fn key(spec: &SocketSpec) -> (String, SocketKindKey) {
    (spec.address.to_string(), spec.kind as SocketKindKey)
}

fn listen(spec: &SocketSpec) -> io::Result<OwnedFd> {
    let kind = match spec.kind {
        SocketKind::Stream => Type::STREAM,
        SocketKind::Datagram => Type::DGRAM,
        SocketKind::Seqpacket => Type::SEQPACKET,
    };
    let socket = match &spec.address {
        Address::Ip(address) => {
            let socket = Socket::new(Domain::for_address(*address), kind, None)?;
            // Connections of a predecessor that linger in TIME_WAIT are no reason to fail (socket(7)).
            socket.set_reuse_address(spec.kind == SocketKind::Stream)?;
            if address.is_ipv6() {
                socket.set_only_v6(false)?;
            }
            socket.bind(&SockAddr::from(*address))?;
            socket
        }
        Address::Unix(path) => bind_path(path, kind, spec)?,
    };
    if spec.kind != SocketKind::Datagram {
        socket.listen(spec.backlog)?;
    }
    Ok(socket.into())
}

/// Bound under a name that nobody knows yet, and renamed when its mode and owner are right.
fn bind_path(path: &Path, kind: Type, spec: &SocketSpec) -> io::Result<Socket> {
    if let Ok(found) = fs::symlink_metadata(path) {
        let is_served = || {
            let probe = Socket::new(Domain::UNIX, kind, None)?;
            // A server that accepts nobody has a full queue, and would hold us (connect(2), EAGAIN).
            probe.set_nonblocking(true)?;
            probe.connect(&SockAddr::unix(path)?)
        };
        let is_taken = is_served().map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |()| true);
        if !found.file_type().is_socket() || is_taken {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
    }
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(".new");
    let hidden = PathBuf::from(hidden);
    let _ = fs::remove_file(&hidden);
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.bind(&SockAddr::unix(&hidden)?)?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(spec.mode))?;
    let user = spec.user.as_deref().and_then(accounts::user).map(|user| user.uid);
    let group = spec.group.as_deref().and_then(accounts::group);
    if user.is_some() || group.is_some() {
        chown(&hidden, user, group)?;
    }
    fs::rename(&hidden, path)?;
    Ok(socket)
}
