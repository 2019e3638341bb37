//! From the stop order of an incarnation until its family is gone, and the same for all workers at
//! the end.

use std::rc::Rc;
use std::time::Duration;

use supervision::{Cause, DomainId, Ending, Incarnation, Status};
use workers::board::{LastWords, State, monotonic_ns};

use super::{Means, Resident};
use crate::isolation::exits::{orphans, reaper};
use crate::isolation::helper::NotLaunched;
use crate::isolation::live::{Live, Sdk};
use crate::process_table;
use crate::record::event::What;
use crate::record::evidence;
use crate::record::own_log;
use crate::waiting::until;

/// For the last lines of our own log before we abort.
const LAST_LINES: Duration = Duration::from_millis(200);
/// For what is left at the very end to die.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// For a thread of a cell to begin: the host takes its order and starts it.
const TO_BEGIN: Duration = Duration::from_secs(1);
/// Between two looks at what is ending.
const PAUSE: Duration = Duration::from_millis(1);

impl Means {
    /// Asks an incarnation to stop: SDK code through its board, a command by its stop command and
    /// its stop signal.
    pub(in crate::isolation) fn stop(&mut self, incarnation: Incarnation) {
        let means = self.registry[incarnation.worker].launch.stop.clone();
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        live.is_stopping = true;
        let was_ordered = std::mem::take(&mut live.stop_was_ordered);
        let domain = live.domain;
        self.thaw(incarnation, domain);
        let Some(live) = self.registry.live(incarnation) else { return };
        if let Some(sdk) = &live.sdk {
            sdk.order_stop();
            // One that is suspended reads no orders.
            if self.registry[domain].capabilities.is_alone() {
                self.signal_family(domain, &[libc::SIGCONT]);
            }
            return;
        }
        match means.command {
            // The predecessor's has ended with it.
            Some(_) if was_ordered => self.signal_stop(incarnation),
            Some(command) => self.run_stop_command(incarnation, &command),
            // A second signal means "at once" to some programs.
            None if was_ordered => {}
            None => self.signal_stop(incarnation),
        }
        self.black_box.note(incarnation.worker.index()).set_stop_ordered(incarnation.generation.0);
    }

    /// A frozen process keeps an order for later: it goes on, so that it can end. What is above its
    /// own cgroup stays as it is, since that holds others too.
    fn thaw(&mut self, incarnation: Incarnation, domain: DomainId) {
        let Some(family) =
            self.registry.resident(domain).map(|resident| Rc::clone(&resident.family))
        else {
            return;
        };
        if self.registry[domain].capabilities.is_alone() {
            family.thaw();
        }
        let Some(frozen) = family.frozen_above() else { return };
        self.remark(Some(incarnation), What::Frozen { why: frozen.into() });
    }

    /// Sends the stop signal to all that belongs to a worker, or to its main process alone.
    pub(in crate::isolation) fn signal_stop(&mut self, incarnation: Incarnation) {
        let means = &self.registry[incarnation.worker].launch.stop;
        let Some(live) = self.registry.live(incarnation) else { return };
        // A stopped process keeps a signal for later: it goes on, so that it can end.
        if means.main_only {
            if let Some(child) = self.registry.child(live.domain) {
                let main = live.said.main.as_ref().unwrap_or(child);
                let _ = reaper::signal(main, means.signal);
            }
            self.signal_family(live.domain, &[libc::SIGCONT]);
        } else {
            self.signal_family(live.domain, &[means.signal, libc::SIGCONT]);
        }
    }

    /// Runs the stop command; the stop signal follows when it has ended. It is one of the family:
    /// what kills the worker kills it too.
    fn run_stop_command(&mut self, incarnation: Incarnation, command: &[String]) {
        let pid = self
            .registry
            .child(self.registry[incarnation.worker].domain)
            .map_or(0, |child| child.pid);
        let extra = [("MAINPID".to_owned(), pid.to_string())];
        match self.launch_helper(incarnation.worker, command, &extra) {
            Ok(helper) => self.news.stop_commands.push_back((incarnation, helper)),
            Err(NotLaunched { message, .. }) => self.miss_stop_command(incarnation, &message),
        }
    }

    /// A stop command that could not be started: what would follow it comes at once.
    pub(in crate::isolation) fn miss_stop_command(
        &mut self,
        incarnation: Incarnation,
        error: &str,
    ) {
        let error = error.to_owned().into();
        self.remark(Some(incarnation), What::StopCommandFailed { error });
        self.signal_stop(incarnation);
    }

    /// Kills all that belongs to an incarnation.
    pub(in crate::isolation) fn kill(&mut self, incarnation: Incarnation) {
        let Some(domain) = self.registry.live(incarnation).map(|live| live.domain) else { return };
        self.kill_all_of(domain);
        if self.registry.resident(domain).is_some() {
            self.looks.soon(domain);
        }
    }

    /// Forgets a thread. Its board goes to its successor: the SDK fences off a thread whose
    /// generation is past. A cell into which no successor could be launched ends whole: it is
    /// suspended, takes no orders, or is ending already.
    pub(in crate::isolation) fn abandon(&mut self, incarnation: Incarnation) {
        let Some(domain) = self.registry.live(incarnation).map(|live| live.domain) else { return };
        if self.is_dying(domain) {
            self.looks.soon(domain);
            return;
        }
        let why = if self.is_suspended_cell(domain) {
            "its process is suspended (SIGSTOP)"
        } else if self.takes_no_orders(incarnation) {
            "its process takes no orders: a thread that it was to start has not begun"
        } else {
            self.end(incarnation, Ending { status: Status::Abandoned, cause: Cause::Hang });
            return;
        };
        tracing::warn!(cell = self.family_name(domain), "{why}: the cell ends whole");
        self.recycle(domain, incarnation);
        self.looks.soon(domain);
    }

