//! Whose doing the death of a domain was: of one that lived in it, or of a thread that a run which
//! is over had left behind there, be its worker configured or not.

use supervision::{Culprit, DomainId, Incarnation};
use workers::runtime::board::{LastWords, Reading, monotonic_ns};

use super::Means;
use crate::isolation::contract::Ended;
use crate::record::culprit::{self, Outsider, Removed, Suspect};
use crate::record::evidence::Evidence;

/// One that may have done it.
struct One {
    who: Who,
    /// What it left on its board.
    reading: Option<Reading>,
    /// The signal that was ordered for it.
    struck_by: Option<i32>,
}

enum Who {
    /// It lived there.
    Member(Incarnation),
    /// Its run was over.
    Past(Incarnation),
    /// A worker that is not configured any more, and its run.
    Removed(String, u64),
}

impl Means {
    /// Whose doing it was that a domain died, and what that one left on its board.
    pub(super) fn culprit(&mut self, ended: &Ended) -> (Culprit, Option<Reading>) {
        let mut all = self.suspects(ended);
        let found = match ended.recycled_for {
            // One that is silent because its whole process was stopped is not to blame for that: it
            // is the one for which that was ordered, or none of them.
            Some(hung) => {
                let is_stopper = |one: &One| one.struck_by == Some(nix::libc::SIGSTOP);
                let is_hung = |one: &One| matches!(one.who, Who::Member(who) if who == hung);
                let stopper = all.iter().position(is_stopper);
                if stopper.is_none() && ended.was_stopped {
                    self.registry[ended.domain].outsider = Some(Outsider::Stopper);
                    return (Culprit::Outsider, None);
                }
                stopper.or_else(|| all.iter().position(is_hung))
            }
            None => {
                let suspects = all.iter().enumerate().map(|(who, one)| Suspect {
                    who,
                    reading: one.reading.as_ref(),
                    struck_by: one.struck_by,
                });
                culprit::culprit(suspects, ended.status)
            }
        };
        let Some(One { who, reading, .. }) = found.map(|index| all.swap_remove(index)) else {
            self.registry[ended.domain].outsider = None;
            return (Culprit::from(ended.recycled_for), None);
        };
        let evidence = || Evidence::new(reading.clone(), monotonic_ns(), None);
        let (culprit, outsider) = match who {
            Who::Member(run) => (Culprit::Run(run), None),
            Who::Past(run) => (Culprit::Run(run), Some(Outsider::Past(run, Box::new(evidence())))),
            Who::Removed(name, generation) => {
                let (isolation, evidence) =
                    (self.registry[ended.domain].capabilities.label, evidence());
                let removed = Removed { name, generation, isolation, is_past: true, evidence };
                (Culprit::Outsider, Some(Outsider::Removed(Box::new(removed))))
            }
        };
        self.registry[ended.domain].outsider = outsider;
        (culprit, reading)
    }

    /// Those that lived in it, with what their own runs left on their boards; and those of whose
    /// threads the last words lead to this end.
    fn suspects(&self, ended: &Ended) -> Vec<One> {
        let lived = ended.members.iter().map(|&member| {
            let live = self.registry.live(member);
            let sdk = live.and_then(|live| live.sdk.as_ref());
            One {
                who: Who::Member(member),
                reading: sdk.and_then(|sdk| sdk.reading(member)).map(Reading::of_its_run),
                struck_by: live.and_then(|live| live.struck_by),
            }
        });
        let past = self.past_in(ended.domain).into_iter();
        let past = past.map(|(run, reading)| (Who::Past(run), reading));
        let strays = self.strays.iter().filter(|stray| stray.domain == ended.domain);
        let removed = strays.filter_map(|stray| {
            let reading = stray.reading()?;
            Some((Who::Removed(stray.name.clone(), run_of(&reading)), reading))
        });
        let gone = past.chain(removed);
        let gone = gone.filter(|(_, reading)| culprit::leads_to(reading, ended.status));
        let gone = gone.map(|(who, reading)| One { who, reading: Some(reading), struck_by: None });
        lived.chain(gone).collect()
    }

    /// Runs that are over and of which a thread has left last words in this domain: on the board of
    /// its worker, which may have gone elsewhere since.
    fn past_in(&self, domain: DomainId) -> Vec<(Incarnation, Reading)> {
        let all = self.registry.workers().filter_map(|worker| {
            let slot = &self.registry[worker];
            let reading = slot.page.as_ref()?.board().read()?;
            let generation = supervision::Generation(run_of(&reading));
            let run = Incarnation { worker, generation };
            let is_past = match reading.left_by {
                Some(_) => true,
                None => slot.domain == domain && self.registry.live(run).is_none(),
            };
            (is_past && reading.last_words != LastWords::None).then_some((run, reading))
        });
        all.collect()
    }

    /// The process of a domain is gone, and all threads with it that its workers had left behind.
    pub(super) fn forget_threads(&mut self, domain: DomainId, culprit: Culprit) {
        for page in self.registry.pages_in(domain) {
            page.board().forget_threads();
        }
        if let Culprit::Run(run) = culprit
            && let Some(page) = self.registry[run.worker].page.as_ref()
        {
            page.board().forget_words();
        }
        self.forget_strays(domain);
    }
}

/// Of which run the last words are.
fn run_of(reading: &Reading) -> u64 {
    reading.left_by.unwrap_or(reading.generation)
}
