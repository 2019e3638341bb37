//! Probes: which worker to probe when, and what the answers mean. Pure: the time is an argument,
//! and `probing::ask` does the asking.
//!
//! At most [`AT_ONCE`] questions are open at a time; the others wait for a place, so that a
//! thousand probed workers do not make a thousand connections at once.

pub mod ask;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use supervision::{Event, Incarnation, Phase, WorkerId};
use tokio::sync::oneshot;

pub use crate::config::settings::probes::Kind;
use crate::config::settings::{Check, Health, Probe, Ready};

/// Most questions that are open at a time.
pub const AT_ONCE: usize = 32;

/// A question to ask now.
#[derive(Debug)]
pub struct Question {
    /// The worker.
    pub incarnation: Incarnation,
    /// What the answer decides.
    pub kind: Kind,
    /// What to ask.
    pub check: Check,
    /// The timeout of the answer.
    pub timeout: Duration,
    /// Ends when the answer has no meaning any more: the worker is to stop, or has ended.
    pub is_void: oneshot::Receiver<()>,
}

/// All probes of all running workers.
#[derive(Debug, Default)]
pub struct Probing {
    slots: BTreeMap<(WorkerId, Kind), Slot>,
    due: BTreeSet<(Duration, WorkerId, Kind)>,
    open: usize,
}

#[derive(Debug)]
struct Slot {
    incarnation: Incarnation,
    probe: Probe,
    begun: Duration,
    /// The time of the next question; `None` while one is open.
    next: Option<Duration>,
    /// Dropped with the slot, which makes the open question void.
    open: Option<oneshot::Sender<()>>,
    good: u32,
    bad: u32,
    verdict: Option<bool>,
}

impl Probing {
    /// A worker has changed its phase: probes start and end with phases.
    pub fn on_phase(
        &mut self,
        incarnation: Incarnation,
        to: Phase,
        ready: &Ready,
        health: &Health,
        now: Duration,
    ) {
        match to {
            Phase::Starting => {
                if let Ready::Probe(probe) = ready {
                    self.begin(incarnation, Kind::Startup, probe, now, now);
                }
            }
            Phase::Running => {
                self.end(incarnation.worker, Kind::Startup);
                if let Some(probe) = &health.readiness {
                    self.begin(incarnation, Kind::Readiness, probe, now, now);
                }
                if let Some(probe) = &health.liveness {
                    self.begin(incarnation, Kind::Liveness, probe, now, now + probe.every);
                }
            }
            Phase::Idle
            | Phase::Launching
            | Phase::Stopping
            | Phase::Killing
            | Phase::Backoff
            | Phase::Quarantined
            | Phase::Finished => {
                for kind in [Kind::Startup, Kind::Readiness, Kind::Liveness] {
                    self.end(incarnation.worker, kind);
                }
            }
        }
    }

    fn begin(
        &mut self,
        incarnation: Incarnation,
        kind: Kind,
        probe: &Probe,
        now: Duration,
        first: Duration,
    ) {
        self.end(incarnation.worker, kind);
        let slot = Slot {
            incarnation,
            probe: probe.clone(),
            begun: now,
            next: Some(first),
            open: None,
            good: 0,
            bad: 0,
            verdict: None,
        };
        self.slots.insert((incarnation.worker, kind), slot);
        self.due.insert((first, incarnation.worker, kind));
    }

    fn end(&mut self, worker: WorkerId, kind: Kind) {
        if let Some(Slot { next: Some(next), .. }) = self.slots.remove(&(worker, kind)) {
            self.due.remove(&(next, worker, kind));
        }
    }

    /// When [`questions`](Self::questions) has something; `None`: never, or when an answer has
    /// come.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(at, ..)| *at).filter(|_| self.open < AT_ONCE)
    }

    /// The questions that are due. The caller answers each by [`answer`](Self::answer), once.
    pub fn questions(&mut self, now: Duration) -> Vec<Question> {
        let mut questions = Vec::new();
        while self.open < AT_ONCE
            && let Some(&(at, worker, kind)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let Some(slot) = self.slots.get_mut(&(worker, kind)) else { continue };
            let (open, is_void) = oneshot::channel();
            (slot.next, slot.open) = (None, Some(open));
            self.open += 1;
            questions.push(Question {
                incarnation: slot.incarnation,
                kind,
                check: slot.probe.check.clone(),
                timeout: slot.probe.timeout,
                is_void,
            });
        }
        questions
    }

    /// For so long nothing could be asked or answered: start periods last longer by that time.
    pub fn on_time_lost(&mut self, by: Duration) {
        self.slots.values_mut().for_each(|slot| slot.begun = slot.begun.saturating_add(by));
    }

    /// The answer to a question; `None`: it could not be asked, which says nothing about the
    /// worker. Returns the event for the machine, if there is one.
    pub fn answer(
        &mut self,
        incarnation: Incarnation,
        kind: Kind,
        good: Option<bool>,
        now: Duration,
    ) -> Option<Event> {
        self.open = self.open.saturating_sub(1);
        let key = (incarnation.worker, kind);
        // The question was about an earlier incarnation.
        let slot = self
            .slots
            .get_mut(&key)
            .filter(|slot| slot.incarnation == incarnation && slot.next.is_none())?;
        let next = now + slot.probe.every;
        (slot.next, slot.open) = (Some(next), None);
        self.due.insert((next, key.0, key.1));
        match good {
            Some(true) => (slot.good, slot.bad) = (slot.good.saturating_add(1), 0),
            Some(false) if now.saturating_sub(slot.begun) >= slot.probe.start_period => {
                (slot.good, slot.bad) = (0, slot.bad.saturating_add(1));
            }
            Some(false) => slot.good = 0,
            None => return None,
        }
        let verdict = if slot.good >= slot.probe.successes {
            true
        } else if slot.probe.failures.is_some_and(|most| slot.bad >= most) {
            false
        } else {
            return None;
        };
        if slot.verdict.replace(verdict) == Some(verdict) {
            return None;
        }
        match (kind, verdict) {
            (Kind::Startup, true) => Some(Event::Ready { incarnation }),
            (Kind::Startup | Kind::Liveness, false) => Some(Event::Unhealthy { incarnation }),
            (Kind::Readiness, ready) => Some(Event::Readiness { incarnation, ready }),
            (Kind::Liveness, true) => None,
        }
    }

    /// The last result of a probe; `None`: there is none yet, or no such probe.
    #[must_use]
    pub fn verdict(&self, worker: WorkerId, kind: Kind) -> Option<bool> {
        self.slots.get(&(worker, kind))?.verdict
    }
}

