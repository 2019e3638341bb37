//! Listening sockets that the supervisor opens once and hands to each incarnation: while a worker
//! restarts, clients wait in the socket's queue and none is refused.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use supervision::{Incarnation, LaunchStage};
use workers::runtime::endowment::Named;

use super::launch::failed::{Failed, Result};
use super::launch::{Attempt, binding, from_io};
use crate::accounts;
use crate::config::settings::Address;
use crate::config::settings::{SocketKind, SocketSpec};
use crate::pool::Pool;
use crate::service_manager::{FdStore, InheritedDescriptors};
use crate::stages;
use crate::unix_socket::Access;
use crate::waiting::received;

/// What registered code is handed of its sockets, and how far that is.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// By name; copies for the next incarnation.
    pub(super) sockets: Vec<(String, OwnedFd)>,
    /// The stage at which a launcher thread makes something ready.
    pub(super) opening: Option<LaunchStage>,
    /// Why that failed, for the launch that waits for it.
    pub(super) failed: Option<(Incarnation, Failed)>,
}

impl Passed {
    /// For an order.
    pub(super) fn named(&self) -> impl Iterator<Item = Named<'_>> {
        self.sockets.iter().map(|(name, socket)| (name.as_str(), socket.as_fd()))
    }
}

/// All that are open. Workers that name the same one share it. They are opened on launcher threads:
/// the name of one may lie on a file system that does not answer.
#[derive(Clone, Debug)]
pub(super) struct Sockets(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Never held while something is opened.
    state: Mutex<State>,
    store: FdStore,
}

#[derive(Debug, Default)]
struct State {
    /// Each with a lock of its own: a launch that wants one that is being opened waits for that.
    open: HashMap<(String, SocketKindKey), Arc<Mutex<Option<OwnedFd>>>>,
    paths: Vec<PathBuf>,
    /// What a predecessor had opened and no worker has asked for yet, by name in the store.
    inherited: HashMap<String, OwnedFd>,
}

type SocketKindKey = u8;

/// Begins their names in the store.
const PREFIX: &str = "socket/";
/// For their names to be removed at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Removes the names of Unix sockets at the very end.
static REMOVER: Pool = Pool::new("sockets", 1);

