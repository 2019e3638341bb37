//! How long a turn may take, and what waits for the next one: the loop's other inputs get their
//! chance, however much there is to do. Before a worker is judged, what has come is heard.

use std::time::Duration;

/// For the events of one turn before other inputs get their chance.
const BUDGET: Duration = Duration::from_millis(2);

/// Looks at what has come before a worker is judged. Other inputs have their turn in between.
const LAST_LOOKS: usize = 8;

/// Where the loop is in its turn. Times are on the machine's clock.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Pace {
    /// Whether a turn was broken off so that other inputs get their chance.
    has_more: bool,
    /// When the time of several turns that follow each other at once is over.
    common_end: Option<Duration>,
    /// How often was looked at what has come since a judgement was due.
    looks: usize,
    /// How many effects are carried out before that judgement.
    to_settle: usize,
}

impl Pace {
    /// Until when something that begins now may take.
    pub(in crate::daemon) fn end(now: Duration) -> Duration {
        now.saturating_add(BUDGET)
    }

    /// A turn begins. Until when it may take.
    pub(in crate::daemon) fn begin(&mut self, now: Duration) -> Duration {
        self.has_more = false;
        self.common_end.unwrap_or_else(|| Self::end(now))
    }

    /// Whether the time that several turns share is over: then the rest of this one waits.
    pub(in crate::daemon) fn is_broken_off(&mut self, now: Duration) -> bool {
        let is_over = self.common_end.is_some_and(|end| now > end);
        self.has_more |= is_over;
        is_over
    }

    /// The turns from now on share one budget, until [`share_no_more`](Self::share_no_more).
    pub(in crate::daemon) fn share(&mut self, now: Duration) {
        self.common_end = Some(Self::end(now));
    }

    pub(in crate::daemon) fn share_no_more(&mut self) {
        self.common_end = None;
    }

    /// The rest waits for the next turn.
    pub(in crate::daemon) fn break_off(&mut self) {
        self.has_more = true;
    }

    /// Whether a turn was broken off. Then the next one comes at once.
    pub(in crate::daemon) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Whether the turn goes on. False: its time is over, and the rest has to wait.
    pub(in crate::daemon) fn goes_on(&mut self, now: Duration, end: Duration) -> bool {
        self.has_more = now > end;
        !self.has_more
    }

    /// One effect is carried out.
    pub(in crate::daemon) fn count_effect(&mut self) {
        self.to_settle = self.to_settle.saturating_sub(1);
    }

    /// Whether what the machine wanted before a judgement is carried out still.
    pub(in crate::daemon) fn is_settling(&self) -> bool {
        self.to_settle > 0
    }

    /// A look at all that has come is over. Whether the judgement that `is_due` may begin: when all
    /// is heard (`is_all`), or there were enough looks. Otherwise the loop comes back at once.
    pub(in crate::daemon) fn may_judge(&mut self, is_due: bool, is_all: bool) -> bool {
        if is_due && !is_all && self.looks < LAST_LOOKS {
            self.looks += 1;
            self.has_more = true;
            return false;
        }
        self.looks = 0;
        is_due
    }

    /// So many effects come before the judgement.
    pub(in crate::daemon) fn settle(&mut self, effects: usize) {
        self.to_settle = effects;
    }

    /// All that came before the judgement is carried out.
    pub(in crate::daemon) fn settled(&mut self) {
        self.to_settle = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_turn_that_takes_too_long_is_broken_off_and_comes_again() {
        let mut pace = Pace::default();
        let end = pace.begin(10 * MS);
        assert!(pace.goes_on(end, end) && !pace.has_more());
        assert!(!pace.goes_on(end + MS, end) && pace.has_more());
        pace.begin(20 * MS);
        assert!(!pace.has_more(), "the next turn begins without it");
    }

    #[test]
    fn turns_that_share_their_time_end_together() {
        let mut pace = Pace::default();
        pace.share(10 * MS);
        let end = pace.begin(11 * MS);
        assert_eq!(end, Pace::end(10 * MS), "the second has what the first has left");
        assert!(!pace.is_broken_off(end) && pace.is_broken_off(end + MS) && pace.has_more());
        pace.share_no_more();
        assert!(!pace.is_broken_off(Duration::MAX));
        assert_eq!(pace.begin(30 * MS), Pace::end(30 * MS));
    }

    #[test]
    fn a_judgement_waits_for_what_has_come_and_not_for_ever() {
        let mut pace = Pace::default();
        assert!(pace.may_judge(true, true), "all is heard");
        assert!(!pace.may_judge(false, true), "none is due");
        for _ in 0..LAST_LOOKS {
            pace.begin(Duration::ZERO);
            assert!(!pace.may_judge(true, false) && pace.has_more(), "there is more to hear");
        }
        assert!(pace.may_judge(true, false), "a flood holds up no judgement");
        assert!(!pace.may_judge(true, false), "the next one has its own looks");
        assert!(!pace.may_judge(false, false), "it is void");
        let looks = (0..).take_while(|_| !pace.may_judge(true, false)).count();
        assert_eq!(looks, LAST_LOOKS);
    }

    #[test]
    fn what_the_machine_wanted_before_a_judgement_is_counted_down() {
        let mut pace = Pace::default();
        pace.settle(2);
        pace.count_effect();
        assert!(pace.is_settling());
        pace.count_effect();
        pace.count_effect();
        assert!(!pace.is_settling());
        pace.settle(5);
        pace.settled();
        assert!(!pace.is_settling());
    }
}
