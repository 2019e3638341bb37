//! The scenarios of a command line: files, and those in directories.

use std::io;
use std::path::{Path, PathBuf};

use workers::Registry;

use crate::config::Diagnostics;
use crate::config::scenario::{self, script::Scenario};

/// Directories below one that is named are looked at so deep.
const DEPTH: usize = 8;

/// What is wrong with what was named.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// There is no such file or directory, or it cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A directory has no scenario.
    Empty(PathBuf),
    /// Files are not valid.
    Invalid(Vec<Diagnostics>),
    /// Two scenarios have one name, so that no one could tell their results apart.
    SameName(String, PathBuf, PathBuf),
}

/// Reads all of them, in the order in which they are named; those of a directory in the order of
/// their paths.
pub(crate) fn all(paths: &[PathBuf], registry: &Registry) -> Result<Vec<Scenario>, Vec<Wrong>> {
    let (mut scenarios, mut wrong): (Vec<Scenario>, Vec<Wrong>) = (Vec::new(), Vec::new());
    let mut invalid = Vec::new();
    for path in paths {
        let files = match files(path) {
            Ok(files) => files,
            Err(error) => {
                wrong.push(Wrong::Unreadable(path.clone(), error));
                continue;
            }
        };
        let known = scenarios.len() + invalid.len();
        for (file, is_named) in files {
            match one(&file, is_named, registry) {
                Ok(Some(scenario)) => scenarios.push(scenario),
                Ok(None) => {}
                Err(diagnostics) => invalid.extend(diagnostics),
            }
        }
        if scenarios.len() + invalid.len() == known {
            wrong.push(Wrong::Empty(path.clone()));
        }
    }
    for (index, one) in scenarios.iter().enumerate() {
        if let Some(other) = scenarios[..index].iter().find(|other| other.name == one.name) {
            wrong.push(Wrong::SameName(one.name.clone(), other.file.clone(), one.file.clone()));
        }
    }
    if !invalid.is_empty() {
        wrong.push(Wrong::Invalid(invalid));
    }
    if wrong.is_empty() { Ok(scenarios) } else { Err(wrong) }
}

/// A file; `None`: it lies in a directory that is named, and is a configuration.
fn one(
    file: &Path,
    is_named: bool,
    registry: &Registry,
) -> Result<Option<Scenario>, Vec<Diagnostics>> {
    if !is_named && !scenario::is_one(file).map_err(|unreadable| vec![unreadable])? {
        return Ok(None);
    }
    Scenario::read(file, registry).map(Some)
}

/// The files, and whether each was named itself.
fn files(path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![(path.to_path_buf(), true)]);
    }
    let mut found = Vec::new();
    collect(path, 0, &mut found)?;
    found.sort();
    Ok(found.into_iter().map(|file| (file, false)).collect())
}

fn collect(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if depth < DEPTH {
                collect(&path, depth + 1, found)?;
            }
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            found.push(path);
        }
    }
    Ok(())
}
