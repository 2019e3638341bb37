//! What a worker says on its `NOTIFY_SOCKET`, sd_notify(3). Each worker has a socket of its own, so
//! that its address tells for whom a message is; the kernel tells who sent it (`SO_PASSCRED`,
//! unix(7)), and only the worker's process tree counts. Any process can send anything there: a
//! thread that may wait receives what comes with descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::datagram::{self, Mailbox};
use super::live::ring;
use crate::service_manager;

/// Largest datagram that is read; longer ones are refused.
const DATAGRAM_MAX: usize = 4096;
/// Datagrams that are forgotten at once; who sends more than that is a stranger, and is not
/// listened to anyway.
const FORGOTTEN: usize = 64;
/// Longest status that is kept.
const STATUS_MAX: usize = 256;

/// The receiving end.
#[derive(Debug)]
pub(super) struct Notify {
    mailbox: Mailbox,
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
    /// Whether descriptors came with it.
    pub(super) has_descriptors: bool,
}

impl Notify {
    /// A socket with an abstract name: it needs no directory that the worker's user may enter, and
    /// goes with us.
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("supervisord-rs/notify/{}", service_manager::unique()?);
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(Self { mailbox: Mailbox::new(socket), address: format!("@{name}") })
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
        Ok(Self { mailbox: Mailbox::new(socket), address })
    }

    /// Forgets what is there: it was said to an incarnation that is no more. False: a thread has to
    /// take it.
    pub(super) fn drain(&self) -> bool {
        for _ in 0..FORGOTTEN {
            match self.look() {
                None => return true,
                Some(datagram) if datagram.has_descriptors => return false,
                Some(_) => self.take(),
            }
        }
        true
    }

    /// The next datagram, which stays where it is.
    pub(super) fn look(&self) -> Option<Datagram> {
        let datagram::Datagram { bytes, sender, has_more, .. } = self.mailbox.look(DATAGRAM_MAX)?;
        let text = if bytes.len() > DATAGRAM_MAX { None } else { std::str::from_utf8(&bytes).ok() };
        let words = text.and_then(parse);
        Some(Datagram { sender: sender.unwrap_or(0), words, has_descriptors: has_more })
    }

    /// Takes the next datagram away, which came without descriptors.
    pub(super) fn take(&self) {
        self.mailbox.skip();
    }

    /// Has a thread take the next datagram away, and ring when it has. Its descriptors are closed
    /// then, which is what `BARRIER=1` waits for.
    pub(super) fn take_elsewhere(&self, bell: &Arc<OwnedFd>) {
        let bell = Arc::clone(bell);
        self.mailbox.skip_elsewhere(move || ring(bell.as_fd()));
    }

    /// Whether a thread is at it.
    pub(super) fn is_busy(&self) -> bool {
        self.mailbox.is_busy()
    }
}

/// Lines of `NAME=value`. Names that we do not know are none of our business; a line that is none
/// makes it nonsense.
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
            ("EXTEND_TIMEOUT_USEC", micros) => {
                Word::Extend(Duration::from_micros(micros.parse().ok()?))
            }
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
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(STATUS_MAX).collect()
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mailbox.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_and_nonsense_is_not() {
        assert_eq!(
            parse(
                "READY=1\nSTATUS=at \u{1b}[31mwork\nX_OWN=1\nWATCHDOG=1\n\
                    EXTEND_TIMEOUT_USEC=5000000"
            ),
            Some(vec![
                Word::Ready,
                Word::Status("at [31mwork".into()),
                Word::Alive,
                Word::Extend(Duration::from_secs(5))
            ])
        );
        for nonsense in [
            "READY",
            "READY=yes",
            "MAINPID=-1",
            "MAINPID=x",
            "EXTEND_TIMEOUT_USEC=-1",
            "=1",
            "a b=c",
        ] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
