//! Whether a trial destroyed what the catalogue says, and no more.

use workers::fault::Blast;

use crate::drill::outcome::Trial;

/// What a thread that cannot be killed leaves.
const LEFT_THREAD: &str = "1 thread";

/// What is not as expected, a line each. `worker`: the one that the fault struck.
pub(super) fn differences(expected: Blast, worker: &str, trial: &Trial) -> Vec<String> {
    let capabilities = &trial.isolation.capabilities;
    let is_alone = [worker.to_owned()];
    let (lost, left): (&[String], &[&str]) = match expected {
        // All workers are in one fault domain, but for those that each have their own.
        Blast::Domain if !capabilities.has_own_memory => (&trial.running, &[]),
        Blast::Domain | Blast::Victim | Blast::VictimLeavesDebris => (&is_alone, &[]),
        Blast::VictimLeavesThread if capabilities.has_own_memory => (&is_alone, &[]),
        Blast::VictimLeavesThread => (&is_alone, &[LEFT_THREAD]),
        // A fault that is none there is not tried.
        _ => (&[], &[]),
    };
    let dies = expected == Blast::Domain && capabilities.is_of_supervisor();
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: String, seen: String| {
        if expected != seen {
            differences.push(format!("{what}: expected {expected}, found {seen}"));
        }
    };
    compare("lost", names(lost), names(&trial.lost));
    compare("supervisor", life(dies, None), life(trial.supervisor_died, trial.supervisor_ended));
    compare("left behind", names(left), names(&trial.leftovers));
    compare("not back", names::<&str>(&[]), names(&trial.not_back));
    let attribution = match trial.attributed {
        None => "no incident",
        Some(true) => "an incident with worker and fault",
        Some(false) => "an incident with another worker or fault",
    };
    let traced = if lost.is_empty() { "no incident" } else { "an incident with worker and fault" };
    compare("incident", traced.to_owned(), attribution.to_owned());
    if !lost.is_empty() {
        let known = |us: Option<u64>| if us.is_some() { "known" } else { "not known" }.to_owned();
        compare("when it was seen", "known".to_owned(), known(trial.seen_after_us));
        compare("when all were back", "known".to_owned(), known(trial.back_after_us));
    }
    if !trial.incident_agrees {
        let told = &trial.sentence;
        differences.push(format!("the incident disagrees with the view from outside: {told}"));
    }
    differences.extend(trial.others.iter().map(|told| format!("another incident: {told}")));
    differences
}

fn names<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ")
}

fn life(died: bool, ended: Option<i32>) -> String {
    match ended {
        Some(status) => format!("ended with {status}"),
        None if died => "died".to_owned(),
        None => "alive".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Kind, kinds};

    /// A trial in which these were lost.
    fn trial(isolation: &'static Kind, lost: &[&str], died: bool) -> Trial {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        serde_json::from_value(serde_json::json!({
            "fault": "segfault", "isolation": isolation.name(), "on_panic": "abort",
            "running": ["a", "b", "c", "d"], "lost": owned(lost), "survived": [],
            "supervisor_died": died, "seen_after_us": 1, "back_after_us": 2, "work_lost": 0,
            "leftovers": [], "incident_agrees": true, "attributed": true, "sentence": "told",
        }))
        .expect("a trial")
    }

    fn found(expected: Blast, trial: &Trial) -> Vec<String> {
        differences(expected, "b", trial)
    }

    #[test]
    fn what_is_as_expected_differs_in_nothing() {
        let all = ["a", "b", "c", "d"];
        for (expected, trial) in [
            (Blast::Domain, trial(&kinds::THREAD, &all, true)),
            (Blast::Domain, trial(&kinds::CELL, &all, false)),
            (Blast::Victim, trial(&kinds::THREAD, &["b"], false)),
            (Blast::VictimLeavesDebris, trial(&kinds::CELL, &["b"], false)),
            (Blast::Victim, trial(&kinds::PROCESS, &["b"], false)),
            (Blast::VictimLeavesThread, trial(&kinds::PROCESS, &["b"], false)),
        ] {
            assert_eq!(found(expected, &trial), [""; 0], "{expected:?}");
        }
        let hung =
            Trial { leftovers: vec!["1 thread".into()], ..trial(&kinds::CELL, &["b"], false) };
        assert_eq!(found(Blast::VictimLeavesThread, &hung), [""; 0]);
        let mut silent = trial(&kinds::THREAD, &[], false);
        (silent.attributed, silent.seen_after_us, silent.back_after_us) = (None, None, None);
        assert_eq!(found(Blast::Silent, &silent), [""; 0]);
        // What the same trial is where more was expected.
        assert_eq!(found(Blast::Victim, &silent).len(), 4);
    }

    #[test]
    fn each_thing_that_differs_is_named() {
        let good = || trial(&kinds::PROCESS, &["b"], false);
        let cases: [(Trial, &str); 11] = [
            (trial(&kinds::PROCESS, &["a", "b"], false), "lost: expected b, found a b"),
            (trial(&kinds::PROCESS, &[], false), "lost: expected b, found nothing"),
            (Trial { supervisor_died: true, ..good() }, "supervisor: expected alive, found died"),
            (
                Trial { supervisor_ended: Some(70), ..good() },
                "supervisor: expected alive, found ended with 70",
            ),
            (
                Trial { leftovers: vec!["1 process".into()], ..good() },
                "left behind: expected nothing, found 1 process",
            ),
            (
                Trial { not_back: vec!["b (quarantined)".into()], ..good() },
                "not back: expected nothing, found b (quarantined)",
            ),
            (Trial { attributed: Some(false), ..good() }, "found an incident with another worker"),
            (Trial { attributed: None, ..good() }, "found no incident"),
            (Trial { seen_after_us: None, ..good() }, "when it was seen: expected known"),
            (Trial { incident_agrees: false, ..good() }, "disagrees with the view from outside"),
            (Trial { others: vec!["of a".into()], ..good() }, "another incident: of a"),
        ];
        for (trial, words) in cases {
            let found = found(Blast::Victim, &trial);
            assert!(matches!(&found[..], [one] if one.contains(words)), "{words}: {found:?}");
        }
    }
}
