//! `check`: is a configuration valid, and does this machine have what it names?

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use workers::Registry;

use super::Exit;
use super::output::{json, line};
use super::place::{self, Place};
use crate::config::{Diagnostics, Scale, Settings, Source, World};
use crate::control::protocol::CheckReport;

/// The name of standard input in messages.
const STDIN: &str = "<stdin>";

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The file; `-` is standard input, and so is `< FILE`. Default: as for `run`.
    file: Option<PathBuf>,
    /// Also look at this machine: programs, directories, files, users, processors. What is missing
    /// is a warning.
    #[arg(long)]
    world: bool,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, place: &Place, registry: &Registry) -> Exit {
    let source = match source(options, place) {
        Ok(source) => source,
        Err(exit) => return exit,
    };
    let world = if options.world { World::Seen } else { World::Ignored };
    let checked = source.and_then(|source| source.checked(registry, &Scale::new(), world));
    if options.json {
        return report_json(&checked);
    }
    match checked {
        Ok((settings, warnings)) => {
            if !warnings.warnings().is_empty() {
                eprintln!("{warnings}");
            }
            let count = settings.launches.len();
            let workers = if count == 1 { "worker" } else { "workers" };
            line(&format!("{}: valid, {count} {workers}", settings.source.file.display()));
            Exit::Done
        }
        Err(problems) => {
            eprintln!("{problems}");
            Exit::InvalidConfiguration
        }
    }
}

/// The text to check.
fn source(options: &Options, place: &Place) -> Result<Result<Source, Diagnostics>, Exit> {
    let named = match (&options.file, &place.config) {
        (Some(one), Some(other)) if one != other => {
            eprintln!("supervisord-rs: `check` reads one file: name it once, without -c");
            return Err(Exit::Usage);
        }
        (one, other) => one.as_ref().or(other.as_ref()),
    };
    if named.map_or_else(is_stdin_a_file, |file| file == Path::new("-")) {
        return match read_stdin() {
            Ok(text) => Ok(Ok(Source::of(Path::new(STDIN), text))),
            Err(error) => {
                eprintln!("supervisord-rs: cannot read standard input: {error}");
                Err(Exit::Failed)
            }
        };
    }
    let Some(file) = named.cloned().or_else(place::default_file) else {
        eprintln!(
            "supervisord-rs: no configuration: name a file, or write ./supervisord-rs.yaml or {}",
            crate::config::SYSTEM_FILE
        );
        return Err(Exit::Usage);
    };
    Ok(Source::read(&file))
}

/// `check < FILE`. A pipe or a device is read only for `-`: a script or a service may have one that
/// never ends.
fn is_stdin_a_file() -> bool {
    nix::sys::stat::fstat(io::stdin())
        .is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFREG)
}

fn read_stdin() -> io::Result<String> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(crate::config::SIZE_MAX + 1).read_to_end(&mut bytes)?;
    crate::config::text_of(bytes).map_err(io::Error::other)
}

fn report_json(checked: &Result<(Settings, Diagnostics), Diagnostics>) -> Exit {
    match checked {
        Ok((settings, warnings)) => {
            json(&serde_json::json!({
                "valid": true, "problems": [], "warnings": warnings.warnings_to_json(),
                "workers": settings.launches.len(),
            }));
            Exit::Done
        }
        Err(problems) => {
            json(&CheckReport::from(problems));
            Exit::InvalidConfiguration
        }
    }
}
