//! `restart:`: whether, how soon, how often.

use std::time::Duration;

use supervision::spec::{Backoff, Exit, Limit, Restart, RestartPolicy};

use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind, Table};

pub(super) static RESTART: Key = key(
    "restart",
    Kind::Either(&[Kind::Words(&words(&POLICIES)), Kind::Section(&TABLE)]),
    "Whether a worker that has ended is started again, how soon, and how often. A word alone is the \
     `policy:`.",
)
.such_as("{ policy: always, backoff: { initial: 1s } }");
static TABLE: Table =
    Table::of(&[&[&POLICY, &BACKOFF, &LIMIT_KEY, &RESET_AFTER, &SLOW_RETRY, &SUCCESS, &NEVER_ON]]);
static POLICY: Key = key(
    "policy",
    Kind::Words(&words(&POLICIES)),
    "When it is started again. `always`: also after a success, as a job that runs again and again.",
)
.or("on-failure");
static BACKOFF: Key = key(
    "backoff",
    Kind::Section(&BACKOFF_OF_WORKER),
    "How long it waits before a restart: longer each time, until it has run for `reset_after:`.",
)
.or("{ initial: 100ms, factor: 2, max: 30s, jitter: 0.1 }");
static LIMIT_KEY: Key = key(
    "limit",
    Kind::Section(&LIMIT_OF_WORKER),
    "Beyond it the worker is quarantined until you start it. Every restart counts, as in systemd \
     and OTP.",
)
.or("{ restarts: 5, within: 60s }");
static RESET_AFTER: Key = key(
    "reset_after",
    Kind::Duration,
    "After it has run so long, the backoff begins again at `initial:`.",
)
.or("60s");
static SLOW_RETRY: Key = key(
    "slow_retry",
    Kind::Duration,
    "A worker that is quarantined by its limit is tried again after so long. Not before you start \
     it, where this is not written.",
)
.such_as("10m");
static SUCCESS: Key = key(
    "success",
    Kind::OneOrMore(&Kind::Exit),
    "Exit statuses and signals that are no failures, besides 0.",
)
.or("[]")
.such_as("[143, TERM]");
static NEVER_ON: Key = key(
    "never_on",
    Kind::OneOrMore(&Kind::Exit),
    "Exit statuses and signals after which it is quarantined at once, whatever its limit.",
)
.or("[]")
.such_as("[78]");

/// `backoff:` of a worker.
static BACKOFF_OF_WORKER: Table = Table::of(&[&[&INITIAL, &FACTOR, &MAX, &JITTER]]);
/// `backoff:` of the supervisor, whose defaults are others.
pub(super) static BACKOFF_OF_SUPERVISOR: Table =
    Table::of(&[&[&INITIAL, &FACTOR, &MAX_OF_SUPERVISOR, &JITTER_OF_SUPERVISOR]]);
static INITIAL: Key =
    key("initial", Kind::Duration, "Before the first restart; `0s`: none.").or("100ms");
static FACTOR: Key = key(
    "factor",
    Kind::Share { low: 1000, high: 1_000_000 },
    "Each wait is so many times the one before it.",
)
.or("2");
static MAX: Key = key("max", Kind::Duration, "No wait is longer.").or("30s");
static MAX_OF_SUPERVISOR: Key = key("max", Kind::Duration, "No wait is longer.").or("5s");
static JITTER: Key = key(
    "jitter",
    Kind::Share { low: 0, high: 1000 },
    "A wait is longer or shorter by up to this share of it, by a hash of worker and attempt.",
)
.or("0.1");
static JITTER_OF_SUPERVISOR: Key = key(
    "jitter",
    Kind::Share { low: 0, high: 1000 },
    "A wait is longer or shorter by up to this share of it.",
)
.or("0");

/// `limit:` of a worker.
static LIMIT_OF_WORKER: Table = Table::of(&[&[&RESTARTS, &WITHIN]]);
/// `limit:` of a group.
pub(super) static LIMIT_OF_GROUP: Table = Table::of(&[&[&RESTARTS, &WITHIN]]);
/// `limit:` of the supervisor, whose defaults are others.
pub(super) static LIMIT_OF_SUPERVISOR: Table = Table::of(&[&[&RESTARTS_OF_SUPERVISOR, &WITHIN]]);
static RESTARTS: Key = key(
    "restarts",
    Kind::Number { low: 0, high: u32::MAX as i64 },
    "How many restarts are allowed.",
)
.or("5");
static RESTARTS_OF_SUPERVISOR: Key = key(
    "restarts",
    Kind::Number { low: 0, high: u32::MAX as i64 },
    "How many restarts are allowed.",
)
.or("10");
static WITHIN: Key =
    key("within", Kind::Duration, "The time in which restarts are counted.").or("60s");

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
    let Some(cursor) = worker.get(&RESTART) else { return restart };
    if cursor.is_scalar() {
        let longer = "a mapping such as { policy: always }";
        if let Some(policy) = cursor.choice_or(&POLICIES, Some(longer)) {
            restart.policy = policy.value;
        }
        return restart;
    }
    let Some(section) = cursor.section(&TABLE) else { return restart };
    if let Some(policy) = section.choice(&POLICY, &POLICIES) {
        restart.policy = policy;
    }
    if let Some(cursor) = section.get(&BACKOFF) {
        backoff(&cursor, &BACKOFF_OF_WORKER, &mut restart.backoff);
    }
    if let Some(cursor) = section.get(&LIMIT_KEY) {
        restart.limit = limit(&cursor, &LIMIT_OF_WORKER, LIMIT);
    }
    if let Some(reset_after) = section.duration(&RESET_AFTER) {
        restart.reset_after = reset_after;
    }
    restart.slow_retry = section.duration(&SLOW_RETRY);
    restart.success = section.get(&SUCCESS).map(|cursor| exits(&cursor)).unwrap_or_default();
    restart.never_on = section.get(&NEVER_ON).map(|cursor| exits(&cursor)).unwrap_or_default();
    restart
}

/// The default of a `limit:`.
pub(super) const LIMIT: Limit = Limit { restarts: 5, within: Duration::from_secs(60) };

/// `{ restarts: 5, within: 60s }`
pub(super) fn limit(cursor: &Cursor<'_>, table: &'static Table, otherwise: Limit) -> Limit {
    let Some(section) = cursor.section(table) else { return otherwise };
    let restarts = table.key("restarts").and_then(|key| section.count(key, 0));
    Limit {
        restarts: restarts.unwrap_or(otherwise.restarts),
        within: section.duration(&WITHIN).unwrap_or(otherwise.within),
    }
}

/// `{ initial: 100ms, factor: 2, max: 30s, jitter: 0.1 }`
pub(super) fn backoff(cursor: &Cursor<'_>, table: &'static Table, backoff: &mut Backoff) {
    let Some(section) = cursor.section(table) else { return };
    let get = |name: &str| section.get(table.key(name)?);
    if let Some(initial) = section.duration(&INITIAL) {
        backoff.initial = initial;
    }
    if let Some(factor) = section.get(&FACTOR).and_then(|cursor| cursor.permille((1000, 1_000_000)))
    {
        backoff.factor_permille = factor.value;
    }
    if let Some(max) = get(MAX.name).and_then(|cursor| cursor.duration()) {
        backoff.max = max.value;
    }
    if let Some(jitter) = get(JITTER.name).and_then(|cursor| cursor.permille((0, 1000))) {
        backoff.jitter_permille = jitter.value;
    }
    if backoff.initial > backoff.max {
        let at = section.get(&INITIAL).or_else(|| get(MAX.name)).unwrap_or_else(|| cursor.clone());
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
