//! `restart:`: whether, how soon, how often.

use std::time::Duration;

use supervision::spec::{Backoff, Exit, Limit, Restart, RestartPolicy};

use super::reader::{Cursor, Section};

const POLICIES: [(&str, RestartPolicy); 3] = [
    ("always", RestartPolicy::Always),
    ("on-failure", RestartPolicy::OnFailure),
    ("never", RestartPolicy::Never),
];

/// `restart: always`, or a mapping.
pub(super) fn read(worker: &Section<'_>) -> Restart {
    let mut restart = Restart {
        policy: RestartPolicy::OnFailure,
        backoff: Backoff {
            initial: Duration::from_millis(100),
            factor_permille: 2000,
            max: Duration::from_secs(30),
            jitter_permille: 100,
        },
        limit: LIMIT,
        reset_after: Duration::from_secs(60),
        slow_retry: None,
        success: Vec::new(),
        never_on: Vec::new(),
    };
    let Some(cursor) = worker.get("restart") else { return restart };
    if cursor.is_scalar() {
        let longer = "a mapping such as { policy: always }";
        if let Some(policy) = cursor.choice_or(&POLICIES, Some(longer)) {
            restart.policy = policy.value;
        }
        return restart;
    }
    let known = ["policy", "backoff", "limit", "reset_after", "slow_retry", "success", "never_on"];
    let Some(section) = cursor.section(&known, &[]) else { return restart };
    if let Some(policy) = section.choice("policy", &POLICIES) {
        restart.policy = policy;
    }
    if let Some(cursor) = section.get("backoff") {
        backoff(&cursor, &mut restart.backoff);
    }
    if let Some(cursor) = section.get("limit") {
        restart.limit = limit(&cursor, LIMIT);
    }
    if let Some(reset_after) = section.duration("reset_after") {
        restart.reset_after = reset_after;
    }
    restart.slow_retry = section.duration("slow_retry");
    restart.success = section.get("success").map(|cursor| exits(&cursor)).unwrap_or_default();
    restart.never_on = section.get("never_on").map(|cursor| exits(&cursor)).unwrap_or_default();
    restart
}

/// The default of a `limit:`.
pub(super) const LIMIT: Limit = Limit { restarts: 5, within: Duration::from_secs(60) };

/// `{ restarts: 5, within: 60s }`
pub(super) fn limit(cursor: &Cursor<'_>, otherwise: Limit) -> Limit {
    let Some(section) = cursor.section(&["restarts", "within"], &[]) else { return otherwise };
    Limit {
        restarts: section.count("restarts", 0).unwrap_or(otherwise.restarts),
        within: section.duration("within").unwrap_or(otherwise.within),
    }
}

pub(super) fn backoff(cursor: &Cursor<'_>, backoff: &mut Backoff) {
    let Some(section) = cursor.section(&["initial", "factor", "max", "jitter"], &[]) else {
        return;
    };
    if let Some(initial) = section.duration("initial") {
        backoff.initial = initial;
    }
    if let Some(factor) =
        section.get("factor").and_then(|cursor| cursor.permille((1000, 1_000_000)))
    {
        backoff.factor_permille = factor.value;
    }
    if let Some(max) = section.duration("max") {
        backoff.max = max;
    }
    if let Some(jitter) = section.get("jitter").and_then(|cursor| cursor.permille((0, 1000))) {
        backoff.jitter_permille = jitter.value;
    }
    if backoff.initial > backoff.max {
        let at =
            section.get("initial").or_else(|| section.get("max")).unwrap_or_else(|| cursor.clone());
        at.refuse("`initial` is longer than `max`", "`initial` no longer than `max`");
    }
}

/// `[0, 2, TERM]`: exit codes and signals.
fn exits(cursor: &Cursor<'_>) -> Vec<Exit> {
    let exit = |cursor: &Cursor<'_>| {
        let is_number = cursor.node.text().is_some_and(|text| text.parse::<i64>().is_ok());
        if is_number {
            return cursor
                .integer(0, 255)
                .map(|code| Exit::Code(i32::try_from(code.value).unwrap_or(0)));
        }
        cursor.signal().map(|signal| Exit::Signal(signal.value))
    };
    cursor.one_or_more().unwrap_or_default().iter().filter_map(exit).collect()
}
