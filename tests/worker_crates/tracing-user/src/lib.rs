//! Writes its log with tracing, and knows nothing of where it goes.

use std::time::Duration;

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
/// None.
pub fn run(context: &Context, args: Args) -> Result<(), WorkerError> {
    tracing::info!(generation = context.generation(), "tracing-user is up");
    for unit in 0..args.units.unwrap_or(u64::MAX) {
        tracing::debug!(unit, "not by default");
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            break;
        }
    }
    Ok(())
}
