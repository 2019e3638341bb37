//! The configuration that a scenario is written for.

use std::path::PathBuf;

use workers::Registry;

use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::cli::place::{self, Place};
use crate::config::{Scale, Settings, Source};

/// It and its file, where a scenario of it could break something.
///
/// # Errors
/// The exit status; what is wrong has been printed.
pub(super) fn configured(
    verb: &str,
    place: &Place,
    registry: &Registry,
) -> Result<(PathBuf, Settings), Exit> {
    let Some(file) = place.config.clone().or_else(place::default_file) else {
        say(&format!("which configuration? Write `supervisord-rs drill {verb} -c FILE`"));
        return Err(Exit::Usage);
    };
    let settings = Source::read(&file).and_then(|one| one.settings(registry, &Scale::new()));
    let settings = settings.map_err(|problems| {
        eprintln!("{problems}");
        Exit::InvalidConfiguration
    })?;
    if !settings.spec.fault_injection {
        say(&format!(
            "crash injection is off in {}, and the scenario would be refused: write `supervisor: \
             {{ fault_injection: allow }}` into it, or into a copy of it",
            file.display()
        ));
        return Err(Exit::RefusedOrUnknown);
    }
    Ok((file, settings))
}
