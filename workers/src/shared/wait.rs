//! How long something waits: until a deadline, or until its caller gives up.

#[cfg(feature = "tokio")]
use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Error;
use super::waiters::Place;
use crate::Context;

/// The longest that a thread sleeps in one go. Nothing depends on a wake-up that another process
/// may have died before giving: after this time each waiter looks again. It also is how often a
/// waiter asks whether to give up, and gives its signs of life there.
pub const SLICE: Duration = Duration::from_millis(50);

/// A limit for a wait: a deadline in monotonic time, and a question that is asked before each
/// sleep and at least every [`SLICE`].
///
/// A worker has its limits from its context, [`Context::until_stop`] and [`Context::at_most`]: an
/// order to stop ends the wait, and it gives its signs of life meanwhile.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    deadline: Option<Instant>,
    asks: Asks<'a>,
    /// Where it is seen that it sleeps.
    place: Option<&'a Place>,
}

/// Who knows whether to give up.
#[derive(Clone, Copy)]
enum Asks<'a> {
    None,
    Function(&'a dyn Fn() -> bool),
    Worker(&'a Context),
    /// A task: it looks once more, as one that has waited does, and gives up.
    #[cfg(feature = "tokio")]
    Task(&'a Cell<bool>),
}

impl Asks<'_> {
    fn gives_up(self) -> bool {
        match self {
            Self::None => false,
            Self::Function(function) => function(),
            Self::Worker(context) => {
                context.go_on();
                context.stop_requested()
            }
            #[cfg(feature = "tokio")]
            Self::Task(_) => false,
        }
    }
}

impl Wait<'static> {
    /// No wait: what cannot be had at once is [`Error::TimedOut`]. Makes no system call then.
    #[must_use]
    pub fn none() -> Self {
        static LONG_AGO: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        Self::until(*LONG_AGO.get_or_init(Instant::now))
    }

    /// Until this time.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), asks: Asks::None, place: None }
    }

    /// This long from now on.
    #[must_use]
    pub fn at_most(time: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(time), asks: Asks::None, place: None }
    }
}

impl<'a> Wait<'a> {
    /// Until `gives_up` says so, without a deadline.
    #[must_use]
    pub fn while_not(gives_up: &'a dyn Fn() -> bool) -> Self {
        Self { deadline: None, asks: Asks::Function(gives_up), place: None }
    }

    /// The same deadline, and until `gives_up` says so.
    #[must_use]
    pub fn or_if(self, gives_up: &dyn Fn() -> bool) -> Wait<'_> {
        Wait { deadline: self.deadline, asks: Asks::Function(gives_up), place: None }
    }

    /// Until the worker is to stop, or this time is over.
    pub(crate) fn of_worker(context: &'a Context, time: Option<Duration>) -> Self {
        let deadline = time.and_then(|time| Instant::now().checked_add(time));
        Self { deadline, asks: Asks::Worker(context), place: None }
    }

    /// For a task, which sleeps elsewhere: no time at all, twice. `has_looked` is false at first.
    #[cfg(feature = "tokio")]
    pub(crate) fn of_task(has_looked: &'a Cell<bool>) -> Self {
        Self { deadline: None, asks: Asks::Task(has_looked), place: None }
    }

    /// The same, and seen by those who watch, while it sleeps.
    pub(crate) fn seen_at<'b>(&self, place: &'b Place) -> Wait<'b>
    where
        'a: 'b,
    {
        Wait { place: Some(place), ..*self }
    }

    /// How long the next sleep may be.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::GivenUp`].
    pub(crate) fn next(&self) -> Result<Duration, Error> {
        #[cfg(feature = "tokio")]
        if let Asks::Task(has_looked) = self.asks {
            let is_over = has_looked.replace(true);
            return if is_over { Err(Error::TimedOut) } else { Ok(Duration::ZERO) };
        }
        let time = self.time_left()?;
        if let Some(place) = self.place {
            place.take();
        }
        Ok(time)
    }

    fn time_left(&self) -> Result<Duration, Error> {
        let Some(deadline) = self.deadline else {
            return if self.asks.gives_up() { Err(Error::GivenUp) } else { Ok(SLICE) };
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::TimedOut);
        }
        if self.asks.gives_up() { Err(Error::GivenUp) } else { Ok(left.min(SLICE)) }
    }
}

impl std::fmt::Debug for Wait<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Wait").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_with_the_deadline_and_is_a_slice_at_most() {
        assert_eq!(Wait::at_most(Duration::from_secs(9)).next().expect("time left"), SLICE);
        assert!(Wait::at_most(Duration::from_millis(5)).next().expect("time left") < SLICE);
        assert!(matches!(Wait::none().next(), Err(Error::TimedOut)));
        assert!(matches!(Wait::while_not(&|| true).next(), Err(Error::GivenUp)));
        let both = Wait::at_most(Duration::from_secs(9));
        assert!(matches!(both.or_if(&|| true).next(), Err(Error::GivenUp)));
    }
}
