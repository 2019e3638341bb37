//! `ready:` and `health:`: how a worker tells that it is ready, and how its health is watched.

use std::time::Duration;

use super::pattern::Patterns;
use super::problems::Problems;
use super::reader::{Cursor, Section};
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

const MEANS: [&str; 3] = ["tcp", "http", "exec"];
/// Keys of `ready:`; that of a `worker:`, which reports by itself, has `timeout` alone.
pub(super) const READY_KEYS: [&str; 9] =
    ["after", "timeout", "notify", "fd", "log", "tcp", "http", "exec", "every"];
const PACE: [&str; 5] = ["every", "timeout", "successes", "failures", "start_period"];
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
    let Some(cursor) = worker.get("ready") else { return WrittenReady::default() };
    if cursor.is_scalar() {
        let longer = "a mapping such as { tcp: \"127.0.0.1:80\" } or { after: 3s }";
        let ready = cursor.choice_or(&[("notify", ())], Some(longer)).map(|_| Ready::Notify);
        return WrittenReady { ready, ..WrittenReady::default() };
    }
    let Some(section) = cursor.section(&READY_KEYS, &[]) else { return WrittenReady::default() };
    let after = section.duration("after");
    let mut means = Vec::new();
    if section.boolean("notify") == Some(true) {
        means.push(Ready::Notify);
    }
    if let Some(fd) = section.get("fd").and_then(|cursor| cursor.integer(3, 63)) {
        means.push(Ready::Newline(i32::try_from(fd.value).unwrap_or(3)));
    }
    means
        .extend(section.string("log").and_then(|log| patterns.read(&log, &cursor)).map(Ready::Log));
    let every = section.duration("every").unwrap_or(Duration::from_millis(100));
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
    WrittenReady { ready: means.pop(), after, timeout: section.duration("timeout") }
}

/// `health:` of a command: the probes while it runs, and the one that says that it has started, if
/// that is asked here.
pub(super) fn health(worker: &Section<'_>) -> (Health, Option<Probe>) {
    let Some(cursor) = worker.get("health") else { return (Health::default(), None) };
    let known: Vec<&str> =
        ["startup", "readiness", "liveness"].into_iter().chain(MEANS).chain(PACE).collect();
    let Some(section) = cursor.section(&known, &[]) else { return (Health::default(), None) };
    // The short form is what is most often meant: is it of any use?
    if MEANS.iter().any(|means| section.get(means).is_some()) {
        if ["startup", "readiness", "liveness"].iter().any(|kind| section.get(kind).is_some()) {
            cursor.refuse(
                "a probe beside `startup:`, `readiness:` or `liveness:`",
                "the short form for liveness alone, or each probe under its own key",
            );
        }
        return (Health { readiness: None, liveness: pace(&section, &cursor) }, None);
    }
    let probe = |key: &str| {
        let cursor = section.get(key)?;
        let known: Vec<&str> = MEANS.into_iter().chain(PACE).collect();
        pace(&cursor.section(&known, &[])?, &cursor)
    };
    (Health { readiness: probe("readiness"), liveness: probe("liveness") }, probe("startup"))
}

fn pace(section: &Section<'_>, cursor: &Cursor<'_>) -> Option<Probe> {
    let check = check(section, cursor);
    let probe = Probe {
        check: check.or_else(|| {
            if MEANS.iter().all(|means| section.get(means).is_none()) {
                cursor.refuse("missing `tcp:`, `http:` or `exec:`", "one of: tcp, http, exec");
            }
            None
        })?,
        every: section
            .duration("every")
            .unwrap_or(Duration::from_secs(10))
            .max(Duration::from_millis(1)),
        timeout: section.duration("timeout").unwrap_or(Duration::from_secs(1)),
        successes: section.count("successes", 1).unwrap_or(1),
        failures: Some(section.count("failures", 1).unwrap_or(3)),
        start_period: section.duration("start_period").unwrap_or(Duration::ZERO),
    };
    Some(probe)
}

/// The one question that is written.
pub(super) fn check(section: &Section<'_>, cursor: &Cursor<'_>) -> Option<Check> {
    let mut checks = Vec::new();
    if let Some(at) = section.string("tcp") {
        match Address::in_file(&at.value, false, cursor.problems) {
            Some(address) => checks.push(Check::Tcp(address)),
            None => section.get("tcp")?.refuse(format!("invalid address `{}`", at.value), ADDRESS),
        }
    }
    if let Some(at) = section.string("http") {
        match http(&at.value) {
            Some(check) => checks.push(check),
            None => section.get("http")?.refuse(
                format!("invalid URL `{}`", at.value),
                "http:// with an IP address or localhost, such as http://127.0.0.1:8080/health",
            ),
        }
    }
    if let Some(command) = section.get("exec").and_then(|cursor| cursor.command(false)) {
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
