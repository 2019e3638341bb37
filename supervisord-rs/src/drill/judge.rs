//! Whether what is seen is what a scenario expects.

use std::time::Duration;

use super::look::{Fate, Look, Progress};
use super::mark::Mark;
use super::outcome::state;
use super::verdict::Unmet;
use crate::config::scenario::script::{Expectation, ExpectedIncident, Phase, Recorded, Supervisor};
use crate::control::protocol::{IncidentRecord, WorkerStatus, is_meant};
use crate::record::words::duration_us;

/// What is judged.
pub(super) struct Case<'a> {
    pub(super) expectation: &'a Expectation,
    /// `None`: the expectation compares with none.
    pub(super) mark: Option<&'a Mark>,
    pub(super) look: &'a Look,
    /// What had been done when it began to be looked at.
    pub(super) earlier: &'a Progress,
    /// From the fault until all lost were first seen running again.
    pub(super) back_after: Option<Duration>,
}

impl Case<'_> {
    /// What is not as expected.
    pub(super) fn unmet(&self) -> Vec<Unmet> {
        let since_mark = self.mark.map_or_else(Vec::new, |mark| {
            [
                self.lost(mark),
                self.supervisor(mark),
                self.back(mark),
                self.adopted(mark),
                self.silent_damage(mark),
                self.incident(mark),
            ]
            .into_iter()
            .flatten()
            .collect()
        });
        let ended = if self.mark.is_none() { self.ended() } else { None };
        since_mark.into_iter().chain(ended).chain(self.work_lost()).chain(self.phases()).collect()
    }

    /// Whether more was lost than may be, which no waiting mends.
    pub(super) fn is_final(&self) -> bool {
        let (Some(expected), Some(mark)) = (&self.expectation.lost, self.mark) else {
            return false;
        };
        self.names_of(mark, Fate::Lost).iter().any(|worker| !is_named(worker, expected))
    }

    /// Who is on the way up or down, or has not gone on yet, so that it is too early to judge.
    pub(super) fn unsettled(&self) -> Option<String> {
        let is_expected = |worker: &WorkerStatus| {
            self.expectation.phase.iter().any(|(name, _)| is_meant(worker, name))
        };
        let on_the_way = |worker: &&WorkerStatus| {
            !is_expected(worker)
                && match worker.phase.as_str() {
                    "launching" | "starting" | "stopping" | "killing" => true,
                    "backoff" => !worker.ok,
                    _ => false,
                }
        };
        if let Some(worker) = self.look.workers().iter().find(on_the_way) {
            return Some(format!("{} is still {}", worker.name, state(worker)));
        }
        let stalled =
            self.mark.map(|mark| self.look.stalled(mark, self.earlier)).unwrap_or_default();
        let first = stalled.first()?;
        Some(format!("{first} makes no progress, as it did at the mark"))
    }

    fn names_of<'m>(&self, mark: &'m Mark, wanted: Fate) -> Vec<&'m WorkerStatus> {
        let fates = self.look.fates(mark).into_iter();
        fates.filter(|(_, fate)| *fate == wanted).map(|(worker, _)| worker).collect()
    }

    fn lost(&self, mark: &Mark) -> Option<Unmet> {
        let expected = self.expectation.lost.as_ref()?;
        let lost = self.names_of(mark, Fate::Lost);
        let ran = mark.status.workers.iter().filter(|worker| worker.phase == "running");
        let missing = ran.filter(|worker| {
            is_named(worker, expected) && !lost.iter().any(|lost| lost.name == worker.name)
        });
        let idle = expected.iter().filter(|name| {
            let is_it =
                |worker: &&WorkerStatus| is_meant(*worker, name) && worker.phase == "running";
            !mark.status.workers.iter().any(|worker| is_it(&worker))
        });
        let idle: Vec<&str> = idle.map(String::as_str).collect();
        let kept: Vec<&str> = missing.map(|worker| worker.name.as_str()).collect();
        let extra: Vec<String> = lost
            .iter()
            .filter(|worker| !is_named(worker, expected))
            .map(|worker| self.loss(worker))
            .collect();
        if kept.is_empty() && extra.is_empty() && idle.is_empty() {
            return None;
        }
        let mut seen = vec![format!("lost: {}", names(&lost))];
        if !kept.is_empty() {
            seen.push(format!("not lost: {}", kept.join(" ")));
        }
        if !idle.is_empty() {
            seen.push(format!("not running at the mark: {}", idle.join(" ")));
        }
        seen.extend(extra);
        let expected = if expected.is_empty() { "none".to_owned() } else { expected.join(" ") };
        Some(Unmet::new(format!("lost: {expected}, and no others"), seen.join("; ")))
    }

    /// How one was lost that was not to be.
    fn loss(&self, past: &WorkerStatus) -> String {
        let name = &past.name;
        match self.look.worker(name) {
            None => format!("{name} is gone"),
            Some(now) => format!(
                "{name} was PID {} generation {}, and is PID {} generation {} ({})",
                pid(past),
                past.generation,
                pid(now),
                now.generation,
                state(now)
            ),
        }
    }

    fn supervisor(&self, mark: &Mark) -> Option<Unmet> {
        let before = mark.status.supervisor.pid;
        let seen = match (self.look.supervisor(), self.look.ended) {
            (Some(now), _) if now == before => "alive",
            (Some(_), _) => "another process",
            (None, _) => return self.ended(),
        };
        match self.expectation.supervisor? {
            Supervisor::Alive if seen == "alive" => None,
            Supervisor::Died if seen != "alive" => None,
            Supervisor::Alive => Some(Unmet::new("the supervisor alive", seen)),
            Supervisor::Died => Some(Unmet::new("the supervisor died, and another one", seen)),
            Supervisor::Ended(_) => Some(Unmet::new("the supervisor ended for good", seen)),
        }
    }

    fn ended(&self) -> Option<Unmet> {
        let seen = match self.look.ended {
            Some(status) => format!("it ended for good, with exit status {status}"),
            None => "alive".to_owned(),
        };
        match self.expectation.supervisor? {
            Supervisor::Ended(None) if self.look.ended.is_some() => None,
            Supervisor::Ended(Some(status)) if self.look.ended == Some(status) => None,
            Supervisor::Ended(Some(status)) => {
                Some(Unmet::new(format!("the supervisor ended with exit status {status}"), seen))
            }
            Supervisor::Ended(None) => Some(Unmet::new("the supervisor ended for good", seen)),
            Supervisor::Alive => Some(Unmet::new("the supervisor alive", seen)),
            Supervisor::Died => Some(Unmet::new("the supervisor died, and another one", seen)),
        }
    }

    fn back(&self, mark: &Mark) -> Option<Unmet> {
        let limit = self.expectation.back?;
        let expected = format!("all back within {}", humantime::format_duration(limit));
        let lost = self.names_of(mark, Fate::Lost);
        let is_down = |worker: &&&WorkerStatus| {
            self.look.worker(&worker.name).is_none_or(|now| now.phase != "running")
        };
        let down: Vec<String> =
            lost.iter().filter(is_down).map(|worker| self.loss(worker)).collect();
        if !down.is_empty() {
            return Some(Unmet::new(expected, format!("not back: {}", down.join("; "))));
        }
        // What the supervisor has measured counts where no look was at the time.
        let recorded = self.look.incidents.iter().map(|one| one.recovered_us);
        let recorded = recorded.collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max());
        let seen = self.back_after.unwrap_or_default();
        let took = recorded.map_or(seen, |us| seen.min(Duration::from_micros(us)));
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        (took > limit).then(|| Unmet::new(expected, format!("back after {}", duration_us(us))))
    }

    fn work_lost(&self) -> Option<Unmet> {
        let most = self.expectation.work_lost?;
        let expected = format!("at most {most} units of work lost");
        let mut sum = 0;
        for incident in &self.look.incidents {
            match incident.work.in_flight_lost {
                Some(lost) => sum += lost,
                None => return Some(Unmet::new(expected, "how much was lost is not known")),
            }
        }
        (sum > most).then(|| Unmet::new(expected, format!("{sum} lost")))
    }

    fn incident(&self, mark: &Mark) -> Option<Unmet> {
        let sentences = || match self.look.incidents.as_slice() {
            [] => "no incident".to_owned(),
            some => some.iter().map(|one| one.sentence.as_str()).collect::<Vec<_>>().join(" / "),
        };
        match self.expectation.incident.as_ref()? {
            Recorded::Nothing if self.look.incidents.is_empty() => None,
            Recorded::Nothing => Some(Unmet::new("no incident", sentences())),
            Recorded::Incident(expected) => {
                let Some(found) = self.look.incidents.iter().find(|one| is_it(expected, one))
                else {
                    return Some(Unmet::new(
                        format!("an incident with {}", describe(expected)),
                        sentences(),
                    ));
                };
                let lost = self.names_of(mark, Fate::Lost);
                let invented: Vec<&str> = found
                    .lost
                    .iter()
                    .filter(|name| mark.worker(name).is_some_and(|past| past.phase == "running"))
                    .filter(|name| !lost.iter().any(|worker| worker.name == **name))
                    .map(String::as_str)
                    .collect();
                (!invented.is_empty()).then(|| {
                    let seen = format!(
                        "{} kept PID and generation: {}",
                        invented.join(" "),
                        found.sentence
                    );
                    Unmet::new("an incident that agrees with what is seen", seen)
                })
            }
        }
    }

    fn adopted(&self, mark: &Mark) -> Option<Unmet> {
        let names = &self.expectation.adopted;
        if names.is_empty() {
            return None;
        }
        let expected = format!("adopted: {}", names.join(" "));
        if self.look.supervisor() == Some(mark.status.supervisor.pid) {
            return Some(Unmet::new(expected, "the supervisor is the same process as at the mark"));
        }
        let fates = self.look.fates(mark);
        let mut seen = Vec::new();
        for name in names {
            let mut those = fates.iter().filter(|(worker, _)| is_meant(*worker, name)).peekable();
            if those.peek().is_none() {
                seen.push(format!("{name} did not run at the mark"));
            }
            let gone = those.filter(|(_, fate)| *fate != Fate::Survived);
            seen.extend(gone.map(|(worker, _)| self.loss(worker)));
        }
        (!seen.is_empty()).then(|| Unmet::new(expected, seen.join("; ")))
    }

    /// What does harm, and is no incident.
    fn silent_damage(&self, mark: &Mark) -> Option<Unmet> {
        let now = self.look.status().filter(|_| self.expectation.no_silent_damage)?;
        let (past, now) = (&mark.status.supervisor, &now.supervisor);
        let is_same = past.pid == now.pid;
        let since = |then: u64, now: u64| now.saturating_sub(if is_same { then } else { 0 });
        let mut seen: Vec<String> = self
            .look
            .stalled(mark, self.earlier)
            .iter()
            .map(|name| format!("{name} works no more"))
            .collect();
        let counts = [
            (since(past.lost_output, now.lost_output), "bytes of output lost"),
            (since(past.lost_records, now.lost_records), "records lost"),
            (since(past.dropped_hooks, now.dropped_hooks), "hooks dropped"),
            (
                since(past.abandoned_threads.into(), now.abandoned_threads.into()),
                "threads left behind",
            ),
        ];
        let some = counts.iter().filter(|(count, _)| *count > 0);
        seen.extend(some.map(|(count, what)| format!("{what}: {count}")));
        let changed = now.changed_signals.iter().filter(|one| !past.changed_signals.contains(one));
        seen.extend(changed.map(|signal| format!("the disposition of {signal} was changed")));
        let changed = now.changed_limits.iter().filter(|one| !past.changed_limits.contains(one));
        seen.extend(changed.map(|limit| format!("{limit} of the supervisor was lowered")));
        let changed =
            now.changed_identity.iter().filter(|one| !past.changed_identity.contains(one));
        seen.extend(changed.map(|what| format!("the {what} of the supervisor was changed")));
        (!seen.is_empty()).then(|| Unmet::new("no silent damage", seen.join("; ")))
    }

    fn phases(&self) -> Vec<Unmet> {
        let mut unmet = Vec::new();
        for (name, phase) in &self.expectation.phase {
            let expected = format!("{name} {}", phase.word());
            let those: Vec<&WorkerStatus> =
                self.look.workers().iter().filter(|worker| is_meant(*worker, name)).collect();
            if those.is_empty() {
                unmet.push(Unmet::new(expected.clone(), format!("there is no {name}")));
            }
            let others = those.into_iter().filter(|worker| !is_in(worker, *phase));
            unmet.extend(others.map(|worker| {
                Unmet::new(expected.clone(), format!("{} is {}", worker.name, state(worker)))
            }));
        }
        unmet
    }
}

