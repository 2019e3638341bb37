//! What a supervisor does with something shared: it looks, and gives back what the dead had. It
//! takes no place, locks nothing and never waits; what it reads is checked as in every user.

use std::time::Duration;

use super::attachment::Attachment;
use super::holder::Holder;
use super::{
    Census, Error, Hold, Kind, Lives, Queue, RwLock, Segment, Semaphore, mutex, rw_lock, topic,
};

/// What can be seen of something shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who has it: the owner of a mutex, the writer or the readers of a lock, one for each permit
    /// of a semaphore. The users of a queue hold nothing.
    pub holders: Vec<Holder>,
    /// For how long its only owner has had it, at least.
    pub held_for: Option<Duration>,
    /// Who waits for it.
    pub waiters: Vec<Holder>,
    /// The messages of a queue.
    pub messages: Option<Census>,
    /// Permits of a POSIX semaphore that are gone with dead holders: see
    /// [`Segment::note_lost_permits`].
    pub lost_permits: u64,
    /// Whether all get [`Error::Poisoned`].
    pub is_poisoned: bool,
}

/// What the dead had of something shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The lock, for its only owner: whether within a change. The next one gets it.
    pub lock: Option<bool>,
    /// How long they had it, at least.
    pub held_for: Option<Duration>,
    /// Permits, which are free again.
    pub permits: usize,
    /// Places of readers, which are free again.
    pub readers: usize,
    /// Messages that were taken and not acknowledged: they are taken again.
    pub messages: usize,
    /// Messages that were half sent: they are gone.
    pub half_messages: usize,
    /// Messages that were taken from a queue that the kernel carries: they are gone.
    pub lost_messages: usize,
    /// Of which hold that is: the same one is seen until the next owner comes.
    pub hold: (u64, u64),
    /// How often in all the next one was told of a dead owner, up to now.
    pub recoveries: u32,
    /// The owner that the last of these died, if its name is known.
    pub fallen: Option<Holder>,
}

impl Segment {
    /// What can be seen of it. Never waits; of a queue it looks at all slots.
    #[must_use]
    pub fn look(&'static self) -> Seen {
        let waiters = self.waiters();
        let owned = |hold: Option<Hold>, is_poisoned| Seen {
            holders: hold.iter().map(|hold| hold.holder).collect(),
            held_for: hold.map(|hold| hold.at_least),
            is_poisoned,
            ..Seen::default()
        };
        let seen = match self.kind() {
            Kind::Mutex => {
                let words = mutex::inner(self);
                owned(words.hold(), words.is_given_up())
            }
            Kind::RwLock => {
                let words = rw_lock::inner(self);
                let mut seen = owned(words.hold(), words.is_given_up());
                seen.holders.extend(
                    self.observed().map(RwLock::of).map(|lock| lock.readers()).unwrap_or_default(),
                );
                seen
            }
            Kind::Semaphore => {
                let semaphore = self.observed().map(Semaphore::of);
                semaphore.map_or_else(
                    |_| Seen::default(),
                    |one| Seen {
                        holders: one.holders(),
                        lost_permits: one.lost(),
                        ..Seen::default()
                    },
                )
            }
            Kind::Queue => {
                let messages = self.observed().map(Queue::observer).map(|queue| queue.census());
                Seen { messages: messages.ok(), ..Seen::default() }
            }
            Kind::Region | Kind::Condition | Kind::Topic => Seen::default(),
        };
        Seen { waiters, ..seen }
    }

    /// Notes that so many permits, which POSIX has, are gone with dead holders: as long as what is
    /// shared lives, no matter which supervisor it has. Only [`Self::look`] shows it.
    pub fn note_lost_permits(&'static self, count: u64) {
        if self.kind() == Kind::Semaphore
            && let Ok(attachment) = self.observed()
        {
            Semaphore::of(attachment).note_lost(count);
        }
    }

    /// How often in all a next owner was told of a dead one. 0 for what has no owner. Never waits.
    #[must_use]
    pub fn recoveries(&self) -> u32 {
        match self.kind() {
            Kind::Mutex => mutex::inner(self).recoveries(),
            Kind::RwLock => rw_lock::inner(self).recoveries(),
            Kind::Region | Kind::Semaphore | Kind::Condition | Kind::Queue | Kind::Topic => 0,
        }
    }

    /// Gives back what the dead had, at once and not only when another one waits for it. Never
    /// waits; reads a file for each that has something.
    ///
    /// # Errors
    /// [`Error::System`] where `/proc` is not mounted.
    pub fn release_dead(&'static self) -> Result<Left, Error> {
        self.release_dead_if(&Lives::default(), |_| true)
    }

