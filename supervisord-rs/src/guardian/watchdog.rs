//! Whether the supervisor's loop turns: it says so (`WATCHDOG=1`, sd_notify(3)), and one that has
//! not for too long is ended, so that another takes its workers over. Pure: time comes from the
//! caller.

use std::time::Duration;

/// For a supervisor to be ready: its predecessor may have left much. Any word of it counts as a
/// sign of life until then.
const START: Duration = Duration::from_secs(90);
/// Between the signal that lets it leave last words and the one that it cannot ignore.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Parts of the limit: in the last of them the supervisor is late.
const SHARES: u32 = 4;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Send SIGABRT: it says where it hangs, if it can.
    Abort,
    /// Send SIGKILL.
    Kill,
}

/// Of one supervisor.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    limit: Option<Duration>,
    is_ready: bool,
    /// When it last gave a sign of life.
    last: Duration,
    /// Since when it is late, and we look without having been held ourselves.
    late_since: Option<Duration>,
    /// When it was asked to leave last words.
    aborted: Option<Duration>,
}

impl Watchdog {
    /// For a supervisor that has just been started, or that takes another's place.
    pub(super) fn begin(now: Duration, limit: Option<Duration>, is_ready: bool) -> Self {
        Self { limit, is_ready, last: now, late_since: None, aborted: None }
    }

    pub(super) fn set_limit(&mut self, limit: Option<Duration>) {
        self.limit = limit;
    }

    pub(super) fn on_ready(&mut self, now: Duration) {
        if !self.is_ready {
            self.is_ready = true;
            self.on_sign(now);
        }
    }

    /// It has said something; `is_turn`: that its loop turns.
    pub(super) fn on_word(&mut self, now: Duration, is_turn: bool) {
        if is_turn || !self.is_ready {
            self.on_sign(now);
        }
    }

    /// It gave a sign of life then, also where no datagram of it has come.
    pub(super) fn on_sign(&mut self, at: Duration) {
        if at > self.last {
            self.last = at;
            self.late_since = None;
        }
    }

    /// When there is something to judge: first whether it is late, which one that gives a sign of
    /// life twice within its limit never is; then whether it stays so for the rest of the limit.
    pub(super) fn due(&self) -> Option<Duration> {
        let rest = self.limit? / SHARES;
        Some(match (self.aborted, self.late_since) {
            (Some(at), _) => at.saturating_add(LAST_WORDS),
            (None, Some(at)) => at.saturating_add(rest),
            (None, None) => {
                let start = if self.is_ready { Duration::ZERO } else { START };
                self.last.saturating_add(start).saturating_add(rest * (SHARES - 1))
            }
        })
    }

    /// Call it when everything that has been said is heard, with the moment since which we look.
    pub(super) fn judge(&mut self, now: Duration, looking_since: Duration) -> Verdict {
        let (Some(limit), Some(due)) = (self.limit, self.due()) else { return Verdict::Fine };
        if now < due {
            return Verdict::Fine;
        }
        if self.aborted.is_some() {
            self.aborted = Some(now);
            return Verdict::Kill;
        }
        // We have been held ourselves (SIGSTOP, a suspended machine): it may have been too, and
        // gets its time once more.
        if now.saturating_sub(due.max(looking_since)) > limit / SHARES {
            self.excuse(now);
            return Verdict::Fine;
        }
        // Both may have been held for a while, and both go on now: it says so at once.
        if self.late_since.is_none() {
            self.late_since = Some(now);
            return Verdict::Fine;
        }
        self.aborted = Some(now);
        Verdict::Abort
    }

    /// Whether it was told to leave last words, and lives.
    pub(super) fn has_ended_it(&self) -> bool {
        self.aborted.is_some()
    }

    /// Another process holds it, such as a debugger: its time starts again.
    pub(super) fn excuse(&mut self, now: Duration) {
        self.last = now;
        self.late_since = None;
        self.aborted = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_says_nothing_is_asked_for_last_words_and_then_killed() {
        let mut watchdog = Watchdog::begin(seconds(0), Some(seconds(4)), false);
        assert_eq!(watchdog.due(), Some(seconds(93)), "the start has a limit of its own");
        watchdog.on_ready(seconds(1));
        watchdog.on_word(seconds(2), false);
        assert_eq!(watchdog.due(), Some(seconds(4)), "other words say nothing of the loop");
        watchdog.on_word(seconds(3), true);
        assert_eq!(watchdog.judge(seconds(6), seconds(3)), Verdict::Fine);
        assert_eq!(watchdog.judge(seconds(7), seconds(3)), Verdict::Abort);
        assert_eq!(watchdog.judge(seconds(7), seconds(7)), Verdict::Fine);
        assert_eq!(watchdog.judge(seconds(8), seconds(7)), Verdict::Kill);
    }

    #[test]
    fn time_in_which_we_did_not_look_is_not_held_against_it() {
        let mut watchdog = Watchdog::begin(seconds(0), Some(seconds(4)), true);
        assert_eq!(watchdog.judge(seconds(100), seconds(0)), Verdict::Fine);
        assert_eq!(watchdog.due(), Some(seconds(103)));
        assert_eq!(watchdog.judge(seconds(103), seconds(100)), Verdict::Fine);
        assert_eq!(watchdog.judge(seconds(104), seconds(103)), Verdict::Abort);
    }

    /// However long: it gives its sign of life as soon as it goes on.
    #[test]
    fn one_that_was_held_together_with_us_is_not_ended() {
        for held in 10..60 {
            let mut watchdog = Watchdog::begin(seconds(0), Some(seconds(4)), true);
            // It gives one each two seconds, and both are held just before the next.
            let goes_on = Duration::from_millis(1900 + held * 100);
            assert_eq!(watchdog.judge(goes_on, seconds(0)), Verdict::Fine, "{goes_on:?}");
            watchdog.on_word(goes_on + Duration::from_millis(200), true);
            let due = watchdog.due().expect("a limit");
            assert!(due >= goes_on + seconds(3), "{due:?}");
        }
    }

    #[test]
    fn without_a_limit_no_supervisor_is_judged() {
        let mut watchdog = Watchdog::begin(seconds(0), None, true);
        assert_eq!(
            (watchdog.due(), watchdog.judge(seconds(1000), seconds(1000))),
            (None, Verdict::Fine)
        );
    }
}