/// Whether a worker is in a phase that a scenario names.
pub(super) fn is_in(worker: &WorkerStatus, phase: Phase) -> bool {
    let is = |name: &str| worker.phase == name;
    match phase {
        Phase::Idle => is("idle"),
        Phase::Starting => is("launching") || is("starting"),
        Phase::Running => is("running") && !worker.paused,
        Phase::Paused => worker.paused,
        Phase::Backoff => is("backoff"),
        Phase::Quarantined => is("quarantined"),
        Phase::Finished => is("finished"),
        Phase::Succeeded => is("finished") && worker.succeeded == Some(true),
        Phase::Failed => is("finished") && worker.succeeded == Some(false),
    }
}

fn is_named(worker: &WorkerStatus, names: &[String]) -> bool {
    names.iter().any(|name| is_meant(worker, name))
}

fn names(workers: &[&WorkerStatus]) -> String {
    match workers {
        [] => "none".to_owned(),
        some => some.iter().map(|worker| worker.name.as_str()).collect::<Vec<_>>().join(" "),
    }
}

fn pid(worker: &WorkerStatus) -> String {
    worker.pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string())
}

/// Whether an incident is as expected.
fn is_it(expected: &ExpectedIncident, found: &IncidentRecord) -> bool {
    aspects(expected, Some(found)).iter().all(|aspect| aspect.is_so)
}

