//! A queue that the kernel carries, in place of shared memory: a pipe, a socket or a POSIX message
//! queue. What was taken is gone from it: the death of a taker loses that. What was sent stays, also
//! when its sender dies.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use serde::{Deserialize, Serialize};

use crate::shared::{Error, Wait};

/// What carries a queue: `by:` of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// Shared memory: at least once.
    #[default]
    Ring,
    /// A pipe in packet mode (`O_DIRECT`, pipe(2)): at most once.
    Pipe,
    /// A Unix socket of packets (`SOCK_SEQPACKET`, unix(7)): at most once.
    Socket,
    /// A POSIX message queue (mq_overview(7)): at most once.
    Mqueue,
}

impl Carrier {
    /// All but shared memory.
    pub const OF_KERNEL: [Self; 3] = [Self::Pipe, Self::Socket, Self::Mqueue];

    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::Mqueue => "mqueue",
        }
    }

    /// Makes the two ends, to take from and to send to; none for shared memory.
    ///
    /// # Errors
    /// [`Error::System`]: a limit of the machine (`pipe-max-size`, `/proc/sys/fs/mqueue`), or as
    /// EMFILE.
    pub fn ends(self, capacity: usize, message: usize) -> Result<Vec<OwnedFd>, Error> {
        match self {
            Self::Ring => Ok(Vec::new()),
            Self::Pipe => {
                let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_DIRECT;
                let (take, send) = nix::unistd::pipe2(flags).map_err(Error::of("pipe2"))?;
                // A page for each packet.
                let size = capacity.saturating_mul(4096).try_into().unwrap_or(i32::MAX);
                fcntl(&take, FcntlArg::F_SETPIPE_SZ(size)).map_err(Error::of("F_SETPIPE_SZ"))?;
                Ok(vec![take, send])
            }
            Self::Socket => {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let ends = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
                let (take, send) = ends.map_err(Error::of("socketpair"))?;
                Ok(vec![take, send])
            }
            Self::Mqueue => {
                let take = message_queue(capacity, message)?;
                let send = take.try_clone().map_err(Error::of("fcntl"))?;
                Ok(vec![take, send])
            }
        }
    }
}

/// A POSIX message queue whose name is gone: what has its descriptor has it.
fn message_queue(capacity: usize, message: usize) -> Result<OwnedFd, Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // SAFETY: zeros are a value of this type of C, which is integers.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = capacity as libc::c_long;
    attributes.mq_msgsize = message as libc::c_long;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("/supervisord-rs.{}.{number}\0", std::process::id());
        let flags =
            libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let mode: libc::mode_t = 0o600;
        // SAFETY: needed because nix has it only with a feature. The name ends with a zero byte, and
        // it and the attributes outlive the calls. The descriptor is new, and nothing else owns it.
        unsafe {
            let fd = libc::mq_open(name.as_ptr().cast(), flags, mode, &raw mut attributes);
            if fd >= 0 {
                libc::mq_unlink(name.as_ptr().cast());
                return Ok(std::os::fd::FromRawFd::from_raw_fd(fd));
            }
        }
        match Errno::last() {
            // A foreign one has this name.
            Errno::EEXIST => {}
            errno => return Err(Error::of("mq_open")(errno)),
        }
    }
}

/// The two ends, as one user has them.
#[derive(Debug)]
pub(super) struct Channel {
    carrier: Carrier,
    take: OwnedFd,
    send: OwnedFd,
}

impl Channel {
    pub(super) fn new(carrier: Carrier, take: OwnedFd, send: OwnedFd) -> Self {
        Self { carrier, take, send }
    }

    pub(super) fn send(&self, message: &[u8], wait: &Wait<'_>) -> Result<(), Error> {
        if message.is_empty() {
            // A pipe has no such packet, and of a socket it is the end.
            let (what, value, least, most) = ("bytes of a message", 0, 1, usize::MAX);
            return Err(Error::Unfit { what, value, least, most });
        }
        loop {
            match self.try_send(message) {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(Error::of("sending to the queue")(errno)),
            }
            sleep(self.send.as_fd(), PollFlags::POLLOUT, wait.next()?);
        }
    }

