//! How a process is asked to stop: SDK code through its board, a command by its stop command and
//! its stop signal.

use std::rc::Rc;

use supervision::Incarnation;

use crate::isolation::contract::Means;
use crate::isolation::exits::reaper;
use crate::isolation::helper::NotLaunched;

/// Asks one that lives.
pub(super) fn stop(means: &mut Means, incarnation: Incarnation) {
    thaw(means, incarnation);
    let Some(live) = means.registry.live_mut(incarnation) else { return };
    let was_ordered = std::mem::take(&mut live.stop_was_ordered);
    if let Some(sdk) = &live.sdk {
        sdk.order_stop();
        let domain = live.domain;
        // One that is suspended reads no orders.
        means.signal_tree(domain, &[libc::SIGCONT]);
        return;
    }
    match means.registry[incarnation.worker].launch.stop.command.clone() {
        // The predecessor's has ended with it.
        Some(_) if was_ordered => signal_stop(means, incarnation),
        Some(command) => run_stop_command(means, incarnation, &command),
        // A second signal means "at once" to some programs.
        None if was_ordered => {}
        None => signal_stop(means, incarnation),
    }
    means.black_box.note(incarnation.worker.index()).set_stop_ordered(incarnation.generation.0);
}

/// A frozen process keeps an order for later: it goes on, so that it can end.
fn thaw(means: &mut Means, incarnation: Incarnation) {
    let domain = means.registry[incarnation.worker].domain;
    if let Some(process_tree) =
        means.registry.resident(domain).map(|resident| Rc::clone(&resident.process_tree))
    {
        process_tree.thaw();
    }
    means.note_frozen(incarnation);
}

/// Sends the stop signal to all that belongs to a worker, or to its main process alone.
pub(super) fn signal_stop(means: &mut Means, incarnation: Incarnation) {
    let how = &means.registry[incarnation.worker].launch.stop;
    let Some(live) = means.registry.live(incarnation) else { return };
    // A stopped process keeps a signal for later: it goes on, so that it can end.
    if how.main_only {
        if let Some(child) = means.registry.child(live.domain) {
            let main = live.notify_state.main.as_ref().unwrap_or(child);
            let _ = reaper::signal(main, how.signal);
        }
        means.signal_tree(live.domain, &[libc::SIGCONT]);
    } else {
        means.signal_tree(live.domain, &[how.signal, libc::SIGCONT]);
    }
}

/// Runs the stop command; the stop signal follows when it has ended. It is one of the process tree:
/// what kills the worker kills it too.
fn run_stop_command(means: &mut Means, incarnation: Incarnation, command: &[String]) {
    let pid = means
        .registry
        .child(means.registry[incarnation.worker].domain)
        .map_or(0, |child| child.pid);
    let extra = [("MAINPID".to_owned(), pid.to_string())];
    match means.launch_helper(incarnation.worker, command, &extra) {
        Ok(helper) => means.news.await_stop_command(incarnation, helper),
        Err(NotLaunched { message, .. }) => {
            means.stop_command_ended(incarnation, Some(&message));
        }
    }
}
