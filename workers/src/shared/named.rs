//! What POSIX gives a name to (shm_overview(7), sem_overview(7), mq_overview(7)): made under a name
//! that no other one has, found and unlinked by it. A supervisor does that; users are handed the
//! descriptor, and foreign programs may open the name.

use std::ffi::CString;
use std::mem::size_of;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use super::Error;

/// For its owner alone.
const MODE: libc::mode_t = 0o600;

/// Where a name is known: each of these has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Semaphores, sem_open(3).
    Semaphore,
    /// Memory, shm_open(3).
    Memory,
    /// Message queues, mq_open(3).
    Queue,
}

/// What something with a name is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A semaphore.
    Semaphore {
        /// How many permits it has at first.
        permits: usize,
    },
    /// Memory, all zero. All of it is taken at once: else a store could meet a `/dev/shm` without
    /// room, whose answer is SIGBUS.
    Memory {
        /// Bytes.
        size: usize,
    },
    /// A message queue whose descriptors do not block.
    Queue {
        /// Messages.
        capacity: usize,
        /// Bytes of the longest one.
        message: usize,
    },
}

impl Named {
    /// Where its name is known.
    #[must_use]
    pub const fn space(self) -> Space {
        match self {
            Self::Semaphore { .. } => Space::Semaphore,
            Self::Memory { .. } => Space::Memory,
            Self::Queue { .. } => Space::Queue,
        }
    }

    /// Makes it, for this user alone (mode 0600). The name begins with `/` and has no other one.
    /// May block while the kernel finds memory.
    ///
    /// # Errors
    /// [`Error::System`]: EEXIST where the name is taken; ENOSPC without room in `/dev/shm`, or for
    /// more queues than `/proc/sys/fs/mqueue/queues_max`; EINVAL for what `/proc/sys/fs/mqueue` does
    /// not allow; EMFILE for more than `RLIMIT_MSGQUEUE`. Nothing is left of it then.
    pub fn make(self, name: &str) -> Result<OwnedFd, Error> {
        match self {
            Self::Semaphore { permits } => make_semaphore(name, permits),
            Self::Memory { size } => make_memory(name, size),
            Self::Queue { capacity, message } => make_queue(name, capacity, message),
        }
    }

    /// Whether what is behind this descriptor has all its bytes still: any user can make memory and
    /// semaphores shorter. A queue always has. Never waits.
    #[must_use]
    pub fn is_whole(self, fd: impl AsFd) -> bool {
        let least = match self {
            Self::Semaphore { .. } => size_of::<libc::sem_t>(),
            Self::Memory { size } => size,
            Self::Queue { .. } => 0,
        };
        fstat(fd).is_ok_and(|stat| u64::try_from(stat.st_size).is_ok_and(|has| has >= least as u64))
    }
}

impl Space {
    /// A descriptor of what has this name.
    ///
    /// # Errors
    /// [`Error::System`]: ENOENT without one, EACCES for that of another user.
    pub fn find(self, name: &str) -> Result<OwnedFd, Error> {
        match self {
            Self::Semaphore => open_memory(&file_of_semaphore(name), libc::O_RDWR),
            Self::Memory => open_memory(name, libc::O_RDWR),
            Self::Queue => {
                let name = c_string(name)?;
                let flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
                // SAFETY: needed because nix has it only with a feature. The name is a C string that
                // outlives the call; without O_CREAT there are no other arguments. The descriptor
                // is new, and nothing else owns it.
                let fd = unsafe { libc::mq_open(name.as_ptr(), flags) };
                owned(fd, "mq_open")
            }
        }
    }

    /// Takes the name away. Those that have it keep it.
    ///
    /// # Errors
    /// [`Error::System`]: ENOENT, EACCES.
    pub fn unlink(self, name: &str) -> Result<(), Error> {
        let name = c_string(name)?;
        // SAFETY: needed because nix has not all three. The name is a C string that outlives the
        // call.
        let (answer, call) = unsafe {
            match self {
                Self::Semaphore => (libc::sem_unlink(name.as_ptr()), "sem_unlink"),
                Self::Memory => (libc::shm_unlink(name.as_ptr()), "shm_unlink"),
                Self::Queue => (libc::mq_unlink(name.as_ptr()), "mq_unlink"),
            }
        };
        Errno::result(answer).map(drop).map_err(Error::of(call))
    }

    /// Where people find it. That of a queue is there once the file system is mounted:
    /// `mount -t mqueue none /dev/mqueue`.
    #[must_use]
    pub fn path(self, name: &str) -> String {
        match self {
            Self::Semaphore => format!("/dev/shm{}", file_of_semaphore(name)),
            Self::Memory => format!("/dev/shm{name}"),
            Self::Queue => format!("/dev/mqueue{name}"),
        }
    }
}

/// The C library keeps a semaphore in a file of this name.
fn file_of_semaphore(name: &str) -> String {
    format!("/sem.{}", name.trim_start_matches('/'))
}

