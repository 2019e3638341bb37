//! The supervisor's datagrams: sd_notify(3), as far as the guardian needs it. Only the supervisor itself is listened to:
//! the kernel says who sent a datagram (`SO_PASSCRED`, unix(7)).
#![expect(unsafe_code, reason = "descriptors that come with a datagram are numbers")]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt};

use super::store::{Request, Store};
use crate::service_manager::{self, ServiceManager};

/// Largest datagram that is read; longer ones are cut.
const DATAGRAM_MAX: usize = 4096;
/// Descriptors that come with one datagram at most; the kernel allows 253.
const DESCRIPTORS_MAX: usize = 253;

/// The receiving end, and what was said there.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    address: String,
    ready: bool,
    stopping: bool,
    /// Whom the supervisor has named in its place.
    main_pid: Option<i32>,
    store: Store,
}

/// What was received.
struct Datagram {
    sender: Option<i32>,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Notify {
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("supervisord-rs/guardian/{}", service_manager::unique()?);
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        let (address, store) = (format!("@{name}"), Store::default());
        Ok(Self { socket, address, ready: false, stopping: false, main_pid: None, store })
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
        while let Some(Datagram { sender, bytes, descriptors }) = self.next() {
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

    /// The next datagram. Descriptors that nobody takes are closed.
    fn next(&self) -> Option<Datagram> {
        let mut bytes = vec![0; DATAGRAM_MAX];
        let mut space = nix::cmsg_space!(UnixCredentials, [RawFd; DESCRIPTORS_MAX]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
        let (mut sender, mut descriptors) = (None, Vec::new());
        for control in message.cmsgs().into_iter().flatten() {
            match control {
                ControlMessageOwned::ScmCredentials(credentials) => sender = Some(credentials.pid()),
                ControlMessageOwned::ScmRights(numbers) => {
                    // SAFETY: the kernel has just made these descriptors for us, and nobody else has them.
                    descriptors
                        .extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
                }
                _ => {}
            }
        }
        let length = message.bytes;
        bytes.truncate(length);
        Some(Datagram { sender, bytes, descriptors })
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
