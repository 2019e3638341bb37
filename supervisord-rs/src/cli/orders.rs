//! The verbs that change something: `start`, `stop`, `restart`, `signal`, `inject`, `shutdown`

use std::time::{Duration, Instant};

use clap::Args;

use super::exit::{Exit, report};
use super::output::{json, line};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::Done;
use crate::waiting::until;

/// For an injected fault to become an incident that is settled.
const INCIDENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks: short enough for people, long enough for the machine.
const PAUSE: Duration = Duration::from_millis(20);

/// For a successor to be ready, when nothing else is said.
const REEXEC_TIMEOUT: Duration = crate::daemon::hand_over::DEADLINE;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Workers, groups as `GROUP:`, or `all`.
    #[arg(required = true)]
    workers: Vec<String>,
    /// Return as soon as the order is accepted.
    #[arg(long)]
    no_wait: bool,
    /// Wait at most this long for the outcome, such as 10s; the order stands all the same.
    #[arg(long, value_parser = humantime::parse_duration, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct PauseOptions {
    /// Workers, groups as `GROUP:`, or `all`.
    #[arg(required = true)]
    workers: Vec<String>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ScaleOptions {
    /// The worker's name, without a number.
    worker: String,
    /// How many there shall be.
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(crate::config::instances::INSTANCES_MAX)))]
    instances: u32,
    /// Return as soon as the order is accepted.
    #[arg(long)]
    no_wait: bool,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct SignalOptions {
    worker: String,
    /// A name (`HUP`, `SIGHUP`) or a number.
    signal: String,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct InjectOptions {
    worker: String,
    /// A fault of `supervisord-rs faults`, with its parameter after a colon: `exit:3`, `leak:64MiB`.
    fault: String,
    /// Return as soon as the order is accepted, not when its incident is settled.
    #[arg(long)]
    no_wait: bool,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ReexecOptions {
    /// The binary of the next supervisor. Default: the file that this one was started from, which an upgrade replaces.
    #[arg(long, value_name = "FILE")]
    binary: Option<std::path::PathBuf>,
    /// For it to be ready; otherwise the old one goes on. Default: 30s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// JSON instead of a sentence.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ReloadOptions {
    /// JSON instead of a sentence.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ShutdownOptions {
    /// Kill instead of asking.
    #[arg(long)]
    now: bool,
    /// Return as soon as the order is accepted.
    #[arg(long)]
    no_wait: bool,
}

pub(super) fn start(options: &Options, client: &Client) -> Exit {
    let client = client.clone_with(options.timeout);
    answer(client.start(&options.workers, !options.no_wait), options.json)
}

pub(super) fn stop(options: &Options, client: &Client) -> Exit {
    let client = client.clone_with(options.timeout);
    answer(client.stop(&options.workers, !options.no_wait), options.json)
}

pub(super) fn restart(options: &Options, client: &Client) -> Exit {
    let client = client.clone_with(options.timeout);
    answer(client.restart(&options.workers, !options.no_wait), options.json)
}

pub(super) fn pause(options: &PauseOptions, client: &Client) -> Exit {
    answer(client.pause(&options.workers), options.json)
}

pub(super) fn resume(options: &PauseOptions, client: &Client) -> Exit {
    answer(client.resume(&options.workers), options.json)
}

pub(super) fn scale(options: &ScaleOptions, client: &Client) -> Exit {
    answer(client.scale(&options.worker, options.instances, !options.no_wait), options.json)
}

pub(super) fn signal(options: &SignalOptions, client: &Client) -> Exit {
    match number(&options.signal) {
        Some(signal) => answer(client.signal(&options.worker, signal), options.json),
        None => {
            eprintln!(
                "supervisord-rs: `{}` is no signal: write a name such as HUP, or a number",
                options.signal
            );
            Exit::Usage
        }
    }
}

pub(super) fn inject(options: &InjectOptions, client: &Client) -> Exit {
    let known = match client.incidents(1) {
        Ok(incidents) => incidents.last().map_or(0, |last| last.id),
        Err(error) => return report(&error),
    };
    let done = match client.inject(&options.worker, &options.fault) {
        Ok(done) => done,
        Err(error) => return report(&error),
    };
    // These do their harm without anybody noticing: there is no incident to wait for.
    let is_silent = ["leak", "signal-stop"].iter().any(|silent| options.fault.starts_with(silent));
    if options.no_wait || is_silent {
        return answer(Ok(done), options.json);
    }
    // The fault may take the supervisor along: ask until its successor answers.
    let incident = until(INCIDENT_TIMEOUT, PAUSE, || {
        client.incidents(1000).ok()?.into_iter().find(|record| record.id > known)
    });
    match incident {
        Some(incident) if options.json => json(&incident),
        Some(incident) => drop(line(&incident.sentence)),
        None => {
            eprintln!(
                "supervisord-rs: {} was ordered, and no incident came of it within {} s",
                options.fault,
                INCIDENT_TIMEOUT.as_secs()
            );
            return Exit::Failed;
        }
    }
    Exit::Done
}

pub(super) fn reexec(options: &ReexecOptions, client: &Client) -> Exit {
    let binary =
        options.binary.as_deref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
    // It may be tried out, waited for, and rolled back.
    let client = client.clone_with(Some(3 * options.timeout.unwrap_or(REEXEC_TIMEOUT)));
    answer(client.reexec(binary.as_deref(), options.timeout), options.json)
}

pub(super) fn reload(options: &ReloadOptions, client: &Client) -> Exit {
    let client = client.clone_with(Some(3 * REEXEC_TIMEOUT));
    answer(client.reexec(Some(std::path::Path::new("/proc/self/exe")), None), options.json)
}

pub(super) fn shutdown(options: &ShutdownOptions, client: &Client) -> Exit {
    let done = match client.shutdown(options.now) {
        Ok(done) => done,
        Err(error) => return report(&error),
    };
    if options.no_wait {
        return answer(Ok(done), false);
    }
    let begun = Instant::now();
    // As long as it takes: the supervisor has its own timeout.
    let gone = until(Duration::MAX, PAUSE, || {
        matches!(client.status(), Err(ClientError::NoSupervisor { .. })).then_some(())
    });
    debug_assert!(gone.is_some(), "an endless wait ends when its condition holds");
    line(&format!("stopped after {} ms", begun.elapsed().as_millis()));
    Exit::Done
}

fn answer(result: Result<Done, ClientError>, as_json: bool) -> Exit {
    match result {
        Ok(done) if as_json => json(&done),
        Ok(done) => drop(line(&done.message)),
        Err(error) => return report(&error),
    }
    Exit::Done
}

/// `HUP`, `SIGHUP`, `sighup`, `1`.
fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_with_and_without_prefix_and_numbers() {
        for text in ["HUP", "hup", "SIGHUP", "1"] {
            assert_eq!(number(text), Some(1), "{text}");
        }
        assert_eq!(number("HAP"), None);
    }
}
