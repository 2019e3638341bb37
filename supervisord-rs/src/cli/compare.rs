//! `compare`: the same workers under each isolation, one broken.

use std::process::ExitCode;

use clap::Args;

use super::Exit;
use crate::drill::compare;
use crate::drill::trial::Isolation;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Faults, separated by commas; see `faults`.
    #[arg(long, value_delimiter = ',', default_values_t = compare::DEFAULT_FAULTS.map(str::to_owned))]
    fault: Vec<String>,
    /// Isolations, separated by commas.
    #[arg(long, value_delimiter = ',', default_values = ["thread", "cell", "process"], value_parser = isolation)]
    isolation: Vec<Isolation>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn isolation(text: &str) -> Result<Isolation, String> {
    match text {
        "thread" => Ok(Isolation::Thread),
        "cell" => Ok(Isolation::Cell),
        "process" => Ok(Isolation::Process),
        _ => Err("write thread, cell or process".into()),
    }
}

pub(super) fn run(options: Options) -> ExitCode {
    for fault in &options.fault {
        if let Err(error) = fault.parse::<workers::fault::Injection>() {
            eprintln!("supervisord-rs: {error}");
            return Exit::Usage.into();
        }
    }
    let (faults, isolations) = (options.fault, options.isolation);
    compare::run(&compare::Options { faults, isolations, json: options.json })
}
