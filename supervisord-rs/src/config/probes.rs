//! `ready:` and `health:`: how a worker tells that it is ready, and how its health is watched.

use std::time::Duration;

use super::pattern::Patterns;
use super::problems::Problems;
use super::reader::{Cursor, Section};
use super::schema::key::key;
use super::schema::{Key, Kind, Table};
use super::settings::{Address, Check, Health, Probe, Ready, default};

impl Address {
    /// Reads one, with the path of a Unix socket relative to the directory of the file.
    pub(super) fn in_file(text: &str, any: bool, problems: &Problems) -> Option<Self> {
        let path = text.strip_prefix("unix:").filter(|path| !path.starts_with(['/', '@']));
        match path {
            Some("") => None,
            Some(path) => Some(Self::Unix(problems.resolve(path))),
            None => Self::parse(text, any),
        }
    }
}

pub(super) static READY: Key = key(
    "ready",
    Kind::Either(&[Kind::Words(&["notify"]), Kind::Section(&READY_TABLE)]),
    "When it counts as running: one condition, and how long that may take. Registered code reports \
     it itself, and has `timeout:` alone. `notify` is short for `{ notify: true }`.",
)
.such_as("{ tcp: \"127.0.0.1:6379\", timeout: 1m }");
/// That of a `worker:`, which reports by itself, has `timeout` alone.
pub(super) static READY_TABLE: Table =
    Table::of(&[&[&AFTER, &READY_TIMEOUT, &NOTIFY, &FD, &LOG, &TCP, &HTTP, &EXEC, &READY_EVERY]]);
static AFTER: Key = key("after", Kind::Duration, "It has run so long.").or("1s");
pub(super) static READY_TIMEOUT: Key = key(
    "timeout",
    Kind::Duration,
    "A start that takes longer has failed. 30s where it is not written; not with `after:`.",
)
.such_as("1m");
static NOTIFY: Key = key(
    "notify",
    Kind::Boolean,
    "`READY=1` came by sd_notify(3), from the worker or a descendant.",
)
.or("false");
static FD: Key = key(
    "fd",
    Kind::Number { low: 3, high: 63 },
    "It wrote a newline to this descriptor, as s6 programs do.",
)
.such_as("3");
static LOG: Key =
    key("log", Kind::Pattern, "A line of its output matches this.").such_as("ready to accept");
static READY_EVERY: Key =
    key("every", Kind::Duration, "The time between two questions.").or("100ms");

/// Keys of a question; the address of a load of a drill is one too.
pub(super) static MEANS: [&Key; 3] = [&TCP, &HTTP, &EXEC];
pub(super) static TCP: Key = key(
    "tcp",
    Kind::Address,
    "A connection to this address is accepted: an IP address and a port, or `unix:PATH`.",
)
.such_as("127.0.0.1:6379");
pub(super) static HTTP: Key = key(
    "http",
    Kind::Url,
    "`GET` is answered with a status from 200 to 399. The host is an IP address or `localhost`.",
)
.such_as("http://127.0.0.1:8080/health");
static EXEC: Key = key(
    "exec",
    Kind::Command,
    "The command ends with status 0. It has the execution environment of the worker.",
)
.such_as("[redis-cli, ping]");

pub(super) static HEALTH: Key = key(
    "health",
    Kind::Section(&HEALTH_TABLE),
    "How its health is watched. One probe alone is short for `liveness:`.",
)
.such_as("{ http: \"http://127.0.0.1:8080/health\", every: 5s }");
static HEALTH_TABLE: Table = Table::of(&[&[&STARTUP, &READINESS, &LIVENESS], &MEANS, &PACE]);
static PROBE_TABLE: Table = Table::of(&[&MEANS, &PACE]);
static STARTUP: Key = key(
    "startup",
    Kind::Section(&PROBE_TABLE),
    "Says that a command has started, in place of `ready:`.",
)
.such_as("{ tcp: \"127.0.0.1:6379\" }");
static READINESS: Key =
    key("readiness", Kind::Section(&PROBE_TABLE), "Dependents and `status` see what it says.")
        .such_as("{ tcp: \"127.0.0.1:6379\" }");
