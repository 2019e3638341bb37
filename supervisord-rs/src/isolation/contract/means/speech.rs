//! How workers tell that they are ready: notify sockets, lines of output.

use supervision::{DomainId, Event, Incarnation, WorkerId};

use super::Means;
use crate::config::Launch;
use crate::config::settings::Ready;
use crate::isolation::launch::failed::Result;
use crate::isolation::launch::{failure, from_io};
use crate::isolation::notify::Notify;
use crate::isolation::watch::{Says, Token};
use crate::stages;

impl Means {
    /// A worker that is to speak gets its socket; what was said to its predecessor is forgotten.
    pub(in crate::isolation) fn open_notify(
        &mut self,
        worker: WorkerId,
        launch: &Launch,
    ) -> Result<()> {
        let speaks = launch.ready == Ready::Notify || launch.watchdog.is_some();
        if !speaks {
            return Ok(());
        }
        if let Some(notify) = &self.registry[worker].notify {
            if !notify.drain() {
                self.take_elsewhere(worker);
            }
            return Ok(());
        }
        let notify = Notify::new().map_err(|error| from_io(stages::DESCRIPTORS, &error))?;
        let notify = self
            .watch
            .add(notify, Token::Notify { worker: worker.0 }, Says::WhileReady)
            .map_err(|(_, errno)| failure(stages::DESCRIPTORS, errno))?;
        self.registry[worker].notify = Some(notify);
        Ok(())
    }

    /// Has a thread take a datagram with descriptors, and hears no more until it has.
    pub(in crate::isolation) fn take_elsewhere(&mut self, worker: WorkerId) {
        if let Some(notify) = &mut self.registry[worker].notify {
            notify.take_elsewhere(&self.bell);
            notify.rest();
        }
    }

    /// Has the output looked at for the line that says that it is ready.
    pub(in crate::isolation) fn watch_for_line(&self, incarnation: Incarnation, launch: &Launch) {
        let Ready::Log(pattern) = &launch.ready else { return };
        for stream in self.registry[incarnation.worker].streams() {
            self.logs.watch_for(*stream, pattern.regex(), line_token(incarnation));
        }
    }

    /// Listens to the notify sockets of a domain again.
    pub(in crate::isolation) fn listen(&mut self, domain: DomainId) {
        for worker in self.registry[domain].workers.clone() {
            if let Some(notify) = &mut self.registry[worker].notify {
                notify.go_on();
            }
        }
    }

    /// It has said that it is ready: once is enough.
    pub(in crate::isolation) fn note_ready(&mut self, incarnation: Incarnation) {
        self.black_box.note(incarnation.worker.index()).set_ready(incarnation.generation.0);
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        if !std::mem::replace(&mut live.is_ready, true) {
            self.say(incarnation.worker, Event::Ready { incarnation });
        }
    }
}

/// Says of whom a matched line was. Generations beyond 2^32 are the same as far
/// lower ones, which is no worse than a line that matches twice.
fn line_token(incarnation: Incarnation) -> u64 {
    u64::from(incarnation.worker.0) << 32 | (incarnation.generation.0 & u64::from(u32::MAX))
}
