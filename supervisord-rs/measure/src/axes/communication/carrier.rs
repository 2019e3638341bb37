//! What carries messages there and back, with the same code on both sides.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};
use workers::shared::{Holder, Queue, QueueSize, Wait};

use crate::memory::{Shared, await_value, give, in_words, spin_until};

/// What carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Carrier {
    /// Shared memory, and the bare wake-up: the limit of all that sleep.
    Futex,
    /// Shared memory, and the other side looks all the time.
    Spin,
    /// The SDK's crash-safe queue in shared memory.
    Ring,
    /// pipe(2).
    Pipe,
    /// unix(7), `SOCK_SEQPACKET`.
    Socket,
    /// A POSIX message queue, mq_overview(7).
    Mqueue,
}

/// The limit first.
pub(super) const CARRIERS: [Carrier; 6] =
    [Carrier::Futex, Carrier::Spin, Carrier::Ring, Carrier::Pipe, Carrier::Socket, Carrier::Mqueue];

/// A wait of the SDK ends then.
const LONG: Duration = Duration::from_secs(30);
/// Messages that a queue holds.
const SLOTS: usize = 8;

impl Carrier {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Futex => "bare futex",
            Self::Spin => "shared memory, spinning",
            Self::Ring => "queue (ring)",
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::Mqueue => "mqueue",
        }
    }

    /// Why it cannot carry messages of this length there.
    pub(super) fn obstacle(self, size: usize, is_one_cpu: bool) -> Option<String> {
        let limit = |file: &str| -> usize {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.trim().parse().unwrap_or(usize::MAX)
        };
        match self {
            Self::Spin if is_one_cpu => {
                Some("who spins keeps the only CPU from the sender".to_owned())
            }
            Self::Socket => {
                let most = limit("/proc/sys/net/core/wmem_max");
                (size > most)
                    .then(|| format!("longer than a packet may be (net.core.wmem_max is {most})"))
            }
            Self::Mqueue => {
                let most = limit("/proc/sys/fs/mqueue/msgsize_max");
                (size > most).then(|| {
                    format!("longer than a message may be (fs.mqueue.msgsize_max is {most})")
                })
            }
            Self::Spin | Self::Futex | Self::Ring | Self::Pipe => None,
        }
    }
}

/// One end of a carrier: what it sends with, what it takes with, and a message.
#[derive(Debug)]
pub(crate) struct Ends {
    way: Way,
    message: Vec<u8>,
}

#[derive(Debug)]
enum Way {
    /// Words 0 and 1: a message is there, for the peer and for the other side.
    Memory {
        memory: Shared,
        is_peer: bool,
        spins: bool,
    },
    Ring {
        out: Queue,
        back: Queue,
    },
    Pipe {
        out: PipeWriter,
        back: PipeReader,
    },
    Socket(OwnedFd),
    Mqueue {
        out: OwnedFd,
        back: OwnedFd,
    },
}

impl Ends {
    /// This side's end, and the descriptors for the other one.
    pub(super) fn make(carrier: Carrier, size: usize) -> Result<(Self, Vec<OwnedFd>), String> {
        let (way, theirs) = match carrier {
            Carrier::Futex | Carrier::Spin => {
                let memory = Shared::create(2, 2 * size)?;
                let fd = copy(&memory.fd())?;
                let spins = carrier == Carrier::Spin;
                (Way::Memory { memory, is_peer: false, spins }, vec![fd])
            }
            Carrier::Ring => {
                let (out, back) = (queue(SLOTS, size, 4)?, queue(SLOTS, size, 4)?);
                let theirs = vec![copy(&out.fd())?, copy(&back.fd())?];
                (Way::Ring { out, back }, theirs)
            }
            Carrier::Pipe => {
                let pipe = || std::io::pipe().map_err(|error| format!("a pipe: {error}"));
                let ((there, out), (back, from)) = (pipe()?, pipe()?);
                (Way::Pipe { out, back }, vec![there.into(), from.into()])
            }
            Carrier::Socket => {
                let (ours, theirs) = sockets(size)?;
                (Way::Socket(ours), vec![theirs])
            }
            Carrier::Mqueue => {
                let (out, back) = (mqueue(size)?, mqueue(size)?);
                let theirs = vec![copy(&out)?, copy(&back)?];
                (Way::Mqueue { out, back }, theirs)
            }
        };
        Ok((Self { way, message: vec![7; size] }, theirs))
    }

    /// The other side's end.
    pub(super) fn open(carrier: Carrier, size: usize, given: Vec<OwnedFd>) -> Result<Self, String> {
        let mut given = given.into_iter();
        let mut next = || given.next().ok_or("a descriptor is missing");
        let way = match carrier {
            Carrier::Futex | Carrier::Spin => {
                let (memory, spins) = (Shared::open(next()?, 2)?, carrier == Carrier::Spin);
                Way::Memory { memory, is_peer: true, spins }
            }
            Carrier::Ring => {
                let mut open = || Queue::open(next()?, here()?).map_err(in_words);
                let back = open()?;
                Way::Ring { out: open()?, back }
            }
            Carrier::Pipe => {
                let back = PipeReader::from(next()?);
                Way::Pipe { out: PipeWriter::from(next()?), back }
            }
            Carrier::Socket => Way::Socket(next()?),
            Carrier::Mqueue => {
                let back = next()?;
                Way::Mqueue { out: next()?, back }
            }
        };
        Ok(Self { way, message: vec![7; size] })
    }