fn describe(expected: &ExpectedIncident) -> String {
    let parts = aspects(expected, None).into_iter();
    parts.map(|one| format!("{}: {}", one.name, one.value)).collect::<Vec<_>>().join(", ")
}

/// One thing that is expected of an incident.
struct Aspect {
    name: &'static str,
    value: String,
    /// Whether it is so in the incident that was found.
    is_so: bool,
}

/// Everything that is expected of an incident, beside one that was found.
fn aspects(expected: &ExpectedIncident, found: Option<&IncidentRecord>) -> Vec<Aspect> {
    let ExpectedIncident {
        worker,
        fault,
        injected,
        cause_known,
        signal,
        exit,
        supervisor_died,
        lost,
    } = expected;
    let mut aspects = Vec::new();
    let mut one = |name, value: Option<String>, is_so: &dyn Fn(&IncidentRecord) -> bool| {
        aspects.extend(value.map(|value| Aspect { name, value, is_so: found.is_some_and(is_so) }));
    };
    let text = |value: &Option<bool>| value.map(|value| value.to_string());
    one("worker", worker.clone(), &|found| found.worker == *worker);
    one("fault", fault.clone(), &|found| Some(&found.fault.kind) == fault.as_ref());
    one("injected", text(injected), &|found| Some(found.fault.injected) == *injected);
    one("cause_known", text(cause_known), &|found| {
        Some(found.ending.cause != "unknown") == *cause_known
    });
    one("signal", signal.clone(), &|found| found.ending.signal == *signal);
    one("exit", exit.map(|exit| exit.to_string()), &|found| found.ending.exit_code == *exit);
    one("supervisor_died", text(supervisor_died), &|found| {
        Some(found.supervisor_died) == *supervisor_died
    });
    one("lost", lost.as_ref().map(|lost| lost.join(" ")), &|found| {
        lost.as_ref().map(|lost| sorted(lost)) == Some(sorted(&found.lost))
    });
    aspects
}

fn sorted(names: &[String]) -> Vec<&String> {
    let mut names: Vec<&String> = names.iter().collect();
    names.sort();
    names
}
