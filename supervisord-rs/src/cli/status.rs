//! `status`: what runs, and what does not.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use clap::Args;
use workers::runtime::board::monotonic_ns;

use super::Exit;
use super::following::{Follower, follow};
use super::harmless::harmless;
use super::output::{has_colour, json, line, say, terminal_width};
use super::phase::{self, STOPPING, is_fine};
use super::sharing;
use super::table::{Cell, Column, fit};
use super::time;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{
    EventRecord, StatusReport, Usage, WAIT_DEFAULT, WorkerStatus, is_meant,
};
use crate::record::words;

/// Workers that an error names at most.
const NAMES_MAX: usize = 10;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only these workers, groups as `GROUP:`, or the name that instances share.
    workers: Vec<String>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Times in UTC instead of local time.
    #[arg(long)]
    utc: bool,
    /// Again at each change, until interrupted or until the supervisor has ended in order.
    #[arg(long, short, conflicts_with = "json")]
    watch: bool,
    /// First wait until all of them are in this phase, such as running. Without names, `running`
    /// asks nothing of those that have ended with success or were never to start.
    #[arg(long, value_name = "PHASE", value_parser = phase::PHASES, conflicts_with = "watch")]
    wait: Option<String>,
    /// Wait at most this long, such as 10s. Default: 5m.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        requires = "wait"
    )]
    timeout: Option<Duration>,
}

pub(super) fn run(options: &Options, client: &Client) -> Exit {
    if let Some(wanted) = &options.wait {
        return wait(options, wanted, client);
    }
    let exit = show(options, client);
    if !options.watch || exit == Exit::RefusedOrUnknown {
        return exit;
    }
    match follow(client, &mut Watch { options, client, is_first: true, shown_us: 0 }) {
        Exit::Done => exit,
        failed => failed,
    }
}

fn wait(options: &Options, wanted: &str, client: &Client) -> Exit {
    let is_meant = |worker: &WorkerStatus| {
        options.workers.is_empty() || options.workers.iter().any(|name| is_meant(worker, name))
    };
    let limit = options.timeout.unwrap_or(WAIT_DEFAULT);
    let goal =
        phase::Goal { phase: wanted, is_named: !options.workers.is_empty(), is_meant: &is_meant };
    let outcome = phase::wait(client, &goal, limit);
    if let phase::Outcome::Ended(missing) = outcome {
        say(&match missing.is_empty() {
            true => "the supervisor has ended".to_owned(),
            false => format!(
                "the supervisor has ended; when last seen, these were not {wanted}: {} (see \
                 `supervisord-rs logs` and `incidents`)",
                some(&missing)
            ),
        });
        return Exit::Failed;
    }
    let shown = show(options, client);
    let why = match outcome {
        _ if shown == Exit::RefusedOrUnknown => return shown,
        phase::Outcome::Reached => return Exit::Done,
        phase::Outcome::TimedOut(missing) => {
            let limit = humantime::format_duration(limit);
            format!("not {wanted} after {limit}: {}", some(&missing))
        }
        phase::Outcome::InVain(lost) => in_vain(wanted, &lost),
        phase::Outcome::Ended(_) => return Exit::Failed,
    };
    say(&why);
    Exit::Failed
}

/// Says which do not get there, and what to do about those that an order would help.
fn in_vain(wanted: &str, lost: &[phase::Lost]) -> String {
    let names: Vec<String> = lost.iter().map(|lost| lost.name.clone()).collect();
    let text = format!("without another order these will not become {wanted}: {}", some(&names));
    let startable = lost.iter().filter(|lost| !lost.is_blocked).take(NAMES_MAX);
    let startable: Vec<&str> = startable.map(|lost| lost.name.as_str()).collect();
    if wanted != "running" || startable.is_empty() {
        return text;
    }
    format!("{text}; start them with `supervisord-rs start {}`", startable.join(" "))
}

