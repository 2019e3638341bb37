//! The process of one run. It is a child subreaper of its own: what the run leaves behind comes to
//! it, and to no other run.

use std::io::{self, Write};
use std::path::Path;

use workers::Registry;

use super::processes::end_with;
use super::run::perform;

pub(crate) use super::run::Choice;
use super::verdict::Moment;
use crate::config::scenario::script::Scenario;

/// Runs a scenario once, for the process `campaign`, and says so on standard output. It ends when
/// that does, and leaves nothing.
///
/// # Errors
/// It could not begin; why.
pub(crate) fn run(
    file: &Path,
    campaign: i32,
    choice: Choice,
    registry: &Registry,
) -> Result<(), String> {
    end_with(campaign)?;
    let scenario = Scenario::read(file, registry)
        .map_err(|wrong| wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let report = perform(&scenario, registry, choice, &say);
    say(&Moment::Over(Box::new(report)));
    Ok(())
}

/// A campaign that has gone needs no word.
fn say(moment: &Moment) {
    let line = serde_json::to_string(moment).expect("texts and numbers");
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
