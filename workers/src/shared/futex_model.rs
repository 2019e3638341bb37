//! futex(2) for the models under `loom`: without time limits, so that a lost wake-up is a deadlock,
//! which loom reports.

use loom::sync::{Condvar, Mutex};

/// Those that sleep, each with the number of the word that it sleeps on, in the order in which they
/// fell asleep.
pub(crate) struct FutexModel {
    sleepers: Mutex<Sleepers>,
    woken: Condvar,
}

#[derive(Default)]
struct Sleepers {
    next: u32,
    asleep: Vec<(u32, u32)>,
}

impl FutexModel {
    pub(crate) fn new() -> Self {
        Self { sleepers: Mutex::new(Sleepers::default()), woken: Condvar::new() }
    }

    /// Sleeps on the word, if it still is as expected.
    pub(crate) fn sleep(&self, word: u32, is_expected: impl FnOnce() -> bool) {
        let mut sleepers = self.sleepers.lock().expect("no panics");
        if !is_expected() {
            return;
        }
        let own = sleepers.next;
        sleepers.next += 1;
        sleepers.asleep.push((own, word));
        while sleepers.asleep.iter().any(|(one, _)| *one == own) {
            sleepers = self.woken.wait(sleepers).expect("no panics");
        }
    }

    /// Wakes one. Returns how many.
    pub(crate) fn wake(&self, word: u32) -> u32 {
        let mut sleepers = self.sleepers.lock().expect("no panics");
        let Some(first) = sleepers.asleep.iter().position(|(_, on)| *on == word) else { return 0 };
        sleepers.asleep.remove(first);
        self.woken.notify_all();
        1
    }

    /// Lets all that sleep on a word sleep on another one, if it still is as expected.
    pub(crate) fn requeue(
        &self,
        word: u32,
        is_expected: impl FnOnce() -> bool,
        onto: u32,
    ) -> Option<u32> {
        let mut sleepers = self.sleepers.lock().expect("no panics");
        if !is_expected() {
            return None;
        }
        let all = sleepers.asleep.iter_mut().filter(|(_, on)| *on == word);
        Some(all.map(|(_, on)| *on = onto).count() as u32)
    }
}
