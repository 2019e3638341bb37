//! What a worker shares with others: the resources that stand in its `uses:`.

use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;
use std::time::Duration;

use super::Context;
use crate::runtime::endowment::{CHANNEL, OBJECT, POSIX, SHARED};
use crate::shared::PLACE_TIME;
use crate::shared::{
    Carrier, Condition, Error, Holder, Kind, Mutex, Queue, Region, RwLock, Segment, Semaphore,
    Topic, Wait,
};

/// A resource, as one thread of a worker has it: what the thread holds comes back when it has
/// ended. Another thread asks its own context for it.
#[derive(Debug)]
pub struct Attached<T> {
    resource: T,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl<T> Deref for Attached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.resource
    }
}

impl Context {
    /// The queue of this name, which stands in the worker's `uses:`: the same one for all that use
    /// it, whether they are threads, in a cell, or processes. It takes one of the queue's places,
    /// until it is dropped.
    ///
    /// # Errors
    /// [`Error::NotUsed`], [`Error::OtherKind`], [`Error::NoPlace`], [`Error::System`]. It may wait
    /// for microseconds.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// # use workers::shared::Error;
    /// # #[derive(serde::Deserialize)] struct Order { number: u64 }
    /// # fn ship(order: &Order) -> Result<(), std::io::Error> { Ok(()) }
    /// fn take(context: &Context) -> Result<(), WorkerError> {
    ///     let orders = context.queue("orders")?;
    ///     loop {
    ///         let message = match orders.take(&context.until_stop()) {
    ///             Err(Error::GivenUp) => return Ok(()),
    ///             taken => taken?,
    ///         };
    ///         // Until it is acknowledged, a death gives it to another taker.
    ///         ship(&message.value()?)?;
    ///         message.acknowledge()?;
    ///         context.progress(1);
    ///     }
    /// }
    /// ```
    pub fn queue(&self, name: &str) -> Result<Attached<Queue>, Error> {
        let ends = Carrier::OF_KERNEL.into_iter().find_map(|carrier| {
            let end = |end| self.end(carrier.word(), name, end);
            Some((carrier, end("take")?, end("send")?))
        });
        match ends {
            Some((carrier, take, send)) => self
                .attach(name, |fd, holder| Queue::open_carried(fd, (take, send), carrier, holder)),
            None => {
                let wait = self.at_most(PLACE_TIME);
                self.attach(name, |fd, holder| Queue::open_within(fd, holder, &wait))
            }
        }
    }

    /// The semaphore of this name.
    ///
    /// # Errors
    /// [`Error::NotUsed`], [`Error::OtherKind`], [`Error::System`].
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// # use std::time::Duration;
    /// fn fetch(context: &Context) -> Result<(), WorkerError> {
    ///     let gate = context.semaphore("gate")?;
    ///     let permit = gate.acquire(&context.at_most(Duration::from_secs(5)))?;
    ///     // At most as many as there are permits are here.
    ///     drop(permit);
    ///     Ok(())
    /// }
    /// ```
    pub fn semaphore(&self, name: &str) -> Result<Attached<Semaphore>, Error> {
        match self.end(POSIX, name, OBJECT) {
            Some(posix) => self.attach(name, |fd, holder| Semaphore::open_posix(fd, posix, holder)),
            None => self.attach(name, Semaphore::open),
        }
    }

    /// The mutex of this name.
    ///
    /// # Errors
    /// [`Error::NotUsed`], [`Error::OtherKind`], [`Error::System`].
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// # use workers::shared::Region;
    /// # fn recount(ledger: &Region) {}
    /// fn add(context: &Context) -> Result<(), WorkerError> {
    ///     let (door, ledger) = (context.mutex("door")?, context.region("ledger")?);
    ///     let locked = door.lock(&context.until_stop())?;
    ///     // The one before may have died within its change.
    ///     let mut guard = locked.or_repair(|_| recount(&ledger));
    ///     let mut total = [0; 8];
    ///     ledger.read(0, &mut total)?;
    ///     let total = u64::from_ne_bytes(total) + 1;
    ///     guard.change(|| ledger.write(0, &total.to_ne_bytes()))?;
    ///     Ok(())
    /// }
    /// ```
    pub fn mutex(&self, name: &str) -> Result<Attached<Mutex>, Error> {
        let mutex = self.attach(name, Mutex::open)?;
        let policy = self.shared.on_owner_death.get(name).copied().unwrap_or_default();
        Ok(attached(mutex.resource.on_owner_death(policy)))
    }

