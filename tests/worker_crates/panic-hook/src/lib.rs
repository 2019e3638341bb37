//! Installs a panic hook, as frameworks do, and survives panics that it catches.

use std::panic::{catch_unwind, resume_unwind};
use std::sync::Once;
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
/// A panic did not reach it.
pub fn run(context: &Context, args: Args) -> Result<(), WorkerError> {
    static HOOK: Once = Once::new();
    // Silent, and it forgets the hook that was there.
    HOOK.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    context.log_line("panic-hook is up");
    for unit in 0..args.units.unwrap_or(u64::MAX) {
        let caught = if unit % 2 == 0 {
            catch_unwind(|| panic!("a panic of unit {unit}"))
        } else {
            catch_unwind(|| resume_unwind(Box::new("another way to unwind")))
        };
        if caught.is_ok() {
            return Err(format!("unit {unit}: no panic").into());
        }
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            break;
        }
    }
    Ok(())
}
