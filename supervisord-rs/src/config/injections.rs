//! `inject:`: faults on schedule.

use std::time::Duration;

use supervision::FaultId;
use supervision::spec::InjectionSpec;
use workers::fault::{Fault, Injection};

use super::diagnostics::Problem;
use super::nearest::nearest;
use super::reader::{Cursor, Section};

/// Reads them. `is_sdk`: whether the worker can commit faults itself; `is_allowed`: whether the
/// configuration allows injection.
pub(super) fn read(worker: &Section<'_>, is_sdk: bool, is_allowed: bool) -> Vec<InjectionSpec> {
    let list = worker.get("inject").and_then(|cursor| cursor.list()).unwrap_or_default();
    list.iter().filter_map(|cursor| injection(cursor, is_sdk, is_allowed)).collect()
}

fn injection(cursor: &Cursor<'_>, is_sdk: bool, is_allowed: bool) -> Option<InjectionSpec> {
    let section =
        cursor.section(&["fault", "after", "every", "times", "probability", "seed"], &[])?;
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
        Err(error) => {
            let nearest = nearest(&text.value, Fault::all().map(Fault::name));
            cursor.problems.push(Problem { nearest, ..text.problem(error.to_string()) });
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
    let every = section.duration("every");
    let seed = section.get("seed").and_then(|cursor| cursor.integer(0, i64::MAX));
    Some(InjectionSpec {
        fault: FaultId { code: fault.fault.code(), parameter: fault.parameter },
        // Every ten seconds means ten seconds after the start first of all.
        after: section.duration("after").or(every).unwrap_or(Duration::ZERO),
        every,
        times: section.count("times", 0),
        probability_permille: section
            .get("probability")
            .and_then(|cursor| cursor.permille((0, 1000)))
            .map_or(1000, |probability| probability.value),
        seed: seed.and_then(|seed| u64::try_from(seed.value).ok()).unwrap_or(0),
    })
}
