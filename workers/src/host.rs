//! Runs registered workers inside a child process.
//!
//! The child is the same binary, started as `__host`, with descriptor 3 a `SOCK_SEQPACKET` socket
//! on which the supervisor sends orders, and 4 an eventfd that makes it look at the boards. The
//! child reports only through the boards. When the socket ends, the supervisor is gone, and the
//! child ends too.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::exit;
use std::sync::Arc;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::board::State;
use crate::crash;
use crate::mapping::Mapping;
use crate::registry::Registry;
use crate::run::{IncarnationPlan, OnPanic, spawn};

/// Largest order, in bytes.
pub const ORDER_MAX: usize = 64 * 1024;
/// Exit code of a host whose single worker had a contained panic; the same as of a Rust program
/// that panics.
pub const EXIT_PANICKED: i32 = 101;
/// Exit code of a host that does not know its worker or could not start it (EX_CONFIG of
/// sysexits.h).
pub const EXIT_UNREGISTERED: i32 = 78;

const SOCKET: RawFd = 3;
const POKE: RawFd = 4;

/// One worker to run; with it come three descriptors: board, wake, output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostOrder {
    /// The worker's name.
    pub name: String,
    /// The name that it is registered by.
    pub kind: String,
    /// The generation.
    pub generation: u64,
    /// Its arguments.
    pub args: Value,
    /// What a panic ends: the domain or the worker.
    pub on_panic: OnPanic,
    /// Whether the process is this worker's own and ends with it.
    pub single: bool,
}

/// Sends an order with its descriptors (board, wake, output). Does not block, whatever the flags of
/// the socket are.
///
/// # Errors
/// EAGAIN: the host reads no orders; EPIPE, ECONNRESET: it is gone; EMSGSIZE: the arguments are too
/// large.
pub fn send(socket: BorrowedFd<'_>, order: &HostOrder, fds: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    let text = serde_json::to_vec(order)?;
    if text.len() > ORDER_MAX {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    let fds = fds.map(|fd| fd.as_raw_fd());
    let message = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&text)],
        &message,
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    Ok(())
}

/// The child's main function. Never returns: exit code 0 when the single worker returned, 1 when it
/// failed, [`EXIT_PANICKED`], [`EXIT_UNREGISTERED`]; 0 when the supervisor is gone.
pub fn main(registry: &Registry) -> ! {
    if let Err(error) = crash::install() {
        eprintln!("cannot handle fatal signals: {error}");
    }
    // SAFETY: the launcher put them there, and nothing else in this fresh process owns them.
    let (socket, poke) =
        unsafe { (OwnedFd::from_raw_fd(SOCKET), Arc::new(OwnedFd::from_raw_fd(POKE))) };
    loop {
        match receive(&socket) {
            Ok(Some((order, fds))) => begin(order, fds, &poke, registry),
            Ok(None) => exit(0),
            Err(error) => {
                eprintln!("cannot read orders: {error}");
                exit(1);
            }
        }
    }
}

fn begin(order: HostOrder, fds: [OwnedFd; 3], poke: &Arc<OwnedFd>, registry: &Registry) {
    let [board, wake, output] = fds;
    let mapping = match Mapping::inherited(board) {
        Ok(mapping) => Arc::new(mapping),
        Err(error) => {
            eprintln!("{}: cannot map its board: {error}", order.name);
            return;
        }
    };
    let is_single = order.single;
    if is_single {
        // `ps` and core dumps show the worker's name; the kernel cuts it to 15 bytes.
        if let Ok(name) = std::ffi::CString::new(order.name.as_str()) {
            let _ = nix::sys::prctl::set_name(&name);
        }
    }
    let plan = IncarnationPlan {
        name: order.name,
        kind: order.kind,
        generation: order.generation,
        args: order.args,
        on_panic: order.on_panic,
        mapping: Arc::clone(&mapping),
        page: 0,
        poke: Arc::clone(poke),
        wake,
        output,
        at_end: is_single.then_some(end_process),
    };
    match spawn(plan, registry) {
        Ok(_) => {}
        Err(error) => {
            let text = format!("cannot create a thread: {error}");
            mapping.board().write_text(order.generation, text.as_bytes());
            mapping.board().set_state(order.generation, State::NotStarted);
            crate::context::ring(std::os::fd::AsFd::as_fd(&**poke));
            if is_single {
                exit(EXIT_UNREGISTERED);
            }
        }
    }
}

/// A worker's own process ends with its worker. If its thread vanished, the process runs on, and
/// the missing heartbeat reveals it.
fn end_process(end: State) {
    exit(match end {
        State::Returned => 0,
        State::Failed | State::Empty | State::Launched | State::Ready => 1,
        State::Panicked => EXIT_PANICKED,
        State::Unregistered | State::NotStarted => EXIT_UNREGISTERED,
    });
}

/// The next order; `None` when the supervisor is gone.
fn receive(socket: &OwnedFd) -> io::Result<Option<(HostOrder, [OwnedFd; 3])>> {
    let mut text = vec![0; ORDER_MAX];
    let mut space = nix::cmsg_space!([RawFd; 3]);
    let (length, fds) = loop {
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(message) => break (message.bytes, descriptors(message.cmsgs()?)),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    let order = serde_json::from_slice(&text[..length])?;
    let fds = fds.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Some((order, fds)))
}

fn descriptors(messages: nix::sys::socket::CmsgIterator<'_>) -> Vec<OwnedFd> {
    messages
        .filter_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        // SAFETY: the kernel has just installed these descriptors in this process; nothing else
        // owns them.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}
