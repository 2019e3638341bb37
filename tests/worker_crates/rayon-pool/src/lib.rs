//! A pool of threads that another crate makes, whose threads are this worker's.

use std::time::Duration;

use rayon::prelude::*;
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
/// The pool cannot be started; a wrong sum.
pub fn run(context: &Context, args: Args) -> Result<(), WorkerError> {
    context.log_line("rayon-pool is up");
    let mut threads = Vec::new();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .spawn_handler(|thread| {
            let name = format!("pool-{}", thread.index());
            threads.push(context.spawn(name, move |_: &Context| thread.run())?);
            Ok(())
        })
        .build()?;
    for unit in 0..args.units.unwrap_or(u64::MAX) {
        let sum: u64 =
            pool.install(|| (0..10_000_u64).into_par_iter().map(|value| value * 2).sum());
        if sum != 99_990_000 {
            return Err(format!("unit {unit}: {sum}").into());
        }
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            break;
        }
    }
    drop(pool);
    Ok(threads.into_iter().try_for_each(|thread| thread.join())?)
}
