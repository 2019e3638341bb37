//! To look again and again before one sleeps.
//!
//! Most owners have a lock, and most queues are empty, for less time than a sleep takes; but only
//! where both sides run at the same time. Where they cannot (one CPU), or it takes long, to look is
//! in vain: a thread looks as often as it was of use lately.

use std::cell::Cell;

/// How often a thread looks at most, and at first.
const MOST: u32 = 100;
/// How often at least: else it would never see that it is of use again.
const LEAST: u32 = 1;

/// How often a thread looks at one place.
pub(super) struct Tries(Cell<u32>);

impl Tries {
    pub(super) const fn new() -> Self {
        Self(Cell::new(MOST))
    }

    /// Looks whether `attempt` succeeds. `None`: sleep.
    pub(super) fn until<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        let tries = self.0.get();
        for _ in 0..tries {
            if let Some(got) = attempt() {
                self.0.set((tries * 2).min(MOST));
                return Some(got);
            }
            std::hint::spin_loop();
        }
        self.0.set((tries / 2).max(LEAST));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it looks, if it never succeeds.
    fn in_vain(tries: &Tries) -> u32 {
        let mut count = 0;
        let got = tries.until(|| -> Option<()> {
            count += 1;
            None
        });
        assert_eq!(got, None);
        count
    }

    #[test]
    fn one_looks_less_often_where_it_is_in_vain_and_more_often_where_it_helps() {
        let tries = Tries::new();
        assert_eq!(in_vain(&tries), MOST);
        let last = (0..10).map(|_| in_vain(&tries)).last();
        assert_eq!(last, Some(LEAST));
        for _ in 0..10 {
            assert_eq!(tries.until(|| Some(7)), Some(7));
        }
        assert_eq!(in_vain(&tries), MOST);
    }
}
