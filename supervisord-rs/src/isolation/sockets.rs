//! Listening sockets that the supervisor opens once and hands to each incarnation: while a worker
//! restarts, clients wait in the socket's queue and nobody is refused.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use supervision::LaunchStage;

use super::surroundings::{Failed, Result};
use crate::accounts;
use crate::config::probes::Address;
use crate::config::settings::{SocketKind, SocketSpec};
use crate::service_manager::{FdStore, Heritage};
use crate::unix_socket::{self, Access};

/// All that are open. Workers that name the same one share it.
#[derive(Debug)]
pub(super) struct Sockets {
    open: HashMap<(String, SocketKindKey), OwnedFd>,
    paths: Vec<PathBuf>,
    /// What a predecessor had opened and nobody has asked for yet, by name in the store.
    inherited: HashMap<String, OwnedFd>,
    store: FdStore,
}

type SocketKindKey = u8;

/// Begins their names in the store.
const PREFIX: &str = "socket/";

impl Sockets {
    /// None is open. Those that will be are kept for a successor.
    pub(super) fn new(store: FdStore) -> Self {
        Self { open: HashMap::new(), paths: Vec::new(), inherited: HashMap::new(), store }
    }

    /// Takes over those of a predecessor: clients wait in their queues.
    pub(super) fn adopt(&mut self, heritage: &mut Heritage) {
        let found = heritage.claim_all(PREFIX).into_iter();
        self.inherited = found.map(|(name, socket)| (format!("{PREFIX}{name}"), socket)).collect();
    }

    /// Lets go of what a predecessor had opened and no worker of ours has.
    pub(super) fn forget_inherited(&mut self) {
        for (name, _) in self.inherited.drain() {
            self.store.forget(&name);
        }
    }

    /// Opens those that are not open yet. They stay open until the supervisor ends.
    pub(super) fn open(&mut self, specs: &[SocketSpec]) -> Result<()> {
        for spec in specs {
            if self.get(spec).is_some() {
                continue;
            }
            let name = format!("{PREFIX}{}/{}", spec.kind as SocketKindKey, spec.address);
            let inherited =
                self.inherited.remove(&name).filter(|socket| is_bound_to(socket, &spec.address));
            let socket = inherited.map_or_else(|| listen(spec), Ok).map_err(|error| {
                let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
                Failed::about(LaunchStage::Socket, errno, spec.listen.clone())
            })?;
            self.store.keep(&name, &[socket.as_fd()]);
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

/// Whether it is what its name says, and, with a name in the file system, still to be reached by
/// it.
fn is_bound_to(socket: &OwnedFd, address: &Address) -> bool {
    let Ok(bound) = socket2::SockRef::from(socket).local_addr() else { return false };
    match address {
        Address::Ip(wanted) => bound.as_socket().is_some_and(|bound| bound == *wanted),
        Address::Unix(path) => bound.as_pathname() == Some(path) && path.exists(),
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
            // Connections of a predecessor that linger in TIME_WAIT are no reason to fail
            // (socket(7)).
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

fn bind_path(path: &Path, kind: Type, spec: &SocketSpec) -> io::Result<Socket> {
    let user = spec.user.as_deref().and_then(accounts::user).map(|user| user.uid);
    let group = spec.group.as_deref().and_then(accounts::group);
    unix_socket::bind(path, kind, Access { mode: spec.mode, user, group })
}
