//! Events of `tracing`, and records of `log`, that workers emit: they go to the output of their
//! worker, with level and target, in every isolation. There is one subscriber in a process, which
//! all its workers share, so it looks whose thread emits; what no worker's thread emits is the
//! process's own.

use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use workers::runtime::thread_output;

/// What is chosen by `RUST_LOG`, for the supervisor and its workers; `info` by default.
pub fn chosen() -> Targets {
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// What is wrong with `RUST_LOG`, if it cannot be read.
pub fn misread() -> Option<String> {
    let text = std::env::var_os("RUST_LOG")?;
    let error = match text.to_str() {
        Some(text) => text.parse::<Targets>().err()?.to_string(),
        None => "it is no UTF-8".to_owned(),
    };
    Some(format!(
        "RUST_LOG={} is not understood ({error}), so `info` holds: write a level (error, warn, info, \
         debug, trace, off), or TARGET=LEVEL, separated by commas: `info,shop=debug`",
        text.to_string_lossy()
    ))
}

/// For what a thread of a worker emits.
pub fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    lines().with_filter(is_of_worker())
}

/// For all else.
pub fn of_the_process<S>() -> impl Filter<S> {
    is_of_worker().not()
}

/// In a process that has workers and nothing else. What none of their threads emits goes to its
/// standard error, which is the output of its worker, or of its cell.
pub fn start_in_host() {
    install(tracing_subscriber::registry().with(chosen()).with(lines()));
}

/// Makes this the one subscriber of the process, and says what is lacking where `main` has set one.
pub fn install(subscriber: impl SubscriberInitExt) {
    let has_another = tracing::dispatcher::has_been_set();
    let Err(error) = subscriber.try_init() else { return };
    if has_another {
        eprintln!(
            "supervisord-rs: this program has a global subscriber of `tracing` of its own: the \
             supervisor has no log, and the events of workers are not in their output; leave it out \
             of `main`: `RUST_LOG` chooses what is logged, and `run` how ({error})"
        );
    } else {
        eprintln!(
            "supervisord-rs: this program has a logger of `log` of its own: records of `log` are not \
             in the output of their workers; leave it out of `main` ({error})"
        );
    }
}

fn lines<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).without_time();
    // A worker's reader that has gone is no reason for a panic.
    lines.with_writer(|| Output).log_internal_errors(false)
}

fn is_of_worker<S>() -> impl Filter<S> {
    // Asked for each event: what is known of a place in the source is not whose thread comes by.
    dynamic_filter_fn(|_, _| thread_output::is_of_worker())
}

/// The output of the worker of this thread.
struct Output;

impl Write for Output {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if thread_output::write(line) { Ok(line.len()) } else { io::stderr().write(line) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
