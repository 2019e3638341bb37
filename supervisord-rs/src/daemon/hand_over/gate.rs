//! What two supervisors say to each other while one takes the place of the other, over a pair of
//! connected sockets.
//!
//! | who | says | which means |
//! |---|---|---|
//! | successor | PREPARED | it runs, and accepts the configuration |
//! | predecessor | PIECE, with descriptors and their names | it rests, and gives what is kept |
//! | successor | TAKEN | the piece has come whole |
//! | predecessor | ALL, since when it rests | there is no more |
//! | successor | READY, its version | it has adopted all |
//! | predecessor | NAMED | the guardian or service manager knows the successor, and watches it |
//! | successor | ALONE | it does not end with its predecessor any more |
//!
//! Each message is one packet. One at either end that ends closes its socket, which the other
//! hears.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};

use super::{DEADLINE, PAUSE, REST};
use tokio::io::{AsyncReadExt, Interest};
use workers::runtime::endowment::{Named, piece};

use crate::isolation::datagram;
use crate::process_table;
use crate::service_manager::{self, InheritedDescriptors, escape, unescape};
use crate::waiting::{Limit, until, within};

/// Its name among what a successor inherits.
pub(super) const GATE: &str = "gate";
/// The name of that of a release that gives everything at the start, and waits for READY alone.
const GATE_OF_ONE_STEP: &str = "hand-over";
/// Bytes of a packet that fit into every socket's buffer.
const PACKET_MAX: usize = 64 * 1024;

/// The error for a successor that has ended too soon.
const ENDED_UNPREPARED: &str = "it ended before it was prepared to take over; the log has what it \
                                wrote, if anything. Either the file is not supervisord-rs, or it \
                                is a release that cannot take over from this one: to change to \
                                that release, end this supervisor (`supervisord-rs shutdown`), \
                                and start the other";

/// Between two looks at a predecessor that is about to end.
const LOOK: Duration = Duration::from_millis(50);

const PREPARED: u8 = b'p';
const PIECE: u8 = b'd';
const TAKEN: u8 = b't';
const ALL: u8 = b'e';
const READY: u8 = b'r';
const NAMED: u8 = b'n';
const ALONE: u8 = b'a';

/// The successor's end.
#[derive(Debug)]
pub struct Gate {
    socket: UnixStream,
    /// Whether descriptors are still to come.
    is_to_give: bool,
    rested_at: Option<Duration>,
}

impl Gate {
    /// The inherited gate; `None`: there is no predecessor, or it died.
    pub(crate) fn claim(inherited: &mut InheritedDescriptors) -> Option<Self> {
        let of = |socket: OwnedFd, is_to_give| Self {
            socket: socket.into(),
            is_to_give,
            rested_at: None,
        };
        let gate = inherited.claim(GATE).map(|socket| of(socket, true));
        gate.or_else(|| inherited.claim(GATE_OF_ONE_STEP).map(|socket| of(socket, false)))
    }

    /// Since when no supervisor runs, by `CLOCK_MONOTONIC`.
    pub(crate) fn rested_at(&self) -> Option<Duration> {
        self.rested_at
    }

    /// Says that we are prepared, waits for as long as the predecessor likes to go on, and takes
    /// what it then gives.
    pub(crate) fn take(&mut self, inherited: &mut InheritedDescriptors) -> Result<(), String> {
        if !self.is_to_give {
            return Ok(());
        }
        self.say(&[PREPARED]).map_err(|error| error.to_string())?;
        loop {
            let packet = datagram::wait_and_take(&self.socket, PACKET_MAX)
                .ok_or("the connection to the predecessor is broken")?;
            let text = String::from_utf8_lossy(packet.bytes.get(1..).unwrap_or_default());
            match packet.bytes.first() {
                Some(&PIECE) => {
                    let names: Vec<String> = text.lines().map(unescape).collect();
                    let (named, come) = (names.len(), packet.descriptors.len());
                    if named != come || packet.has_more {
                        return Err(format!(
                            "the predecessor named {named} descriptors, but {come} arrived"
                        ));
                    }
                    names
                        .into_iter()
                        .zip(packet.descriptors)
                        .for_each(|(name, one)| inherited.add(name, one));
                    self.say(&[TAKEN]).map_err(|error| error.to_string())?;
                }
                Some(&ALL) => {
                    self.rested_at = text.parse().ok().map(Duration::from_nanos);
                    return Ok(());
                }
                _ => return Err("it has ended, or goes on itself".into()),
            }
        }
    }

    /// Says that we are ready, and waits until the predecessor has named us in its place and ended.
    /// False: it has not, and goes on without us.
    ///
    /// Until it is named, a successor ends with its predecessor (`PR_SET_PDEATHSIG`, prctl(2)): if
    /// that dies, the guardian or service manager knows nothing of the successor, and starts
    /// another. So there is always exactly one.
    pub(in crate::daemon) fn pass(mut self) -> bool {
        let ready = [&[READY], env!("CARGO_PKG_VERSION").as_bytes()].concat();
        let said = self.socket.set_read_timeout(Some(DEADLINE)).and_then(|()| self.say(&ready));
        if said.is_err() || self.hear() != Some(NAMED) {
            return false;
        }
        if prctl::set_pdeathsig(None).is_err() || self.say(&[ALONE]).is_err() {
            return false;
        }
        // When it has ended, or is about to: its descriptors are closed before this process gets
        // another parent, and everything tied to the parent must be tied to the new one. One that
        // cannot die closes nothing, and stays our parent: it is not waited for.
        self.outwait_predecessor();
        true
    }

