//! `inject:`: faults on schedule.

use std::time::Duration;

use supervision::FaultId;
use supervision::spec::InjectionSpec;
use workers::fault::{Fault, Injection, InjectionError};

use super::nearest::nearest;
use super::problem::Problem;
use super::reader::{Cursor, Section};

/// What decides which faults a worker may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    /// It can commit faults itself.
    pub(super) is_sdk: bool,
    /// It lives in the supervisor's process.
    pub(super) is_of_supervisor: bool,
    /// The configuration allows injection.
    pub(super) is_allowed: bool,
}

/// Reads them.
pub(super) fn read(worker: &Section<'_>, victim: Victim) -> Vec<InjectionSpec> {
    let list = worker.get("inject").and_then(|cursor| cursor.list()).unwrap_or_default();
    list.iter().filter_map(|cursor| injection(cursor, victim)).collect()
}

fn injection(cursor: &Cursor<'_>, victim: Victim) -> Option<InjectionSpec> {
    let section =
        cursor.section(&["fault", "after", "every", "times", "probability", "seed"], &[])?;
    // Everything is looked at before anything is given up: all problems at once.
    let fault = fault(cursor, &section, victim);
    let every = section.duration("every");
    let seed = section.get("seed").and_then(|cursor| cursor.integer(0, i64::MAX));
    let after = section.duration("after");
    let times = section.count("times", 0);
    let probability = section.get("probability").and_then(|cursor| cursor.permille((0, 1000)));
    Some(InjectionSpec {
        fault: fault?,
        // Every ten seconds means ten seconds after the start first of all.
        after: after.or(every).unwrap_or(Duration::ZERO),
        every,
        times,
        probability_permille: probability.map_or(1000, |probability| probability.value),
        seed: seed.and_then(|seed| u64::try_from(seed.value).ok()).unwrap_or(0),
    })
}

fn fault(cursor: &Cursor<'_>, section: &Section<'_>, victim: Victim) -> Option<FaultId> {
    let Victim { is_sdk, is_of_supervisor, is_allowed } = victim;
    let Some(written) = section.get("fault") else {
        cursor.refuse(
            "missing `fault:`",
            "`fault: segfault`, or another one of `supervisord-rs faults`",
        );
        return None;
    };
    let text = written.string()?;
    let fault = match text.value.parse::<Injection>() {
        Ok(fault) => fault,
        Err(InjectionError::Unknown { name, .. }) => {
            let nearest = nearest(&text.value, Fault::all().map(Fault::name));
            let problem = text.problem(format!("unknown fault `{name}`"));
            let problem = problem.expected("a name that `supervisord-rs faults` lists");
            cursor.problems.push(Problem { nearest, ..problem });
            return None;
        }
        Err(error) => {
            cursor.problems.push(text.problem(error.to_string()));
            return None;
        }
    };
    if !is_allowed {
        written.refuse_with(
            "crash injection is off",
            "write `supervisor: { fault_injection: allow }`, or remove `inject:`",
        );
    }
    if !is_sdk && fault.fault.signal().is_none() {
        let outside = Fault::all().filter(|fault| fault.signal().is_some()).map(Fault::name);
        written.refuse(
            format!("`{}` needs a `worker:`: a command does not commit it", fault.fault.name()),
            &format!("a signal: {}", outside.collect::<Vec<_>>().join(", ")),
        );
    }
    if is_of_supervisor && fault.fault.is_order() {
        written.refuse(
            format!("`{}` in a thread of the supervisor stops everything", fault.fault.name()),
            "another fault, or `isolation: process` or a cell for this worker",
        );
    }
    Some(FaultId { code: fault.fault.code(), parameter: fault.parameter })
}
