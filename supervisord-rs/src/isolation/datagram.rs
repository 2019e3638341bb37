//! Datagrams of a Unix socket with their sender. Any process may send them, also with unwanted
//! descriptors.
//!
//! Receiving a datagram means closing the descriptors in it, wanted or not, and a close may block
//! for as long as the sender chose (`SO_LINGER`, socket(7); a file system of its own). A look
//! (`MSG_PEEK`) gets copies of them at most, and never the last: so the loop only looks, and a
//! thread that may wait receives datagrams with descriptors.
#![expect(unsafe_code, reason = "nix loses what came with a message that was cut")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::closer;

/// Descriptors that come with one datagram at most; the kernel allows 253 (`SCM_MAX_FD`).
const DESCRIPTORS_MAX: usize = 253;
/// Room for the sender alone.
const SENDER: usize = space(size_of::<libc::ucred>());
/// Room for the sender and as many descriptors as there can be.
const ALL: usize = SENDER + space(DESCRIPTORS_MAX * size_of::<RawFd>());

/// What was received.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// Its text; longer than was asked for by one byte when it was cut.
    pub(crate) bytes: Vec<u8>,
    /// The process that the kernel says has sent it (`SO_PASSCRED`).
    pub(crate) sender: Option<i32>,
    /// Those that came with it, if it was taken.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Whether there is something that there was no room for: descriptors.
    pub(crate) has_more: bool,
}

/// A socket to which any process may send.
#[derive(Debug)]
pub(crate) struct Mailbox {
    socket: Arc<UnixDatagram>,
    /// Whether a thread is taking the next datagram.
    is_busy: Arc<AtomicBool>,
}

impl Mailbox {
    pub(crate) fn new(socket: UnixDatagram) -> Self {
        Self { socket: Arc::new(socket), is_busy: Arc::default() }
    }

    /// Looks at the next datagram, which stays where it is. Waits for nothing; `None`: there is
    /// none, or a thread is at it.
    pub(crate) fn look(&self, most: usize) -> Option<Datagram> {
        if self.is_busy() {
            None
        } else {
            receive(&*self.socket, most, SENDER, libc::MSG_PEEK | libc::MSG_DONTWAIT)
        }
    }

    /// Takes the next datagram off the queue, with all that came with it, after a
    /// [`look`](Self::look). One that a stranger has sent, with descriptors, is not for
    /// the loop: to close them may wait.
    pub(crate) fn take(&self, most: usize) -> Option<Datagram> {
        receive(&*self.socket, most, ALL, libc::MSG_DONTWAIT)
    }

    /// Drops the next datagram, which came without descriptors.
    pub(crate) fn skip(&self) {
        // Should there be any after all, they are not closed here.
        if let Some(taken) = self.take(0) {
            closer::close(taken.descriptors);
        }
    }

    /// Has a thread drop the next datagram, and says when it is off the queue. What came with it is
    /// closed then.
    pub(crate) fn skip_elsewhere(&self, then: impl FnOnce() + Send + 'static) {
        self.is_busy.store(true, Ordering::Release);
        let (socket, is_busy) = (Arc::clone(&self.socket), Arc::clone(&self.is_busy));
        closer::run(move || {
            let taken = receive(&*socket, 0, ALL, libc::MSG_DONTWAIT);
            is_busy.store(false, Ordering::Release);
            then();
            if let Some(taken) = taken {
                closer::close(taken.descriptors);
            }
        });
    }

