//! `__drill`: the process of one run of a scenario.

use std::path::PathBuf;

use clap::Args;
use workers::Registry;

use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::drill::runner::{self, Choice};

/// The hidden verb of the process of one run.
#[derive(Args, Debug)]
pub(in crate::cli) struct Options {
    /// The scenario.
    file: PathBuf,
    /// The process that this run belongs to.
    #[arg(long)]
    campaign: i32,
    #[arg(long)]
    keep: bool,
    /// Whether others may go on at the same time.
    #[arg(long)]
    beside_others: bool,
    /// Which run of its scenario it is.
    #[arg(long)]
    run: u32,
    /// As of `drill run`.
    #[arg(long)]
    seed: Option<u64>,
    /// The seed of storms that have none.
    #[arg(long)]
    random: u64,
    /// A file with schedules instead of those of storms.
    #[arg(long)]
    schedules: Option<PathBuf>,
}

/// One run, for `drill run`.
pub(in crate::cli) fn run(options: &Options, registry: &Registry) -> Exit {
    let read = |file: &PathBuf| -> Result<_, std::io::Error> {
        Ok(serde_json::from_slice(&std::fs::read(file)?)?)
    };
    let schedules = match options.schedules.as_ref().map(read).transpose() {
        Ok(schedules) => schedules.unwrap_or_default(),
        Err(error) => {
            say(&format!("cannot read schedules: {error}"));
            return Exit::Failed;
        }
    };
    let choice = Choice {
        keep: options.keep,
        is_alone: !options.beside_others,
        run: options.run,
        seed: options.seed,
        random: options.random,
        schedules,
    };
    match runner::run(&options.file, options.campaign, choice, registry) {
        Ok(()) => Exit::Done,
        Err(why) => {
            say(&why);
            Exit::Failed
        }
    }
}
