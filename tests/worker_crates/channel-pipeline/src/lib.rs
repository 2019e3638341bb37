//! Three threads of its own: one makes numbers, one squares them, one adds them up.

use std::time::Duration;

use crossbeam_channel::bounded;
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
/// A thread cannot be started, or has panicked.
pub fn run(context: &Context, args: Args) -> Result<(), WorkerError> {
    context.log_line("channel-pipeline is up");
    let (numbers, to_square) = bounded::<u64>(4);
    let (squares, to_add) = bounded::<u64>(4);
    let maker = context.spawn("maker", move |context: &Context| {
        for number in 0..args.units.unwrap_or(u64::MAX) {
            if numbers.send(number).is_err() || !context.sleep(Duration::from_millis(1)) {
                break;
            }
        }
    })?;
    let squarer = context.spawn("squarer", move |_: &Context| {
        // Ends when its maker has ended.
        for number in to_square {
            if squares.send(number.wrapping_mul(number)).is_err() {
                break;
            }
        }
    })?;
    let mut sum = 0_u64;
    for square in to_add {
        sum = sum.wrapping_add(square);
        context.progress(1);
    }
    maker.join()?;
    squarer.join()?;
    context.log_line(format!("the sum is {sum}"));
    Ok(())
}