#[cfg(test)]
mod tests {
    use supervision::Generation;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn probe(successes: u32, failures: Option<u32>, start_period: Duration) -> Probe {
        let check = Check::Exec(vec!["true".into()]);
        Probe { check, every: S, timeout: S, successes, failures, start_period }
    }

    fn who(generation: u64) -> Incarnation {
        Incarnation { worker: WorkerId(0), generation: Generation(generation) }
    }

    fn ask(probing: &mut Probing, now: Duration, good: bool) -> Option<Event> {
        let questions = probing.questions(now);
        assert_eq!(questions.len(), 1, "one question at {now:?}");
        probing.answer(questions[0].incarnation, questions[0].kind, Some(good), now)
    }

    #[test]
    fn a_start_is_asked_until_it_has_answered_well_often_enough() {
        let mut probing = Probing::default();
        let ready = Ready::Probe(probe(2, None, Duration::ZERO));
        probing.on_phase(who(1), Phase::Starting, &ready, &Health::default(), Duration::ZERO);
        assert_eq!(ask(&mut probing, Duration::ZERO, false), None);
        assert_eq!(probing.next_due(), Some(S));
        assert_eq!(ask(&mut probing, S, true), None);
        assert_eq!(ask(&mut probing, 2 * S, true), Some(Event::Ready { incarnation: who(1) }));
        probing.on_phase(who(1), Phase::Running, &ready, &Health::default(), 2 * S);
        assert_eq!(probing.next_due(), None, "nothing is asked any more");
    }

    #[test]
    fn bad_answers_count_in_a_row_and_not_in_the_start_period() {
        let mut probing = Probing::default();
        let health = Health { readiness: None, liveness: Some(probe(1, Some(2), 3 * S)) };
        probing.on_phase(who(1), Phase::Running, &Ready::ByItself, &health, Duration::ZERO);
        for (second, good, expected) in [
            (1, false, false),
            (2, false, false),
            (3, false, false),
            (4, true, false),
            (5, false, false),
            (6, false, true),
        ] {
            let event = ask(&mut probing, second * S, good);
            assert_eq!(event.is_some(), expected, "second {second}: {event:?}");
        }
    }

    #[test]
    fn readiness_comes_and_goes_and_each_change_is_an_event() {
        let mut probing = Probing::default();
        let health = Health { readiness: Some(probe(1, Some(1), Duration::ZERO)), liveness: None };
        probing.on_phase(who(1), Phase::Running, &Ready::ByItself, &health, Duration::ZERO);
        let told: Vec<Option<bool>> = [true, true, false, false, true]
            .into_iter()
            .zip(0..)
            .map(|(good, second)| match ask(&mut probing, second * S, good) {
                Some(Event::Readiness { ready, .. }) => Some(ready),
                other => {
                    assert_eq!(other, None);
                    None
                }
            })
            .collect();
        assert_eq!(told, [Some(true), None, Some(false), None, Some(true)]);
    }

    #[test]
    fn an_answer_about_a_predecessor_has_no_effect() {
        let mut probing = Probing::default();
        let ready = Ready::Probe(probe(1, None, Duration::ZERO));
        probing.on_phase(who(1), Phase::Starting, &ready, &Health::default(), Duration::ZERO);
        let old = probing.questions(Duration::ZERO).remove(0);
        probing.on_phase(who(1), Phase::Backoff, &ready, &Health::default(), S);
        probing.on_phase(who(2), Phase::Starting, &ready, &Health::default(), S);
        assert_eq!(probing.answer(old.incarnation, old.kind, Some(true), S), None);
    }

    #[test]
    fn a_question_about_one_that_is_to_stop_is_void() {
        let mut probing = Probing::default();
        let ready = Ready::Probe(probe(1, None, Duration::ZERO));
        probing.on_phase(who(1), Phase::Starting, &ready, &Health::default(), Duration::ZERO);
        let mut asked = probing.questions(Duration::ZERO).remove(0);
        assert_eq!(asked.is_void.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        probing.on_phase(who(1), Phase::Stopping, &ready, &Health::default(), S);
        assert_eq!(asked.is_void.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn questions_are_bounded_and_each_gets_its_turn() {
        let mut probing = Probing::default();
        let ready = Ready::Probe(probe(1, None, Duration::ZERO));
        for worker in 0..100 {
            let who = Incarnation { worker: WorkerId(worker), generation: Generation(1) };
            probing.on_phase(who, Phase::Starting, &ready, &Health::default(), Duration::ZERO);
        }
        let mut asked = BTreeSet::new();
        while asked.len() < 100 {
            let questions = probing.questions(Duration::ZERO);
            assert!(!questions.is_empty() && questions.len() <= AT_ONCE);
            for question in questions {
                asked.insert(question.incarnation.worker);
                probing.answer(question.incarnation, question.kind, Some(true), Duration::ZERO);
            }
        }
    }
}