fn make_semaphore(name: &str, permits: usize) -> Result<OwnedFd, Error> {
    let path = c_string(name)?;
    let value = libc::c_uint::try_from(permits).map_err(|_| Error::Foreign("too many permits"))?;
    // SAFETY: needed because nix does not have it. The name is a C string that outlives the call;
    // with O_CREAT there are a mode and a value, as variadic arguments of these types.
    let made = unsafe { libc::sem_open(path.as_ptr(), libc::O_CREAT | libc::O_EXCL, MODE, value) };
    if made == libc::SEM_FAILED {
        return Err(Error::of("sem_open")(Errno::last()));
    }
    // SAFETY: it was opened just now, and nothing uses it by this address.
    unsafe { libc::sem_close(made) };
    Space::Semaphore.find(name).inspect_err(|_| drop(Space::Semaphore.unlink(name)))
}

fn make_memory(name: &str, size: usize) -> Result<OwnedFd, Error> {
    let fd = open_memory(name, libc::O_CREAT | libc::O_EXCL | libc::O_RDWR)?;
    let sized = i64::try_from(size).map_err(|_| Error::Foreign("its size is out of range"));
    let sized = sized.and_then(|size| {
        ftruncate(&fd, size).map_err(Error::of("ftruncate"))?;
        nix::fcntl::posix_fallocate(&fd, 0, size).map_err(Error::of("fallocate"))
    });
    match sized {
        Ok(()) => Ok(fd),
        Err(error) => {
            let _ = Space::Memory.unlink(name);
            Err(error)
        }
    }
}

fn make_queue(name: &str, capacity: usize, message: usize) -> Result<OwnedFd, Error> {
    let name = c_string(name)?;
    // SAFETY: zeros are a value of this type of C, which is integers.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = libc::c_long::try_from(capacity).unwrap_or(libc::c_long::MAX);
    attributes.mq_msgsize = libc::c_long::try_from(message).unwrap_or(libc::c_long::MAX);
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: needed as above. The name and the attributes outlive the call; with O_CREAT there are
    // a mode and attributes, as variadic arguments of these types.
    let fd = unsafe { libc::mq_open(name.as_ptr(), flags, MODE, &raw mut attributes) };
    owned(fd, "mq_open")
}

/// Close-on-exec, as shm_open(3) makes it.
fn open_memory(name: &str, flags: libc::c_int) -> Result<OwnedFd, Error> {
    let name = c_string(name)?;
    // SAFETY: needed as above. The name is a C string that outlives the call.
    let fd = unsafe { libc::shm_open(name.as_ptr(), flags, MODE) };
    owned(fd, "shm_open")
}

fn owned(fd: libc::c_int, call: &'static str) -> Result<OwnedFd, Error> {
    Errno::result(fd).map_err(Error::of(call))?;
    // SAFETY: a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_string(name: &str) -> Result<CString, Error> {
    CString::new(name).map_err(|_| Error::Foreign("a name with a zero byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Named; 3] = [
        Named::Semaphore { permits: 2 },
        Named::Memory { size: 10_000 },
        Named::Queue { capacity: 2, message: 64 },
    ];

    fn errno(error: &Error) -> Option<i32> {
        let Error::System { source, .. } = error else { return None };
        source.raw_os_error()
    }

    #[test]
    fn a_name_is_made_once_found_by_all_and_gone_when_it_is_unlinked() {
        for (index, named) in ALL.into_iter().enumerate() {
            let name = format!("/supervisord-rs-test.{}.{index}", std::process::id());
            let space = named.space();
            let made = named.make(&name).expect("made");
            let again = named.make(&name).expect_err("taken");
            assert_eq!(errno(&again), Some(libc::EEXIST), "{named:?}");
            let found = space.find(&name).expect("found");
            let same =
                |one: &OwnedFd| fstat(one).map(|stat| (stat.st_dev, stat.st_ino, stat.st_mode));
            assert_eq!(same(&made).expect("open"), same(&found).expect("open"), "{named:?}");
            assert_eq!(same(&made).expect("open").2 & 0o777, 0o600, "{named:?}");
            assert!(named.is_whole(&made));
            space.unlink(&name).expect("there");
            assert_eq!(errno(&space.find(&name).expect_err("gone")), Some(libc::ENOENT));
            if space != Space::Queue {
                ftruncate(&found, 0).expect("not sealed");
                assert!(!named.is_whole(&made), "{named:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_made_leaves_no_name() {
        let name = format!("/supervisord-rs-test.{}.none", std::process::id());
        for named in [
            Named::Memory { size: 1 << 50 },
            Named::Queue { capacity: 1 << 20, message: 64 },
            Named::Semaphore { permits: 1 << 31 },
        ] {
            let error = named.make(&name).expect_err("too much");
            assert!(matches!(error, Error::System { .. }), "{error:?}");
            assert_eq!(errno(&named.space().find(&name).expect_err("none")), Some(libc::ENOENT));
        }
    }
}
