//! The supervisor's datagrams: sd_notify(3), as far as the guardian needs it. Only the supervisor
//! itself is listened to: the kernel says who sent a datagram (`SO_PASSCRED`, unix(7)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{setsockopt, sockopt};

use super::store::{Request, Store};
use crate::isolation::closer;
use crate::isolation::datagram::{Datagram, Mailbox};
use crate::service_manager::{self, CUSTODY, Custody, ServiceManager};

/// Largest datagram that is read; longer ones are cut.
const DATAGRAM_MAX: usize = 4096;
/// Datagrams of strangers before signals and deaths get their turn.
const STRANGERS: usize = 64;

/// The receiving end, and what was said there.
#[derive(Debug)]
pub(super) struct Notify {
    mailbox: Mailbox,
    /// Threads ring it when they have taken a datagram.
    bell: Arc<EventFd>,
    address: String,
    /// Who is listened to.
    speaker: i32,
    spoken: bool,
    ready: bool,
    stopping: bool,
    store: Store,
}

/// What a datagram of the supervisor means to its guardian.
#[derive(Debug)]
pub(super) enum Word {
    Ready,
    /// Its loop turns.
    Turn,
    /// The rules that hold from now on.
    Custody(Custody),
    /// The process that takes its place. Nothing more is received before it is decided whom to
    /// listen to.
    Successor(i32),
    Other,
}

impl Notify {
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("supervisord-rs/guardian/{}", service_manager::unique()?);
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        closer::begin();
        let bell = Arc::new(EventFd::from_value_and_flags(
            0,
            EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
        )?);
        let mailbox = Mailbox::new(socket);
        Ok(Self {
            mailbox,
            bell,
            address: format!("@{name}"),
            speaker: 0,
            spoken: false,
            ready: false,
            stopping: false,
            store: Store::default(),
        })
    }

    /// For `NOTIFY_SOCKET`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether the supervisor has said anything: that it can take signals, in any case.
    pub(super) fn has_spoken(&self) -> bool {
        self.spoken
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// What is kept for the next supervisor.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Another supervisor, which has said nothing yet.
    pub(super) fn listen_to(&mut self, supervisor: i32) {
        self.speaker = supervisor;
        (self.spoken, self.ready, self.stopping) = (false, false, false);
    }

    /// One that was ready before it was listened to.
    pub(super) fn set_ready(&mut self) {
        (self.spoken, self.ready) = (true, true);
    }

    /// The next word of the supervisor; what it says also goes on to our own manager, if that is
    /// meant. `None`: there is none.
    pub(super) fn receive(&mut self, upstream: Option<&ServiceManager>) -> Option<Word> {
        loop {
            let Datagram { sender, bytes, descriptors, .. } = self.next(self.speaker)?;
            if sender != Some(self.speaker) {
                continue;
            }
            self.spoken = true;
            let request = Request::parse(&bytes);
            if request.keep || request.forget {
                self.serve(&request, descriptors);
                return Some(Word::Other);
            }
            let word = self.understand(&bytes);
            let is_for_us = matches!(word, Word::Custody(_) | Word::Successor(_));
            if let Some(upstream) = upstream.filter(|_| !is_for_us) {
                let _ = upstream.send(&bytes);
            }
            return Some(word);
        }
    }

    fn understand(&mut self, bytes: &[u8]) -> Word {
        let mut word = Word::Other;
        for line in bytes.split(|&byte| byte == b'\n') {
            let text = std::str::from_utf8(line).unwrap_or_default();
            if line == b"READY=1" {
                self.ready = true;
                word = Word::Ready;
            } else if line == b"STOPPING=1" {
                self.stopping = true;
            } else if line == b"WATCHDOG=1" {
                word = Word::Turn;
            } else if let Some(custody) = text.strip_prefix(CUSTODY).and_then(Custody::parse) {
                word = Word::Custody(custody);
            } else if let Some(pid) = text.strip_prefix("MAINPID=").and_then(|pid| pid.parse().ok())
            {
                word = Word::Successor(pid);
            }
        }
        word
    }

    fn serve(&mut self, request: &Request<'_>, descriptors: Vec<OwnedFd>) {
        if request.forget {
            self.store.forget(request.name);
        }
        if request.keep {
            descriptors
                .into_iter()
                .for_each(|descriptor| self.store.keep(request.name, descriptor));
        }
    }

    /// The next datagram of the supervisor. Those of strangers are dropped: with descriptors by a
    /// thread, since closing these can wait for as long as their sender chose.
    fn next(&self, supervisor: i32) -> Option<Datagram> {
        let _ = self.bell.read();
        for _ in 0..STRANGERS {
            let seen = self.mailbox.look(DATAGRAM_MAX)?;
            if seen.sender == Some(supervisor) {
                return self.mailbox.take(DATAGRAM_MAX);
            }
            if seen.has_more {
                let bell = Arc::clone(&self.bell);
                self.mailbox.skip_elsewhere(move || {
                    let _ = bell.write(1);
                });
                return None;
            }
            self.mailbox.skip();
        }
        None
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // What a thread is at is not ready for us; the thread rings when it is.
        if self.mailbox.is_busy() { self.bell.as_fd() } else { self.mailbox.as_fd() }
    }
}
