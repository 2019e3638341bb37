//! Orders to a host, over a `SOCK_SEQPACKET` socket: which worker to run, and what it is handed.
//!
//! | packet | is |
//! |---|---|
//! | `[true, NAMES]`, `[false, NAMES]` | a piece of what a worker is handed: the first, another |
//! | `{..}` | the order, with the rest |
//!
//! Arguments that are too large for a packet are memory among what is handed over ([`ARGS`]).
//!
//! An order that hands over [`USUAL`] alone does not name them: a host that was started by a
//! release without names takes them by their places.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Serialize;
use serde_json::Value;

use crate::runtime::briefing::Briefing;
use crate::runtime::endowment::{Named, PIECE_MAX, piece};
use crate::runtime::run::OnPanic;
use crate::runtime::scheduling::Scheduling;

/// Largest packet, in bytes.
pub const ORDER_MAX: usize = 64 * 1024;
/// For the names in a packet; an order has room for its arguments besides.
const NAMES_MAX: usize = ORDER_MAX / 4;
/// Arguments beyond that, in bytes, come as memory.
pub(super) const ARGS_MAX: usize = ORDER_MAX / 2;

/// The memory of the worker's board.
pub const BOARD: &str = "board";
/// What is readable when there is an order for the worker.
pub const WAKE: &str = "wake";
/// Where its output goes.
pub const OUTPUT: &str = "output";
/// Memory with the arguments, where they are too large for a packet.
pub(super) const ARGS: &str = "args";
/// Stands for them in the order. A host of a release before this takes it for the arguments, and
/// says that they are none.
const ARGS_ELSEWHERE: &str = "more than the host of an earlier release takes: restart its cell";
/// What each worker is handed, in this order.
pub(super) const USUAL: [&str; 3] = [BOARD, WAKE, OUTPUT];

/// One worker to run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HostOrder<'a> {
    /// The worker's name.
    pub name: &'a str,
    /// The name that it is registered by.
    pub kind: &'a str,
    /// The generation.
    pub generation: u64,
    /// Its arguments.
    pub args: &'a Value,
    /// What a panic ends: the domain or the worker.
    pub on_panic: OnPanic,
    /// Whether the process is this worker's own and ends with it.
    pub single: bool,
    /// What its thread sets before the worker runs.
    #[serde(skip_serializing_if = "Scheduling::is_inherited")]
    pub scheduling: &'a Scheduling,
    /// What only some workers need; a host of an earlier release passes over it.
    #[serde(skip_serializing_if = "is_empty")]
    pub briefing: &'a Briefing,
}

/// An order as it is sent.
#[derive(Serialize)]
struct Sent<'a> {
    #[serde(flatten)]
    order: &'a HostOrder<'a>,
    /// Of the descriptors in this packet; empty: the usual ones.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    names: &'a [&'a str],
    /// How many pieces came before.
    #[serde(skip_serializing_if = "is_zero")]
    pieces: usize,
}

fn is_empty(briefing: &&Briefing) -> bool {
    briefing.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Sends an order and what its worker is handed: [`BOARD`], [`WAKE`] and [`OUTPUT`], and whatever
/// it gets besides. Does not block, whatever the flags of the socket are.
///
/// # Errors
/// EAGAIN: the host reads no orders; EPIPE, ECONNRESET: it is gone; EMSGSIZE: its name is too long;
/// those of memfd_create(2) and write(2), for large arguments. Nothing of it is carried out then.
pub fn send(socket: BorrowedFd<'_>, order: &HostOrder<'_>, given: &[Named<'_>]) -> io::Result<()> {
    let args = serde_json::to_vec(order.args)?;
    if args.len() <= ARGS_MAX {
        return send_with_args(socket, order, given);
    }
    let memory = sealed(&args)?;
    let order = HostOrder { args: &Value::from(ARGS_ELSEWHERE), ..*order };
    send_with_args(socket, &order, &[given, &[(ARGS, memory.as_fd())]].concat())
}

fn send_with_args(
    socket: BorrowedFd<'_>,
    order: &HostOrder<'_>,
    given: &[Named<'_>],
) -> io::Result<()> {
    let (mut part, mut rest) = piece(given, NAMES_MAX, str::len);
    let mut pieces = 0;
    while !rest.is_empty() {
        let text = serde_json::to_vec(&(pieces == 0, names(part)))?;
        send_packet(socket, &text, part)?;
        pieces += 1;
        (part, rest) = piece(rest, NAMES_MAX, str::len);
    }
    let is_usual = part.iter().map(|(name, _)| *name).eq(USUAL);
    let names = if is_usual { Vec::new() } else { names(part) };
    let text = serde_json::to_vec(&Sent { order, names: &names, pieces })?;
    if text.len() > ORDER_MAX {
        return Err(Errno::EMSGSIZE.into());
    }
    send_packet(socket, &text, part)
}

/// Memory with this content, which no process can change.
fn sealed(content: &[u8]) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut memory = File::from(memfd_create(c"args", flags)?);
    memory.write_all(content)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(memory)
}

fn names<'a>(given: &[Named<'a>]) -> Vec<&'a str> {
    given.iter().map(|(name, _)| *name).collect()
}

pub(super) fn send_packet(
    socket: BorrowedFd<'_>,
    text: &[u8],
    given: &[Named<'_>],
) -> io::Result<()> {
    let mut numbers = [0; PIECE_MAX];
    let numbers = &mut numbers[..given.len()];
    for (number, (_, descriptor)) in numbers.iter_mut().zip(given) {
        *number = descriptor.as_raw_fd();
    }
    let message = [ControlMessage::ScmRights(numbers)];
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(text)], &message, flags, None)?;
    Ok(())
}