/// The first of them, and how many more.
fn some(names: &[String]) -> String {
    let first = names.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(" ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn show(options: &Options, client: &Client) -> Exit {
    let mut report = match client.status_with_usage() {
        Ok(report) => report,
        Err(error) => return unreachable(&error),
    };
    let known: Vec<String> = report.workers.iter().map(|worker| worker.name.clone()).collect();
    let grouped = report.workers.iter().filter(|worker| worker.group != worker.name);
    let groups: BTreeSet<String> = grouped.map(|worker| format!("{}:", worker.group)).collect();
    // A worker with `instances:` is known also while it has none.
    let is_empty = |name: &&String| {
        let base = name.strip_suffix(':').unwrap_or(name);
        report.supervisor.instances.get(base) == Some(&0)
    };
    let is_unknown = |name: &&String| {
        !is_empty(name) && !report.workers.iter().any(|worker| is_meant(worker, name))
    };
    let bases: Vec<String> = report.supervisor.instances.keys().cloned().collect();
    let asked = if options.workers.is_empty() { &bases } else { &options.workers };
    let empty: Vec<&String> = asked.iter().filter(is_empty).collect();
    let unknown: Vec<&String> = options.workers.iter().filter(is_unknown).collect();
    if !options.workers.is_empty() {
        report.workers.retain(|worker| options.workers.iter().any(|name| is_meant(worker, name)));
        let is_shown = |user: &String| report.workers.iter().any(|worker| worker.name == *user);
        report.resources.retain(|resource| resource.users.iter().any(is_shown));
    }
    if options.json {
        json(&report);
    } else {
        let shown = text(&report, terminal_width(), options.utc, SystemTime::now());
        if !shown.is_empty() {
            line(&shown);
        }
    }
    if report.workers.is_empty() && empty.is_empty() && unknown.is_empty() {
        say(&format!("there are no workers: {} has none", report.supervisor.config));
    }
    for name in empty.iter().filter(|_| !options.json) {
        line(&format!("{name}: no instances"));
    }
    for name in &unknown {
        if groups.contains(&format!("{name}:")) {
            say(&format!("{name} is a group: `status {name}:`"));
            continue;
        }
        let (what, name, known) = match name.strip_suffix(':') {
            Some(group) => ("group", group, groups.iter().cloned().collect()),
            None => ("worker", name.as_str(), known.clone()),
        };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        say(&format!("no {what} is called {name}; there are: {known}"));
    }
    if !unknown.is_empty() {
        Exit::RefusedOrUnknown
    } else if report.workers.iter().all(|worker| is_fine(worker, !options.workers.is_empty())) {
        Exit::Done
    } else {
        Exit::NotRunning
    }
}

fn unreachable(error: &ClientError) -> Exit {
    say(&error.to_string());
    Exit::RefusedOrUnknown
}

/// Shows it again when something has happened, at most five times a second.
struct Watch<'a> {
    options: &'a Options,
    client: &'a Client,
    is_first: bool,
    /// When it was shown last, in microseconds of `CLOCK_MONOTONIC`.
    shown_us: u64,
}

impl Watch<'_> {
    /// False when the reader has gone.
    fn again(&mut self) -> bool {
        std::thread::sleep(Duration::from_millis(200));
        self.shown_us = monotonic_ns() / 1000;
        // What is wrong has been printed: a supervisor that has died may have a successor.
        let is_read = line("");
        if is_read {
            show(self.options, self.client);
        }
        is_read
    }
}

impl Follower for Watch<'_> {
    fn begin(&mut self) -> bool {
        std::mem::take(&mut self.is_first) || self.again()
    }

    fn event(&mut self, event: &EventRecord) -> bool {
        // What happened before the last look has been seen by it.
        event.monotonic_us < self.shown_us || self.again()
    }
}

/// The table, as wide as `room` lets it be.
pub(super) fn text(
    report: &StatusReport,
    room: Option<usize>,
    utc: bool,
    now: SystemTime,
) -> String {
    let mut columns = [
        ("WORKER", 0),
        ("PHASE", 0),
        ("ISOLATION", 8),
        ("PID", 3),
        ("UPTIME", 4),
        ("RESTARTS", 5),
        ("PROGRESS", 9),
        ("CPU", 7),
        ("WAITED", 15),
        ("MEMORY", 6),
        ("THREADS", 10),
        ("FDS", 11),
        ("GEN", 13),
        ("SWITCHES", 14),
        ("PSR", 16),
        ("SINCE", 12),
        ("NOTE", 1),
    ]
    .map(|(title, rank)| Column::new(title, rank));
    for worker in &report.workers {
        for (column, cell) in columns.iter_mut().zip(row(worker, utc, now)) {
            column.cells.push(cell);
        }
    }
    let supervisor = &report.supervisor;
    let ends = (supervisor.phase == STOPPING).then(|| "the supervisor is shutting down".to_owned());
    let strays =
        (!supervisor.stray_processes.is_empty()).then(|| strays(&supervisor.stray_processes));
    let said = ends.iter().chain(&supervisor.troubles).chain(&supervisor.config_differs);
    let said = said.chain(&strays);
    let table = (!report.workers.is_empty()).then(|| fit(columns.into(), room));
    let shared = (!report.resources.is_empty()).then(|| sharing::text(&report.resources, room));
    let shared = shared.map(|table| format!("\n{table}"));
    let lines: Vec<String> = table.into_iter().chain(shared).chain(said.cloned()).collect();
    lines.join("\n")
}

/// Says which there are, and what becomes of them.
fn strays(all: &[String]) -> String {
    let (what, they) =
        if all.len() == 1 { ("process", "it ends") } else { ("processes", "they end") };
    let text = format!(
        "{} {what} left behind by threads, of unknown workers: {}; {they} with the \
         supervisor or the cell",
        all.len(),
        some(all)
    );
    harmless(&text).replace(['\n', '\t'], " ")
}

