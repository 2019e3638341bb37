//! The scenarios of a command line, or what is wrong with them.

use std::path::PathBuf;

use workers::Registry;

use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::cli::place::Place;
use crate::config::scenario::script::Scenario;
use crate::drill::find::{self, Wrong};

/// The scenarios at these paths; what is wrong with them has been printed.
pub(super) fn read(
    paths: &[PathBuf],
    place: &Place,
    registry: &Registry,
) -> Result<Vec<Scenario>, Exit> {
    if place.config.is_some() || place.socket.is_some() {
        say("a scenario names its configuration itself, and has a supervisor of its own: leave \
             out `-c` and `--socket`");
        return Err(Exit::Usage);
    }
    find::all(paths, registry).map_err(|wrong| {
        let exits: Vec<Exit> = wrong.iter().map(said).collect();
        let is_invalid = exits.contains(&Exit::InvalidConfiguration);
        if is_invalid { Exit::InvalidConfiguration } else { Exit::Usage }
    })
}

/// Prints what is wrong.
fn said(wrong: &Wrong) -> Exit {
    match wrong {
        Wrong::Unreadable(path, error) => {
            say(&format!("cannot read {}: {error}", path.display()));
            Exit::Usage
        }
        Wrong::Empty(path) => {
            say(&format!(
                "no scenario in {}: write one, or begin with `supervisord-rs drill init -c FILE`",
                path.display()
            ));
            Exit::Usage
        }
        Wrong::SameName(name, first, second) => {
            say(&format!(
                "{} and {} are both called `{name}`: give each a name of its own",
                first.display(),
                second.display()
            ));
            Exit::InvalidConfiguration
        }
        Wrong::Invalid(all) => {
            all.iter().for_each(|diagnostics| eprintln!("{diagnostics}"));
            Exit::InvalidConfiguration
        }
    }
}
