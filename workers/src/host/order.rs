//! Orders to a host, over a `SOCK_SEQPACKET` socket: which worker to run, and what it is handed.
//!
//! | packet | is |
//! |---|---|
//! | `[true, NAMES]`, `[false, NAMES]` | a piece of what the next worker is handed, its first or another |
//! | `{..}` | the order, with the rest |
//!
//! An order that hands over [`USUAL`] alone does not name them: a host that was started by a release
//! without names takes them by their places.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::endowment::{Endowment, Named, PIECE_MAX, piece};
use crate::run::OnPanic;

/// Largest packet, in bytes.
pub const ORDER_MAX: usize = 64 * 1024;
/// For the names in a packet; an order has room for its arguments besides.
const NAMES_MAX: usize = ORDER_MAX / 4;

/// The memory of the worker's board.
pub const BOARD: &str = "board";
/// What is readable when there is an order for the worker.
pub const WAKE: &str = "wake";
/// Where its output goes.
pub const OUTPUT: &str = "output";
/// What each worker is handed, in this order.
const USUAL: [&str; 3] = [BOARD, WAKE, OUTPUT];

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
}

/// An order as it is sent.
#[derive(Serialize)]
struct Packet<'a> {
    #[serde(flatten)]
    order: &'a HostOrder<'a>,
    /// Of the descriptors in this packet; empty: the usual ones.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    names: &'a [&'a str],
    /// How many pieces came before.
    #[serde(skip_serializing_if = "is_zero")]
    pieces: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// An order as it came, with what its worker is handed.
#[derive(Debug, Deserialize)]
pub(super) struct Received {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) generation: u64,
    pub(super) args: Value,
    pub(super) on_panic: OnPanic,
    pub(super) single: bool,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    pieces: usize,
    #[serde(skip)]
    pub(super) endowment: Endowment,
}

/// Sends an order and what its worker is handed: [`BOARD`], [`WAKE`] and [`OUTPUT`], and whatever it
/// gets besides. Does not block, whatever the flags of the socket are.
///
/// # Errors
/// EAGAIN: the host reads no orders; EPIPE, ECONNRESET: it is gone; EMSGSIZE: the arguments are too
/// large. Nothing of it is carried out then.
pub fn send(socket: BorrowedFd<'_>, order: &HostOrder<'_>, given: &[Named<'_>]) -> io::Result<()> {
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
    let text = serde_json::to_vec(&Packet { order, names: &names, pieces })?;
    if text.len() > ORDER_MAX {
        return Err(Errno::EMSGSIZE.into());
    }
    send_packet(socket, &text, part)
}

fn names<'a>(given: &[Named<'a>]) -> Vec<&'a str> {
    given.iter().map(|(name, _)| *name).collect()
}

