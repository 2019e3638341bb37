//! A task that waits for what workers share: it tries on the worker's own thread, which will hold
//! what it gets, and another thread sleeps until there is news.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::AsyncContext;
use crate::shared::{Error, SLICE, Wait, futex};

/// Between two looks at what has no word to sleep on: a queue that the kernel carries.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LAST_PAUSE: Duration = Duration::from_millis(20);

impl AsyncContext {
    /// Waits until an operation on a resource comes through, without blocking the runtime: as long
    /// as it takes, or at most this long. `attempt` gets the limit that it passes on.
    ///
    /// Cancel-safe: dropped, nothing was taken.
    ///
    /// # Errors
    /// [`Error::GivenUp`]: the worker is to stop; [`Error::TimedOut`]; those of the operation.
    ///
    /// ```
    /// # use workers::{AsyncContext, WorkerError};
    /// # use workers::shared::Error;
    /// # async fn ship(order: String) -> Result<(), WorkerError> { Ok(()) }
    /// async fn take(context: &AsyncContext) -> Result<(), WorkerError> {
    ///     let orders = context.context().queue("orders")?;
    ///     loop {
    ///         let message = match context.when(None, |now| orders.take(now)).await {
    ///             Err(Error::GivenUp) => return Ok(()),
    ///             taken => taken?,
    ///         };
    ///         ship(message.value()?).await?;
    ///         message.acknowledge()?;
    ///     }
    /// }
    /// ```
    pub async fn when<T>(
        &self,
        time: Option<Duration>,
        mut attempt: impl FnMut(&Wait<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let end = time.and_then(|time| Instant::now().checked_add(time));
        let mut pause = FIRST_PAUSE;
        loop {
            let has_looked = Cell::new(false);
            let look = || attempt(&Wait::of_task(&has_looked));
            let (result, place) = futex::instead_of_sleeping(look);
            let Err(Error::TimedOut) = result else { return result };
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return result;
            }
            let most = left.unwrap_or(SLICE).min(SLICE);
            let news = async {
                match place {
                    // An error: the runtime ends, and this task with it.
                    Some(place) => {
                        drop(tokio::task::spawn_blocking(move || place.sleep(most)).await)
                    }
                    None => tokio::time::sleep(pause.min(most)).await,
                }
            };
            tokio::select! {
                () = self.stopped() => {}
                () = news => {}
            }
            pause = (pause * 2).min(LAST_PAUSE);
            self.context().go_on();
            if self.stop_requested() {
                return Err(Error::GivenUp);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::Registry;
    use crate::WorkerError;
    use crate::shared::{Blueprint, Holder, Mutex, Queue, QueueSize};
    use crate::testing::{Ending, Harness};

    static TICKS: AtomicU64 = AtomicU64::new(0);

    async fn takes(context: &AsyncContext, (): ()) -> Result<(), WorkerError> {
        let (jobs, door) = (context.context().queue("jobs")?, context.context().mutex("door")?);
        let ticking = tokio::task::spawn_local(async {
            loop {
                TICKS.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let none = context.when(Some(Duration::from_millis(30)), |now| jobs.take(now)).await;
        assert!(matches!(none, Err(Error::TimedOut)), "{none:?}");
        context.log_line("takes");
        let message = context.when(None, |now| jobs.take(now)).await?;
        let guard = context.when(None, |now| door.lock(now)).await?;
        context.log_line(message.value::<String>()?);
        message.acknowledge()?;
        drop(guard);
        let end = context.when(None, |now| jobs.take(now)).await;
        assert!(matches!(end, Err(Error::GivenUp)), "{end:?}");
        ticking.abort();
        Ok(())
    }

    #[test]
    fn one_that_waits_for_a_mutex_has_a_place_to_sleep_on() {
        let door = Blueprint::Mutex.make().expect("made");
        let open = || {
            let copy = door.fd().try_clone_to_owned().expect("a copy");
            Mutex::open(copy, Holder::this_thread().expect("/proc")).expect("opened")
        };
        let mutex = open();
        let guard = mutex.lock(&Wait::none()).expect("free");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mutex, has_looked) = (open(), Cell::new(false));
                let look = || mutex.lock(&Wait::of_task(&has_looked)).map(|_| ());
                let (result, place) = futex::instead_of_sleeping(look);
                assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
                place.expect("it sleeps there").sleep(Duration::ZERO);
            });
        });
        drop(guard);
    }

    #[test]
    fn a_task_waits_for_a_queue_and_a_mutex_while_others_go_on() {
        let size = QueueSize { capacity: 4, message: 64, users: 4 };
        let jobs = Blueprint::Queue(size).make().expect("made");
        let door = Blueprint::Mutex.make().expect("made");
        let holder = Holder::this_thread().expect("/proc");
        let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().expect("a copy");
        let queue = Queue::open(copy(jobs.fd()), holder).expect("opened");
        let mutex = Mutex::open(copy(door.fd()), holder).expect("opened");
        let registry = Registry::default().async_function("takes", "takes a job", takes);
        let worker = Harness::new(&registry, "takes", serde_json::Value::Null)
            .resource("jobs", jobs)
            .resource("door", door)
            .start();
        worker.wait_output("takes\n");
        let guard = mutex.lock(&Wait::none()).expect("free");
        queue.send_value(&"a job", &Wait::none()).expect("room");
        worker.wait_for("the message to be taken", |_| queue.census().taken == 1);
        let before = TICKS.load(Ordering::Relaxed);
        worker.wait_for("other tasks", |_| TICKS.load(Ordering::Relaxed) > before + 5);
        drop(guard);
        worker.wait_output("a job");
        worker.wait_for("an empty queue", |_| queue.census().taken == 0);
        assert!(matches!(worker.stop(), Ending::Returned), "in order");
    }
}