impl Sockets {
    /// None is open. Those that will be are kept for a successor.
    pub(super) fn new(store: FdStore) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), store }))
    }

    /// Takes over those of a predecessor: clients wait in their queues.
    pub(super) fn adopt(&self, inherited: &mut InheritedDescriptors) {
        let found = inherited.claim_all(PREFIX).into_iter();
        self.0.lock().inherited =
            found.map(|(name, socket)| (format!("{PREFIX}{name}"), socket)).collect();
    }

    /// Lets go of what a predecessor had opened and none of our workers names. It holds the rest,
    /// also while those workers are down.
    pub(super) fn forget_inherited<'a>(&self, named: impl Iterator<Item = &'a SocketSpec>) {
        let named: HashMap<String, &SocketSpec> = named.map(|spec| (name(spec), spec)).collect();
        let mut state = self.0.lock();
        let State { inherited, paths, .. } = &mut *state;
        for (gone, _) in inherited.extract_if(|name, _| !named.contains_key(name)) {
            self.0.store.forget(&gone);
        }
        paths.extend(inherited.keys().filter_map(|name| match &named.get(name)?.address {
            Address::Unix(path) => Some(path.clone()),
            Address::Ip(_) => None,
        }));
    }

    /// How many descriptors [`open`](Self::open) needs for these: a copy of each for the worker,
    /// and for one that is not open yet itself, and what the store keeps of it. Does not block.
    pub(super) fn to_open(&self, specs: &[SocketSpec]) -> usize {
        let state = self.0.lock();
        let is_open = |spec: &&SocketSpec| {
            state.inherited.contains_key(&name(spec))
                || state.open.get(&key(spec)).is_some_and(|slot| match slot.try_lock() {
                    Ok(slot) => slot.is_some(),
                    Err(TryLockError::Poisoned(slot)) => slot.into_inner().is_some(),
                    // Another launch is opening it, and counts it.
                    Err(TryLockError::WouldBlock) => true,
                })
        };
        let closed = specs.len() - specs.iter().filter(is_open).count();
        specs.len() + closed * (1 + usize::from(self.0.store.is_there()))
    }

    /// Copies of them, for a worker; those that are not open yet are opened. They stay open until
    /// the supervisor ends. May block.
    pub(super) fn open(&self, specs: &[SocketSpec], attempt: &Attempt) -> Result<Vec<OwnedFd>> {
        specs.iter().map(|spec| self.open_one(spec, attempt)).collect()
    }

    /// Copies of them where all are open; `None`: they are not. Does not block.
    pub(super) fn copies(&self, specs: &[SocketSpec]) -> Option<Result<Vec<OwnedFd>>> {
        let slots: Option<Vec<_>> = {
            let state = self.0.lock();
            specs.iter().map(|spec| state.open.get(&key(spec)).map(Arc::clone)).collect()
        };
        let copy = |slot: Arc<Mutex<Option<OwnedFd>>>| {
            // Another launch is opening it.
            let slot = slot.try_lock().ok()?;
            Some(slot.as_ref()?.try_clone())
        };
        let copies: Option<Vec<io::Result<OwnedFd>>> = slots?.into_iter().map(copy).collect();
        let copies: io::Result<Vec<OwnedFd>> = copies?.into_iter().collect();
        Some(copies.map_err(|error| from_io(stages::DESCRIPTORS, &error).into()))
    }

    fn open_one(&self, spec: &SocketSpec, attempt: &Attempt) -> Result<OwnedFd> {
        let slot = Arc::clone(self.0.lock().open.entry(key(spec)).or_default());
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = match slot.take() {
            Some(socket) => socket,
            None => {
                let inherited = self.0.lock().inherited.remove(&name(spec));
                let inherited =
                    inherited.filter(|socket| is_bound_to(socket, &spec.address, attempt));
                let socket =
                    inherited.map_or_else(|| listen(spec, attempt), Ok).map_err(|error| {
                        let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
                        Failed::about(stages::SOCKET, errno, spec.listen.clone())
                    })?;
                self.0.store.keep(&name(spec), &[socket.as_fd()]);
                if let Address::Unix(path) = &spec.address {
                    REMOVER.begin();
                    self.0.lock().paths.push(path.clone());
                }
                socket
            }
        };
        let copy = socket.try_clone();
        *slot = Some(socket);
        Ok(copy.map_err(|error| from_io(stages::DESCRIPTORS, &error))?)
    }

    /// At the very end: the names of Unix sockets go with them. Where a file system does not
    /// answer, they stay.
    pub(super) fn remove(&self) {
        let State { paths, .. } = std::mem::take(&mut *self.0.lock());
        let (done, is_done) = channel();
        REMOVER.run(move || {
            for path in paths {
                let _ = binding::remove(&path, &Attempt::default());
            }
            let _ = done.send(());
        });
        let _ = received(&is_done, LAST_WAIT);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In the store.
fn name(spec: &SocketSpec) -> String {
    format!("{PREFIX}{}/{}", spec.kind as SocketKindKey, spec.address)
}

/// Whether it is what its name says, and, with a name in the file system, still to be reached by
/// it.
fn is_bound_to(socket: &OwnedFd, address: &Address, attempt: &Attempt) -> bool {
    let Ok(bound) = socket2::SockRef::from(socket).local_addr() else { return false };
    match address {
        Address::Ip(wanted) => bound.as_socket().is_some_and(|bound| bound == *wanted),
        Address::Unix(path) => {
            bound.as_pathname() == Some(path) && binding::look(path, attempt).is_ok()
        }
    }
}

fn key(spec: &SocketSpec) -> (String, SocketKindKey) {
    (spec.address.to_string(), spec.kind as SocketKindKey)
}

fn listen(spec: &SocketSpec, attempt: &Attempt) -> io::Result<OwnedFd> {
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
        Address::Unix(path) => bind_path(path, kind, spec, attempt)?,
    };
    if spec.kind != SocketKind::Datagram {
        socket.listen(spec.backlog)?;
    }
    Ok(socket.into())
}

fn bind_path(path: &Path, kind: Type, spec: &SocketSpec, attempt: &Attempt) -> io::Result<Socket> {
    // Never another owner than the one that is asked for.
    let unknown = || io::Error::from_raw_os_error(libc::ENOENT);
    let uid = |name| accounts::user(name).map(|user| user.uid).ok_or_else(unknown);
    let user = spec.user.as_deref().map(uid).transpose()?;
    let gid = |name| accounts::group(name).ok_or_else(unknown);
    let group = spec.group.as_deref().map(gid).transpose()?;
    let access = Access { mode: spec.mode, user, group };
    Ok(binding::bind(path, kind, access, attempt)?.into())
}
