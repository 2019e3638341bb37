//! `drill init`: a first scenario for a configuration.

use workers::Registry;

use crate::cli::exit::Exit;
use crate::cli::output::{line, say};
use crate::cli::place::{self, Place};
use crate::config::{Scale, Source};
use crate::drill::first;

pub(super) fn run(place: &Place, registry: &Registry) -> Exit {
    let Some(file) = place.config.clone().or_else(place::default_file) else {
        say("which configuration? Write `supervisord-rs drill init -c FILE`");
        return Exit::Usage;
    };
    let settings = Source::read(&file).and_then(|one| one.settings(registry, &Scale::new()));
    let settings = match settings {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return Exit::InvalidConfiguration;
        }
    };
    if !settings.spec.fault_injection {
        say(&format!(
            "crash injection is off in {}, and the scenario would be refused: write `supervisor: \
             {{ fault_injection: allow }}` into it, or into a copy of it",
            file.display()
        ));
        return Exit::RefusedOrUnknown;
    }
    let _ = line(first::scenario(&file, &settings).trim_end());
    Exit::Done
}
