//! Faults that are committed on another thread than the worker's own.

use std::time::Duration;

use crate::fault::{Fault, Scene};

/// So long std may take to end the process.
const TO_ABORT: Duration = Duration::from_secs(30);

/// In a thread that the worker has started, as [`Context::spawn`](crate::Context::spawn) does.
/// Returns when the thread has ended and the process has not. A sign of life of a worker that has
/// failed by its thread is none.
pub(super) fn commit(fault: Fault, scene: &Scene<'_>) {
    let Some(context) = scene.context else {
        let _ = std::thread::spawn(move || fault.commit(0)).join();
        return;
    };
    let thread = context.spawn("injected", move |_| fault.commit(0));
    let thread = thread.expect("a thread for the fault");
    scene.beat_until(|| thread.is_finished(), TO_ABORT);
}

/// Before it ends the process std may print a backtrace, which takes longer than a heartbeat may:
/// meanwhile the worker beats.
pub(super) fn elsewhere(scene: &Scene<'_>, fault: fn()) {
    drop(std::thread::spawn(fault));
    scene.beat_until(|| false, TO_ABORT);
}
