//! What the daemon is to hear, and what it is to wait for in the background.

use std::collections::VecDeque;

use supervision::{Event, Incarnation, WorkerId};

use super::queue::Queue;
use super::start_before::StartBefore;
use crate::isolation::helper::Summons;
use crate::record::event::What;

/// Something that is no event of the machine, and that people should know.
#[derive(Debug)]
pub struct Remark {
    /// To whom it happened.
    pub incarnation: Option<Incarnation>,
    /// What happened.
    pub what: What<'static>,
}

/// All that has not been heard yet.
#[derive(Debug, Default)]
pub(in crate::isolation) struct News {
    pub(super) events: Queue,
    pub(super) remarks: VecDeque<Remark>,
    stop_commands: VecDeque<(Incarnation, Summons)>,
    pub(super) starts_before: VecDeque<StartBefore>,
}

impl News {
    /// Something has happened to a worker. `yields`: it lets others pass.
    pub(super) fn say(&mut self, worker: WorkerId, event: Event, yields: bool) {
        self.events.push(worker, event, yields);
    }

    /// Something that people should know.
    pub(in crate::isolation) fn remark(&mut self, remark: Remark) {
        self.remarks.push_back(remark);
    }

    /// The next event.
    pub(in crate::isolation) fn next_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// The next remark.
    pub(in crate::isolation) fn next_remark(&mut self) -> Option<Remark> {
        self.remarks.pop_front()
    }

    /// A stop command that has begun, to be waited for.
    pub(in crate::isolation) fn await_stop_command(
        &mut self,
        incarnation: Incarnation,
        command: Summons,
    ) {
        self.stop_commands.push_back((incarnation, command));
    }

    /// The next stop command that has begun.
    pub(in crate::isolation) fn next_stop_command(&mut self) -> Option<(Incarnation, Summons)> {
        self.stop_commands.pop_front()
    }

    /// A `start_before:` command that has begun.
    pub(in crate::isolation) fn next_start_before(&mut self) -> Option<StartBefore> {
        self.starts_before.pop_front()
    }
}
