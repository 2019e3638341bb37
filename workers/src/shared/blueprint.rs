//! Making something shared without using it: what a supervisor does, and a test.

use std::os::fd::OwnedFd;

use super::mutex::Inner;
use super::queue::QueueSize;
use super::segment::{Kind, Numbers, Segment, SizeOf};
use super::{Error, condition, mutex, queue, region, rw_lock, semaphore, topic};

/// What something shared is made with.
///
/// ```
/// use workers::shared::{Blueprint, QueueSize, Wait};
/// use workers::testing::Harness;
/// use workers::{Context, Registry, WorkerError};
///
/// fn takes(context: &Context, (): ()) -> Result<(), WorkerError> {
///     let jobs = context.queue("jobs")?;
///     let job = jobs.take(&context.until_stop())?;
///     context.log_line(job.value::<String>()?);
///     Ok(job.acknowledge()?)
/// }
///
/// let jobs = Blueprint::Queue(QueueSize { capacity: 8, message: 256, users: 4 }).make()?;
/// let registry = Registry::default().function("takes", "takes one job", takes);
/// let taker = Harness::new(&registry, "takes", serde_json::Value::Null)
///     .resource("jobs", jobs)
///     .start();
/// let own = workers::shared::Queue::open(
///     jobs.fd().try_clone_to_owned()?,
///     workers::shared::Holder::this_thread()?,
/// )?;
/// own.send_value(&"copy the files", &Wait::none())?;
/// taker.wait_output("copy the files");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blueprint {
    /// A [`Queue`](super::Queue).
    Queue(QueueSize),
    /// A [`Semaphore`](super::Semaphore).
    Semaphore {
        /// How many, 1 to [`PERMITS_MAX`](super::PERMITS_MAX).
        permits: usize,
    },
    /// A [`Region`](super::Region).
    Region {
        /// Its size in bytes, 1 to [`REGION_MAX`](super::REGION_MAX).
        size: usize,
    },
    /// A [`Mutex`](super::Mutex).
    Mutex,
    /// A [`Condition`](super::Condition).
    Condition,
    /// A [`RwLock`](super::RwLock).
    RwLock {
        /// How many may read at a time, 1 to [`READERS_MAX`](super::READERS_MAX).
        readers: usize,
    },
    /// A [`Topic`](super::Topic).
    Topic {
        /// Bytes of the longest value, 1 to [`MESSAGE_MAX`](super::MESSAGE_MAX).
        message: usize,
    },
}

impl Blueprint {
    /// Makes it. May block while the kernel finds memory for it.
    ///
    /// # Errors
    /// [`Error::Foreign`]: a number is out of range; [`Error::System`], as ENOMEM.
    pub fn make(self) -> Result<&'static Segment, Error> {
        let (kind, numbers) = match self {
            Self::Queue(QueueSize { capacity, message, users }) => {
                (Kind::Queue, [capacity, message, users])
            }
            Self::Semaphore { permits } => (Kind::Semaphore, [permits, 0, 0]),
            Self::Region { size } => (Kind::Region, [size, 0, 0]),
            Self::Mutex => (Kind::Mutex, [0; 3]),
            Self::Condition => (Kind::Condition, [0; 3]),
            Self::RwLock { readers } => (Kind::RwLock, [readers, 0, 0]),
            Self::Topic { message } => (Kind::Topic, [message, 0, 0]),
        };
        let made: Numbers = numbers;
        let segment = Segment::create(kind, made, size_of_kind(kind))?;
        initialize(segment);
        Ok(segment)
    }
}

impl Segment {
    /// Maps whatever is behind this descriptor, or finds the mapping that this process has, without
    /// using it: takes no place, locks nothing, never waits.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::System`].
    pub fn adopt(fd: OwnedFd) -> Result<&'static Self, Error> {
        Self::open_any(fd, size_of_kind)
    }
}

impl Segment {
    /// Whether its last owner has left it within a change, or has not left it: for those who know
    /// that no user lives. What has no owner is never in doubt. Never waits.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        let words = match self.kind() {
            Kind::Mutex => mutex::inner(self),
            Kind::RwLock => rw_lock::inner(self),
            Kind::Region | Kind::Semaphore | Kind::Condition | Kind::Queue | Kind::Topic => {
                return false;
            }
        };
        words.is_in_doubt()
    }
}

/// Mutexes; all others begin as zeros.
fn initialize(segment: &Segment) {
    let words: Option<&Inner> = match segment.kind() {
        Kind::Mutex => Some(mutex::inner(segment)),
        Kind::RwLock => Some(rw_lock::inner(segment)),
        Kind::Topic => Some(topic::inner(segment)),
        Kind::Region | Kind::Semaphore | Kind::Condition | Kind::Queue => None,
    };
    if let Some(words) = words {
        words.initialize();
    }
}

fn size_of_kind(kind: Kind) -> SizeOf {
    match kind {
        Kind::Region => region::whole_size,
        Kind::Mutex => mutex::whole_size,
        Kind::Semaphore => semaphore::whole_size,
        Kind::Condition => condition::whole_size,
        Kind::RwLock => rw_lock::whole_size,
        Kind::Queue => queue::whole_size,
        Kind::Topic => topic::whole_size,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Holder, Mutex, Queue, RwLock, Topic, Wait};
    use super::*;

    #[test]
    fn what_is_made_by_a_blueprint_works_and_is_adopted_as_what_it_is() {
        let holder = Holder::this_thread().expect("/proc");
        let fd = |segment: &Segment| segment.fd().try_clone_to_owned().expect("a descriptor");
        let mutex = Blueprint::Mutex.make().expect("made");
        let lock = Mutex::open(fd(mutex), holder).expect("opened");
        assert!(lock.lock(&Wait::none()).is_ok());
        let lock = Blueprint::RwLock { readers: 4 }.make().expect("made");
        let lock = RwLock::open(fd(lock), holder).expect("opened");
        assert!(lock.write(&Wait::none()).is_ok());
        let topic = Blueprint::Topic { message: 8 }.make().expect("made");
        let topic = Topic::open(fd(topic), holder).expect("opened");
        assert_eq!(topic.publish(b"one", &Wait::none()).expect("free"), 1);
        let size = QueueSize { capacity: 2, message: 8, users: 2 };
        let queue = Blueprint::Queue(size).make().expect("made");
        // The one that has made it takes no place.
        let both = [0, 1].map(|_| Queue::open(fd(queue), holder).expect("a place"));
        assert_eq!(both[0].users().len(), 2);
        let adopted = Segment::adopt(fd(queue)).expect("adopted");
        assert_eq!(adopted.kind(), Kind::Queue);
        for wrong in [
            Blueprint::Semaphore { permits: 0 },
            Blueprint::Region { size: usize::MAX },
            Blueprint::Queue(QueueSize { capacity: 1, message: 0, users: 1 }),
        ] {
            assert!(matches!(wrong.make(), Err(Error::Foreign(_))), "{wrong:?}");
        }
    }
}