    fn outwait_predecessor(&mut self) {
        let has_left = || service_manager::hand_over_from().is_none_or(process_table::cannot_die);
        let _ = self.socket.set_read_timeout(Some(LOOK));
        let _ = until(DEADLINE, PAUSE, || {
            let is_closed = match self.read(&mut [0]) {
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                Ok(_) => true,
            };
            (is_closed || has_left()).then_some(())
        });
        let _ = until(REST, PAUSE, || has_left().then_some(()));
    }

    fn say(&mut self, packet: &[u8]) -> io::Result<()> {
        self.socket.write_all(packet)
    }

    fn hear(&mut self) -> Option<u8> {
        let mut word = [0];
        matches!(self.read(&mut word), Ok(1)).then_some(word[0])
    }

    /// Whatever signals come meanwhile: with a timeout the kernel begins no read again
    /// (signal(7)), and the end of a child is a signal.
    fn read(&mut self, packet: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(packet) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

/// The predecessor's end. A task waits for the successor: the loop answers meanwhile.
#[derive(Debug)]
pub(super) struct Giver(tokio::net::UnixStream);

impl Giver {
    /// One, and the end for the successor.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let ours = UnixStream::from(ours);
        // Ours alone: the two ends have flags of their own.
        ours.set_nonblocking(true)?;
        Ok((Self(tokio::net::UnixStream::from_std(ours)?), theirs))
    }

    /// Waits until the successor is prepared.
    pub(super) async fn expect_prepared(&mut self, limit: &mut Limit) -> Result<(), String> {
        self.hear(limit, PREPARED).await?.map(drop).ok_or_else(|| ENDED_UNPREPARED.into())
    }

    /// Gives descriptors, and waits until they have come: in pieces, as many as a packet has room
    /// for with their names.
    pub(super) async fn give(
        &mut self,
        all: &[Named<'_>],
        limit: &mut Limit,
    ) -> Result<(), String> {
        let mut rest = all;
        while !rest.is_empty() {
            let (piece, others) = piece(rest, PACKET_MAX - 1, |name| escape(name).len() + 1);
            let packet = packet(piece);
            rest = others;
            let numbers: Vec<RawFd> =
                piece.iter().map(|(_, descriptor)| descriptor.as_raw_fd()).collect();
            self.send(&packet, &numbers, limit).await?;
            self.hear(limit, TAKEN).await?.ok_or("it ended before it had taken all")?;
        }
        Ok(())
    }

    /// Says that all has been given, and waits until the successor is ready. Its version.
    pub(super) async fn wait_until_ready(
        &mut self,
        rested_at: Duration,
        limit: &mut Limit,
    ) -> Result<String, String> {
        let packet = [&[ALL], rested_at.as_nanos().to_string().as_bytes()].concat();
        self.send(&packet, &[], limit).await?;
        self.hear(limit, READY).await?.ok_or_else(|| "it ended before it was ready".into())
    }

    /// Says that it is named, and hears that it stands alone.
    pub(super) async fn let_go(&mut self) -> bool {
        let limit = &mut Limit::new(REST);
        self.send(&[NAMED], &[], limit).await.is_ok()
            && matches!(self.hear(limit, ALONE).await, Ok(Some(_)))
    }

    async fn send(
        &mut self,
        packet: &[u8],
        descriptors: &[RawFd],
        limit: &mut Limit,
    ) -> Result<(), String> {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let (socket, text) = (self.0.as_fd().as_raw_fd(), [IoSlice::new(packet)]);
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let send = || sendmsg::<()>(socket, &text, control, flags, None).map_err(io::Error::from);
        let sent = within(limit, self.0.async_io(Interest::WRITABLE, send)).await;
        let sent = sent.ok_or("it does not take what it is given in time")?;
        sent.map(drop).map_err(|error| format!("it does not take what it is given: {error}"))
    }

    /// The text after that word in the next packet. `None`: the packet has another word, or the
    /// other side has gone.
    async fn hear(&mut self, limit: &mut Limit, word: u8) -> Result<Option<String>, String> {
        let mut packet = [0; 64];
        let read = within(limit, self.0.read(&mut packet)).await;
        match read.ok_or("it does not answer in time")? {
            Ok(count @ 1..) if packet[0] == word => {
                Ok(Some(String::from_utf8_lossy(&packet[1..count]).into_owned()))
            }
            Ok(_) => Ok(None),
            // It has ended without having heard all.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A packet with their names.
fn packet(piece: &[Named<'_>]) -> Vec<u8> {
    let names: Vec<String> = piece.iter().map(|(name, _)| escape(name)).collect();
    [&[PIECE], names.join("\n").as_bytes()].concat()
}