static LIVENESS: Key = key(
    "liveness",
    Kind::Section(&PROBE_TABLE),
    "A worker that fails it is stopped, which counts as a failure.",
)
.such_as("{ tcp: \"127.0.0.1:6379\" }");
static PROBES: [&Key; 3] = [&STARTUP, &READINESS, &LIVENESS];
static PACE: [&Key; 5] = [&EVERY, &TIMEOUT, &SUCCESSES, &FAILURES, &START_PERIOD];
static EVERY: Key = key("every", Kind::Duration, "The time between two questions.").or("10s");
static TIMEOUT: Key =
    key("timeout", Kind::Duration, "An answer that takes longer is a failure.").or("1s");
static SUCCESSES: Key = key("successes", COUNT, "So many in a row make it well again.").or("1");
static FAILURES: Key = key("failures", COUNT, "So many in a row make it ill.").or("3");
static START_PERIOD: Key = key(
    "start_period",
    Kind::Duration,
    "Failures do not count in the first time of a worker, until a question has succeeded.",
)
.or("0s");
const COUNT: Kind = Kind::Number { low: 1, high: u32::MAX as i64 };

const ADDRESS: &str = "an IP address and a port, such as 127.0.0.1:6379 or [::1]:80, or unix:PATH";

/// What `ready:` says: how, and how long it may take; `after` where it is a matter of time.
#[derive(Debug, Default)]
pub(super) struct WrittenReady {
    pub(super) ready: Option<Ready>,
    pub(super) after: Option<Duration>,
    pub(super) timeout: Option<Duration>,
}

/// `ready:` of a command.
pub(super) fn ready(worker: &Section<'_>, patterns: &Patterns) -> WrittenReady {
    let Some(cursor) = worker.get(&READY) else { return WrittenReady::default() };
    if cursor.is_scalar() {
        let longer = "a mapping such as { tcp: \"127.0.0.1:80\" } or { after: 3s }";
        let ready = cursor.choice_or(&[("notify", ())], Some(longer)).map(|_| Ready::Notify);
        return WrittenReady { ready, ..WrittenReady::default() };
    }
    let Some(section) = cursor.section(&READY_TABLE) else { return WrittenReady::default() };
    let after = section.duration(&AFTER);
    let mut means = Vec::new();
    if section.boolean(&NOTIFY) == Some(true) {
        means.push(Ready::Notify);
    }
    if let Some(fd) = section.get(&FD).and_then(|cursor| cursor.integer(3, 63)) {
        means.push(Ready::Newline(i32::try_from(fd.value).unwrap_or(3)));
    }
    means.extend(section.string(&LOG).and_then(|log| patterns.read(&log, &cursor)).map(Ready::Log));
    let every = section.duration(&READY_EVERY).unwrap_or(Duration::from_millis(100));
    let every = every.max(Duration::from_millis(1));
    means.extend(check(&section, &cursor).into_iter().map(|check| {
        let timeout = Duration::from_secs(1);
        Ready::Probe(Probe {
            check,
            every,
            timeout,
            successes: 1,
            failures: None,
            start_period: Duration::ZERO,
        })
    }));
    if means.len() + usize::from(after.is_some()) > 1 {
        cursor.refuse(
            "`ready:` takes one way to be ready",
            "one of: after, notify, fd, log, tcp, http, exec",
        );
    }
    WrittenReady { ready: means.pop(), after, timeout: section.duration(&READY_TIMEOUT) }
}

/// `health:` of a command: the probes while it runs, and the one that says that it has started, if
/// that is asked here.
pub(super) fn health(worker: &Section<'_>) -> (Health, Option<Probe>) {
    let Some(cursor) = worker.get(&HEALTH) else { return (Health::default(), None) };
    let Some(section) = cursor.section(&HEALTH_TABLE) else { return (Health::default(), None) };
    // The short form is what is most often meant: is it of any use?
    if MEANS.iter().any(|means| section.has(means)) {
        if PROBES.iter().any(|probe| section.has(probe)) {
            cursor.refuse(
                "a probe beside `startup:`, `readiness:` or `liveness:`",
                "the short form for liveness alone, or each probe under its own key",
            );
        }
        return (Health { readiness: None, liveness: pace(&section, &cursor) }, None);
    }
    let probe = |key: &'static Key| {
        let cursor = section.get(key)?;
        pace(&cursor.section(&PROBE_TABLE)?, &cursor)
    };
    (Health { readiness: probe(&READINESS), liveness: probe(&LIVENESS) }, probe(&STARTUP))
}

