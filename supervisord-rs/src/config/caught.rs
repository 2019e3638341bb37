//! A panic of registered code that is asked is an answer: its place and its text, and nothing is
//! printed.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

thread_local! {
    /// What this thread panicked with, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// For a panic hook, in place of printing.
pub(super) fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|at| format!("{}:{}: ", at.file(), at.line()));
    let message = info.payload_as_str().unwrap_or("no message");
    let said = format!("{}{message}", place.unwrap_or_default());
    let _ = PANIC.try_with(|panic| *panic.borrow_mut() = Some(said));
}

/// Asks.
///
/// # Errors
/// It panicked, as the hook has [noted](note).
pub(super) fn caught<T>(question: impl FnOnce() -> T) -> Result<T, String> {
    // Unwind safety: what the question is about is dropped inside.
    catch_unwind(AssertUnwindSafe(question)).map_err(|payload| {
        // Its own destructor could panic.
        std::mem::forget(payload);
        PANIC.with(|panic| panic.borrow_mut().take()).unwrap_or_default()
    })
}
