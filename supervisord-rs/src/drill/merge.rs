//! `drill merge`: the results of all shards of a campaign.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::lines::{Header, Line};
use super::verdict::Report;

/// How the names of files with results end.
const EXTENSION: &str = "jsonl";

/// Why there is nothing to unite.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("no results in {directory}: `drill run --lines {directory}/1.jsonl ..` writes some")]
    Empty { directory: String },
    #[error(
        "{} and {} are of different campaigns ({one} and {other}): scenarios, configurations, \
         program, counts or seed differ",
        first.display(),
        second.display()
    )]
    Different { first: PathBuf, second: PathBuf, one: String, other: String },
}

/// All results of a campaign.
#[derive(Debug)]
pub(crate) struct Merged {
    /// That of its first shard.
    pub(crate) header: Header,
    /// In the order of the trials.
    pub(crate) reports: Vec<Report>,
    /// What is missing, or contradicts.
    pub(crate) wrong: Vec<String>,
}

/// A line with its file.
struct Found {
    file: PathBuf,
    line: Line,
}

/// Unites what is in the files of a directory.
///
/// # Errors
/// See [`MergeError`].
pub(crate) fn merge(directory: &Path) -> Result<Merged, MergeError> {
    let (lines, mut wrong) = read(directory)?;
    let mut headers: Vec<(&Path, &Header)> = Vec::new();
    for one in &lines {
        if let Line::Campaign(header) = &one.line {
            headers.push((&one.file, header));
        }
    }
    let Some((first_file, first)) = headers.first().copied() else {
        return Err(MergeError::Empty { directory: directory.display().to_string() });
    };
    if let Some((file, other)) = headers.iter().find(|(_, one)| one.campaign != first.campaign) {
        return Err(MergeError::Different {
            first: first_file.to_path_buf(),
            second: file.to_path_buf(),
            one: first.campaign.clone(),
            other: other.campaign.clone(),
        });
    }
    if let Some((file, other)) = headers.iter().find(|(_, one)| one.of != first.of) {
        wrong.push(format!(
            "{} has a shard of {}, and {} one of {}",
            first_file.display(),
            first.of,
            file.display(),
            other.of
        ));
    }
    let is_there = |number: u32| headers.iter().any(|(_, header)| header.shard == number);
    let missing = (1..=first.of).filter(|number| !is_there(*number));
    wrong.extend(missing.map(|number| format!("shard {number} of {} is missing", first.of)));
    let mut trials: BTreeMap<usize, (&Path, &Report)> = BTreeMap::new();
    for one in &lines {
        let Line::Trial { trial, report, .. } = &one.line else { continue };
        match trials.get(trial) {
            None => _ = trials.insert(*trial, (&one.file, report)),
            Some((file, known)) if known.verdict != report.verdict => wrong.push(format!(
                "trial {trial} ({}) has two different answers: {} in {}, {} in {}",
                first.title(*trial),
                known.verdict.word(),
                file.display(),
                report.verdict.word(),
                one.file.display()
            )),
            Some(_) => {}
        }
    }
    let missing = (1..=first.trials).filter(|trial| !trials.contains_key(trial));
    wrong.extend(missing.map(|trial| format!("trial {trial} ({}) is missing", first.title(trial))));
    let reports = trials.into_values().map(|(_, report)| report.clone()).collect();
    Ok(Merged { header: first.clone(), reports, wrong })
}

/// All lines, and what is none.
fn read(directory: &Path) -> Result<(Vec<Found>, Vec<String>), MergeError> {
    let unreadable = |path: &Path| {
        let path = path.to_path_buf();
        move |error| MergeError::Unreadable { path, error }
    };
    let entries = fs::read_dir(directory).map_err(unreadable(directory))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == EXTENSION));
    files.sort();
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        let text = fs::read(&file).map_err(unreadable(&file))?;
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(line) => lines.push(Found { file: file.clone(), line }),
                // One that was killed while it wrote: its trial is missing.
                Err(error) if error.is_eof() => {}
                Err(error) => wrong.push(format!(
                    "{}, line {}: no result of a drill: {error}",
                    file.display(),
                    number + 1
                )),
            }
        }
    }
    Ok((lines, wrong))
}
