//! Who learns of what happens: the list of observers, and the one place that tells them.

use supervision::Incarnation;

use super::Daemon;
use crate::hooks::Hooks;
use crate::record::event::{Event, Observer, What, Who};
use crate::record::events::Events;
use crate::record::incidents::Names;
use crate::record::log_lines::LogLines;

/// All observers. Each is here once, and in [`tell`](Self::tell) once.
#[derive(Debug, Default)]
pub(super) struct Observers {
    pub(super) log: LogLines,
    pub(super) stream: Events,
    pub(super) hooks: Hooks,
}

impl Observers {
    /// Tells every observer of something. `names`: of the worker whose `incarnation` it is.
    pub(super) fn tell(&mut self, names: &Names, incarnation: Option<Incarnation>, what: What<'_>) {
        let who = incarnation
            .map(|incarnation| Who { name: names.worker(incarnation.worker), incarnation });
        let event = Event { who, what };
        self.log.observe(&event);
        self.stream.observe(&event);
        self.hooks.observe(&event);
    }
}

impl Daemon {
    /// Something has happened that nothing of this daemon has to be borrowed for.
    pub(super) fn emit(&mut self, incarnation: Option<Incarnation>, what: What<'_>) {
        self.observers.tell(&self.names, incarnation, what);
    }
}