    /// Whether a thread is at it.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits for the next message of a socket's peer, and receives it with its descriptors. Without
/// text: the peer has gone.
pub(crate) fn wait_and_take(socket: impl AsFd, most: usize) -> Option<Datagram> {
    receive(socket, most, ALL, 0)
}

fn receive(socket: impl AsFd, most: usize, room: usize, flags: libc::c_int) -> Option<Datagram> {
    let mut bytes = vec![0_u8; most + 1];
    // In words, so that it lies as the headers in it must.
    let mut control = [0_u64; ALL / 8];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a msghdr is plain numbers and pointers, for which zeroes are a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = room as _;
    let flags = flags | libc::MSG_CMSG_CLOEXEC;
    let length = loop {
        // SAFETY: the header describes `bytes` and `control`, which live longer than the call and
        // hold as much as it says.
        match Errno::result(unsafe {
            libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags)
        }) {
            Ok(length) => break usize::try_from(length).unwrap_or(0),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    };
    bytes.truncate(length);
    let has_more = header.msg_flags & libc::MSG_CTRUNC != 0;
    let mut datagram = Datagram { bytes, sender: None, descriptors: Vec::new(), has_more };
    // SAFETY: the kernel has written `msg_controllen` bytes of well-formed control messages to
    // where `control` is, which is aligned for their headers; each descriptor in them is open, new
    // and unowned.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(control) = next.as_ref() {
            read(control, &mut datagram);
            next = libc::CMSG_NXTHDR(&raw const header, next);
        }
    }
    Some(datagram)
}

/// # Safety
/// `control` heads a control message that the kernel has just written, with its data behind it.
unsafe fn read(control: &libc::cmsghdr, datagram: &mut Datagram) {
    // SAFETY: as the caller says, there is a message, with its data where this points to.
    let data = unsafe { libc::CMSG_DATA(control) };
    match (control.cmsg_level, control.cmsg_type) {
        (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
            // SAFETY: of this type, it holds credentials.
            let credentials = unsafe { data.cast::<libc::ucred>().read_unaligned() };
            datagram.sender = Some(credentials.pid);
        }
        (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
            let head = data.addr() - std::ptr::from_ref(control).addr();
            // Of another type in each C library.
            let length = usize::try_from(control.cmsg_len as u64).unwrap_or(0);
            let count = length.saturating_sub(head) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: a message of this type holds so many descriptors, which are open, new and
                // unowned.
                let descriptor = unsafe {
                    OwnedFd::from_raw_fd(data.cast::<RawFd>().add(index).read_unaligned())
                };
                datagram.descriptors.push(descriptor);
            }
        }
        _ => {}
    }
}

/// As `CMSG_SPACE` has it: a header and its data, each in whole words.
const fn space(length: usize) -> usize {
    const WORD: usize = size_of::<usize>();
    size_of::<libc::cmsghdr>().div_ceil(WORD) * WORD + length.div_ceil(WORD) * WORD
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

    use super::*;

    fn send(socket: &UnixDatagram, text: &[u8], descriptors: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(text)], control, MsgFlags::empty(), None)
            .unwrap();
    }

    #[test]
    fn a_look_tells_who_spoke_and_whether_descriptors_came_and_takes_none_of_them() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        setsockopt(&ours, sockopt::PassCred, &true).unwrap();
        let ours = Mailbox::new(ours);
        let own = i32::try_from(std::process::id()).unwrap();
        send(&theirs, b"READY=1", &[]);
        send(&theirs, b"BARRIER=1", &[theirs.as_raw_fd(); 200]);
        send(&theirs, b"too long", &[theirs.as_raw_fd()]);
        send(&theirs, b"last", &[]);
        let first = ours.look(100).unwrap();
        assert_eq!(
            (first.bytes.as_slice(), first.sender, first.has_more),
            (&b"READY=1"[..], Some(own), false)
        );
        ours.skip();
        let second = ours.look(100).unwrap();
        assert!(
            second.has_more && second.descriptors.is_empty() && second.sender == Some(own),
            "{second:?}"
        );
        let second = ours.take(100).unwrap();
        assert_eq!((second.descriptors.len(), second.has_more), (200, false));
        let third = ours.look(3).unwrap();
        assert_eq!((third.bytes.len(), third.has_more), (4, true), "one byte more than may be");
        let (taken, is_taken) = std::sync::mpsc::channel();
        ours.skip_elsewhere(move || {
            let _ = taken.send(());
        });
        is_taken.recv().unwrap();
        assert_eq!(ours.look(100).unwrap().bytes, b"last");
        ours.skip();
        assert!(ours.look(100).is_none() && ours.take(100).is_none());
    }
}
