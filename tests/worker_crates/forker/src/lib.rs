//! Forks without execve for each unit of work: the child has the parent's memory as it was,
//! computes on it, and answers with its exit status.

use std::time::Duration;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
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
/// Those of fork(2); a child that computed something else.
pub fn run(context: &Context, args: Args) -> Result<(), WorkerError> {
    context.log_line("forker is up");
    let values: Vec<u32> = (1..=13).collect();
    for unit in 0..args.units.unwrap_or(u64::MAX) {
        // SAFETY: the child makes async-signal-safe calls only, besides arithmetic.
        match unsafe { fork()? } {
            ForkResult::Child => {
                let sum: u32 = values.iter().sum();
                // A bug that a child easily has: it goes on with what is its parent's.
                context.tick();
                // SAFETY: ends the child at once, without handlers of exit(3).
                unsafe { nix::libc::_exit(i32::try_from(sum).unwrap_or(255)) }
            }
            ForkResult::Parent { child } => match waitpid(child, None)? {
                WaitStatus::Exited(_, 91) => {}
                other => return Err(format!("unit {unit}: {other:?}").into()),
            },
        }
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            break;
        }
    }
    Ok(())
}