    /// Whether the process of a domain has been killed, or has exited and may have left something
    /// behind.
    pub(in crate::isolation) fn is_dying(&self, domain: DomainId) -> bool {
        let resident = self.registry[domain].resident.as_ref();
        resident.is_some_and(|resident| {
            resident.is_killed || resident.exited.is_some() || resident.gone.is_some()
        })
    }

    /// Whether an incarnation is one of a cell that should have begun by now, and has not.
    fn takes_no_orders(&self, incarnation: Incarnation) -> bool {
        let Some(live) = self.registry.live(incarnation) else { return false };
        let is_there = self.registry[live.domain].capabilities.is_shared()
            && self.registry.child(live.domain).is_some();
        let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
        is_there
            && reading.is_some_and(|reading| {
                let ordered_at = reading.heartbeat_at.unwrap_or(0);
                reading.state == State::Empty
                    && Duration::from_nanos(monotonic_ns().saturating_sub(ordered_at)) >= TO_BEGIN
            })
    }

    /// Whether it is a cell whose process is suspended, or stopped by a tracer.
    pub(in crate::isolation) fn is_suspended_cell(&self, domain: DomainId) -> bool {
        let is_cell = self.registry[domain].capabilities.is_shared();
        let stat = self
            .registry
            .child(domain)
            .filter(|_| is_cell)
            .and_then(|host| process_table::stat(host.pid));
        stat.is_some_and(|stat| matches!(stat.state, 'T' | 't'))
    }

    /// Ends a domain whole. For the supervisor's own domain this does not return.
    pub(in crate::isolation) fn recycle(&mut self, domain: DomainId, culprit: Incarnation) {
        if let Some(live) = self.registry.live(culprit)
            && let Some(sdk) = &live.sdk
        {
            sdk.board().write_last_words(LastWords::Hang, 0, 0, 0, 0);
        }
        let slot = &mut self.registry[domain];
        if slot.capabilities.is_of_supervisor() {
            tracing::error!(
                "a thread of the supervisor hangs and `on_hang: recycle` is set: aborting"
            );
            own_log::flush(LAST_LINES);
            std::process::abort();
        }
        if let Some(resident) = &mut slot.resident {
            resident.recycled_for = Some(culprit);
            self.kill_all_of(domain);
        }
    }

    /// Ends what lives in domains, and waits for it. For the very end.
    pub(in crate::isolation) fn end_residents(&mut self) {
        self.withdraw_all();
        let mut left: Vec<Resident> =
            self.registry.domains_mut().filter_map(|domain| domain.resident.take()).collect();
        for resident in &mut left {
            resident.kill();
        }
        // One that is stuck in the kernel is named below, and not waited for. One look serves all
        // of them.
        let _ = until(LAST_WAIT, PAUSE, || {
            let needs_look = left.iter().any(|resident| !resident.family.has_cgroup());
            let look =
                if needs_look { Some(self.census.wait(monotonic_ns(), LAST_WAIT)?) } else { None };
            left.retain(|resident| {
                let child = resident.process.child();
                let others = match &look {
                    Some(look) if !resident.family.has_cgroup() => {
                        resident.family.others_in(look, child)
                    }
                    Some(_) | None => resident.family.others_in_cgroup(child),
                };
                if !others.is_empty() {
                    resident.family.kill_these(child, &others, &resident.is_over);
                }
                let is_gone = others.is_empty() && reaper::has_exited(&child.pidfd);
                if is_gone {
                    reaper::forget(child);
                }
                !is_gone
            });
            left.is_empty().then_some(())
        });
        drop(left);
        self.registry.domains_mut().for_each(|domain| domain.family = None);
    }

    /// Ends every process that is left then. False: some do not die.
    pub(in crate::isolation) fn end_orphans(&mut self) -> bool {
        let killed = orphans::kill_all();
        if !killed.left.is_empty() {
            tracing::error!(pids = ?killed.left, "these processes do not die of SIGKILL");
        }
        self.sockets.remove();
        self.store.forget_all(|_| true);
        self.cgroups.remove();
        let _ = self.logs.flush(LAST_WAIT);
        killed.left.is_empty()
    }

    /// Asks the supervisor's own threads to stop, and waits for them, at most so long: another
    /// supervisor starts them again. False: some go on.
    pub(in crate::isolation) fn stop_threads(&self, limit: Duration) -> bool {
        let threads: Vec<&Live> = self
            .registry
            .lives()
            .filter(|live| self.registry[live.domain].capabilities.is_of_supervisor())
            .collect();
        threads.iter().filter_map(|live| live.sdk.as_ref()).for_each(Sdk::order_stop);
        let lives = |live: &&Live| {
            let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(live.incarnation));
            reading.is_some_and(|reading| evidence::of_thread(reading.state).is_none())
        };
        until(limit, PAUSE, || (!threads.iter().any(lives)).then_some(())).is_some()
    }
}
