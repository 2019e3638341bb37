//! Whether each fault has its incident, and each incident its fault.

use std::collections::BTreeMap;
use std::time::Duration;

use super::strike::Strike;
use crate::config::scenario::storm::{Blow, Whom};
use crate::control::protocol::IncidentRecord;

/// A supervisor that dies so long before or after a blow may not have noted it for the next.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(5);

/// What is judged of an incident.
#[derive(Clone, Debug, Default)]
pub(in crate::drill) struct Told {
    pub(in crate::drill) id: u64,
    pub(in crate::drill) worker: Option<String>,
    pub(in crate::drill) generation: Option<u64>,
    pub(in crate::drill) kind: String,
    pub(in crate::drill) injected: bool,
    pub(in crate::drill) supervisor_died: bool,
    pub(in crate::drill) left_behind: bool,
    pub(in crate::drill) open: bool,
    pub(in crate::drill) lost: Vec<String>,
    pub(in crate::drill) sentence: String,
}

impl From<IncidentRecord> for Told {
    fn from(record: IncidentRecord) -> Self {
        Self {
            id: record.id,
            worker: record.worker,
            generation: record.generation,
            kind: record.fault.kind,
            injected: record.fault.injected,
            supervisor_died: record.supervisor_died,
            left_behind: record.left_behind,
            open: record.open,
            lost: record.lost,
            sentence: record.sentence,
        }
    }
}

/// Everything that is wrong, in sentences. `deaths`: how often another supervisor was seen.
pub(in crate::drill) fn judge(
    strikes: &[Strike],
    incidents: &BTreeMap<u64, Told>,
    deaths: u64,
) -> Vec<String> {
    let all = || incidents.values().filter(|one| !one.left_behind);
    let mut wrong: Vec<String> = Vec::new();
    let mut known: BTreeMap<(&str, u64), &Told> = BTreeMap::new();
    for incident in all() {
        if let (Some(worker), Some(generation)) = (&incident.worker, incident.generation)
            && let Some(first) = known.insert((worker, generation), incident)
        {
            let (one, two) = (&first.sentence, &incident.sentence);
            wrong.push(format!("one end of {worker} is two incidents: {one} / {two}"));
        }
        if !is_explained(incident, strikes) {
            wrong.push(format!("no fault of the storm explains {}", incident.sentence));
        }
    }
    for strike in strikes {
        let needs_one = strike.is_sure && !strike.is_silent && !strike.may_end_well;
        let Some(victim) = strike.victim().filter(|_| needs_one) else { continue };
        if !all().any(|one| explains(one, strike, victim)) {
            let (kind, at) = (strike.blow.kind(), strike.at.as_secs_f64());
            wrong.push(format!("no incident tells of the {kind} in {victim} at {at:.3} s"));
        }
    }
    let told = all().filter(|one| one.supervisor_died).count();
    let is_kill = |one: &&Strike| one.is_sure && one.blow == Blow::Kill(Whom::Supervisor);
    let kills = strikes.iter().filter(is_kill).count();
    let least = u64::try_from(kills).unwrap_or(u64::MAX).max(deaths);
    if u64::try_from(told).unwrap_or(u64::MAX) < least {
        wrong.push(format!("{told} incidents tell of {least} deaths of the supervisor"));
    }
    wrong
}

/// Whether a blow of the storm can be what an incident tells of.
fn is_explained(incident: &Told, strikes: &[Strike]) -> bool {
    let is_own = match &incident.worker {
        Some(worker) => strikes.iter().any(|strike| {
            let is_it = incident.injected && incident.kind == strike.blow.kind();
            strike.can_strike(worker, incident.generation) && (is_it || strike.is_silent)
        }),
        // Killed from outside: no worker is to blame. That of a cell would have its culprit.
        None if incident.supervisor_died => {
            strikes.iter().any(|one| one.blow == Blow::Kill(Whom::Supervisor))
        }
        None => false,
    };
    is_own || strikes.iter().any(|strike| is_forgotten(strike, strikes) && took(strike, incident))
}

/// Whether an incident tells that the victim of a blow was lost.
fn took(strike: &Strike, incident: &Told) -> bool {
    let is_lost = |victim: &str| incident.lost.iter().any(|name| name == victim);
    incident.id > strike.known && strike.victim().is_some_and(is_lost)
}

/// Whether what a blow was may be known to no one: its victim leaves no last words, and the
/// supervisor that had ordered it died at about that time.
fn is_forgotten(strike: &Strike, strikes: &[Strike]) -> bool {
    let kind = strike.blow.kind();
    let is_mute = kind.starts_with("signal-") || ["hang", "busy-loop", "vanish"].contains(&kind);
    let is_near =
        |other: &Strike| other.takes_supervisor && other.at.abs_diff(strike.at) <= FORGOTTEN_WITHIN;
    is_mute && strikes.iter().any(is_near)
}

