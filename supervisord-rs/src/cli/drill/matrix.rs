//! `drill matrix`: every fault in every isolation, against the catalogue.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use workers::Registry;
use workers::fault::Fault;

use super::progress::OnStderr;
use super::results::created;
use crate::cli::exit::Exit;
use crate::cli::output::{json, say, words};
use crate::cli::place::Place;
use crate::config::Kind;
use crate::config::scenario::REPEAT_MAX;
use crate::drill::matrix::column::Column;
use crate::drill::matrix::{Matrix, Plan, page, running, table};
use crate::drill::setting::{Setting, WrittenFault};
use crate::drill::subject::Subject;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only these faults, separated by commas; see `faults`.
    #[arg(long, value_name = "FAULT", value_delimiter = ',')]
    only: Vec<WrittenFault>,
    /// Only these isolations, separated by commas: thread, thread-contained, cell, process. Also:
    /// cell-contained.
    #[arg(long, value_delimiter = ',')]
    isolation: Vec<Column>,
    /// Try each so often.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(REPEAT_MAX)))]
    repeat: u32,
    /// So many trials at once. They disturb each other's times, and nothing else.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Fail where a cell is not as the catalogue says.
    #[arg(long)]
    strict: bool,
    /// Write a page for a browser to this file, complete in itself.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The hidden verb of the process of one trial.
#[derive(Args, Debug)]
pub(in crate::cli) struct TrialOptions {
    fault: WrittenFault,
    #[arg(value_parser = isolation)]
    isolation: &'static Kind,
    #[arg(long)]
    contain: bool,
    /// The process that this trial belongs to.
    #[arg(long)]
    matrix: i32,
}

fn isolation(text: &str) -> Result<&'static Kind, String> {
    Kind::by_name(text).ok_or_else(|| "there is no such isolation".to_owned())
}

/// One trial, for `drill matrix`.
pub(in crate::cli) fn trial(options: TrialOptions) -> Exit {
    let TrialOptions { fault, isolation, contain, matrix } = options;
    match running::one(&Setting { fault, isolation, contain }, matrix) {
        Ok(()) => Exit::Done,
        Err(why) => {
            say(&why);
            Exit::Failed
        }
    }
}

pub(super) fn run(options: Options, place: &Place, registry: &Registry) -> Exit {
    if place.config.is_some() || place.socket.is_some() {
        say("the matrix has workers and a supervisor of its own: leave out `-c` and `--socket`; \
             `compare -c FILE --worker NAME` breaks one of yours");
        return Exit::Usage;
    }
    let (is_strict, as_json) = (options.strict, options.json);
    // A file that cannot be written is found before anything runs.
    let page = match options.html.as_deref().map(created).transpose() {
        Ok(page) => page,
        Err(exit) => return exit,
    };
    let plan = plan(options);
    let obstacles =
        plan.columns.iter().filter_map(|one| plan.subject.obstacle(one.isolation, registry));
    if let Some(why) = obstacles.into_iter().next() {
        say(&format!("the workers of the matrix cannot run: {why}"));
        return Exit::Failed;
    }
    let matrix = match running::run(&plan, &mut OnStderr::default()) {
        Ok(matrix) => matrix,
        Err(why) => {
            say(&why);
            return Exit::Failed;
        }
    };
    if as_json {
        json(&matrix);
    } else {
        let _ = words(&table::table(&matrix));
    }
    concluded(&matrix, is_strict, page)
}

fn plan(options: Options) -> Plan {
    let written = |fault: Fault| fault.name().parse().expect("it is in the catalogue");
    let is_all = options.only.is_empty();
    let (faults, columns) = (options.only, options.isolation);
    Plan {
        subject: Subject::built_in(),
        faults: if is_all { Fault::all().map(written).collect() } else { faults },
        columns: if columns.is_empty() { Column::all() } else { columns },
        repeat: options.repeat,
        jobs: options.jobs.into(),
    }
}

/// The exit status; an interrupt ends this process as it ends others.
fn concluded(matrix: &Matrix, is_strict: bool, page: Option<(File, PathBuf)>) -> Exit {
    if let Some((mut file, path)) = page
        && let Err(error) = file.write_all(page::html(matrix).as_bytes())
    {
        say(&format!("cannot write {}: {error}", path.display()));
        return Exit::Failed;
    }
    if !matrix.left.is_empty() {
        say(&format!("left behind: {}", matrix.left.join("; ")));
    }
    if let Some(signal) = matrix.interrupted {
        say("interrupted: what was running was ended, and nothing of it is left");
        std::process::exit(128 + signal);
    }
    let is_as_expected = matrix.differing().next().is_none();
    if matrix.is_complete() && (is_as_expected || !is_strict) { Exit::Done } else { Exit::Failed }
}
