//! Orders as a host receives them, packet by packet: see `order`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;
use serde_json::Value;

use super::keeper::Keeper;
use super::order::{ARGS, ORDER_MAX, USUAL};
use super::reserve::Reserve;
use crate::runtime::briefing::Briefing;
use crate::runtime::endowment::{Endowment, PIECE_MAX};
use crate::runtime::run::OnPanic;
use crate::runtime::scheduling::Scheduling;

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
    pub(super) scheduling: Scheduling,
    #[serde(default)]
    pub(super) briefing: Briefing,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    pieces: usize,
    #[serde(skip)]
    pub(super) endowment: Endowment,
    /// Whether this process had room for all of it.
    #[serde(skip)]
    pub(super) is_whole: bool,
}

/// The next order; `None` when the supervisor is gone. The reserve is spent for it.
pub(super) fn receive(
    socket: &OwnedFd,
    reserve: &mut Reserve,
    keeper: &mut Keeper,
) -> io::Result<Option<Received>> {
    let mut text = vec![0; ORDER_MAX];
    let (mut endowment, mut come, mut is_whole) = (Endowment::default(), 0, true);
    loop {
        wait_for(socket, keeper)?;
        reserve.spend();
        let Packet { length, descriptors, is_cut } = receive_packet(socket, &mut text)?;
        let packet = &text[..length];
        if packet.first() == Some(&b'[') {
            let (is_first, names): (bool, Vec<String>) = serde_json::from_slice(packet)?;
            if is_first {
                // One that was not sent to its end is no part of the next.
                (endowment, come, is_whole) = (Endowment::default(), 0, true);
            }
            is_whole &= !is_cut;
            add(&mut endowment, names, descriptors, is_cut)?;
            come += 1;
            continue;
        }
        if packet.is_empty() {
            return Ok(None);
        }
        let mut order: Received = serde_json::from_slice(packet)?;
        if order.pieces == 0 {
            (endowment, is_whole) = (Endowment::default(), true);
        } else if order.pieces != come {
            let lost = format!("{} pieces of what it is handed, not {come}", order.pieces);
            return Err(invalid(&order.name, &lost));
        }
        let mut names = std::mem::take(&mut order.names);
        if names.is_empty() {
            names = USUAL.map(str::to_owned).to_vec();
        }
        add(&mut endowment, names, descriptors, is_cut)?;
        if let Some(memory) = endowment.claim(ARGS) {
            order.args = args_of(memory)?;
        }
        order.endowment = endowment;
        order.is_whole = is_whole && !is_cut;
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

/// The arguments that came as memory. Each end has the same position in it, which stays.
fn args_of(memory: OwnedFd) -> io::Result<Value> {
    let memory = File::from(memory);
    let length = usize::try_from(memory.metadata()?.len()).unwrap_or(0);
    let mut text = vec![0; length];
    memory.read_exact_at(&mut text, 0)?;
    Ok(serde_json::from_slice(&text)?)
}

/// `is_cut`: the last of them did not come.
fn add(
    endowment: &mut Endowment,
    names: Vec<String>,
    given: Vec<OwnedFd>,
    is_cut: bool,
) -> io::Result<()> {
    if names.len() != given.len() && !is_cut {
        let text = format!("{} descriptors came with {} names", given.len(), names.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    names.into_iter().zip(given).for_each(|(name, one)| endowment.add(name, one));
    Ok(())
}

/// A packet as it came; its text is where the caller wanted it.
struct Packet {
    length: usize,
    descriptors: Vec<OwnedFd>,
    /// Whether there was no room for the last of its descriptors: they are closed.
    is_cut: bool,
}

fn wait_for(socket: &OwnedFd, keeper: &mut Keeper) -> io::Result<()> {
    loop {
        let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let patience = keeper.patience().map(|time| time + Duration::from_millis(1));
        let patience = patience.map_or(Ok(PollTimeout::NONE), PollTimeout::try_from);
        match poll(&mut polled, patience.unwrap_or(PollTimeout::MAX)) {
            Ok(0) => keeper.look(),
            Ok(_) => {
                keeper.look();
                return Ok(());
            }
            Err(Errno::EINTR) => {}
            // A worker has lowered the limit of open files below what is polled (poll(2)): it waits
            // for the order itself.
            Err(Errno::EINVAL) => {
                keeper.look();
                return Ok(());
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Not by nix, which loses those that came where the last did not.
fn receive_packet(socket: &OwnedFd, text: &mut [u8]) -> io::Result<Packet> {
    let mut space = nix::cmsg_space!([RawFd; PIECE_MAX]);
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: all zero is a valid msghdr: no name, no parts, no control data, no flags.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    message.msg_control = space.as_mut_ptr().cast();
    let capacity = space.capacity();
    loop {
        message.msg_controllen = capacity as _;
        // SAFETY: the parts and the space are valid for their lengths, and outlive the call.
        let received = Errno::result(unsafe {
            libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC)
        });
        match received {
            Ok(length) => {
                let length = usize::try_from(length).unwrap_or(0);
                let is_cut = message.msg_flags & libc::MSG_CTRUNC != 0;
                // SAFETY: the kernel has just filled it in.
                let descriptors = unsafe { descriptors(&message) };
                return Ok(Packet { length, descriptors, is_cut });
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// # Safety
/// The control data of the message is what recvmsg(2) has stored.
unsafe fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    // SAFETY: the macros of cmsg(3) stay within the control data; each number in a message of
    // rights is a descriptor that the kernel has just installed, and that nothing else owns.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(one) = header.as_ref() {
            if (one.cmsg_level, one.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let length = one.cmsg_len - libc::CMSG_LEN(0) as usize;
                let first = libc::CMSG_DATA(header).cast::<RawFd>();
                let numbers = (0..length / size_of::<RawFd>()).map(|at| first.add(at));
                found.extend(numbers.map(|at| OwnedFd::from_raw_fd(at.read_unaligned())));
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;
    use crate::runtime::endowment::Named;
    use crate::runtime::host::order::{ARGS_MAX, BOARD, HostOrder, send, send_packet};

    const ORDER: HostOrder<'_> = HostOrder {
        name: "a",
        kind: "ticker",
        generation: 1,
        args: &Value::Null,
        on_panic: OnPanic::Abort,
        single: false,
        scheduling: &Scheduling::INHERITED,
        briefing: &Briefing::NONE,
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
        let Packet { length, descriptors, .. } = receive_packet(&theirs, &mut text).unwrap();
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
        let mut order = receive(&theirs, &mut Reserve::default(), &mut Keeper::new())
            .unwrap()
            .expect("an order");
        assert!(USUAL.iter().all(|name| order.endowment.claim(name).is_some()));
        assert_eq!(order.endowment.claim_all("resource/").len(), 600);
        assert_eq!(order.endowment.unclaimed(), Vec::<String>::new());
        // Another has none of that.
        send(ours.as_fd(), &ORDER, &all[..3]).unwrap();
        let mut order = receive(&theirs, &mut Reserve::default(), &mut Keeper::new())
            .unwrap()
            .expect("an order");
        assert!(claim(&mut order, BOARD).is_ok());
        assert_eq!(claim(&mut order, "r").unwrap_err().to_string(), "a was given no r");
    }

    #[test]
    fn arguments_of_any_size_come_and_small_ones_as_they_always_did() {
        let file = File::open("/dev/null").unwrap();
        for length in [0, ARGS_MAX - 2, ARGS_MAX - 1, ORDER_MAX, 3 << 20] {
            let (ours, theirs) = pair();
            let args = Value::from("x".repeat(length));
            let order = HostOrder { args: &args, ..ORDER };
            send(ours.as_fd(), &order, &USUAL.map(|name| (name, file.as_fd()))).unwrap();
            let order = receive(&theirs, &mut Reserve::default(), &mut Keeper::new())
                .unwrap()
                .expect("an order");
            assert_eq!(order.args, args);
            assert_eq!(order.endowment.unclaimed(), ["board", "output", "wake"], "{length}");
        }
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
            assert_eq!(
                receive(&theirs, &mut Reserve::default(), &mut Keeper::new())
                    .unwrap_err()
                    .to_string(),
                why
            );
        }
    }
}
