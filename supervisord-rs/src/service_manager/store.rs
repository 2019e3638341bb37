//! The fd store, client side: descriptors that the service manager keeps while there is no supervisor, and gives to the
//! next one (sd_notify(3), `FDSTORE=1`). The guardian keeps them in the same way.
//!
//! What is in the store stays open when the supervisor dies: a pipe keeps its bytes and its reader, a socket its queue,
//! a board its memory.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::NOTIFY_SOCKET;

/// How many descriptors the service manager keeps for us; set by the guardian, and by systemd since version 254.
pub const FDSTORE: &str = "FDSTORE";
/// The same, for units of an older systemd, which does not tell: the unit sets it beside `FileDescriptorStoreMax=`.
pub const FDSTORE_OF_UNIT: &str = "SUPERVISORD_RS_FDSTORE";

/// All names together, with their separators, are one variable of our successor's environment, which the kernel limits to
/// 128 KiB (`MAX_ARG_STRLEN`, execve(2)). What does not fit is not kept, or nobody could be started any more.
const NAMES_MAX: usize = 120 * 1024;
/// For room in the manager's queue. A manager that takes nothing for so long keeps nothing.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The way to the store. Copies are the same way.
#[derive(Clone, Debug)]
pub struct FdStore(Option<Arc<Way>>);

#[derive(Debug)]
struct Way {
    socket: UnixDatagram,
    most: usize,
    /// What is kept, by name; ours as well, for a successor that we start ourselves.
    kept: Mutex<BTreeMap<String, Vec<OwnedFd>>>,
    /// What is to be said when we are who the manager listens to; `None`: we are.
    held: Mutex<Option<Vec<Held>>>,
}

/// Something to be said later.
#[derive(Debug)]
enum Held {
    Keep(String),
    Forget(String),
}

impl FdStore {
    /// None: nothing is kept.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// The one of the service manager, if it has one; what it has kept until now is `known`, by name. `is_held`: nothing is
    /// said before [`release`](Self::release).
    #[must_use]
    pub fn from_env(known: BTreeMap<String, Vec<OwnedFd>>, is_held: bool) -> Self {
        let number = |name: &str| std::env::var(name).ok()?.trim().parse::<usize>().ok();
        let most = number(FDSTORE).or_else(|| number(FDSTORE_OF_UNIT)).unwrap_or(0);
        let known = known.into_iter().map(|(name, list)| (escape(&name), list)).collect();
        let held = Mutex::new(is_held.then(Vec::new));
        let socket = (most > 0).then(connect).flatten();
        Self(socket.map(|socket| Arc::new(Way { socket, most, kept: Mutex::new(known), held })))
    }

    /// Whether anything can be kept.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Has descriptors kept under a name. One name means the same descriptors as long as it is kept: a second time is
    /// none. False when they are not kept: there is no store, it is full, or the manager does not answer.
    ///
    /// Waits at most half a second, and only when the manager's queue is full.
    pub fn keep(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
        let Some(way) = &self.0 else { return false };
        let name = escape(name);
        let mut kept = way.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.contains_key(&name) {
            return true;
        }
        let count: usize = kept.values().map(Vec::len).sum();
        let names: usize = kept.iter().map(|(name, list)| (name.len() + 1) * list.len()).sum();
        let is_room = count + descriptors.len() <= way.most
            && names + (name.len() + 1) * descriptors.len() <= NAMES_MAX;
        let copies: Option<Vec<OwnedFd>> =
            descriptors.iter().map(|descriptor| descriptor.try_clone_to_owned().ok()).collect();
        let Some(copies) = copies.filter(|_| is_room) else { return false };
        if !way.hold(Held::Keep(name.clone())) && !way.send(&keep_text(&name), descriptors) {
            return false;
        }
        kept.insert(name, copies);
        true
    }

    /// Has all descriptors under a name let go.
    pub fn forget(&self, name: &str) {
        let Some(way) = &self.0 else { return };
        let name = escape(name);
        let mut kept = way.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.contains_key(&name)
            && (way.hold(Held::Forget(name.clone())) || way.send(&forget_text(&name), &[]))
        {
            kept.remove(&name);
        }
    }

    /// Says what was held back: from now on the manager listens to us.
    pub fn release(&self) {
        let Some(way) = &self.0 else { return };
        let kept = way.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let held = way.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        for said in held.into_iter().flatten() {
            match said {
                Held::Forget(name) => drop(way.send(&forget_text(&name), &[])),
                Held::Keep(name) => {
                    let list = kept.get(&name).into_iter().flatten();
                    let descriptors: Vec<BorrowedFd<'_>> = list.map(AsFd::as_fd).collect();
                    if !descriptors.is_empty() {
                        way.send(&keep_text(&name), &descriptors);
                    }
                }
            }
        }
    }

    /// Copies of all that is kept, each with its name in the store.
    #[must_use]
    pub fn all(&self) -> Vec<(String, OwnedFd)> {
        let Some(way) = &self.0 else { return Vec::new() };
        let kept = way.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let each = kept.iter().flat_map(|(name, list)| list.iter().map(move |descriptor| (name, descriptor)));
        each.filter_map(|(name, descriptor)| Some((name.clone(), descriptor.try_clone().ok()?))).collect()
    }

    /// Has everything let go of whose name `is_stale` says so; names as they were given.
    pub fn forget_all(&self, is_stale: impl Fn(&str) -> bool) {
        let Some(way) = &self.0 else { return };
        let names: Vec<String> =
            way.kept.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for name in names.iter().map(|name| unescape(name)).filter(|name| is_stale(name)) {
            self.forget(&name);
        }
    }
}

fn keep_text(name: &str) -> String {
    // Without FDPOLL=0 the manager drops a pipe as soon as its other end is closed, with the bytes in it.
    format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0")
}

fn forget_text(name: &str) -> String {
    format!("FDSTOREREMOVE=1\nFDNAME={name}")
}

impl Way {
    /// Whether it is held back.
    fn hold(&self, said: Held) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_mut().map(|held| held.push(said)).is_some()
    }

    fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(text.as_bytes())];
        loop {
            match sendmsg::<()>(self.socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(_) => return true,
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => {
                    tracing::warn!(%error, "the service manager's fd store takes nothing");
                    return false;
                }
            }
        }
    }
}

/// A connected socket waits for room at its receiver (unix(7)).
fn connect() -> Option<UnixDatagram> {
    let name = std::env::var_os(NOTIFY_SOCKET)?;
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok()?,
        _ => SocketAddr::from_pathname(&name).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address).ok()?;
    socket.set_write_timeout(Some(TIMEOUT)).ok()?;
    Some(socket)
}

/// A name in the store is printable ASCII without a colon (sd_notify(3), `FDNAME`).
fn escape(name: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && byte != b':' && byte != b'%' {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02x}");
        }
    }
    escaped
}

/// The name that was escaped; something else for what was not.
pub(super) fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_one_that_the_store_takes_and_comes_back() {
        for name in ["worker-api.1/pidfd/12", "a:b", "100%", "%3a", "grün é", ""] {
            let escaped = escape(name);
            assert!(escaped.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'), "{escaped}");
            assert_eq!(unescape(&escaped), name);
        }
        assert_eq!(unescape("%zz%"), "%zz%");
    }
}
