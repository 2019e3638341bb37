//! Thread-local values with destructors that do work.

use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use workers::{Context, WorkerError};

/// Values that exist in this process.
static EXIST: AtomicI64 = AtomicI64::new(0);

/// Lives as long as its thread.
struct Counted(Vec<u8>);

impl Counted {
    fn new() -> Self {
        EXIST.fetch_add(1, Ordering::Relaxed);
        Self(vec![7; 4096])
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // As one that flushes a buffer.
        std::thread::sleep(Duration::from_millis(1));
        assert!(self.0.iter().all(|byte| *byte == 7));
        EXIST.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    static MINE: RefCell<Counted> = RefCell::new(Counted::new());
}

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
/// A predecessor's value still exists: it was started before that one had ended.
pub fn run(context: &Context, args: Args) -> Result<(), WorkerError> {
    MINE.with_borrow_mut(|mine| mine.0.truncate(2048));
    let exist = EXIST.load(Ordering::Relaxed);
    if exist != 1 {
        return Err(WorkerError::permanent(format!("{exist} values exist")));
    }
    context.log_line("thread-locals is up");
    for _ in 0..args.units.unwrap_or(u64::MAX) {
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            break;
        }
    }
    Ok(())
}
