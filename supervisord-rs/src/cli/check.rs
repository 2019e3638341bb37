//! `check`: is a configuration valid?

use std::path::PathBuf;

use clap::Args;
use workers::Registry;

use super::Exit;
use super::output::{json, line};
use super::place::{self, Place};
use crate::config;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The file. Default: as for `run`.
    file: Option<PathBuf>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, place: &Place, registry: &Registry) -> Exit {
    let named = match (&options.file, &place.config) {
        (Some(one), Some(other)) if one != other => {
            eprintln!("supervisord-rs: two files are named, and one is checked: leave out -c");
            return Exit::Usage;
        }
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    let Some(file) = named.or_else(place::default_file) else {
        eprintln!("supervisord-rs: no configuration: name a file");
        return Exit::Usage;
    };
    match config::load(&file, registry) {
        Ok(settings) => {
            if options.json {
                json(
                    &serde_json::json!({ "valid": true, "problems": [], "workers": settings.launches.len() }),
                );
            } else {
                let count = settings.launches.len();
                line(&format!(
                    "{}: valid, {count} worker{}",
                    file.display(),
                    if count == 1 { "" } else { "s" }
                ));
            }
            Exit::Done
        }
        Err(problems) => {
            if options.json {
                json(&serde_json::json!({
                    "valid": false, "count": problems.count(), "problems": problems.to_json()
                }));
            } else {
                eprintln!("{problems}");
            }
            Exit::InvalidConfiguration
        }
    }
}
