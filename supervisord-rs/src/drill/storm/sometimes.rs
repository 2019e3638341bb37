//! What a campaign has reached, and what it was to reach.

use serde::{Deserialize, Serialize};

use crate::config::scenario::script::Sometimes;

/// A fault that struck, and how it was there: of a fault in a worker its victim, of a kill of the
/// supervisor or the guardian each worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reached {
    /// The fault, without its parameter.
    pub fault: String,
    /// Who.
    pub worker: String,
    /// Where it lived.
    pub isolation: String,
    /// The phase that it was in, as a scenario names it.
    pub phase: String,
}

/// Those that nothing has reached.
pub(in crate::drill) fn missing<'a>(
    wanted: &'a [Sometimes],
    reached: &[&Reached],
    is_meant: impl Fn(&str, &str) -> bool,
) -> Vec<&'a Sometimes> {
    let is_it = |wanted: &Sometimes, one: &Reached| {
        let Sometimes { line: _, fault, worker, isolation, phase } = wanted;
        one.fault == *fault
            && worker.as_ref().is_none_or(|name| is_meant(&one.worker, name))
            && isolation.is_none_or(|isolation| one.isolation == isolation)
            && phase.is_none_or(|phase| one.phase == phase.word())
    };
    wanted.iter().filter(|wanted| !reached.iter().any(|one| is_it(wanted, one))).collect()
}

/// What is missing, for people: `kill-supervisor while one of cell is starting`.
pub(in crate::drill) fn describe(wanted: &Sometimes) -> String {
    let Sometimes { line: _, fault, worker, isolation, phase } = wanted;
    let is_kill = fault.starts_with("kill-") && fault != "kill-self";
    let who = match (worker, isolation) {
        (Some(worker), None) => worker.clone(),
        (Some(worker), Some(isolation)) => format!("{worker} (isolation {isolation})"),
        (None, Some(isolation)) => format!("a worker of isolation {isolation}"),
        (None, None) => "a worker".to_owned(),
    };
    match (is_kill, phase) {
        (true, None) if worker.is_none() && isolation.is_none() => fault.clone(),
        (true, None) => format!("{fault} beside {who}"),
        (true, Some(phase)) => format!("{fault} while {who} is {}", phase.word()),
        (false, None) => format!("{fault} in {who}"),
        (false, Some(phase)) => format!("{fault} in {who} that is {}", phase.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scenario::script::Phase;

    fn wanted(fault: &str) -> Sometimes {
        Sometimes { line: 1, fault: fault.to_owned(), worker: None, isolation: None, phase: None }
    }

    #[test]
    fn what_is_not_written_may_be_anything_and_what_is_must_be_so_at_once() {
        let reached = |fault: &str, worker: &str, isolation: &str, phase: &str| Reached {
            fault: fault.to_owned(),
            worker: worker.to_owned(),
            isolation: isolation.to_owned(),
            phase: phase.to_owned(),
        };
        let all = [
            reached("segfault", "a", "cell", "running"),
            reached("segfault", "b", "process", "starting"),
            reached("kill-supervisor", "a", "cell", "backoff"),
        ];
        let is_missing = |one: Sometimes| {
            let wanted = [one];
            let reached: Vec<&Reached> = all.iter().collect();
            !missing(&wanted, &reached, |worker, name| worker == name).is_empty()
        };
        assert!(!is_missing(wanted("segfault")));
        assert!(is_missing(wanted("panic")));
        assert!(!is_missing(Sometimes { phase: Some(Phase::Starting), ..wanted("segfault") }));
        let starting = Sometimes { phase: Some(Phase::Starting), ..wanted("segfault") };
        assert!(is_missing(Sometimes { isolation: Some("cell"), ..starting.clone() }));
        assert!(is_missing(Sometimes { worker: Some("a".to_owned()), ..starting }));
        let killed = Sometimes { phase: Some(Phase::Backoff), ..wanted("kill-supervisor") };
        assert!(!is_missing(Sometimes { isolation: Some("cell"), ..killed.clone() }));
        assert_eq!(describe(&killed), "kill-supervisor while a worker is backoff");
        assert_eq!(describe(&wanted("kill-supervisor")), "kill-supervisor");
        let in_cell = Sometimes { isolation: Some("cell"), ..wanted("panic") };
        assert_eq!(describe(&in_cell), "panic in a worker of isolation cell");
    }
}
