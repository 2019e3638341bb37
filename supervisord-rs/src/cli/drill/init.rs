//! `drill init`: a first scenario for a configuration.

use workers::Registry;

use super::configured::configured;
use crate::cli::exit::Exit;
use crate::cli::output::line;
use crate::cli::place::Place;
use crate::drill::first;

pub(super) fn run(place: &Place, registry: &Registry) -> Exit {
    match configured("init", place, registry) {
        Ok((file, settings)) => {
            let _ = line(first::scenario(&file, &settings).trim_end());
            Exit::Done
        }
        Err(exit) => exit,
    }
}
