//! Starts a program for each unit of work, and waits for it.

use std::process::{Command, Stdio};

use workers::{Context, WorkerError};

/// `args:`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Ends after so many units of work.
    units: Option<u64>,
}

/// Runs.
///
/// # Errors
/// A program cannot be started, or says something else.
pub fn run(context: &Context, args: Args) -> Result<(), WorkerError> {
    context.log_line("child-spawner is up");
    for unit in 0..args.units.unwrap_or(u64::MAX) {
        if context.stop_requested() {
            break;
        }
        let child =
            Command::new("/bin/echo").arg(unit.to_string()).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&child.stdout);
        if said.trim() != unit.to_string() || !child.status.success() {
            return Err(format!("unit {unit}: {} and {said:?}", child.status).into());
        }
        context.progress(1);
    }
    Ok(())
}
