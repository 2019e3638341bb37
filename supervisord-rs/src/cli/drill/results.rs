//! Where the results of runs are written for a CI, and the exit status that they have.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::told::print;
use crate::cli::exit::Exit;
use crate::cli::harmless::harmless_json;
use crate::cli::output::{say, words};
use crate::drill::campaign::Outcome;
use crate::drill::compare::Machine;
use crate::drill::junit;
use crate::drill::verdict::{Report, Vacuous, Verdict};

#[derive(Args, Debug)]
// The verb that has these has a group of the same name.
#[group(skip)]
pub(super) struct Options {
    /// Write the results to this file, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also print an annotation for GitHub Actions for each run that did not hold.
    #[arg(long)]
    github: bool,
}

/// Files that can be written.
pub(super) struct Files {
    junit: Option<(File, PathBuf)>,
    json: Option<(File, PathBuf)>,
    has_annotations: bool,
}

/// What `--json` writes, version 1.
#[derive(Debug, Serialize)]
struct Results<'a> {
    version: u32,
    machine: Machine,
    /// Whether every run held, and reached what it was to reach.
    held: bool,
    runs: &'a [Report],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    vacuous: &'a [Vacuous],
}

impl Options {
    /// A file that cannot be written is found before anything runs.
    ///
    /// # Errors
    /// The exit status; the reason has been printed.
    pub(super) fn files(&self) -> Result<Files, Exit> {
        let file = |path: &Option<PathBuf>| path.as_deref().map(created).transpose();
        Ok(Files {
            junit: file(&self.junit)?,
            json: file(&self.json)?,
            has_annotations: self.github,
        })
    }
}

impl Files {
    /// Prints and writes what came of the runs. The exit status.
    pub(super) fn tell(self, outcome: &Outcome) -> Exit {
        print(outcome);
        let Outcome { reports, vacuous, .. } = outcome;
        if self.has_annotations {
            for annotation in junit::annotations(reports, vacuous) {
                let _ = words(&annotation);
            }
        }
        let held = vacuous.is_empty() && reports.iter().all(|one| one.verdict == Verdict::Held);
        let results =
            Results { version: 1, machine: Machine::here(), held, runs: reports, vacuous };
        let text = serde_json::to_string_pretty(&results).expect("texts and numbers");
        let written = [
            (self.junit, junit::junit(reports, vacuous)),
            (self.json, harmless_json(&text).into_owned() + "\n"),
        ];
        for (file, text) in written {
            if let Some((mut file, path)) = file
                && let Err(error) = file.write_all(text.as_bytes())
            {
                say(&format!("cannot write {}: {error}", path.display()));
                return Exit::Failed;
            }
        }
        concluded(outcome)
    }
}

/// A file that can be written.
///
/// # Errors
/// The exit status; the reason has been printed.
pub(super) fn created(path: &Path) -> Result<(File, PathBuf), Exit> {
    File::create(path).map(|file| (file, path.to_path_buf())).map_err(|error| {
        say(&format!("cannot write {}: {error}", path.display()));
        Exit::Usage
    })
}

/// The exit status; an interrupt ends this process as it ends others.
fn concluded(outcome: &Outcome) -> Exit {
    if !outcome.left.is_empty() {
        say(&format!("left behind: {}", outcome.left.join("; ")));
    }
    if let Some(signal) = outcome.interrupted {
        say("interrupted: what was running was ended, and nothing of it is left");
        std::process::exit(128 + signal);
    }
    let has = |verdict: Verdict| outcome.reports.iter().any(|one| one.verdict == verdict);
    if has(Verdict::Failed)
        || has(Verdict::Unfinished)
        || !outcome.left.is_empty()
        || !outcome.vacuous.is_empty()
    {
        Exit::Failed
    } else if has(Verdict::Unsteady) {
        Exit::InvalidConfiguration
    } else {
        Exit::Done
    }
}
