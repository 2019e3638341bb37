//! The SDK's primitives, each with one thing that is done with it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workers::shared::{
    Condition, Holder, Mutex, Queue, ReadLocked, RwLock, Semaphore, Topic, Wait, WriteLocked,
};

use crate::axes::communication::{copy, queue};
use crate::memory::{Shared, in_words};
use crate::rounds::each;

/// A wait ends then.
const LONG: Duration = Duration::from_secs(20);
/// The value of a topic, in bytes.
pub(super) const VALUE: usize = 64;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Primitive {
    Mutex,
    Read,
    Write,
    Semaphore,
    Condition,
    Queue,
    Topic,
}

impl Primitive {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex: lock, unlock",
            Self::Read => "rw-lock: read, unlock",
            Self::Write => "rw-lock: write, unlock",
            Self::Semaphore => "semaphore: acquire, release",
            Self::Condition => "condition: signal",
            Self::Queue => "queue: send, take, acknowledge 8 B",
            Self::Topic => "topic: read 64 B",
        }
    }
}

/// One of them, open.
pub(crate) enum Thing {
    Mutex(Mutex),
    RwLock { lock: RwLock, writes: bool },
    Semaphore(Semaphore),
    Condition { condition: Condition, mutex: Mutex, turn: Shared },
    Queue(Queue),
    Topic(Topic),
}

fn here() -> Result<Holder, String> {
    Holder::this_thread().map_err(in_words)
}

impl Thing {
    /// A new one.
    pub(super) fn create(primitive: Primitive) -> Result<Self, String> {
        Ok(match primitive {
            Primitive::Mutex => Self::Mutex(Mutex::create(here()?).map_err(in_words)?),
            Primitive::Read | Primitive::Write => Self::RwLock {
                lock: RwLock::create(16, here()?).map_err(in_words)?,
                writes: primitive == Primitive::Write,
            },
            Primitive::Semaphore => {
                Self::Semaphore(Semaphore::create(1, here()?).map_err(in_words)?)
            }
            Primitive::Condition => Self::Condition {
                condition: Condition::create().map_err(in_words)?,
                mutex: Mutex::create(here()?).map_err(in_words)?,
                turn: Shared::create(1, 0)?,
            },
            Primitive::Queue => Self::Queue(queue(8, 8, 4)?),
            Primitive::Topic => {
                let topic = Topic::create(VALUE, here()?).map_err(in_words)?;
                topic.publish(&[7; VALUE], &Wait::none()).map_err(in_words)?;
                Self::Topic(topic)
            }
        })
    }

    /// That of another worker.
    pub(super) fn open(primitive: Primitive, given: Vec<OwnedFd>) -> Result<Self, String> {
        let mut given = given.into_iter();
        let mut next = || given.next().ok_or("a descriptor is missing");
        Ok(match primitive {
            Primitive::Mutex => Self::Mutex(Mutex::open(next()?, here()?).map_err(in_words)?),
            Primitive::Read | Primitive::Write => Self::RwLock {
                lock: RwLock::open(next()?, here()?).map_err(in_words)?,
                writes: primitive == Primitive::Write,
            },
            Primitive::Semaphore => {
                Self::Semaphore(Semaphore::open(next()?, here()?).map_err(in_words)?)
            }
            Primitive::Condition => Self::Condition {
                condition: Condition::open(next()?).map_err(in_words)?,
                mutex: Mutex::open(next()?, here()?).map_err(in_words)?,
                turn: Shared::open(next()?, 1)?,
            },
            Primitive::Queue => Self::Queue(Queue::open(next()?, here()?).map_err(in_words)?),
            Primitive::Topic => Self::Topic(Topic::open(next()?, here()?).map_err(in_words)?),
        })
    }

    /// The descriptors for [`Self::open`].
    pub(super) fn descriptors(&self) -> Result<Vec<OwnedFd>, String> {
        Ok(match self {
            Self::Mutex(mutex) => vec![copy(&mutex.fd())?],
            Self::RwLock { lock, .. } => vec![copy(&lock.fd())?],
            Self::Semaphore(semaphore) => vec![copy(&semaphore.fd())?],
            Self::Condition { condition, mutex, turn } => {
                vec![copy(&condition.fd())?, copy(&mutex.fd())?, copy(&turn.fd())?]
            }
            Self::Queue(queue) => vec![copy(&queue.fd())?],
            Self::Topic(topic) => vec![copy(&topic.fd())?],
        })
    }

