//! Waiting, with limits that count only time in which this process ran.
//!
//! Stopped (SIGSTOP), suspended with its container, or not scheduled for long, a process finds that
//! a deadline has passed in which neither it nor, often, the one that it waited for did anything.
//! Such a deadline says nothing. So what gives up after a while waits in slices: a slice that
//! took much longer than it should shows a pause, and that time does not count.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// So much longer than it should a wait may take on a busy machine.
const LATE: Duration = Duration::from_millis(250);
/// A look at what is waited for may take so long.
const LOOK: Duration = Duration::from_secs(1);
/// After a pause others are behind too: what is left is at least this, or the whole limit where
/// that is shorter. Once for a limit, so that each has an end on the slowest machine.
const GRACE: Duration = Duration::from_secs(1);
/// Slices of a limit: most of a pause is noticed.
const SLICES: u32 = 4;
/// No slice of a longer limit is shorter.
const SLICE_LEAST: Duration = Duration::from_millis(50);

/// How long something is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    whole: Duration,
    end: Instant,
    slice: Duration,
    grace: Option<Duration>,
    /// This process ran then.
    seen: Instant,
}

impl Limit {
    /// From now on. A limit beyond a century is one of a century.
    pub(crate) fn new(limit: Duration) -> Self {
        let limit = limit.min(Duration::from_secs(u32::MAX.into()));
        let now = Instant::now();
        Self {
            whole: limit,
            end: now + limit,
            slice: (limit / SLICES).max(SLICE_LEAST),
            grace: Some(limit.min(GRACE)),
            seen: now,
        }
    }

    /// All of it.
    pub(crate) const fn whole(&self) -> Duration {
        self.whole
    }

    /// Whether it had passed at the end of the last wait or look: what came until then has been
    /// looked at.
    pub(crate) fn is_over(&self) -> bool {
        self.end <= self.seen
    }

    /// What is left of it.
    pub(crate) fn rest(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Waits for at most a slice of what is left: `wait` gets how long that is.
    pub(crate) fn wait<T>(&mut self, wait: impl FnOnce(Duration) -> T) -> T {
        let slice = self.begin_slice();
        let done = wait(slice);
        self.count(slice);
        done
    }

    /// Has a look at what is waited for.
    pub(crate) fn look<T>(&mut self, look: impl FnOnce() -> T) -> T {
        self.timed(LOOK, look)
    }

    /// Does what takes so long at most.
    pub(crate) fn timed<T>(&mut self, most: Duration, work: impl FnOnce() -> T) -> T {
        self.count(LOOK);
        let done = work();
        self.count(most);
        done
    }

    /// How long the next wait is.
    fn begin_slice(&mut self) -> Duration {
        // A pause may also come between two waits.
        self.count(LOOK);
        self.end.saturating_duration_since(self.seen).min(self.slice)
    }

    /// Sleeps.
    pub(crate) fn sleep(&mut self, pause: Duration) {
        self.timed(pause, || std::thread::sleep(pause));
    }

    /// What has passed since this process was last seen to run should have been this at most: the
    /// rest, beyond what a busy machine takes, is a pause.
    fn count(&mut self, should: Duration) {
        let now = Instant::now();
        let late = now.saturating_duration_since(self.seen).saturating_sub(should);
        self.seen = now;
        if late > LATE {
            self.end += late;
            if let Some(grace) = self.grace.take() {
                self.end = self.end.max(now + grace);
            }
        }
    }
}

/// A limit of what is looked at now and then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks(Limit);

impl Looks {
    /// The first look is now.
    pub(crate) fn new(limit: Duration) -> Self {
        Self(Limit::new(limit))
    }

    /// Another look has seen nothing: whether it was the last. `every`: how long it is at most from
    /// one to the next.
    pub(crate) fn are_over(&mut self, every: Duration) -> bool {
        self.0.count(every);
        self.0.is_over()
    }
}

/// Asks until there is an answer, for at most `limit`, with a `pause` after each failure. Asks at
/// least once. Blocks.
pub(crate) fn until<T>(
    limit: Duration,
    pause: Duration,
    mut question: impl FnMut() -> Option<T>,
) -> Option<T> {
    let mut limit = Limit::new(limit);
    loop {
        let answer = limit.look(&mut question);
        if answer.is_some() || limit.is_over() {
            return answer;
        }
        limit.sleep(pause);
    }
}

/// Waits for a message, for at most `limit`. Blocks.
///
/// # Errors
/// None has come in time, or none can come any more.
pub(crate) fn received<T>(receiver: &Receiver<T>, limit: Duration) -> Result<T, RecvTimeoutError> {
    let mut limit = Limit::new(limit);
    loop {
        match limit.wait(|slice| receiver.recv_timeout(slice)) {
            Err(RecvTimeoutError::Timeout) if !limit.is_over() => {}
            received => return received,
        }
    }
}

/// What comes of `work`, within a limit that counts as above. `None`: nothing yet.
pub(crate) async fn within<T>(limit: &mut Limit, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        let slice = limit.begin_slice();
        // What has come meanwhile is looked at first.
        let waited = tokio::time::timeout(slice, &mut work).await;
        // Also where it has come: the limit may be that of what follows too.
        limit.count(slice);
        if let Ok(done) = waited {
            return Some(done);
        }
        if limit.is_over() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_we_did_not_run_is_not_counted() {
        let mut limit = Limit::new(Duration::from_millis(400));
        // A pause is a wait that takes much longer than it should.
        limit.wait(|slice| {
            assert_eq!(slice, Duration::from_millis(100));
            std::thread::sleep(slice + Duration::from_millis(500));
        });
        assert!(!limit.is_over(), "{limit:?}");
        let rest = limit.end.saturating_duration_since(limit.seen);
        assert!(rest >= Duration::from_millis(250), "{limit:?}");
        limit.wait(std::thread::sleep);
        let mut waits = 0;
        while !limit.is_over() && waits < 20 {
            limit.wait(std::thread::sleep);
            waits += 1;
        }
        assert!((1..20).contains(&waits), "it ends: {waits}");
    }

    #[test]
    fn a_pause_counts_wherever_it_comes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut limit = Limit::new(Duration::from_millis(400));
        // In a wait that has its answer at the end of the pause.
        let paused = async {
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_millis(900));
        };
        let answer = runtime.expect("an event loop").block_on(within(&mut limit, paused));
        assert!(answer.is_some() && !limit.is_over(), "{limit:?}");
        // Between two waits.
        let mut limit = Limit::new(Duration::from_millis(400));
        std::thread::sleep(LOOK + Duration::from_millis(600));
        limit.wait(|slice| assert_eq!(slice, Duration::from_millis(100)));
        assert!(!limit.is_over(), "{limit:?}");
    }

    #[test]
    fn what_comes_in_a_pause_counts_though_the_time_is_over() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            sender.send(7)
        });
        assert_eq!(received(&receiver, Duration::from_secs(60)), Ok(7));
        assert!(later.join().is_ok());
        assert!(received(&receiver, Duration::from_millis(20)).is_err());
        let mut asked = 0;
        let answer = until(Duration::from_millis(5), Duration::from_millis(1), || {
            asked += 1;
            (asked > 1).then_some(asked)
        });
        assert_eq!(answer, Some(2));
    }
}