fn row(worker: &WorkerStatus, utc: bool, now: SystemTime) -> [Cell; 17] {
    let dash = || "-".to_owned();
    let cell = worker.cell.as_ref().map_or_else(String::new, |cell| format!(" {cell}"));
    let is_up = worker.pid.is_some();
    [
        harmless(&worker.name).into_owned().into(),
        coloured(worker),
        format!("{}{cell}", worker.isolation).into(),
        worker.pid.map_or_else(dash, |pid| pid.to_string()).into(),
        if is_up { time::since(&worker.since, now) } else { dash() }.into(),
        worker.restarts.to_string().into(),
        worker.progress.map_or_else(dash, |progress| progress.to_string()).into(),
        figure(worker, |usage| Some(seconds(usage.cpu_us))).into(),
        figure(worker, |usage| usage.wait_us.map(seconds)).into(),
        figure(worker, |usage| usage.pss_kib.or(usage.rss_kib).map(memory)).into(),
        figure(worker, |usage| Some(usage.threads.to_string())).into(),
        figure(worker, |usage| usage.fds.map(|fds| fds.to_string())).into(),
        worker.generation.to_string().into(),
        figure(worker, |usage| Some(switches(usage))).into(),
        figure(worker, |usage| usage.last_cpu.map(|cpu| cpu.to_string())).into(),
        time::shown(&worker.since, utc).into(),
        note(worker).into(),
    ]
}

fn figure(worker: &WorkerStatus, figure: impl Fn(&Usage) -> Option<String>) -> String {
    worker.usage.as_ref().and_then(figure).unwrap_or_else(|| "-".into())
}

/// Context switches for people: because it waited, and because its time was over.
pub(super) fn switches(usage: &Usage) -> String {
    format!("{}/{}", usage.voluntary_switches, usage.involuntary_switches)
}

/// Processor time for people.
pub(super) fn seconds(us: u64) -> String {
    format!("{}.{:02}s", us / 1_000_000, us / 10_000 % 100)
}

/// Memory for people.
pub(super) fn memory(kib: u64) -> String {
    match kib {
        0..=9_999 => format!("{kib}K"),
        10_000..=9_999_999 => format!("{}M", kib / 1024),
        _ => format!("{}G", kib / 1024 / 1024),
    }
}

/// What is worth saying of a worker, in a few words.
pub(super) fn note(worker: &WorkerStatus) -> String {
    let mut notes = Vec::new();
    if worker.paused || worker.usage.as_ref().is_some_and(|usage| usage.suspended) {
        notes.push("suspended".to_owned());
    }
    if !worker.health.ready {
        notes.push("not ready by its probe".to_owned());
    }
    if worker.reloading {
        notes.push("reloading".to_owned());
    }
    if let Some(text) = &worker.status_text {
        notes.push(format!("\"{text}\""));
    }
    if worker.lost_output > 0 {
        notes.push(format!("{} bytes of output lost", worker.lost_output));
    }
    if !worker.remains.is_empty() {
        notes.push(format!("still there: {}", worker.remains.join(", ")));
    }
    if worker.stopped {
        notes.push("stopped by hand".to_owned());
    } else if worker.phase == "idle"
        && !worker.wanted
        && !worker.autostart
        && worker.generation == 0
    {
        notes.push("not started: autostart: false".to_owned());
    }
    if let Some(on) = &worker.in_vain {
        notes.push(format!("cannot start: {on} has failed for good"));
    } else if let Some(why) = &worker.waits_why {
        notes.push(why.clone());
    }
    if !worker.without.is_empty() {
        notes.push(format!("started without {}", worker.without.join(", ")));
    }
    if let Some(why) = &worker.quarantine {
        notes.push(why.clone());
    }
    if let Some(retry) = worker.retry_in_ms {
        notes.push(format!("again in {}", words::span(retry)));
    }
    if worker.abandoned > 0 {
        let threads = if worker.abandoned == 1 { "thread" } else { "threads" };
        notes.push(format!("{} {threads} left behind", worker.abandoned));
    }
    if worker.phase != "running"
        && let Some(ending) = &worker.ending
    {
        let how = words::how(ending);
        let is_launch = ending.status == "not-launched";
        notes.push(if is_launch { how } else { format!("ended: {how}") });
    }
    // Its own words, and the names of its processes.
    harmless(&notes.join("; ")).replace(['\n', '\t'], " ")
}

/// The phase as people see it: an end by failure is none by success.
pub(super) fn shown_phase(worker: &WorkerStatus) -> &str {
    match worker.succeeded {
        Some(false) => "failed",
        Some(true) | None => &worker.phase,
    }
}

/// How a worker fares, for colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    AtRest,
    OnTheWay,
    Bad,
}

pub(super) fn mood(worker: &WorkerStatus) -> Mood {
    match worker.phase.as_str() {
        "running" => Mood::Good,
        "finished" if worker.succeeded == Some(true) => Mood::AtRest,
        "finished" | "quarantined" => Mood::Bad,
        "backoff" if worker.ok => Mood::AtRest,
        "backoff" => Mood::Bad,
        "idle" if worker.in_vain.is_some() => Mood::Bad,
        "idle" => Mood::AtRest,
        _ => Mood::OnTheWay,
    }
}

fn coloured(worker: &WorkerStatus) -> Cell {
    let code = match mood(worker) {
        Mood::Good => 32,
        Mood::AtRest => 2,
        Mood::OnTheWay => 33,
        Mood::Bad => 31,
    };
    Cell { text: shown_phase(worker).to_owned(), colour: has_colour().then_some(code) }
}
