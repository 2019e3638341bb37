//! `drill`: scenarios and the matrix, which break workers and expect what becomes of the others.

mod configured;
mod init;
mod list;
mod matrix;
mod merge;
mod progress;
mod read;
mod record;
mod recorder;
mod results;
mod run;
mod runner;
mod told;

use clap::{Args, Subcommand};
use workers::Registry;

use super::exit::Exit;
use super::output::say;
use super::place::Place;
use crate::process_table::check_own;

/// One run or trial of many is a process of its own.
pub(super) use matrix::{TrialOptions, trial};
pub(super) use runner::{Options as RunnerOptions, run as one};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run scenarios, and say whether what they expect was so.
    #[command(after_help = "\
Each run has a supervisor, a directory, sockets and logs of its own, and leaves nothing behind.
Commands of the configuration run for real.

Exit status:
  0   every expectation was met
  1   one was not, something was left behind, or a run could not be finished
  2   usage error, or no scenario is there
  78  a scenario is not valid, or something was broken before its first fault

Examples:
  supervisord-rs drill run drills/
  supervisord-rs drill run drills/crash.yaml --repeat 20 --jobs 2
  supervisord-rs drill run drills/ --only 'one crash leaves the others alone' --keep
  supervisord-rs drill run drills/storm.yaml --seed 4711
  supervisord-rs drill run drills/ --junit drills.xml --github
  supervisord-rs drill run drills/ --shard auto --lines results/$CI_NODE_INDEX.jsonl")]
    Run(run::Options),
    /// List scenarios, and how long each takes at most.
    #[command(
        after_help = "Examples:\n  supervisord-rs drill list drills/\n  supervisord-rs drill \
                            list drills/ --json"
    )]
    List(list::Options),
    /// Print a first scenario for a configuration: it strikes each worker once.
    #[command(after_help = "\
It expects what the isolation of each worker promises. Save it beside the configuration.

Example:
  supervisord-rs drill init -c app.yaml > drill.yaml")]
    Init,
    /// Print a scenario that makes an incident of a real run happen again.
    #[command(after_help = "\
It strikes the same worker in the same way, and expects that no more is lost than then. The
incident is that of the supervisor that runs, or of its files. Save it beside the configuration.

Examples:
  supervisord-rs incidents -c app.yaml
  supervisord-rs drill record 7 -c app.yaml > incident-7.yaml")]
    Record(record::Options),
    /// Unite the results of all shards of a campaign.
    #[command(after_help = "\
Each shard is a `drill run --shard K/N --lines DIR/K.jsonl` with the same scenarios,
configurations, program, counts and seed. It prints and writes what one `drill run` of all would,
and fails (1) where a shard or a run is missing, or one run has two different answers.

Example:
  supervisord-rs drill run drills/ --shard 2/4 --lines results/2.jsonl
  supervisord-rs drill merge results/ --junit drills.xml")]
    Merge(merge::Options),
    /// Commit every fault in every isolation, again and again, and say where one destroys anything
    /// else than the catalogue says.
    #[command(after_help = "\
It runs its own four workers, as `compare` does, and breaks one: each fault of `faults` as a
thread of the supervisor, as one whose panics are contained, in a cell and as a process. Trials
are interleaved: each fault once, then all again. Each has a supervisor of its own, and leaves
nothing behind.

Exit status:
  0   every trial was finished, and nothing was left behind; with --strict: each destroyed
      exactly what the catalogue says, and has the right incident
  1   otherwise
  2   usage error

Examples:
  supervisord-rs drill matrix --repeat 5 --jobs 2 --html matrix.html --strict
  supervisord-rs drill matrix --only segfault,hang --isolation thread,process --json")]
    Matrix(matrix::Options),
}

pub(super) fn run(options: Options, place: &Place, registry: &Registry) -> Exit {
    match options.verb {
        Verb::Run(options) => with_own_processes(|| run::run(&options, place, registry)),
        Verb::List(options) => list::run(&options, place, registry),
        Verb::Init => init::run(place, registry),
        Verb::Record(options) => record::run(&options, place, registry),
        Verb::Merge(options) => merge::run(&options, registry),
        Verb::Matrix(options) => with_own_processes(|| matrix::run(options, place, registry)),
    }
}

/// What starts supervisors has to find all of their processes.
fn with_own_processes(run: impl FnOnce() -> Exit) -> Exit {
    match check_own() {
        Ok(()) => run(),
        Err(why) => {
            say(why);
            Exit::Failed
        }
    }
}
