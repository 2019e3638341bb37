//! The verbs that change something: `start`, `stop`, `restart`, `scale`, `signal`, `shutdown`...
//! `inject` has a file of its own.

use std::time::{Duration, Instant};

use clap::Args;

use super::exit::{Exit, report};
use super::outcomes::answer;
use super::output::line;
use super::phase::STOPPING;
use super::progress::{Until, shown};
use super::successor;
use super::waits::{GIVING_WAY, PAUSE, REEXEC_TIMEOUT};
use crate::config::instances::INSTANCES_MAX;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Done, SignalName};
use crate::waiting::until;

/// Whether to wait for the outcome.
#[derive(Args, Debug)]
struct Waiting {
    /// Return as soon as the order is accepted.
    #[arg(long)]
    no_wait: bool,
    /// Wait at most this long for the outcome, such as 10s; the order stands all the same. Default:
    /// 5m.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        conflicts_with = "no_wait"
    )]
    timeout: Option<Duration>,
}

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Workers, groups as `GROUP:`, or `all`.
    #[arg(required = true)]
    workers: Vec<String>,
    #[command(flatten)]
    waiting: Waiting,
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
    #[arg(value_parser = instances)]
    instances: u32,
    #[command(flatten)]
    waiting: Waiting,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct SignalOptions {
    /// Workers, groups as `GROUP:`, or `all`.
    #[arg(required = true, value_name = "WORKER")]
    workers: Vec<String>,
    /// A name (`HUP`, `SIGHUP`), a number, or `reload`: the `reload_signal:` of a command, the
    /// order to reload for a `worker:`.
    signal: String,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ReexecOptions {
    /// The binary of the next supervisor. Default: the file that this one was started from, which
    /// an upgrade replaces.
    #[arg(long, value_name = "FILE")]
    binary: Option<std::path::PathBuf>,
    /// For it to be prepared to take over; otherwise this one goes on as before. Default: 30s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
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

/// Gives the order, and shows what is waited for meanwhile.
fn carry_out(
    options: &Options,
    until: Until,
    client: &Client,
    order: impl Fn(&Client) -> Result<Done, ClientError>,
    again: impl Fn(&Client) -> Result<Done, ClientError>,
) -> Exit {
    let client = client.clone_with(options.waiting.timeout);
    let outcome = || successor::outcome(&client, || order(&client), || again(&client));
    answer(shown(&client, &options.workers, until, outcome), options.json)
}

pub(super) fn start(options: &Options, client: &Client) -> Exit {
    let order = |client: &Client| client.start(&options.workers, !options.waiting.no_wait);
    carry_out(options, Until::Up, client, order, order)
}

pub(super) fn stop(options: &Options, client: &Client) -> Exit {
    let order = |client: &Client| client.stop(&options.workers, !options.waiting.no_wait);
    carry_out(options, Until::Down, client, order, order)
}

pub(super) fn restart(options: &Options, client: &Client) -> Exit {
    let order = |client: &Client| client.restart(&options.workers, !options.waiting.no_wait);
    // All that was up starts again with the successor; another restart would be one too many.
    let again = |client: &Client| {
        let mut done = client.start(&options.workers, !options.waiting.no_wait)?;
        if let Some(rest) = done.message.strip_prefix("start ") {
            done.message = format!("restart {rest}");
        }
        Ok(done)
    };
    carry_out(options, Until::Up, client, order, again)
}

pub(super) fn pause(options: &PauseOptions, client: &Client) -> Exit {
    answer(client.pause(&options.workers), options.json)
}

pub(super) fn resume(options: &PauseOptions, client: &Client) -> Exit {
    answer(client.resume(&options.workers), options.json)
}

fn instances(written: &str) -> Result<u32, String> {
    let number = written.parse().ok().filter(|number| *number <= INSTANCES_MAX);
    number.ok_or_else(|| format!("write a number from 0 to {INSTANCES_MAX}"))
}

pub(super) fn scale(options: &ScaleOptions, client: &Client) -> Exit {
    let client = client.clone_with(options.waiting.timeout);
    let order = || client.scale(&options.worker, options.instances, !options.waiting.no_wait);
    let names = std::slice::from_ref(&options.worker);
    answer(shown(&client, names, Until::Up, order), options.json)
}

pub(super) fn signal(options: &SignalOptions, client: &Client) -> Exit {
    let signal = SignalName::Name(options.signal.clone());
    answer(client.signal_all(&options.workers, signal), options.json)
}

pub(super) fn reexec(options: &ReexecOptions, client: &Client) -> Exit {
    let binary = options
        .binary
        .as_deref()
        .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
    let limit = options.timeout.unwrap_or(REEXEC_TIMEOUT);
    let client = client.clone_with(Some(limit.saturating_add(GIVING_WAY)));
    answer(client.reexec(binary.as_deref(), options.timeout), options.json)
}

pub(super) fn shutdown(options: &ShutdownOptions, client: &Client) -> Exit {
    let pid = client.status().map(|status| status.supervisor.pid);
    // The end can be over before the answer to the order is.
    let begun = Instant::now();
    match client.shutdown(options.now) {
        // It died over its end.
        Err(ClientError::BrokenOff(_)) if !options.no_wait => {}
        Err(error) => return report(&error),
        Ok(done) if options.no_wait => return answer(Ok(done), false),
        Ok(_) => {}
    }
    // As long as it takes: the supervisor has its own timeout. One that dies meanwhile may have a
    // successor, which under a guardian goes on with the end.
    let next = until(Duration::MAX, PAUSE, || match client.status() {
        Err(ClientError::NoSupervisor { .. } | ClientError::NotPermitted { .. }) => Some(None),
        Ok(status) if status.supervisor.phase == STOPPING => None,
        Ok(status) => {
            pid.as_ref().is_ok_and(|pid| *pid != status.supervisor.pid).then_some(Some(status))
        }
        Err(_) => None,
    });
    if let Some(next) = next.flatten() {
        eprintln!(
            "supervisord-rs: the supervisor died while it was stopping everything, and another one \
             has started (pid {})",
            next.supervisor.pid
        );
        return Exit::Failed;
    }
    line(&format!("stopped after {} ms", begun.elapsed().as_millis()));
    Exit::Done
}