fn pace(section: &Section<'_>, cursor: &Cursor<'_>) -> Option<Probe> {
    let check = check(section, cursor);
    let probe = Probe {
        check: check.or_else(|| {
            if !MEANS.iter().any(|means| section.has(means)) {
                cursor.refuse("missing `tcp:`, `http:` or `exec:`", "one of: tcp, http, exec");
            }
            None
        })?,
        every: section
            .duration(&EVERY)
            .unwrap_or(Duration::from_secs(10))
            .max(Duration::from_millis(1)),
        timeout: section.duration(&TIMEOUT).unwrap_or(Duration::from_secs(1)),
        successes: section.count(&SUCCESSES, 1).unwrap_or(1),
        failures: Some(section.count(&FAILURES, 1).unwrap_or(3)),
        start_period: section.duration(&START_PERIOD).unwrap_or(Duration::ZERO),
    };
    Some(probe)
}

/// The one question that is written.
pub(super) fn check(section: &Section<'_>, cursor: &Cursor<'_>) -> Option<Check> {
    let mut checks = Vec::new();
    if let Some(at) = section.string(&TCP) {
        match Address::in_file(&at.value, false, cursor.problems) {
            Some(address) => checks.push(Check::Tcp(address)),
            None => section.get(&TCP)?.refuse(format!("invalid address `{}`", at.value), ADDRESS),
        }
    }
    if let Some(at) = section.string(&HTTP) {
        match http(&at.value) {
            Some(check) => checks.push(check),
            None => section.get(&HTTP)?.refuse(
                format!("invalid URL `{}`", at.value),
                "http:// with an IP address or localhost, such as http://127.0.0.1:8080/health",
            ),
        }
    }
    // A load of a drill asks by itself.
    let exec = if section.knows(&EXEC) { section.get(&EXEC) } else { None };
    if let Some(command) = exec.and_then(|cursor| cursor.command(false)) {
        checks.push(Check::Exec(command.value));
    }
    if checks.len() > 1 {
        cursor.refuse("a probe has more than one question", "one of: tcp, http, exec");
    }
    checks.pop()
}

/// A URL of this machine, or of an IP address.
pub(super) fn http(url: &str) -> Option<Check> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    match Address::parse(&address, false)? {
        Address::Unix(_) => None,
        address @ Address::Ip(_) if path.parse::<hyper::Uri>().is_ok() => {
            Some(Check::Http { address, host: host.to_owned(), path: path.to_owned() })
        }
        Address::Ip(_) => None,
    }
}

/// When a worker counts as running, and how that is found out.
pub(super) fn readiness(
    written: WrittenReady,
    startup: Option<Probe>,
    cursor: Option<&Cursor<'_>>,
) -> (supervision::spec::Readiness, Ready) {
    use supervision::spec::Readiness;
    let WrittenReady { ready, after, timeout } = written;
    let notified = || Readiness::Notified { timeout: timeout.unwrap_or(default::READY_TIMEOUT) };
    if let (Some(_), Some(cursor)) = (&startup, cursor)
        && (ready.is_some() || after.is_some())
    {
        cursor.refuse(
            "`ready:` and `health.startup` both say when the worker is ready",
            "one of them",
        );
    }
    match (ready, startup) {
        (Some(ready), _) => (notified(), ready),
        (None, Some(probe)) => (notified(), Ready::Probe(probe)),
        (None, None) => {
            if let (Some(_), None, Some(cursor)) = (timeout, after, cursor) {
                cursor.refuse(
                    "`timeout:` alone has no effect: this worker does not report that it is ready",
                    "`timeout` beside one of: notify, fd, log, tcp, http, exec",
                );
            }
            (Readiness::After(after.unwrap_or(default::READY_AFTER)), Ready::ByItself)
        }
    }
}
