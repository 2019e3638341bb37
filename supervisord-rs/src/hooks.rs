//! Commands that run at events: a few at a time, each with a timeout, the rest in a bounded queue.
//! A hook that does not fit is dropped and counted; the failure of a hook is logged, and changes
//! nothing.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::time::SystemTime;

use nix::sys::memfd::{MFdFlags, memfd_create};

use serde_json::json;
use supervision::Phase;

use crate::config::settings::{Hook, HookEvent};
use crate::record::black_box::Counter;
use crate::record::event::{Event, Observer, What};
use crate::record::wall_time::wall;

/// Hooks that run at once.
const AT_ONCE: usize = 8;
/// Hooks that wait.
const QUEUE: usize = 256;

/// Hooks that run and wait.
#[derive(Debug, Default)]
pub struct Hooks {
    /// Those of all workers and of the supervisor.
    common: Vec<Hook>,
    /// Those of one worker, by worker.
    of_workers: Vec<Vec<Hook>>,
    queue: VecDeque<(Hook, String)>,
    running: usize,
    dropped: Counter,
}

impl Hooks {
    /// `common`: those of all workers; the others come with [`add_worker`](Self::add_worker).
    /// `dropped`: the counter of dropped hooks.
    #[must_use]
    pub fn new(common: Vec<Hook>, dropped: Counter) -> Self {
        Self { common, dropped, ..Self::default() }
    }

    /// There is one more worker, which has these.
    pub fn add_worker(&mut self, own: Vec<Hook>) {
        self.of_workers.push(own);
    }

    /// The next hook to run now, with its input. The caller reports its end by
    /// [`ended`](Self::ended), once. `stuck`: killed hooks that still exist.
    pub fn next_to_run(&mut self, stuck: usize) -> Option<(Hook, String)> {
        if self.running + stuck >= AT_ONCE {
            return None;
        }
        let next = self.queue.pop_front()?;
        self.running += 1;
        Some(next)
    }

    /// A hook has ended, with success or not.
    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Whether none runs and none waits.
    #[must_use]
    pub fn are_over(&self) -> bool {
        self.running == 0 && self.queue.is_empty()
    }

    /// The number of hooks dropped so far, because too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

impl Observer for Hooks {
    /// Queues the hooks that are for this event.
    fn observe(&mut self, event: &Event<'_>) {
        let Some(occasion) = occasion(&event.what) else { return };
        let own = event.who.and_then(|who| self.of_workers.get(who.incarnation.worker.index()));
        let hooks = own.into_iter().flatten().chain(&self.common);
        let mut wanted = hooks.filter(|hook| hook.on.contains(&occasion)).peekable();
        if wanted.peek().is_none() {
            return;
        }
        let record = json!({
            "event": occasion.name(),
            "at": wall(SystemTime::now()),
            "worker": event.who.map(|who| who.name),
            "generation": event.who.map(|who| who.incarnation.generation.0),
            "detail": event.what.detail(),
        });
        let record = record.to_string();
        let mut all_fit = true;
        for hook in wanted {
            if self.queue.len() < QUEUE {
                self.queue.push_back((hook.clone(), record.clone()));
            } else {
                self.dropped.add(1);
                all_fit = false;
            }
        }
        if !all_fit {
            tracing::warn!(event = occasion.name(), "a hook was dropped: too many wait");
        }
    }
}

/// What of all that happens a hook can be for.
fn occasion(what: &What<'_>) -> Option<HookEvent> {
    match what {
        What::Phase { to, ending, .. } => match to {
            Phase::Running => Some(HookEvent::Running),
            Phase::Quarantined => Some(HookEvent::Quarantined),
            Phase::Finished => Some(HookEvent::Stopped),
            Phase::Idle => ending.map(|_| HookEvent::Stopped),
            Phase::Launching
            | Phase::Starting
            | Phase::Stopping
            | Phase::Killing
            | Phase::Backoff => None,
        },
        What::IncidentOpened { .. } => Some(HookEvent::Failed),
        What::IncidentSettled { recovered, .. } => recovered.then_some(HookEvent::Recovered),
        What::Probe { is_unready, .. } => is_unready.then_some(HookEvent::Unready),
        What::IncidentAgain { .. }
        | What::Injected { .. }
        | What::Adopted { .. }
        | What::NotAdopted { .. }
        | What::Remains { .. }
        | What::HookFailed { .. }
        | What::InVain { .. }
        | What::StartsWithout { .. }
        | What::GivingUp { .. }
        | What::RolledBack { .. }
        | What::Command { .. }
        | What::NotifyRefused { .. }
        | What::Frozen { .. }
        | What::StopCommandFailed { .. }
        | What::LogTrouble { .. }
        | What::LogRecovered { .. } => None,
    }
}

/// The event as a file that a hook reads as its standard input: no thread has to feed a pipe, and a
/// hook that does not read blocks nothing.
///
/// # Errors
/// EMFILE or ENOMEM.
pub fn input(record: &str) -> io::Result<File> {
    let name = CString::new("event")?;
    let mut file = File::from(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC)?);
    writeln!(file, "{record}")?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probing::Kind;

    #[test]
    fn hooks_are_bounded_in_number_and_the_rest_is_counted() {
        let hook = Hook {
            on: vec![HookEvent::Unready],
            command: vec!["x".into()],
            timeout: Duration::ZERO,
        };
        let mut hooks = Hooks { common: vec![hook], ..Hooks::default() };
        let probe = |is_unready| Event {
            who: None,
            what: What::Probe { kind: Kind::Readiness, good: Some(false), is_unready },
        };
        hooks.observe(&probe(false));
        assert!(hooks.are_over(), "it is for something else");
        for count in 0..300 {
            hooks.observe(&probe(true));
            assert_eq!(hooks.queue.len(), QUEUE.min(count + 1));
        }
        assert_eq!(std::iter::from_fn(|| hooks.next_to_run(0)).count(), AT_ONCE);
        assert_eq!(hooks.dropped(), 300 - QUEUE as u64);
        hooks.ended();
        assert!(hooks.next_to_run(1).is_none(), "a stuck one has a place");
        assert!(hooks.next_to_run(0).is_some() && hooks.next_to_run(0).is_none());
    }
}
