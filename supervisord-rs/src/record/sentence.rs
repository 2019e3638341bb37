//! An incident in one line for people.

use std::fmt::Write as _;

use supervision::FaultDomain;

use super::words;
use crate::config::{Kind, kinds};
use crate::control::protocol::{IncidentRecord, ResourceLoss};

/// One that is settled.
#[must_use]
pub fn sentence(record: &IncidentRecord) -> String {
    let mut text = beginning(record, "");
    if !record.stalled.is_empty() {
        let _ = write!(text, " (stalled: {})", list(&record.stalled));
    }
    text.push_str("; ");
    if let Some(detected) = record.detected_us {
        let _ = write!(text, "seen after {}, ", words::duration_us(detected));
    }
    match record.recovered_us {
        Some(recovered) => {
            let _ = write!(text, "all back after {}", words::duration_us(recovered));
        }
        None if record.lost.is_empty() => text.push_str("nothing to bring back"),
        None if record.missing.is_empty() => text.push_str("not all back"),
        None => {
            let _ = write!(text, "not back: {}", record.missing.join(" "));
        }
    }
    match record.work.in_flight_lost {
        Some(lost) => {
            let units = if lost == 1 { "unit" } else { "units" };
            let _ = write!(text, ", {lost} {units} of work lost");
        }
        None => text.push_str(", units of work lost: unknown"),
    }
    text.push_str(&resources(&record.resources));
    for leftover in &record.leftovers {
        let _ = write!(text, ", left behind: {leftover}");
    }
    text.push_str(&details(record));
    text
}

/// The same while it is open. `next`: what is done about it.
#[must_use]
pub fn open_sentence(record: &IncidentRecord, next: Option<&str>) -> String {
    let mut text = beginning(record, " (open)");
    if let Some(next) = next {
        text.push_str("; ");
        text.push_str(next);
    }
    text.push_str(&details(record));
    text
}

/// What became of what the dead had of what workers share.
fn resources(losses: &[ResourceLoss]) -> String {
    let one = |loss: &ResourceLoss| {
        let (name, count) = (&loss.resource, loss.count);
        let many = if count == 1 { "" } else { "s" };
        match (loss.had.as_str(), loss.then.as_str()) {
            ("permit", "lost") => format!("{count} permit{many} of {name} lost"),
            ("byte", _) => format!("{count} byte{many} of {name} cut off: it is made again"),
            ("permit", _) => format!("{count} permit{many} of {name} back"),
            ("reader", _) => format!("{count} reader{many} of {name} gone"),
            ("message", "lost") => format!("{count} message{many} of {name} lost"),
            ("message", _) => format!("{count} message{many} of {name} delivered again"),
            ("half-message", _) => format!("{count} half message{many} of {name} dropped"),
            (had, then) => {
                let within = if had == "lock-within-change" { " within a change" } else { "" };
                let then = match then {
                    "to-repair" => "the next one learns of it",
                    "made-again" => "made again",
                    other => other,
                };
                let held = loss.held_ms.filter(|held| *held > 0);
                let held = held.map(|ms| format!(" for {}", words::span(ms))).unwrap_or_default();
                format!("{name} was held{held}{within}: {then}")
            }
        }
    };
    if losses.is_empty() {
        return String::new();
    }
    format!(", {}", losses.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// What ended, how, and who was lost with it.
fn beginning(record: &IncidentRecord, state: &str) -> String {
    let (id, kind) = (record.id, &record.fault.kind);
    let mut text = format!("incident {id}{state}: ");
    if let Some(who) = &record.worker {
        let known = record.isolation.as_deref().and_then(Kind::by_name);
        // Of a kind that this binary does not know, the record may have come from another one.
        let known = &known.unwrap_or(kinds::DEFAULT).capabilities;
        let place = match known.fault_domain {
            FaultDomain::Shared => format!("thread of cell {}", record.domain),
            FaultDomain::Supervisor | FaultDomain::Own => {
                known.place.strip_prefix("a ").unwrap_or(known.place).to_owned()
            }
        };
        let run = if record.left_behind { "an earlier run of " } else { "" };
        text.push_str(&format!("{kind} in {run}{who} ({place}): "));
        if record.supervisor_died {
            text.push_str("the supervisor died, ");
        }
    } else {
        let what = match record.domain.as_str() {
            "supervisor" => "the supervisor".to_owned(),
            cell => format!("cell {cell}"),
        };
        text.push_str(&format!("{what} died ({kind}; no worker is known to have caused it): "));
    }
    text.push_str(&format!("lost {}, survived {}", list(&record.lost), list(&record.survived)));
    text
}

/// How it ended, with exit code or signal, and how often.
fn details(record: &IncidentRecord) -> String {
    let mut text = String::new();
    if record.count > 1 {
        text.push_str(&format!(" ({} launches failed in this way)", record.count));
    }
    let known = [words::message(&record.ending), words::by(&record.ending)];
    let known = known.into_iter().flatten().collect::<Vec<_>>().join("; ");
    if !known.is_empty() {
        text.push_str(&format!(" [{known}]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{FaultReport, WorkReport};

    #[test]
    fn where_no_worker_caused_it_the_sentence_says_what_died() {
        let killed = FaultReport { kind: "killed".into(), injected: false };
        let record = IncidentRecord {
            id: 7,
            domain: "supervisor".into(),
            fault: killed.clone(),
            supervisor_died: true,
            ..IncidentRecord::default()
        };
        let text = sentence(&record);
        let expected = "incident 7: the supervisor died (killed; no worker is known to have caused \
                        it): lost none, survived none; ";
        assert!(text.starts_with(expected), "{text}");
        let record = IncidentRecord {
            domain: "batch".into(),
            supervisor_died: false,
            lost: vec!["a".into(), "b".into()],
            ..record
        };
        let text = sentence(&record);
        assert!(text.starts_with("incident 7: cell batch died (killed; "), "{text}");
    }

    #[test]
    fn the_sentence_names_those_that_are_not_back() {
        let record = IncidentRecord {
            lost: vec!["a".into(), "b".into(), "c".into()],
            missing: vec!["a".into(), "c".into()],
            work: WorkReport::of(Some((7, 0))),
            ..IncidentRecord::default()
        };
        let text = sentence(&record);
        assert!(text.contains("; not back: a c, 0 units of work lost"), "{text}");
        let record = IncidentRecord { work: WorkReport::of(None), ..record };
        let text = sentence(&record);
        assert!(text.contains("; not back: a c, units of work lost: unknown"), "{text}");
    }
}
