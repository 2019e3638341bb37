//! `inject:`: faults on schedule.

use std::sync::Arc;
use std::time::Duration;

use supervision::FaultId;
use supervision::spec::InjectionSpec;
use workers::fault::{Fault, Injection, InjectionError, Moment};

use super::nearest::nearest;
use super::problem::Problem;
use super::reader::{Cursor, Section};
use super::settings::Resource;
use super::uses::missing_for;

/// What decides which faults a worker may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim<'a> {
    /// It can commit faults itself.
    pub(super) is_sdk: bool,
    /// It lives in the supervisor's process.
    pub(super) is_of_supervisor: bool,
    /// The configuration allows injection.
    pub(super) is_allowed: bool,
    /// What it shares with others.
    pub(super) uses: &'a [Arc<Resource>],
}

/// Reads them.
pub(super) fn read(worker: &Section<'_>, victim: Victim<'_>) -> Vec<InjectionSpec> {
    let list = worker.get("inject").and_then(|cursor| cursor.list()).unwrap_or_default();
    list.iter().filter_map(|cursor| injection(cursor, victim)).collect()
}

fn injection(cursor: &Cursor<'_>, victim: Victim<'_>) -> Option<InjectionSpec> {
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

/// As the machine carries it.
pub(crate) fn id_of(injection: Injection) -> FaultId {
    FaultId {
        code: injection.fault.code(),
        parameter: injection.parameter,
        at_launch: injection.fault.moment() == Moment::Launch,
    }
}

fn fault(cursor: &Cursor<'_>, section: &Section<'_>, victim: Victim<'_>) -> Option<FaultId> {
    let Some(written) = section.get("fault") else {
        cursor.refuse(
            "missing `fault:`",
            "`fault: segfault`, or another one of `supervisord-rs faults`",
        );
        return None;
    };
    let off = "write `supervisor: { fault_injection: allow }`, or remove `inject:`";
    let fault = one(&written, Some(victim), off)?;
    Some(id_of(fault))
}

/// A fault by its name. `victim`: in whom, where that is known; `off`: what to do where injection is
/// not allowed.
pub(super) fn one(
    written: &Cursor<'_>,
    victim: Option<Victim<'_>>,
    off: &str,
) -> Option<Injection> {
    let text = written.string()?;
    let fault = match text.value.parse::<Injection>() {
        Ok(fault) => fault,
        Err(InjectionError::Unknown { name, .. }) => {
            let nearest = nearest(&text.value, Fault::all().map(Fault::name));
            let problem = text.problem(format!("unknown fault `{name}`"));
            let problem = problem.expected("a name that `supervisord-rs faults` lists");
            written.problems.push(Problem { nearest, ..problem });
            return None;
        }
        Err(error) => {
            written.problems.push(text.problem(error.to_string()));
            return None;
        }
    };
    let Some(Victim { is_sdk, is_of_supervisor, is_allowed, uses }) = victim else {
        return Some(fault);
    };
    if !is_allowed {
        written.refuse_with("crash injection is off", off);
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
    if is_sdk && let Some(kind) = missing_for(fault.fault, uses) {
        written.refuse(
            format!("`{}` strikes a {kind}, and this worker uses none", fault.fault.name()),
            &format!("another fault, or a {kind} in its `uses:`"),
        );
    }
    Some(fault)
}
