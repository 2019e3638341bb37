//! The supervisor's datagrams: sd_notify(3), as far as the guardian needs it. Only the supervisor itself is listened to:
//! the kernel says who sent a datagram (`SO_PASSCRED`, unix(7)).

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
use crate::service_manager::{self, ServiceManager};

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
    ready: bool,
    stopping: bool,
    /// Whom the supervisor has named in its place.
    main_pid: Option<i32>,
    store: Store,
}

impl Notify {
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("supervisord-rs/guardian/{}", service_manager::unique()?);
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        let (address, store) = (format!("@{name}"), Store::default());
        closer::begin();
        let bell =
            Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let mailbox = Mailbox::new(socket);
        Ok(Self { mailbox, bell, address, ready: false, stopping: false, main_pid: None, store })
    }

    /// For `NOTIFY_SOCKET`.
    pub(super) fn address(&self) -> &str {
        &self.address
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

    /// Whom the supervisor has named in its place (`MAINPID=`), once.
    pub(super) fn take_main_pid(&mut self) -> Option<i32> {
        self.main_pid.take()
    }

    /// A new supervisor has said nothing yet.
    pub(super) fn reset(&mut self) {
        self.ready = false;
        self.stopping = false;
        self.main_pid = None;
    }

    /// Takes every datagram that is there; those of the supervisor count, and go on to our own manager.
    pub(super) fn receive(&mut self, supervisor: i32, upstream: Option<&ServiceManager>) {
        while let Some(Datagram { sender, bytes, descriptors, .. }) = self.next(supervisor) {
            if sender != Some(supervisor) {
                continue;
            }
            for line in bytes.split(|&byte| byte == b'\n') {
                match line {
                    b"READY=1" => self.ready = true,
                    b"STOPPING=1" => self.stopping = true,
                    // STATUS and what we do not know yet is for our own manager, if anybody's.
                    _ => {
                        let pid =
                            line.strip_prefix(b"MAINPID=").and_then(|pid| std::str::from_utf8(pid).ok());
                        self.main_pid = pid.and_then(|pid| pid.parse().ok()).or(self.main_pid);
                    }
                }
            }
            let request = Request::parse(&bytes);
            if request.keep || request.forget {
                self.serve(&request, descriptors);
            } else if let Some(upstream) = upstream {
                let _ = upstream.send(&bytes);
            }
        }
    }

    fn serve(&mut self, request: &Request<'_>, descriptors: Vec<OwnedFd>) {
        if request.forget {
            self.store.forget(request.name);
        }
        if request.keep {
            descriptors.into_iter().for_each(|descriptor| self.store.keep(request.name, descriptor));
        }
    }

    /// The next datagram of the supervisor. Those of strangers are dropped: with descriptors by a thread, since closing
    /// these can wait for as long as their sender chose.
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
