//! Sorts and sums in C, which calls back into Rust.

use std::ffi::c_void;
use std::time::Duration;

use workers::{Context, WorkerError};

unsafe extern "C" {
    fn sorted_sum(
        values: *mut u64,
        length: usize,
        seen: extern "C" fn(*mut c_void, u64),
        of: *mut c_void,
    ) -> u64;
}

/// `args:`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Ends after so many units of work.
    units: Option<u64>,
}

extern "C" fn count(of: *mut c_void, _: u64) {
    // SAFETY: `run` passes its own counter, which lives through the call.
    unsafe { *of.cast::<u64>() += 1 };
}

/// Runs.
///
/// # Errors
/// The sum is wrong.
pub fn run(context: &Context, args: Args) -> Result<(), WorkerError> {
    context.log_line("c-library is up");
    for unit in 0..args.units.unwrap_or(u64::MAX) {
        let mut values: Vec<u64> = (0..1000).map(|value| value * 7919 % 1000).collect();
        let mut seen = 0_u64;
        // SAFETY: the values and the counter live through the call, which touches nothing else.
        let sum =
            unsafe { sorted_sum(values.as_mut_ptr(), values.len(), count, (&raw mut seen).cast()) };
        if (sum, seen) != (999 * 500, 1000) {
            return Err(format!("unit {unit}: the sum of {seen} values is {sum}").into());
        }
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            break;
        }
    }
    Ok(())
}