    /// Does its thing once, as any number of workers may at a time; waits as long as it takes.
    #[inline]
    pub(super) fn once(&self) -> Result<(), String> {
        let wait = Wait::none();
        // The limit is made where it is needed only: it reads the clock.
        let later = || Wait::at_most(LONG);
        match self {
            Self::Mutex(mutex) => {
                let locked = mutex.lock(&wait).or_else(|_| mutex.lock(&later()));
                drop(locked.map_err(in_words)?.carry_on());
            }
            Self::RwLock { lock, writes: false } => {
                let locked = lock.read(&wait).or_else(|_| lock.read(&later())).map_err(in_words)?;
                if let ReadLocked::WriterDied(recovery) = locked {
                    drop(recovery.repaired());
                }
            }
            Self::RwLock { lock, writes: true } => {
                let locked = lock.write(&wait).or_else(|_| lock.write(&later()));
                if let WriteLocked::WriterDied(recovery) = locked.map_err(in_words)? {
                    drop(recovery.repaired());
                }
            }
            Self::Semaphore(semaphore) => {
                let permit = semaphore.acquire(&wait).or_else(|_| semaphore.acquire(&later()));
                drop(permit.map_err(in_words)?);
            }
            Self::Condition { condition, .. } => condition.signal(),
            Self::Queue(queue) => {
                queue.send(&[7; 8], &later()).map_err(in_words)?;
                let message = queue.take(&later()).map_err(in_words)?;
                let mut bytes = [0; 8];
                message.copy_into(&mut bytes);
                message.acknowledge().map_err(in_words)?;
            }
            Self::Topic(topic) => {
                let mut bytes = [0; VALUE];
                topic.read(&mut bytes).map_err(in_words)?;
                std::hint::black_box(bytes);
            }
        }
        Ok(())
    }

    /// Nanoseconds for each of so many times.
    pub(super) fn repeat(&self, count: usize) -> Result<f64, String> {
        let mut failed = Ok(());
        let time = each(count, || {
            if let Err(why) = self.once() {
                failed = Err(why);
            }
        });
        failed.map(|()| time)
    }

    /// Waits for its turn and gives the other one its turn, so often. `turn`: 0 or 1.
    pub(super) fn alternate(&self, turn: u32, count: usize) -> Result<(), String> {
        let Self::Condition { condition, mutex, turn: whose } = self else {
            return Err("only workers with a condition have turns".to_owned());
        };
        let word = whose.word(0);
        let wait = Wait::at_most(LONG);
        for _ in 0..count {
            let guard = mutex.lock(&wait).map_err(in_words)?.carry_on();
            let is_over = |_: &mut _| word.load(Ordering::Relaxed) == turn;
            let guard = condition.wait_until(mutex, guard, &wait, is_over).map_err(in_words)?;
            word.store(1 - turn, Ordering::Relaxed);
            condition.signal();
            drop(guard.carry_on());
        }
        Ok(())
    }

    /// Takes it for ever: this worker is about to die.
    pub(super) fn hold(&self) -> Result<(), String> {
        let wait = Wait::at_most(LONG);
        match self {
            Self::Mutex(mutex) => {
                std::mem::forget(mutex.lock(&wait).map_err(in_words)?.carry_on());
            }
            Self::RwLock { lock, writes: true } => {
                std::mem::forget(lock.write(&wait).map_err(in_words)?);
            }
            Self::RwLock { lock, writes: false } => {
                std::mem::forget(lock.read(&wait).map_err(in_words)?);
            }
            Self::Semaphore(semaphore) => {
                std::mem::forget(semaphore.acquire(&wait).map_err(in_words)?);
            }
            Self::Queue(queue) => std::mem::forget(queue.take(&wait).map_err(in_words)?),
            Self::Condition { .. } | Self::Topic(_) => {
                return Err("no one can hold it".to_owned());
            }
        }
        Ok(())
    }

    /// Gets what another one holds, when that has died.
    pub(super) fn inherit(&self) -> Result<(), String> {
        match self {
            Self::Queue(queue) => {
                let message = queue.take(&Wait::at_most(LONG)).map_err(in_words)?;
                message.acknowledge().map_err(in_words)
            }
            // A writer waits for dead readers, too.
            Self::RwLock { lock, .. } => {
                let locked = lock.write(&Wait::at_most(LONG)).map_err(in_words)?;
                if let WriteLocked::WriterDied(recovery) = locked {
                    drop(recovery.repaired());
                }
                Ok(())
            }
            _ => self.once(),
        }
    }

    /// Before one holds it: a queue needs a message.
    pub(super) fn prepare(&self) -> Result<(), String> {
        match self {
            Self::Queue(queue) => queue.send(&[7; 8], &Wait::at_most(LONG)).map_err(in_words),
            _ => Ok(()),
        }
    }
}

/// For orders.
pub(super) fn borrowed(fds: &[OwnedFd]) -> Vec<std::os::fd::BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}