    fn try_send(&self, message: &[u8]) -> nix::Result<usize> {
        match self.carrier {
            Carrier::Ring | Carrier::Pipe => nix::unistd::write(&self.send, message),
            Carrier::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                send(self.send.as_raw_fd(), message, flags)
            }
            Carrier::Mqueue => {
                let (from, length) = (message.as_ptr().cast(), message.len());
                // SAFETY: needed as above. The message is valid for its length.
                let sent = unsafe { libc::mq_send(self.send.as_raw_fd(), from, length, 0) };
                Errno::result(sent).map(|_| message.len())
            }
        }
    }

    /// The next message, of `most` bytes at most.
    pub(super) fn take(&self, most: usize, wait: &Wait<'_>) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; most];
        loop {
            match self.try_take(&mut bytes) {
                Ok(length) if length > 0 => {
                    bytes.truncate(length);
                    return Ok(bytes);
                }
                // Neither end is ever closed: this process has both.
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(Error::of("taking from the queue")(errno)),
            }
            sleep(self.take.as_fd(), PollFlags::POLLIN, wait.next()?);
        }
    }

    fn try_take(&self, bytes: &mut [u8]) -> nix::Result<usize> {
        match self.carrier {
            Carrier::Ring | Carrier::Pipe => nix::unistd::read(&self.take, bytes),
            Carrier::Socket => recv(self.take.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT),
            Carrier::Mqueue => {
                let (into, length) = (bytes.as_mut_ptr().cast(), bytes.len());
                let no_priority = std::ptr::null_mut();
                // SAFETY: needed as above. The bytes are valid for their length.
                let taken =
                    unsafe { libc::mq_receive(self.take.as_raw_fd(), into, length, no_priority) };
                Errno::result(taken).map(|length| usize::try_from(length).unwrap_or(0))
            }
        }
    }
}

/// Until it is ready, or the time is over: the caller looks again.
fn sleep(fd: BorrowedFd<'_>, events: PollFlags, time: Duration) {
    let milliseconds = i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(fd, events)], timeout);
}

#[cfg(test)]
mod tests {
    use super::super::{Queue, QueueSize};
    use super::*;
    use crate::shared::{Blueprint, Holder, Life, Segment};

    const SIZE: QueueSize = QueueSize { capacity: 1, message: 64, users: 4 };

    fn opened(segment: &Segment, ends: &[OwnedFd], carrier: Carrier) -> Queue {
        let copy = |fd: &OwnedFd| fd.try_clone().expect("a descriptor");
        let fd = segment.fd().try_clone_to_owned().expect("a descriptor");
        let holder = Holder::this_thread().expect("/proc");
        Queue::open_carried(fd, (copy(&ends[0]), copy(&ends[1])), carrier, holder).expect("opened")
    }

    #[test]
    fn each_carrier_brings_whole_messages_in_order_and_loses_what_a_dead_taker_had() {
        for carrier in Carrier::OF_KERNEL {
            let segment = Blueprint::Queue(SIZE).make().expect("made");
            let ends = carrier.ends(8, 64).expect("within the limits of any machine");
            let queue = opened(segment, &ends, carrier);
            assert!(matches!(queue.take(&Wait::none()), Err(Error::TimedOut)), "{carrier:?}");
            for text in ["one", "two", "three"] {
                queue.send_value(text, &Wait::none()).expect("room");
            }
            let answer = queue.send(&[7; 65], &Wait::none());
            assert!(matches!(answer, Err(Error::TooLong { .. })), "{carrier:?}");
            assert!(matches!(queue.send(&[], &Wait::none()), Err(Error::Unfit { .. })));
            let message = queue.take(&Wait::none()).expect("there");
            assert_eq!(message.value::<String>().expect("a text"), "one", "{carrier:?}");
            message.acknowledge().expect("it is");
            let dead = std::thread::scope(|scope| {
                let taker = scope.spawn(|| {
                    let queue = opened(segment, &ends, carrier);
                    std::mem::forget(queue.take(&Wait::none()).expect("there"));
                    Holder::this_thread().expect("/proc")
                });
                taker.join().expect("no panic")
            });
            // The kernel says that it has ended a little before it is gone.
            while dead.life() != Life::Dead {
                std::thread::yield_now();
            }
            assert_eq!(segment.release_dead().expect("/proc").lost_messages, 1, "{carrier:?}");
            let last = queue.take(&Wait::at_most(Duration::from_secs(9))).expect("there");
            assert_eq!(last.value::<String>().expect("a text"), "three", "{carrier:?}");
            last.acknowledge().expect("it is");
            assert_eq!(segment.release_dead().expect("/proc").lost_messages, 0, "{carrier:?}");
        }
    }

    #[test]
    fn a_full_one_makes_its_senders_wait_and_no_longer() {
        for carrier in [Carrier::Pipe, Carrier::Mqueue] {
            let segment = Blueprint::Queue(SIZE).make().expect("made");
            let ends = carrier.ends(2, 64).expect("within the limits of any machine");
            let queue = opened(segment, &ends, carrier);
            queue.send(b"1", &Wait::none()).expect("room");
            queue.send(b"2", &Wait::none()).expect("room");
            let answer = queue.send(b"3", &Wait::at_most(Duration::from_millis(60)));
            assert!(matches!(answer, Err(Error::TimedOut)), "{carrier:?}: {answer:?}");
            queue.take(&Wait::none()).expect("there").acknowledge().expect("it is");
            queue.send(b"3", &Wait::at_most(Duration::from_secs(9))).expect("room again");
        }
    }
}