    /// The same of those dead of whom `is_wanted`. What `lives` does not know stays.
    ///
    /// # Errors
    /// As of [`Self::release_dead`].
    pub fn release_dead_if(
        &'static self,
        lives: &Lives,
        is_wanted: impl Fn(Holder) -> bool,
    ) -> Result<Left, Error> {
        let attachment = self.observed()?;
        let is_dead = |holder| is_wanted(holder) && attachment.is_dead_by(lives, holder);
        self.forget_waiters(is_dead);
        Ok(match self.kind() {
            Kind::Mutex => Self::left_of(mutex::inner(self), is_dead, &is_wanted),
            Kind::RwLock => {
                let left = Self::left_of(rw_lock::inner(self), is_dead, &is_wanted);
                Left { readers: RwLock::of(attachment).release_if(is_dead), ..left }
            }
            Kind::Semaphore => {
                Left { permits: Semaphore::of(attachment).release_if(is_dead), ..Left::default() }
            }
            Kind::Queue => {
                // None: another one does it, and what it finds is not known here.
                let recovered =
                    Queue::observer(attachment).release_if(is_dead)?.unwrap_or_default();
                let (messages, half_messages) = (recovered.returned, recovered.torn);
                let lost_messages = self.lose_taken(is_dead);
                Left { messages, half_messages, lost_messages, ..Left::default() }
            }
            Kind::Topic => {
                topic::inner(self).give_up_if(is_dead);
                Left::default()
            }
            Kind::Region | Kind::Condition => Left::default(),
        })
    }

    fn left_of(
        words: &mutex::Inner,
        is_dead: impl Fn(Holder) -> bool,
        is_wanted: impl Fn(Holder) -> bool,
    ) -> Left {
        let (hold, version, fallen) = (words.hold(), words.version(), words.fallen());
        let is_changing = version & 1 != 0 && !words.is_given_up();
        // One that has unwound within a change has left the lock, and half a change; and one that
        // was told of a death may have left that to others.
        let is_left = hold.is_none()
            && !words.is_given_up()
            && words.is_to_be_told()
            && fallen.is_none_or(is_wanted);
        let hold = hold.filter(|hold| is_dead(hold.holder));
        words.give_up_if(&is_dead);
        Left {
            lock: (hold.is_some() || is_left).then_some(is_changing),
            held_for: hold.map(|hold| hold.at_least),
            hold: (hold.map_or(0, |hold| hold.holder.to_bits()), version),
            recoveries: words.recoveries(),
            fallen,
            ..Left::default()
        }
    }

    fn observed(&'static self) -> Result<Attachment, Error> {
        Ok(Attachment::observing(self, Holder::this_thread()?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Blueprint, Mutex, QueueSize, Wait};
    use super::*;

    fn copy(segment: &Segment) -> std::os::fd::OwnedFd {
        segment.fd().try_clone_to_owned().expect("a descriptor")
    }

    fn this_thread() -> Holder {
        Holder::this_thread().expect("/proc")
    }

    /// Runs it on a thread that ends with all that it has.
    fn dies(work: impl FnOnce() + Send) {
        let holder = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                work();
                this_thread()
            });
            thread.join().expect("no panic")
        });
        holder.wait_until_dead();
    }

    #[test]
    fn what_the_dead_had_is_seen_and_given_back_without_taking_part() {
        let gate = Blueprint::Semaphore { permits: 3 }.make().expect("made");
        let size = QueueSize { capacity: 4, message: 8, users: 4 };
        let jobs = Blueprint::Queue(size).make().expect("made");
        dies(|| {
            let semaphore = Semaphore::open(copy(gate), this_thread()).expect("opened");
            let queue = Queue::open(copy(jobs), this_thread()).expect("opened");
            for _ in 0..2 {
                std::mem::forget(semaphore.acquire(&Wait::none()).expect("free"));
                queue.send(b"job", &Wait::none()).expect("room");
            }
            std::mem::forget(queue.take(&Wait::none()).expect("a job"));
            std::mem::forget(queue);
        });
        assert_eq!(gate.look().holders.len(), 2);
        let census = jobs.look().messages.expect("of a queue");
        assert_eq!((census.ready, census.taken), (1, 1));
        assert_eq!(gate.release_dead().expect("/proc").permits, 2);
        assert_eq!(jobs.release_dead().expect("/proc").messages, 1);
        assert_eq!(gate.look(), Seen::default());
        assert_eq!(jobs.release_dead().expect("/proc"), Left::default());
    }

    #[test]
    fn a_lock_of_a_dead_owner_and_those_that_wait_for_one_are_seen() {
        let door = Blueprint::Mutex.make().expect("made");
        let mutex = Mutex::open(copy(door), this_thread()).expect("opened");
        let guard = mutex.lock(&Wait::none()).expect("free");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mutex = Mutex::open(copy(door), this_thread()).expect("opened");
                drop(mutex.lock(&Wait::at_most(Duration::from_secs(60))).expect("in time"));
                this_thread()
            });
            while door.look().waiters.is_empty() {
                std::thread::yield_now();
            }
            let seen = door.look();
            assert_eq!((seen.holders, seen.waiters.len()), (vec![this_thread()], 1));
            drop(guard);
            assert_ne!(waiter.join().expect("no panic"), this_thread());
        });
        assert_eq!(door.look(), Seen::default(), "no thread waits any more");
        dies(|| {
            let mutex = Mutex::open(copy(door), this_thread()).expect("opened");
            let guard = mutex.lock(&Wait::none()).expect("free").carry_on();
            guard.begin_half_a_change();
            std::mem::forget(guard);
        });
        let left = door.release_dead().expect("/proc");
        assert_eq!((left.lock, left.recoveries), (Some(true), 0));
        drop(mutex.lock(&Wait::none()).expect("given").carry_on());
        let left = door.release_dead().expect("/proc");
        assert_eq!((left.lock, left.recoveries), (None, 1));
    }
}
