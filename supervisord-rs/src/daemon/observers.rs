//! Who learns of what happens: the list of observers, and the one place that tells them.

use supervision::Incarnation;

use super::Daemon;
use super::background::Background;
use crate::config::Settings;
use crate::hooks::Hooks;
use crate::record::black_box::{BlackBox, Count};
use crate::record::event::{Event, Observer, What, Who};
use crate::record::events::Events;
use crate::record::incidents::Names;
use crate::record::log_lines::LogLines;
use crate::record::record_writer::RecordWriter;
use crate::record::settled::{IncidentFile, Settled};

/// All observers. Each is here once, and in [`tell`](Self::tell) once.
#[derive(Debug)]
pub(super) struct Observers {
    log: LogLines,
    pub(super) incidents: IncidentFile,
    pub(super) stream: Events,
    pub(super) hooks: Hooks,
}

impl Observers {
    pub(super) fn new(
        settings: &Settings,
        settled: Settled,
        black_box: &BlackBox,
        record_writer: &RecordWriter,
        background: &Background,
    ) -> Self {
        let dropped = black_box.counter(Count::DroppedHooks);
        let mut hooks = Hooks::new(settings.hooks.clone(), dropped);
        settings.launches.iter().for_each(|launch| hooks.add_worker(launch.hooks.clone()));
        let incidents = IncidentFile::new(settled, record_writer.clone(), background.on_recorded());
        Self { log: LogLines, incidents, stream: Events::default(), hooks }
    }

    /// Tells every observer of something. `names`: of the worker whose `incarnation` it is.
    pub(super) fn tell(&mut self, names: &Names, incarnation: Option<Incarnation>, what: What<'_>) {
        let who = incarnation
            .map(|incarnation| Who { name: names.worker(incarnation.worker), incarnation });
        let event = Event { who, what };
        self.log.observe(&event);
        self.incidents.observe(&event);
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
