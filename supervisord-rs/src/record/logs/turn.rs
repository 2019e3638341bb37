//! Who may write to a target now. Several streams can go to one, such as the terminal: if it hangs,
//! it must occupy one thread, and not one for each of them, since the threads carry all output.
//! Waiting jobs wait here, in a bounded list, and not in a thread.

use std::sync::Mutex;
use std::time::Instant;

use super::lock;

/// Jobs that wait for one target at most. A worker that dies again and again leaves one with each
/// death.
const JOBS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Turn {
    state: Mutex<Waiting>,
}

/// Streams and jobs that came while the turn was taken, by their numbers. Giving it back lets them
/// come again.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    is_taken: bool,
    pub(super) streams: Vec<u32>,
    /// Each with the time at which it does without.
    pub(super) jobs: Vec<(Instant, u64)>,
}

/// What becomes of a job whose target another thread has.
#[derive(Debug)]
pub(super) enum Deferred {
    /// It comes again.
    Waits,
    /// The turn was given back meanwhile.
    Again,
    /// It has waited long enough, or too many wait: it does without the target.
    Without,
}

impl Turn {
    /// Takes it, if it is free.
    pub(super) fn take(&self) -> bool {
        !std::mem::replace(&mut lock(&self.state).is_taken, true)
    }

    /// Takes it, or leaves word that this stream waits for it. Does not block. False: it has to
    /// wait.
    pub(super) fn take_or_wait(&self, stream: u32) -> bool {
        let mut state = lock(&self.state);
        if state.is_taken && !state.streams.contains(&stream) {
            state.streams.push(stream);
        }
        !std::mem::replace(&mut state.is_taken, true)
    }

    /// Whether a job waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        let state = lock(&self.state);
        !state.streams.is_empty() || !state.jobs.is_empty()
    }

    /// Has a job wait, by its number, at most until `end`.
    pub(super) fn defer(&self, job: u64, end: Instant) -> Deferred {
        let mut state = lock(&self.state);
        if !state.is_taken {
            return Deferred::Again;
        }
        if state.jobs.len() >= JOBS_MAX || end <= Instant::now() {
            return Deferred::Without;
        }
        state.jobs.push((end, job));
        Deferred::Waits
    }

    /// The jobs that have waited long enough.
    pub(super) fn overdue(&self) -> Vec<u64> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        state.jobs.extract_if(.., |(end, _)| *end <= now).map(|(_, job)| job).collect()
    }

    /// Gives it back. Who waits.
    #[must_use]
    pub(super) fn give_back(&self) -> Waiting {
        std::mem::take(&mut lock(&self.state))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_has_it_and_the_others_are_told() {
        let turn = Turn::default();
        assert!(turn.take_or_wait(1));
        assert!(!turn.take_or_wait(2) && !turn.take_or_wait(3) && !turn.take_or_wait(2));
        assert!(!turn.take());
        assert_eq!(turn.give_back().streams, [2, 3]);
        assert!(turn.take());
        assert_eq!(turn.give_back().streams, Vec::<u32>::new());
    }

    #[test]
    fn jobs_wait_in_a_bounded_list_and_not_for_ever() {
        let turn = Turn::default();
        let later = Instant::now() + Duration::from_secs(3600);
        assert!(matches!(turn.defer(0, later), Deferred::Again), "no thread has it");
        assert!(turn.take());
        let now = Instant::now();
        assert!(matches!(turn.defer(0, now), Deferred::Without), "it does not want to wait");
        for _ in 0..JOBS_MAX {
            assert!(matches!(turn.defer(0, later), Deferred::Waits));
        }
        assert!(matches!(turn.defer(0, later), Deferred::Without), "too many wait");
        assert!(turn.overdue().is_empty());
        assert_eq!(turn.give_back().jobs.len(), JOBS_MAX);
        assert!(turn.take());
    }
}
