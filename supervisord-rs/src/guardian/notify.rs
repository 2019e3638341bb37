//! The supervisor's datagrams: sd_notify(3), as far as the guardian needs it. Only the supervisor itself is listened to:
//! the kernel says who sent a datagram (`SO_PASSCRED`, unix(7)).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt};

use crate::service_manager::{self, ServiceManager};

/// Largest datagram that is read; longer ones are cut.
const DATAGRAM_MAX: usize = 4096;

/// The receiving end, and what was said there.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    address: String,
    ready: bool,
    stopping: bool,
}

impl Notify {
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("supervisord-rs/guardian/{}", service_manager::unique()?);
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(Self { socket, address: format!("@{name}"), ready: false, stopping: false })
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

    /// A new supervisor has said nothing yet.
    pub(super) fn reset(&mut self) {
        self.ready = false;
        self.stopping = false;
    }

    /// Takes every datagram that is there; those of the supervisor count, and go on to our own manager.
    pub(super) fn receive(&mut self, supervisor: i32, upstream: Option<&ServiceManager>) {
        while let Some((sender, datagram)) = self.next() {
            if sender != Some(supervisor) {
                continue;
            }
            for line in datagram.split(|&byte| byte == b'\n') {
                match line {
                    b"READY=1" => self.ready = true,
                    b"STOPPING=1" => self.stopping = true,
                    // STATUS and what we do not know yet is for our own manager, if anybody's.
                    _ => {}
                }
            }
            if let Some(upstream) = upstream {
                let _ = upstream.send(&datagram);
            }
        }
    }

    fn next(&self) -> Option<(Option<i32>, Vec<u8>)> {
        let mut datagram = vec![0; DATAGRAM_MAX];
        let mut space = nix::cmsg_space!(UnixCredentials);
        let mut parts = [IoSliceMut::new(&mut datagram)];
        let message =
            recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)
                .ok()?;
        let sender = message.cmsgs().ok()?.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.pid()),
            _ => None,
        });
        let length = message.bytes;
        datagram.truncate(length);
        Some((sender, datagram))
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