/// Whether an incident is that of a blow, or tells that its victim was taken by another one before.
fn explains(incident: &Told, strike: &Strike, victim: &str) -> bool {
    let is_own = incident.worker.as_deref() == Some(victim)
        && strike.can_strike(victim, incident.generation);
    is_own || incident.id > strike.known && incident.lost.iter().any(|name| name == victim)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn strike(worker: &str, fault: &str, generation: u64, known: u64) -> Strike {
        Strike {
            blow: Blow::Fault { worker: worker.to_owned(), fault: fault.to_owned() },
            at: Duration::from_millis(1500),
            from: Some(generation),
            to: Some(generation),
            known,
            reach: BTreeSet::from([worker.to_owned()]),
            takes_supervisor: false,
            is_silent: false,
            may_end_well: false,
            is_sure: true,
        }
    }

    fn kill() -> Strike {
        let blow = Blow::Kill(Whom::Supervisor);
        let (from, to, takes_supervisor) = (None, None, true);
        Strike { blow, from, to, takes_supervisor, ..strike("", "", 0, 0) }
    }

    fn told(id: u64, worker: &str, kind: &str, generation: u64, lost: &[&str]) -> Told {
        Told {
            id,
            worker: Some(worker.to_owned()),
            generation: Some(generation),
            kind: kind.to_owned(),
            injected: true,
            lost: lost.iter().map(|&name| name.to_owned()).collect(),
            sentence: format!("incident {id}"),
            ..Told::default()
        }
    }

    fn wrong(strikes: &[Strike], incidents: &[Told], deaths: u64) -> Vec<String> {
        let incidents = incidents.iter().map(|one| (one.id, one.clone())).collect();
        judge(strikes, &incidents, deaths)
    }

    #[test]
    fn a_fault_has_its_incident_with_its_cause_its_worker_and_its_run() {
        let strikes = [strike("a", "exit:3", 2, 0)];
        let right = told(1, "a", "exit", 2, &["a"]);
        assert_eq!(wrong(&strikes, std::slice::from_ref(&right), 0), [""; 0]);
        let none = "no incident tells of the exit in a at 1.500 s";
        assert_eq!(wrong(&strikes, &[], 0), [none]);
        let unexplained = "no fault of the storm explains incident 1";
        let others = [
            Told { kind: "panic".to_owned(), ..right.clone() },
            Told { injected: false, ..right.clone() },
        ];
        for other in others {
            assert_eq!(wrong(&strikes, &[other], 0), [unexplained]);
        }
        let of_other = told(1, "b", "exit", 2, &["b"]);
        assert_eq!(wrong(&strikes, &[of_other], 0), [unexplained, none]);
        let of_next_run = told(1, "a", "exit", 3, &[]);
        assert_eq!(wrong(&strikes, &[of_next_run], 0), [unexplained, none]);
        let twice = [right.clone(), Told { id: 2, ..right }];
        assert_eq!(wrong(&strikes, &twice, 0).len(), 1);
    }

    #[test]
    fn a_fault_that_another_one_overtakes_needs_no_incident_of_its_own() {
        let strikes = [strike("a", "segfault", 1, 0), strike("b", "abort", 1, 0)];
        let of_cell = told(1, "b", "abort", 1, &["a", "b"]);
        assert_eq!(wrong(&strikes, std::slice::from_ref(&of_cell), 0), [""; 0]);
        let later = [strike("a", "segfault", 1, 1), strike("b", "abort", 1, 0)];
        assert_eq!(wrong(&later, &[of_cell], 0).len(), 1, "that incident was there before");
    }

    #[test]
    fn what_ends_nothing_what_ends_well_and_what_was_perhaps_not_ordered_need_none() {
        let quiet = Strike { is_silent: true, ..strike("a", "leak", 1, 0) };
        assert_eq!(wrong(std::slice::from_ref(&quiet), &[], 0), [""; 0]);
        let killed = Told { injected: false, ..told(1, "a", "out-of-memory", 1, &["a"]) };
        assert_eq!(wrong(&[quiet], &[killed], 0), [""; 0]);
        let ends_well = Strike { may_end_well: true, ..strike("a", "exit", 1, 0) };
        let unsure = Strike { is_sure: false, ..strike("a", "segfault", 1, 0) };
        assert_eq!(wrong(&[ends_well, unsure], &[], 0), [""; 0]);
    }

    #[test]
    fn each_death_of_the_supervisor_is_an_incident() {
        let died = |id| Told {
            worker: None,
            supervisor_died: true,
            injected: false,
            ..told(id, "", "killed", 0, &[])
        };
        assert_eq!(wrong(&[kill()], &[died(1)], 1), [""; 0]);
        assert_eq!(wrong(&[kill(), kill()], &[died(1)], 1).len(), 1);
        assert_eq!(wrong(&[], &[died(1)], 1), ["no fault of the storm explains incident 1"]);
        let of_thread = Told { supervisor_died: true, ..told(1, "t", "segfault", 1, &["t"]) };
        assert_eq!(wrong(&[strike("t", "segfault", 1, 0)], &[of_thread], 1), [""; 0]);
        let without_culprit = Told { worker: None, ..told(2, "", "killed", 1, &["a"]) };
        let both = [died(1), without_culprit];
        assert_eq!(wrong(&[kill()], &both, 1).len(), 1, "of a cell");
        // The supervisor that ordered the signal is dead; a segfault leaves last words.
        assert_eq!(wrong(&[kill(), strike("a", "signal-kill", 1, 0)], &both, 1), [""; 0]);
        assert_eq!(wrong(&[kill(), strike("a", "segfault", 1, 0)], &both, 1).len(), 1);
        let mut late = strike("a", "signal-kill", 1, 0);
        late.at = Duration::from_secs(60);
        assert_eq!(wrong(&[kill(), late], &both, 1).len(), 1);
    }
}
