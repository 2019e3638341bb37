//! Commands that run at events: a few at a time, each with a timeout, the rest in a bounded queue.
//! A hook that does not fit is dropped and counted; the failure of a hook is logged, and changes
//! nothing.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Seek, Write};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::config::settings::{Hook, HookEvent};
use crate::record::black_box::Counter;

/// Hooks that run at once.
const AT_ONCE: usize = 8;
/// Hooks that wait.
const QUEUE: usize = 256;

/// Hooks that run and wait.
#[derive(Debug, Default)]
pub struct Hooks {
    queue: VecDeque<(Hook, String)>,
    running: usize,
    dropped: Counter,
}

impl Hooks {
    /// `dropped`: the counter of dropped hooks.
    #[must_use]
    pub fn new(dropped: Counter) -> Self {
        Self { dropped, ..Self::default() }
    }

    /// Queues the hooks of these lists that are for this event. False when one was dropped.
    pub fn fire<'a>(
        &mut self,
        hooks: impl Iterator<Item = &'a Hook>,
        event: HookEvent,
        record: &serde_json::Value,
    ) -> bool {
        let mut all_fit = true;
        for hook in hooks.filter(|hook| hook.on.contains(&event)) {
            if self.queue.len() < QUEUE {
                self.queue.push_back((hook.clone(), record.to_string()));
            } else {
                self.dropped.add(1);
                all_fit = false;
            }
        }
        all_fit
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

    #[test]
    fn hooks_are_bounded_in_number_and_the_rest_is_counted() {
        let hook = Hook {
            on: vec![HookEvent::Failed],
            command: vec!["x".into()],
            timeout: Duration::ZERO,
        };
        let mut hooks = Hooks::default();
        let record = serde_json::json!({});
        assert!(hooks.fire([&hook].into_iter(), HookEvent::Recovered, &record) && hooks.are_over());
        for count in 0..300 {
            assert_eq!(hooks.fire([&hook].into_iter(), HookEvent::Failed, &record), count < QUEUE);
        }
        assert_eq!(std::iter::from_fn(|| hooks.next_to_run(0)).count(), AT_ONCE);
        assert_eq!(hooks.dropped(), 300 - QUEUE as u64);
        hooks.ended();
        assert!(hooks.next_to_run(1).is_none(), "a stuck one has a place");
        assert!(hooks.next_to_run(0).is_some() && hooks.next_to_run(0).is_none());
    }
}