    /// The condition variable of this name; the mutex that it goes with has a name of its own.
    ///
    /// # Errors
    /// [`Error::NotUsed`], [`Error::OtherKind`], [`Error::System`].
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn wait(context: &Context) -> Result<(), WorkerError> {
    ///     let (door, fresh) = (context.mutex("door")?, context.condition("fresh")?);
    ///     let ledger = context.region("ledger")?;
    ///     let is_there = || {
    ///         let mut first = [0];
    ///         ledger.read(0, &mut first).is_ok() && first != [0]
    ///     };
    ///     let wait = context.until_stop();
    ///     let guard = door.lock(&wait)?.carry_on();
    ///     let guard = fresh.wait_until(&door, guard, &wait, |_| is_there())?;
    ///     drop(guard);
    ///     Ok(())
    /// }
    /// ```
    pub fn condition(&self, name: &str) -> Result<Attached<Condition>, Error> {
        self.attach(name, |fd, _| Condition::open(fd))
    }

    /// The reader-writer lock of this name.
    ///
    /// # Errors
    /// [`Error::NotUsed`], [`Error::OtherKind`], [`Error::System`].
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// # use workers::shared::ReadLocked;
    /// fn look(context: &Context) -> Result<(), WorkerError> {
    ///     let config = context.rw_lock("config")?;
    ///     match config.read(&context.until_stop())? {
    ///         ReadLocked::Clean(guard) => drop(guard),
    ///         // The last writer died: this one has the lock alone, to mend the data.
    ///         ReadLocked::WriterDied(recovery) => drop(recovery.repaired()),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn rw_lock(&self, name: &str) -> Result<Attached<RwLock>, Error> {
        let lock = self.attach(name, RwLock::open)?;
        let policy = self.shared.on_owner_death.get(name).copied().unwrap_or_default();
        Ok(attached(lock.resource.on_owner_death(policy)))
    }

    /// The memory region of this name; what guards it has a name of its own.
    ///
    /// # Errors
    /// [`Error::NotUsed`], [`Error::OtherKind`], [`Error::System`].
    pub fn region(&self, name: &str) -> Result<Attached<Region>, Error> {
        match self.end(POSIX, name, OBJECT) {
            Some(posix) => self.attach(name, |fd, _| Region::open_posix(fd, posix)),
            None => self.attach(name, |fd, _| Region::open(fd)),
        }
    }

    /// The topic of this name.
    ///
    /// # Errors
    /// [`Error::NotUsed`], [`Error::OtherKind`], [`Error::System`].
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn follow(context: &Context) -> Result<(), WorkerError> {
    ///     let price = context.topic("price")?;
    ///     let mut last = 0;
    ///     while price.wait_after(last, &context.until_stop()).is_ok() {
    ///         if let Some((number, euros)) = price.read_value::<f64>()? {
    ///             context.log_line(format!("{euros}"));
    ///             last = number;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn topic(&self, name: &str) -> Result<Attached<Topic>, Error> {
        self.attach(name, Topic::open)
    }

    /// For the waits of resources: as long as it takes, until the worker is to stop
    /// ([`Error::GivenUp`]). One that waits so is not hung: it gives its signs of life.
    #[must_use]
    pub fn until_stop(&self) -> Wait<'_> {
        Wait::of_worker(self, None)
    }

    /// The same, from now on at most this long ([`Error::TimedOut`]).
    #[must_use]
    pub fn at_most(&self, time: Duration) -> Wait<'_> {
        Wait::of_worker(self, Some(time))
    }

    fn attach<T>(
        &self,
        name: &str,
        open: impl FnOnce(OwnedFd, Holder) -> Result<T, Error>,
    ) -> Result<Attached<T>, Error> {
        let fd = self.resource(name)?;
        Ok(attached(open(fd, Holder::this_thread()?)?))
    }

    /// A copy of an end of a queue that the kernel carries, or of what has a name.
    fn end(&self, by: &str, name: &str, end: &str) -> Option<OwnedFd> {
        let endowment = self.shared.endowment.lock().unwrap_or_else(PoisonError::into_inner);
        endowment.peek(&format!("{CHANNEL}{by}/{name}/{end}"))?.try_clone().ok()
    }

    /// The first one of this kind, by name.
    pub(crate) fn first_of(&self, kind: Kind) -> Option<OwnedFd> {
        self.first_named(kind).map(|(_, copy)| copy)
    }

    /// What has the bytes of its first region.
    pub(crate) fn first_memory(&self) -> Option<OwnedFd> {
        let (name, sealed) = self.first_named(Kind::Region)?;
        Some(self.end(POSIX, &name, OBJECT).unwrap_or(sealed))
    }

    /// Its first queue, by name, with what carries it.
    pub(crate) fn first_queue(&self) -> Option<Attached<Queue>> {
        let (name, _) = self.first_named(Kind::Queue)?;
        self.queue(&name).ok()
    }

    fn first_named(&self, kind: Kind) -> Option<(String, OwnedFd)> {
        let endowment = self.shared.endowment.lock().unwrap_or_else(PoisonError::into_inner);
        let names = endowment.unclaimed_of(SHARED).into_iter();
        let mut copies = names.filter_map(|name| {
            let copy = endowment.peek(&format!("{SHARED}{name}"))?.try_clone().ok()?;
            Some((name.to_owned(), copy))
        });
        copies.find(|(_, copy)| {
            let segment = copy.try_clone().ok().and_then(|copy| Segment::adopt(copy).ok());
            segment.is_some_and(|segment| segment.kind() == kind)
        })
    }

    /// A copy: it may be asked for again, and by other threads.
    fn resource(&self, name: &str) -> Result<OwnedFd, Error> {
        let endowment = self.shared.endowment.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fd) = endowment.peek(&format!("{SHARED}{name}")) {
            return fd.try_clone().map_err(Error::of("fcntl"));
        }
        let used = match endowment.unclaimed_of(SHARED).as_slice() {
            [] => "this worker uses none".to_owned(),
            used => format!("this worker uses {}", used.join(", ")),
        };
        Err(Error::NotUsed { name: name.to_owned(), used })
    }
}

fn attached<T>(resource: T) -> Attached<T> {
    Attached { resource, _stays_on_its_thread: PhantomData }
}
