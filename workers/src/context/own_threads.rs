//! Threads of a worker beside the one that runs it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use super::{Context, in_flight, lose_dropped_units};
use crate::runtime::threads::{Started, start};
use crate::runtime::{member, panics};

impl Context {
    /// Starts a thread that is the worker's: with a clone of this context of its own, so that the
    /// supervisor sees its signs of life, and with the worker's output. A fault on it is the
    /// worker's, and the incident says on which thread it was.
    ///
    /// A panic on it has the same consequence as one of the worker: with `on_panic: abort` it ends
    /// the fault domain; with `contain` the worker is asked to stop, and then has failed by this
    /// panic, whatever it returns. From then on it gives no signs of life any more, so that a
    /// worker that does not stop is found by its `heartbeat:`.
    ///
    /// When the worker returns, its threads are asked to stop, as by an order. One that goes on all
    /// the same is left behind, and `status` counts it until it ends. Does not block.
    ///
    /// # Errors
    /// EAGAIN when no thread can be created.
    ///
    /// ```
    /// # fn run(context: &workers::Context) -> Result<(), workers::WorkerError> {
    /// let counter = context.spawn("counter", |context| {
    ///     let mut seconds = 0;
    ///     while context.sleep(std::time::Duration::from_secs(1)) {
    ///         seconds += 1;
    ///     }
    ///     seconds
    /// })?;
    /// context.wait_for_stop();
    /// context.log_line(format!("ran for {} s", counter.join()?));
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn<T: Send + 'static>(
        &self,
        name: impl Into<String>,
        body: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> io::Result<OwnThread<T>> {
        let name = name.into().replace('\0', "");
        let context = Self::new(Arc::clone(&self.shared));
        let result = Arc::new(Mutex::new(None));
        let its = (name.clone(), Arc::clone(&result));
        let started = start(&self.shared, Builder::new().name(name.clone()), move |ticket| {
            let (name, result) = its;
            member::begin(&context.shared, Some(&name), Some(ticket));
            // Unwind safety: what the closure owns is dropped inside.
            let outcome = catch_unwind(AssertUnwindSafe(|| body(&context)))
                .map_err(|payload| context.fall(&name, payload));
            let outcome = outcome.map(|value| (value, in_flight::give_away_dropped()));
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            // Where none waits for the result, it ends here, with a destructor of the worker's.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(result))) {
                context.fall(&name, payload);
            }
            drop(context);
            member::before_destructors();
        })?;
        Ok(OwnThread { name, started, result })
    }

    /// A panic has reached the root of this thread, which is the worker's. Returns what to say of
    /// it, where it does not end the fault domain.
    fn fall(&self, name: &str, payload: Box<dyn Any + Send>) -> String {
        let Some(member) = member::current() else {
            return format!("its thread `{name}` has panicked");
        };
        lose_dropped_units(&self.shared);
        let fallen = panics::at_root(member, payload);
        let error = format!("a panic {}", fallen.text);
        self.shared.fail(fallen);
        error
    }

    /// Makes this thread the worker's until the guard is dropped, as those that [`Self::spawn`]
    /// starts are: for threads of a pool, which another library starts. Such a thread gets no
    /// context of its own; give it a clone.
    ///
    /// A panic that passes the guard counts as one that has reached the root of the thread. One
    /// that the pool catches before is the pool's affair, which mostly resumes it on the thread
    /// that waits for the result.
    ///
    /// ```no_run
    /// # fn run(context: &workers::Context) {
    /// let context = context.clone();
    /// let on_thread_start = move || context.enter().until_thread_ends();
    /// # }
    /// ```
    #[must_use = "the thread is the worker's as long as the guard is there"]
    pub fn enter(&self) -> Entered {
        // It may borrow from the stack of the one that runs the worker.
        self.shared.is_shared.store(true, std::sync::atomic::Ordering::Release);
        let thread = std::thread::current();
        member::begin(&self.shared, Some(thread.name().unwrap_or("unnamed")), None);
        Entered { is_unwinding: std::thread::panicking(), _here: PhantomData }
    }
}

/// What a thread has returned, and the units of work that it dropped last; or what it panicked
/// with.
type Outcome<T> = Result<(T, u64), String>;

/// A thread of a worker, see [`Context::spawn`]. Dropping it leaves the thread alone.
#[derive(Debug)]
pub struct OwnThread<T> {
    name: String,
    started: Started,
    result: Arc<Mutex<Option<Outcome<T>>>>,
}

impl<T> OwnThread<T> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has ended, with the destructors of its thread locals. Does not block.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.started.is_finished()
    }

    /// Waits until it has ended, as long as it takes, without a sign of life: for threads that end
    /// soon, as all do after an order to stop. Units of work that it dropped last are dropped here,
    /// see [`InFlight`](super::InFlight).
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context, files: Vec<String>) -> Result<(), WorkerError> {
    ///     let unit = context.begin(1);
    ///     let reader = context.spawn("reader", move |_| -> std::io::Result<usize> {
    ///         let mut bytes = 0;
    ///         for file in files {
    ///             bytes += std::fs::read(file)?.len();
    ///         }
    ///         unit.done();
    ///         Ok(bytes)
    ///     })?;
    ///     // An error that ends the worker: its incident says "1 unit of work lost".
    ///     let bytes = reader.join()??;
    ///     context.log_line(format!("{bytes} bytes"));
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// It panicked, or ended without returning.
    pub fn join(self) -> Result<T, JoinError> {
        self.started.join();
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        let vanished = || Err(format!("its thread `{}` ended without returning", self.name));
        let (value, dropped) = result.unwrap_or_else(vanished).map_err(JoinError)?;
        in_flight::take_over_dropped(dropped);
        Ok(value)
    }
}

/// Why a thread of a worker has returned nothing: it panicked, or ended by itself. It becomes a
/// [`WorkerError`](crate::WorkerError) by `?`.
#[derive(Debug)]
pub struct JoinError(String);

impl fmt::Display for JoinError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for JoinError {}

/// A thread that is a worker's, see [`Context::enter`]. Guards of one thread are dropped in reverse
/// order.
#[derive(Debug)]
pub struct Entered {
    /// A panic that was on its way before is none that passes this guard.
    is_unwinding: bool,
    _here: PhantomData<*const ()>,
}

impl Entered {
    /// The thread is the worker's until it ends, as are the destructors of its thread locals.
    pub fn until_thread_ends(self) {
        std::mem::forget(self);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if std::thread::panicking()
            && !self.is_unwinding
            && let Some(member) = member::current()
        {
            let fallen = panics::passing(member);
            member.shared.fail(fallen);
        }
        member::leave(false);
    }
}
