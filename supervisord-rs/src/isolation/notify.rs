//! What a worker says on its `NOTIFY_SOCKET`, sd_notify(3). Each worker has a socket of its own, so that its address
//! says who is meant; the kernel says who speaks (`SO_PASSCRED`, unix(7)), and only the worker's family is listened to.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::service_manager;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt};

/// Largest datagram that is read; longer ones are refused.
const DATAGRAM_MAX: usize = 4096;
/// Descriptors that come with one datagram at most; the kernel allows 253.
const DESCRIPTORS_MAX: usize = 253;
/// Longest status that is kept.
const STATUS_MAX: usize = 256;

/// The receiving end.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    address: String,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// `READY=1`: it has started, or reloaded.
    Ready,
    /// `RELOADING=1`
    Reloading,
    /// `STOPPING=1`
    Stopping,
    /// `STATUS=...`
    Status(String),
    /// `WATCHDOG=1`
    Alive,
    /// `WATCHDOG=trigger`: it gives itself up.
    Trigger,
    /// `EXTEND_TIMEOUT_USEC=...`, from now.
    Extend(Duration),
    /// `MAINPID=...`
    MainPid(i32),
}

/// A datagram: who sent it, and what it says. `None` for words: it makes no sense.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) sender: i32,
    pub(super) words: Option<Vec<Word>>,
}

impl Notify {
    /// A socket with an abstract name: it needs no directory that the worker's user may enter, and goes with us.
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("supervisord-rs/notify/{}", service_manager::unique()?);
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(Self { socket, address: format!("@{name}") })
    }

    /// For `NOTIFY_SOCKET`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// One that a predecessor had opened.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn adopted(socket: OwnedFd) -> io::Result<Self> {
        let socket = UnixDatagram::from(socket);
        let address = socket.local_addr()?;
        let name = address.as_abstract_name().and_then(|name| std::str::from_utf8(name).ok());
        let address = name.map(|name| format!("@{name}")).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { socket, address })
    }

    /// Forgets what is there: it was said to an incarnation that is no more.
    pub(super) fn drain(&self) {
        while self.take().is_some() {}
    }

    /// The next datagram, which stays where it is.
    pub(super) fn look(&self) -> Option<Datagram> {
        self.receive(MsgFlags::MSG_PEEK)
    }

    /// Takes the next datagram away. Descriptors that came with it are closed, which is what `BARRIER=1` waits for.
    pub(super) fn take(&self) -> Option<Datagram> {
        self.receive(MsgFlags::empty())
    }

    fn receive(&self, how: MsgFlags) -> Option<Datagram> {
        let mut bytes = vec![0; DATAGRAM_MAX + 1];
        let mut space = nix::cmsg_space!(UnixCredentials, [RawFd; DESCRIPTORS_MAX]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = how | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
        let mut sender = 0;
        for control in message.cmsgs().into_iter().flatten() {
            match control {
                ControlMessageOwned::ScmCredentials(credentials) => sender = credentials.pid(),
                ControlMessageOwned::ScmRights(descriptors) => descriptors.into_iter().for_each(close),
                _ => {}
            }
        }
        let length = message.bytes;
        let text = if length > DATAGRAM_MAX { None } else { std::str::from_utf8(&bytes[..length]).ok() };
        Some(Datagram { sender, words: text.and_then(parse) })
    }
}

fn close(descriptor: RawFd) {
    #[expect(unsafe_code, reason = "descriptors come as numbers")]
    // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
}

/// Lines of `NAME=value`. Names that we do not know are none of our business; a line that is none makes it nonsense.
fn parse(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let word = match line.split_once('=')? {
            ("READY", "1") => Word::Ready,
            ("RELOADING", "1") => Word::Reloading,
            ("STOPPING", "1") => Word::Stopping,
            ("STATUS", status) => Word::Status(printable(status)),
            ("WATCHDOG", "1") => Word::Alive,
            ("WATCHDOG", "trigger") => Word::Trigger,
            ("EXTEND_TIMEOUT_USEC", micros) => Word::Extend(Duration::from_micros(micros.parse().ok()?)),
            ("MAINPID", pid) => Word::MainPid(pid.parse().ok().filter(|pid| *pid > 0)?),
            ("READY" | "RELOADING" | "STOPPING" | "WATCHDOG", _) => return None,
            (name, _)
                if !name.is_empty()
                    && name.chars().all(|letter| {
                        letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
                    }) =>
            {
                continue;
            }
            _ => return None,
        };
        words.push(word);
    }
    Some(words)
}

/// For a terminal: no control characters, and not without end.
fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(STATUS_MAX).collect()
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_and_nonsense_is_not() {
        assert_eq!(
            parse("READY=1\nSTATUS=at \u{1b}[31mwork\nX_OWN=1\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC=5000000"),
            Some(vec![
                Word::Ready,
                Word::Status("at [31mwork".into()),
                Word::Alive,
                Word::Extend(Duration::from_secs(5))
            ])
        );
        for nonsense in
            ["READY", "READY=yes", "MAINPID=-1", "MAINPID=x", "EXTEND_TIMEOUT_USEC=-1", "=1", "a b=c"]
        {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