    /// Sends the message.
    #[inline]
    pub(super) fn send(&mut self) -> Result<(), String> {
        let message = &self.message;
        match &mut self.way {
            Way::Memory { memory, is_peer, spins } => {
                let side = usize::from(*is_peer);
                memory.write(side * message.len(), message)?;
                if *spins {
                    memory.word(side).store(1, std::sync::atomic::Ordering::Release);
                } else {
                    give(memory.word(side), 1);
                }
                Ok(())
            }
            Way::Ring { out, .. } => out.send(message, &Wait::at_most(LONG)).map_err(in_words),
            Way::Pipe { out, .. } => out.write_all(message).map_err(|error| error.to_string()),
            Way::Socket(socket) => {
                let sent = send(socket.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL);
                sent.map(drop).map_err(|error| format!("send: {}", error.desc()))
            }
            Way::Mqueue { out, .. } => mq_send(out, message),
        }
    }

    /// Waits for a message, and copies it.
    #[inline]
    pub(super) fn take(&mut self) -> Result<(), String> {
        let message = &mut self.message;
        match &mut self.way {
            Way::Memory { memory, is_peer, spins } => {
                let side = usize::from(!*is_peer);
                let word = memory.word(side);
                let has_come =
                    if *spins { spin_until(word, 1) } else { await_value(word, 1, LONG) };
                if !has_come {
                    return Err("no message came".to_owned());
                }
                memory.read(side * message.len(), message)?;
                word.store(0, std::sync::atomic::Ordering::Release);
                Ok(())
            }
            Way::Ring { back, .. } => {
                let taken = back.take(&Wait::at_most(LONG)).map_err(in_words)?;
                taken.copy_into(message);
                taken.acknowledge().map_err(in_words)
            }
            Way::Pipe { back, .. } => back.read_exact(message).map_err(|error| error.to_string()),
            Way::Socket(socket) => {
                let taken = recv(socket.as_raw_fd(), message, MsgFlags::empty());
                match taken {
                    Ok(0) => Err("the other side has gone".to_owned()),
                    taken => taken.map(drop).map_err(|error| format!("recv: {}", error.desc())),
                }
            }
            Way::Mqueue { back, .. } => mq_receive(back, message),
        }
    }
}

/// Who uses a queue: this thread.
fn here() -> Result<Holder, String> {
    Holder::this_thread().map_err(in_words)
}

/// A crash-safe queue.
pub(in crate::axes) fn queue(
    capacity: usize,
    message: usize,
    users: usize,
) -> Result<Queue, String> {
    Queue::create(QueueSize { capacity, message, users }, here()?).map_err(in_words)
}

/// The same file, for the other side.
pub(in crate::axes) fn copy(fd: &impl AsFd) -> Result<OwnedFd, String> {
    fd.as_fd().try_clone_to_owned().map_err(|error| error.to_string())
}

fn sockets(size: usize) -> Result<(OwnedFd, OwnedFd), String> {
    let words = |error: nix::errno::Errno| format!("a socket: {}", error.desc());
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(words)?;
    for socket in [&pair.0, &pair.1] {
        // Beside the message itself the kernel counts its own structures.
        setsockopt(socket, sockopt::SndBuf, &(2 * size + 65536)).map_err(words)?;
    }
    Ok(pair)
}

/// A POSIX message queue without a name: it is gone with its last descriptor.
fn mqueue(size: usize) -> Result<OwnedFd, String> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("/supervisord-rs-measure-{}-{number}", std::process::id());
    let name = std::ffi::CString::new(name).expect("no byte of it is 0");
    // SAFETY: zeros are a valid structure of numbers.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = SLOTS as _;
    attributes.mq_msgsize = size as _;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // SAFETY: nix has it behind a feature that nothing else needs. Name and attributes live during
    // the call.
    let fd = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, &raw const attributes) };
    if fd < 0 {
        let error = nix::errno::Errno::last();
        return Err(format!("this kernel gives no message queue (mq_open: {})", error.desc()));
    }
    // SAFETY: as above.
    unsafe { libc::mq_unlink(name.as_ptr()) };
    // SAFETY: on Linux it is a descriptor (mq_overview(7)), and mq_open has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn mq_send(queue: &OwnedFd, message: &[u8]) -> Result<(), String> {
    // SAFETY: the message is that long, and the descriptor is a queue's.
    let sent =
        unsafe { libc::mq_send(queue.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    if sent == 0 { Ok(()) } else { Err(nix::errno::Errno::last().desc().to_owned()) }
}

fn mq_receive(queue: &OwnedFd, message: &mut [u8]) -> Result<(), String> {
    // SAFETY: the buffer is that long, as long as messages of this queue; no priority is asked for.
    let taken = unsafe {
        libc::mq_receive(
            queue.as_raw_fd(),
            message.as_mut_ptr().cast(),
            message.len(),
            std::ptr::null_mut(),
        )
    };
    if taken >= 0 { Ok(()) } else { Err(nix::errno::Errno::last().desc().to_owned()) }
}

/// A pipe that one thread writes and reads: its system calls without a wake-up.
pub(super) fn own_pipe(size: usize) -> Result<(PipeReader, PipeWriter), String> {
    let (reader, writer) = std::io::pipe().map_err(|error| format!("a pipe: {error}"))?;
    let room = i32::try_from(size).map_err(|_| "a pipe is not so long")?;
    let set = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(room));
    set.map_err(|error| format!("a pipe of that size: {}", error.desc()))?;
    Ok((reader, writer))
}
