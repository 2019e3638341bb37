//! `inject:`: faults on schedule.

use std::sync::Arc;
use std::time::Duration;

use supervision::FaultId;
use supervision::spec::InjectionSpec;
use workers::fault::{Fault, Injection, InjectionError, Moment};

use super::nearest::nearest;
use super::problem::Problem;
use super::reader::{Cursor, Section};
use super::schema::key::key;
use super::schema::{Key, Kind, Table};
use super::settings::Resource;
use super::uses::missing_for;

pub(super) static INJECT: Key = key(
    "inject",
    Kind::List(&Kind::Section(&TABLE)),
    "Faults on schedule, counted from each start of the worker. `supervisor: { fault_injection: \
     allow }` goes with it.",
)
.or("[]")
.such_as("[{ fault: signal-segv, every: 10s }]");
static TABLE: Table = Table::of(&[&[&FAULT, &AFTER, &EVERY, &TIMES, &PROBABILITY, &SEED]]);
static FAULT: Key = key(
    "fault",
    Kind::Text,
    "What is committed: a name that `supervisord-rs faults` lists, with its parameter where it has \
     one.",
)
.such_as("signal-segv")
.needed();
static AFTER: Key = key(
    "after",
    Kind::Duration,
    "When, from the start of the worker on. Where it is not written: `every:`, or at once.",
)
.such_as("5s");
static EVERY: Key =
    key("every", Kind::Duration, "The time to the next one. Once, where it is not written.")
        .such_as("10s");
static TIMES: Key = key(
    "times",
    Kind::Number { low: 0, high: u32::MAX as i64 },
    "How often at most. No bound, where it is not written.",
)
.such_as("3");
static PROBABILITY: Key =
    key("probability", Kind::Share { low: 0, high: 1000 }, "How likely each one is.").or("1");
static SEED: Key = key(
    "seed",
    Kind::Number { low: 0, high: i64::MAX },
    "What the probability draws with: the same seed gives the same faults.",
)
.or("0");

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
    let list = worker.get(&INJECT).and_then(|cursor| cursor.list()).unwrap_or_default();
    list.iter().filter_map(|cursor| injection(cursor, victim)).collect()
}

fn injection(cursor: &Cursor<'_>, victim: Victim<'_>) -> Option<InjectionSpec> {
    let section = cursor.section(&TABLE)?;
    // Everything is looked at before anything is given up: all problems at once.
    let fault = fault(cursor, &section, victim);
    let every = section.duration(&EVERY);
    let seed = section.get(&SEED).and_then(|cursor| cursor.integer(0, i64::MAX));
    let after = section.duration(&AFTER);
    let times = section.count(&TIMES, 0);
    let probability = section.get(&PROBABILITY).and_then(|cursor| cursor.permille((0, 1000)));
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
    let Some(written) = section.get(&FAULT) else {
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
