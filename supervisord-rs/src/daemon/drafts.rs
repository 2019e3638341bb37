//! Incidents that are settled and wait for the last lines of their culprit, to be written with
//! them.

use std::time::Duration;

use supervision::Incarnation;

use crate::control::protocol::IncidentRecord;
use crate::record::incidents::Losses;
use crate::record::logs::Tail;

/// One of them.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) record: IncidentRecord,
    pub(super) culprit: Option<Incarnation>,
    pub(super) recovered: bool,
    pub(super) tail: Tail,
    /// What it did to what workers share; `None`: they share nothing.
    pub(super) shared: Option<Losses>,
    /// How long the last lines are waited for.
    pub(super) until: Duration,
}

impl Draft {
    /// Whether it is known what it did to what workers share.
    pub(super) fn knows_losses(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.get().is_some())
    }
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Drafts(Vec<Draft>);

impl Drafts {
    pub(super) fn add(&mut self, draft: Draft) {
        self.0.push(draft);
    }

    /// So much time counts for none.
    pub(super) fn on_time_lost(&mut self, by: Duration) {
        for draft in &mut self.0 {
            draft.until = draft.until.saturating_add(by);
        }
    }

    /// When the first is due at the latest.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.0.iter().map(|draft| draft.until).min()
    }

    /// The place of the first one, at `from` or after it, whose last lines have come, or have not
    /// come in time. `now`: `None` at the very end, when none is waited for.
    pub(super) fn due_from(&self, from: usize, now: Option<Duration>) -> Option<usize> {
        let is_complete = |draft: &Draft| draft.tail.get().is_some() && draft.knows_losses();
        let is_due = |draft: &Draft| now.is_none_or(|now| draft.until <= now) || is_complete(draft);
        let at = self.0.get(from..)?.iter().position(is_due)?;
        Some(from + at)
    }

    /// Takes the one at this place, which is to be written.
    pub(super) fn take(&mut self, at: usize) -> Draft {
        self.0.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn draft(id: u64, until: Duration) -> Draft {
        let record = IncidentRecord { id, ..IncidentRecord::default() };
        Draft { record, culprit: None, recovered: true, tail: Tail::default(), shared: None, until }
    }

    #[test]
    fn an_incident_is_written_when_its_last_lines_are_there_or_late() {
        let mut drafts = Drafts::default();
        for id in 1..=3 {
            drafts.add(draft(id, 10 * S));
        }
        assert_eq!(drafts.due_from(0, Some(S)), None);
        assert_eq!(drafts.next_due(), Some(10 * S));
        drafts.0[1].tail.set(vec!["the end".into()]).expect("the first");
        assert_eq!(drafts.due_from(0, Some(S)), Some(1), "its lines are there");
        assert_eq!(drafts.take(1).record.id, 2);
        drafts.on_time_lost(S);
        assert_eq!(drafts.due_from(0, Some(10 * S)), None, "lost time counts for none");
        assert_eq!(drafts.due_from(1, Some(11 * S)), Some(1));
        assert_eq!(drafts.due_from(2, Some(11 * S)), None);
        assert_eq!(drafts.due_from(0, None), Some(0), "at the very end all are");
    }
}
