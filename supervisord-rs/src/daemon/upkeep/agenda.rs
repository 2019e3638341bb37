//! When the supervisor has its next look at what it stands on, and what it knows from the last one.

use std::time::Duration;

use super::Troubles;
use super::watch::Watch;

/// Before the second look; doubled at each further one.
const DELAY: Duration = Duration::from_millis(250);
/// Longest time between two looks, while something is missing.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// The delay after something went away in the runtime directory: its remover may not have finished.
const SETTLING: Duration = Duration::from_millis(50);

/// What is watched, and when it is looked at next. Times are on the machine's clock.
#[derive(Debug)]
pub(in crate::daemon) struct Upkeep {
    troubles: Troubles,
    /// How the file differs from the configuration in force, as far as that was looked at.
    differs: Option<String>,
    due: Option<Duration>,
    delay: Duration,
    is_looking: bool,
    watch: Option<Watch>,
}

/// What a look has left to say.
pub(super) struct Seen {
    pub(super) missing: Troubles,
    /// Whether all was in its place after the watch had begun.
    pub(super) is_whole: bool,
    pub(super) differs: Option<String>,
}

impl Upkeep {
    /// `troubles`: what could not be had at the start. The first look comes at once: it begins to
    /// watch.
    pub(in crate::daemon) fn new(troubles: Troubles) -> Self {
        Self {
            troubles,
            differs: None,
            due: Some(Duration::ZERO),
            delay: DELAY,
            is_looking: false,
            watch: None,
        }
    }

    /// Something went away in the runtime directory, or on the way to it.
    pub(in crate::daemon) async fn loss(&self) {
        match &self.watch {
            Some(watch) => watch.loss().await,
            None => std::future::pending().await,
        }
    }

    /// Has a look soon, however long the last ones have found what is missing.
    pub(in crate::daemon) fn on_loss(&mut self, now: Duration) {
        self.delay = DELAY;
        self.look_by(now.saturating_add(SETTLING));
    }

    /// Has the next look at once.
    pub(in crate::daemon) fn look_now(&mut self) {
        self.look_by(Duration::ZERO);
    }

    /// Has the next look at this time, or before.
    fn look_by(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn look_later(&mut self, now: Duration) {
        self.look_by(now.saturating_add(self.delay));
        self.delay = (self.delay * 2).min(DELAY_MAX);
    }

    /// When it is looked at next.
    pub(in crate::daemon) fn due(&self) -> Option<Duration> {
        self.due.filter(|_| !self.is_looking)
    }

    /// What is wrong, each as a message.
    pub(in crate::daemon) fn troubles(&self) -> impl Iterator<Item = &String> {
        self.troubles.values()
    }

    /// How the file differs from the configuration in force.
    pub(in crate::daemon) fn differs(&self) -> Option<&String> {
        self.differs.as_ref()
    }

    /// The message about one of the resources.
    pub(super) fn trouble_with(&self, what: &str) -> Option<&String> {
        self.troubles.get(what)
    }

    pub(super) fn misses(&self, what: &str) -> bool {
        self.troubles.contains_key(what)
    }

    /// A look begins, if one is due.
    pub(super) fn begin_look(&mut self, now: Duration) -> bool {
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.is_looking = true;
        }
        is_due
    }

    /// The look could not begin: it is tried again.
    pub(super) fn miss_look(&mut self, now: Duration) {
        self.is_looking = false;
        self.look_later(now);
    }

    /// From now on this one says what goes away.
    pub(super) fn watch_by(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// The look is over: says what is new, and has the next one while anything is missing.
    pub(super) fn end_look(&mut self, seen: Seen, now: Duration) {
        let Seen { missing, is_whole, differs } = seen;
        self.is_looking = false;
        // Between the look and the watch it may have gone away again, and the old watch is not read
        // any more.
        if missing.is_empty() && !is_whole {
            self.on_loss(now);
        }
        let is_wanting = !missing.is_empty() || differs.is_some();
        self.tell_of(missing);
        if is_wanting {
            self.look_later(now);
        } else {
            self.delay = DELAY;
        }
        if let Some(differs) = differs.as_ref().filter(|differs| Some(*differs) != self.differs()) {
            tracing::warn!("{differs}");
        }
        self.differs = differs;
    }

    fn tell_of(&mut self, missing: Troubles) {
        for (what, trouble) in &missing {
            if self.troubles.get(what) != Some(trouble) {
                tracing::error!("{trouble}");
            }
        }
        for what in self.troubles.keys().filter(|what| !missing.contains_key(*what)) {
            tracing::info!("{what}: it is there again");
        }
        self.troubles = missing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn seen(missing: &[(&'static str, &str)]) -> Seen {
        let missing = missing.iter().map(|(what, why)| (*what, (*why).to_owned())).collect();
        Seen { missing, is_whole: true, differs: None }
    }

    /// A look at this time that finds the lock missing. When the next one is due.
    fn look_in_vain(upkeep: &mut Upkeep, now: Duration) -> Duration {
        assert!(upkeep.begin_look(now));
        assert_eq!(upkeep.due(), None, "one look at a time");
        upkeep.end_look(seen(&[("the lock", "it is gone")]), now);
        upkeep.due().expect("it is missing")
    }

    #[test]
    fn what_is_missing_is_looked_for_less_and_less_often() {
        let mut upkeep = Upkeep::new(Troubles::new());
        let mut now = S;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let next = look_in_vain(&mut upkeep, now);
            pauses.push(next - now);
            assert!(!upkeep.begin_look(next - Duration::from_millis(1)), "it is not due");
            now = next;
        }
        assert_eq!(pauses[..3], [DELAY, DELAY * 2, DELAY * 4]);
        assert_eq!(pauses[8], DELAY_MAX);
        assert!(upkeep.misses("the lock"));
        assert!(upkeep.begin_look(now));
        upkeep.end_look(seen(&[]), now);
        assert_eq!(upkeep.due(), None, "the watch reports what goes away");
        assert_eq!(upkeep.troubles().count(), 0);
    }

    #[test]
    fn a_loss_is_looked_at_soon_however_long_another_is_missing() {
        let mut upkeep = Upkeep::new(Troubles::new());
        let mut now = S;
        for _ in 0..9 {
            now = look_in_vain(&mut upkeep, now);
        }
        upkeep.begin_look(now);
        upkeep.end_look(seen(&[("the lock", "it is gone")]), now);
        upkeep.on_loss(now);
        assert_eq!(upkeep.due(), Some(now + SETTLING));
        now += SETTLING;
        assert_eq!(look_in_vain(&mut upkeep, now), now + DELAY, "from the beginning");
    }

    #[test]
    fn what_went_away_between_the_look_and_the_watch_is_looked_at_again() {
        let mut upkeep = Upkeep::new(Troubles::new());
        assert!(upkeep.begin_look(S));
        upkeep.end_look(Seen { is_whole: false, ..seen(&[]) }, S);
        assert_eq!(upkeep.due(), Some(S + SETTLING));
    }
}
