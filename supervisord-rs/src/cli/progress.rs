//! What a verb waits for, on a terminal: one line on standard error that is written over, and gone
//! when there is an outcome.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::harmless::harmless;
use super::status::shown_phase;
use super::waits::PATIENCE;
use crate::control::client::Client;
use crate::control::protocol::{WorkerStatus, is_meant};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(300);
/// Workers that are named; the others are counted.
const NAMED: usize = 4;

/// What people wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Up,
    Down,
}

/// Does what takes its time, and shows meanwhile who is waited for.
pub(super) fn shown<T>(
    client: &Client,
    names: &[String],
    until: Until,
    order: impl FnOnce() -> T,
) -> T {
    if !std::io::stderr().is_terminal() {
        return order();
    }
    let (done, is_done) = channel::<()>();
    let client = client.clone_with(None);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let begun = Instant::now();
            let mut pause = PATIENCE;
            while is_done.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = EVERY;
                let Ok(report) = client.status() else { continue };
                let line = line(&report.workers, names, until, begun.elapsed());
                let width =
                    ratatui::crossterm::terminal::size().map_or(80, |(columns, _)| columns.into());
                let line: String = line.chars().take(usize::saturating_sub(width, 1)).collect();
                let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            }
            if pause == EVERY {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
        });
        let result = order();
        drop(done);
        result
    })
}

fn line(workers: &[WorkerStatus], names: &[String], until: Until, waited: Duration) -> String {
    let is_named = |worker: &&WorkerStatus| names.iter().any(|name| is_meant(*worker, name));
    let is_waited_for = |worker: &&WorkerStatus| match until {
        Until::Up => !worker.ok && worker.wanted,
        Until::Down => worker.pid.is_some(),
    };
    let those: Vec<&WorkerStatus> = workers.iter().filter(is_named).filter(is_waited_for).collect();
    let mut list: Vec<String> = those
        .iter()
        .take(NAMED)
        .map(|worker| {
            let waits = &worker.waits_for;
            let why = if waits.is_empty() {
                shown_phase(worker).to_owned()
            } else {
                format!("waits for {}", waits.join(", "))
            };
            format!("{} ({why})", worker.name)
        })
        .collect();
    if those.len() > NAMED {
        list.push(format!("{} more", those.len() - NAMED));
    }
    let list = if list.is_empty() { "the answer".to_owned() } else { list.join(", ") };
    harmless(&format!("{} s: waiting for {list}", waited.as_secs())).into_owned()
}
