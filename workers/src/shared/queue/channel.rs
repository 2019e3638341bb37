//! A queue that the kernel carries, in place of shared memory: a pipe, a socket or a POSIX message
//! queue. What was taken is gone from it: the death of a taker loses that. What was sent stays, also
//! when its sender dies.

use std::io;
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
                Err(Errno::EPIPE) => return Err(shut_down("sending to the queue")),
                Err(errno) => return Err(Error::of("sending to the queue")(errno)),
            }
            sleep(self.send.as_fd(), PollFlags::POLLOUT, wait.next()?);
        }
    }

    fn try_send(&self, message: &[u8]) -> nix::Result<usize> {
        match self.carrier {
            Carrier::Ring | Carrier::Pipe => match write_at_once(&self.send, message) {
                Err(Errno::EOPNOTSUPP) => {
                    never_block(&self.send)?;
                    nix::unistd::write(&self.send, message)
                }
                answer => answer,
            },
            Carrier::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                send(self.send.as_raw_fd(), message, flags)
            }
            Carrier::Mqueue => {
                let (from, length) = (message.as_ptr().cast(), message.len());
                // SAFETY: needed as above. The message is valid for its length.
                let sent = unsafe {
                    libc::mq_timedsend(self.send.as_raw_fd(), from, length, 0, &raw const LONG_AGO)
                };
                at_once(sent).map(|_| message.len())
            }
        }
    }

    /// The next message, of `most` bytes at most. One that is longer, which no SDK has sent, is taken
    /// and gone.
    pub(super) fn take(&self, most: usize, wait: &Wait<'_>) -> Result<Vec<u8>, Error> {
        // One more: the kernel cuts off what there is no room for.
        let mut bytes = vec![0; most.saturating_add(1)];
        loop {
            match self.try_take(&mut bytes) {
                Ok(length) if length > most => {
                    return Err(Error::TooLong { length, limit: most });
                }
                Ok(length) if length > 0 => {
                    bytes.truncate(length);
                    return Ok(bytes);
                }
                Ok(_) if self.is_shut_down() => return Err(shut_down("taking from the queue")),
                // Neither end is ever closed: this process has both. A packet without bytes.
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(Error::of("taking from the queue")(errno)),
            }
            sleep(self.take.as_fd(), PollFlags::POLLIN, wait.next()?);
        }
    }

    fn try_take(&self, bytes: &mut [u8]) -> nix::Result<usize> {
        match self.carrier {
            Carrier::Ring | Carrier::Pipe => match read_at_once(&self.take, bytes) {
                Err(Errno::EOPNOTSUPP) => {
                    never_block(&self.take)?;
                    nix::unistd::read(&self.take, bytes)
                }
                answer => answer,
            },
            Carrier::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
                recv(self.take.as_raw_fd(), bytes, flags)
            }
            Carrier::Mqueue => {
                let (into, length) = (bytes.as_mut_ptr().cast(), bytes.len());
                let no_priority = std::ptr::null_mut();
                let (fd, until) = (self.take.as_raw_fd(), &raw const LONG_AGO);
                // SAFETY: needed as above. The bytes are valid for their length.
                let taken = unsafe { libc::mq_timedreceive(fd, into, length, no_priority, until) };
                at_once(taken).map(|length| usize::try_from(length).unwrap_or(0))
            }
        }
    }

    /// Whether a user has ended the socket for all (shutdown(2)).
    fn is_shut_down(&self) -> bool {
        // nix does not know this one, and says of an answer with it that it does not know it.
        let asked = PollFlags::from_bits_retain(libc::POLLRDHUP);
        let mut ends = [PollFd::new(self.take.as_fd(), asked)];
        self.carrier == Carrier::Socket
            && poll(&mut ends, PollTimeout::ZERO).is_ok()
            && ends[0].revents().is_none_or(|events| events.contains(PollFlags::POLLHUP))
    }
}

fn shut_down(call: &'static str) -> Error {
    let why = "a user has shut its socket down for all (shutdown(2)), for good";
    Error::of(call)(io::Error::new(io::ErrorKind::BrokenPipe, why))
}

// `O_NONBLOCK` is of the open file, which all users share, and each of them can take it away: no
// call depends on it.

/// A time that is over, for what has a deadline in place of a flag.
static LONG_AGO: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

/// The answer of a call whose time was over before it began.
fn at_once<T: nix::errno::ErrnoSentinel + PartialEq<T>>(answer: T) -> nix::Result<T> {
    Errno::result(answer).map_err(|errno| match errno {
        Errno::ETIMEDOUT => Errno::EAGAIN,
        errno => errno,
    })
}