fn send_packet(socket: BorrowedFd<'_>, text: &[u8], given: &[Named<'_>]) -> io::Result<()> {
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

/// The next order; `None` when the supervisor is gone.
pub(super) fn receive(socket: &OwnedFd) -> io::Result<Option<Received>> {
    let mut text = vec![0; ORDER_MAX];
    let (mut endowment, mut come) = (Endowment::default(), 0);
    loop {
        let (length, descriptors) = receive_packet(socket, &mut text)?;
        let packet = &text[..length];
        if packet.first() == Some(&b'[') {
            let (is_first, names): (bool, Vec<String>) = serde_json::from_slice(packet)?;
            if is_first {
                // One that was not sent to its end is no part of the next.
                (endowment, come) = (Endowment::default(), 0);
            }
            add(&mut endowment, names, descriptors)?;
            come += 1;
            continue;
        }
        if packet.is_empty() {
            return Ok(None);
        }
        let mut order: Received = serde_json::from_slice(packet)?;
        if order.pieces == 0 {
            endowment = Endowment::default();
        } else if order.pieces != come {
            let lost = format!("{} pieces of what it is handed, not {come}", order.pieces);
            return Err(invalid(&order.name, &lost));
        }
        let mut names = std::mem::take(&mut order.names);
        if names.is_empty() {
            names = USUAL.map(str::to_owned).to_vec();
        }
        add(&mut endowment, names, descriptors)?;
        order.endowment = endowment;
        return Ok(Some(order));
    }
}

/// What one worker cannot be without.
pub(super) fn claim(order: &mut Received, name: &str) -> io::Result<OwnedFd> {
    order.endowment.claim(name).ok_or_else(|| invalid(&order.name, &format!("no {name}")))
}

fn invalid(worker: &str, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{worker} was given {what}"))
}

fn add(endowment: &mut Endowment, names: Vec<String>, given: Vec<OwnedFd>) -> io::Result<()> {
    if names.len() != given.len() {
        let text = format!("{} descriptors came with {} names", given.len(), names.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    names.into_iter().zip(given).for_each(|(name, one)| endowment.add(name, one));
    Ok(())
}

fn receive_packet(socket: &OwnedFd, text: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; PIECE_MAX]);
    loop {
        let mut parts = [IoSliceMut::new(text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(message) => return Ok((message.bytes, descriptors(message.cmsgs()?))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    const ORDER: HostOrder<'_> = HostOrder {
        name: "a",
        kind: "ticker",
        generation: 1,
        args: &Value::Null,
        on_panic: OnPanic::Abort,
        single: false,
    };

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("sockets")
    }

    #[test]
    fn the_usual_three_have_no_names_so_that_any_host_takes_them() {
        let (ours, theirs) = pair();
        let file = File::open("/dev/null").unwrap();
        send(ours.as_fd(), &ORDER, &USUAL.map(|name| (name, file.as_fd()))).unwrap();
        let mut text = [0; 1024];
        let (length, descriptors) = receive_packet(&theirs, &mut text).unwrap();
        let text = std::str::from_utf8(&text[..length]).unwrap();
        assert_eq!(
            text,
            r#"{"name":"a","kind":"ticker","generation":1,"args":null,"on_panic":"abort","single":false}"#
        );
        assert_eq!(descriptors.len(), 3);
    }

    #[test]
    fn six_hundred_come_with_their_names_and_half_of_it_is_nothing() {
        let (ours, theirs) = pair();
        let file = File::open("/dev/null").unwrap();
        let names: Vec<String> = (0..600).map(|number| format!("resource/{number}")).collect();
        let usual = USUAL.iter().copied();
        let all: Vec<Named<'_>> = usual
            .chain(names.iter().map(String::as_str))
            .map(|name| (name, file.as_fd()))
            .collect();
        // A piece of one that was broken off.
        send_packet(ours.as_fd(), br#"[true,["stale"]]"#, &all[..1]).unwrap();
        send(ours.as_fd(), &ORDER, &all).unwrap();
        let mut order = receive(&theirs).unwrap().expect("an order");
        assert!(USUAL.iter().all(|name| order.endowment.claim(name).is_some()));
        assert_eq!(order.endowment.claim_all("resource/").len(), 600);
        assert_eq!(order.endowment.unclaimed(), Vec::<String>::new());
        // Another has none of that.
        send(ours.as_fd(), &ORDER, &all[..3]).unwrap();
        let mut order = receive(&theirs).unwrap().expect("an order");
        assert!(claim(&mut order, BOARD).is_ok());
        assert_eq!(claim(&mut order, "r").unwrap_err().to_string(), "a was given no r");
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let file = File::open("/dev/null").unwrap();
        let order = r#"{"name":"a","kind":"k","generation":1,"args":null,"on_panic":"abort",
            "single":false"#;
        for (rest, why) in [
            (r#","names":["board","wake"]}"#, "1 descriptors came with 2 names"),
            (r#","pieces":2}"#, "a was given 2 pieces of what it is handed, not 0"),
            ("}", "1 descriptors came with 3 names"),
        ] {
            let (ours, theirs) = pair();
            let text = format!("{order}{rest}");
            send_packet(ours.as_fd(), text.as_bytes(), &[("", file.as_fd())]).unwrap();
            assert_eq!(receive(&theirs).unwrap_err().to_string(), why);
        }
    }
}
