//! `status`: what runs, and what does not.

use std::time::Duration;

use clap::Args;

use super::Exit;
use super::output::{has_colour, json, line, table};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{StatusReport, WorkerStatus};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only these workers.
    workers: Vec<String>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Again at each change, until interrupted.
    #[arg(long, short, conflicts_with = "json")]
    watch: bool,
}

pub(super) fn run(options: &Options, client: &Client) -> Exit {
    let exit = show(options, client);
    if options.watch {
        watch(options, client);
    }
    exit
}

fn show(options: &Options, client: &Client) -> Exit {
    let mut report = match client.status() {
        Ok(report) => report,
        Err(error) => return unreachable(&error),
    };
    let known: Vec<String> = report.workers.iter().map(|worker| worker.name.clone()).collect();
    let unknown: Vec<&String> = options.workers.iter().filter(|name| !known.contains(name)).collect();
    if !options.workers.is_empty() {
        report.workers.retain(|worker| options.workers.contains(&worker.name));
    }
    if options.json {
        json(&report);
    } else {
        line(&text(&report));
    }
    for name in &unknown {
        eprintln!("supervisord-rs: no worker is called {name}; there are: {}", known.join(", "));
    }
    if !unknown.is_empty() {
        Exit::RefusedOrUnknown
    } else if report.workers.iter().all(|worker| worker.phase == "running") {
        Exit::Done
    } else {
        Exit::NotRunning
    }
}

fn unreachable(error: &ClientError) -> Exit {
    eprintln!("supervisord-rs: {error}");
    Exit::RefusedOrUnknown
}

/// Shows it again when something has happened, at most five times a second.
fn watch(options: &Options, client: &Client) {
    let Ok(events) = client.events() else { return };
    for event in events {
        if event.is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
        if !line("") || show(options, client) == Exit::RefusedOrUnknown {
            return;
        }
    }
}

fn text(report: &StatusReport) -> String {
    let header = ["WORKER", "PHASE", "ISOLATION", "PID", "GEN", "RESTARTS", "PROGRESS", "SINCE", "NOTE"];
    let rows = report.workers.iter().map(|worker| {
        let cell = worker.cell.as_ref().map_or_else(String::new, |cell| format!(" {cell}"));
        vec![
            worker.name.clone(),
            colour(&worker.phase),
            format!("{}{cell}", worker.isolation),
            worker.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
            worker.generation.to_string(),
            worker.restarts.to_string(),
            worker.progress.map_or_else(|| "-".into(), |progress| progress.to_string()),
            worker.since.clone(),
            note(worker),
        ]
    });
    table(&header, rows)
}

fn note(worker: &WorkerStatus) -> String {
    let mut notes = Vec::new();
    if worker.stopped {
        notes.push("stopped by hand".to_owned());
    }
    if !worker.waits_for.is_empty() {
        notes.push(format!("waits for {}", worker.waits_for.join(", ")));
    }
    if let Some(retry) = worker.retry_in_ms {
        notes.push(format!("again in {retry} ms"));
    }
    if worker.abandoned > 0 {
        let threads = if worker.abandoned == 1 { "thread" } else { "threads" };
        notes.push(format!("{} {threads} left behind", worker.abandoned));
    }
    if worker.phase != "running"
        && let Some(ending) = &worker.ending
    {
        notes.push(ending.message.clone().unwrap_or_else(|| format!("last ended: {}", ending.cause)));
    }
    notes.join("; ")
}

fn colour(phase: &str) -> String {
    let code = match phase {
        "running" => 32,
        "quarantined" | "backoff" => 31,
        "finished" | "idle" => 2,
        _ => 33,
    };
    if has_colour() { format!("\x1b[{code}m{phase}\x1b[0m") } else { phase.to_owned() }
}