fn read_at_once(fd: &OwnedFd, bytes: &mut [u8]) -> nix::Result<usize> {
    let part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: needed because nix does not have it. The one part is valid for its length, for writes;
    // -1 stands for no offset, which a pipe does not have.
    let read = unsafe { libc::preadv2(fd.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    Errno::result(read).map(|length| usize::try_from(length).unwrap_or(0))
}

fn write_at_once(fd: &OwnedFd, bytes: &[u8]) -> nix::Result<usize> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: as above; the kernel only reads the part.
    let written =
        unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    Errno::result(written).map(|length| usize::try_from(length).unwrap_or(0))
}

/// For an older kernel, whose pipes do not know `RWF_NOWAIT`: the flag is set again
/// before each call.
fn never_block(fd: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    if !flags.contains(OFlag::O_NONBLOCK) {
        fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    Ok(())
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
    use crate::shared::{Blueprint, Holder, Segment};

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
            dead.wait_until_dead();
            assert_eq!(segment.release_dead().expect("/proc").lost_messages, 1, "{carrier:?}");
            let last = queue.take(&Wait::at_most(Duration::from_secs(9))).expect("there");
            assert_eq!(last.value::<String>().expect("a text"), "three", "{carrier:?}");
            last.acknowledge().expect("it is");
            assert_eq!(segment.release_dead().expect("/proc").lost_messages, 0, "{carrier:?}");
        }
    }

    fn clear_nonblocking(fd: &OwnedFd) {
        let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).expect("open"));
        fcntl(fd, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK)).expect("set");
    }

    #[test]
    fn a_wait_ends_in_time_also_where_a_user_has_cleared_the_flag_that_no_call_blocks() {
        for carrier in Carrier::OF_KERNEL {
            let (ended, end) = std::sync::mpsc::channel();
            // A thread that waits for ever is left behind: the test fails all the same.
            std::thread::spawn(move || {
                let segment = Blueprint::Queue(SIZE).make().expect("made");
                let ends = carrier.ends(2, 64).expect("within the limits of any machine");
                ends.iter().for_each(clear_nonblocking);
                let queue = opened(segment, &ends, carrier);
                let soon = || Wait::at_most(Duration::from_millis(5));
                let empty = matches!(queue.take(&soon()), Err(Error::TimedOut));
                let mut sent = 0;
                while queue.send(b"x", &soon()).is_ok() {
                    sent += 1;
                }
                ended.send((empty, sent, queue.take(&soon()).is_ok())).expect("awaited");
            });
            let answer = end.recv_timeout(Duration::from_secs(60));
            let (empty, sent, taken) = answer.unwrap_or_else(|_| panic!("{carrier:?} waits on"));
            assert!(empty && sent >= 2 && taken, "{carrier:?}: {empty} {sent} {taken}");
        }
    }

    #[test]
    fn a_packet_that_is_longer_than_a_message_is_an_error_and_not_a_message() {
        for carrier in [Carrier::Pipe, Carrier::Socket] {
            let segment = Blueprint::Queue(SIZE).make().expect("made");
            let ends = carrier.ends(4, 64).expect("within the limits of any machine");
            let queue = opened(segment, &ends, carrier);
            nix::unistd::write(&ends[1], &[7; 100]).expect("room");
            nix::unistd::write(&ends[1], &[7; 64]).expect("room");
            let answer = queue.take(&Wait::none());
            assert!(matches!(answer, Err(Error::TooLong { limit: 64, .. })), "{carrier:?}");
            assert_eq!(queue.take(&Wait::none()).expect("whole").len(), 64, "{carrier:?}");
        }
    }

    #[test]
    fn a_socket_that_a_user_has_shut_down_is_an_error_at_once_and_what_was_sent_is_taken_before() {
        use nix::sys::socket::{Shutdown, shutdown};
        for (end, how) in [(0, Shutdown::Both), (1, Shutdown::Write), (0, Shutdown::Read)] {
            let segment = Blueprint::Queue(SIZE).make().expect("made");
            let ends = Carrier::Socket.ends(8, 64).expect("within the limits of any machine");
            let queue = opened(segment, &ends, Carrier::Socket);
            queue.send(b"sent", &Wait::none()).expect("room");
            // A packet without bytes, which is not the end.
            send(ends[1].as_raw_fd(), &[], MsgFlags::empty()).expect("room");
            shutdown(ends[end].as_raw_fd(), how).expect("shut down");
            queue.take(&Wait::none()).expect("sent before").acknowledge().expect("it is");
            let long = Wait::at_most(Duration::from_secs(600));
            for answer in [queue.take(&long).map(drop), queue.send(b"x", &long)] {
                let Err(Error::System { source, .. }) = answer else { panic!("{answer:?}") };
                assert!(source.to_string().contains("a user has shut its socket down"), "{source}");
            }
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
