//! Everything that happens, as a numbered stream. A reader that is too slow loses the oldest and
//! learns how many.

use std::time::SystemTime;

use tokio::sync::broadcast;
use workers::runtime::board::monotonic_ns;

use super::event::{Event, Observer};
use super::wall_time::wall;
use crate::afterwards;
use crate::control::protocol::EventRecord;

/// Events that a slow reader may be behind before it loses some; about 1 MiB.
const BACKLOG: usize = 4096;

/// The stream's source.
#[derive(Debug)]
pub struct Events {
    sender: broadcast::Sender<EventRecord>,
    seq: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), seq: 0 }
    }
}

impl Events {
    /// A reader of everything from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<EventRecord> {
        self.sender.subscribe()
    }

    /// Ends the streams of all readers.
    pub fn close(&mut self) {
        *self = Self::default();
    }

    /// Whether any client reads it now.
    fn has_readers(&self) -> bool {
        self.sender.receiver_count() > 0
    }
}

impl Observer for Events {
    /// Sends one event to all readers, at the end of the turn. Does not block.
    fn observe(&mut self, event: &Event<'_>) {
        self.seq += 1;
        if !self.has_readers() {
            return;
        }
        let record = EventRecord {
            seq: self.seq,
            at: wall(SystemTime::now()),
            monotonic_us: monotonic_ns() / 1000,
            kind: event.what.kind().to_owned(),
            worker: event.who.map(|who| who.name.to_owned()),
            generation: event.who.map(|who| who.incarnation.generation.0),
            detail: event.what.detail(),
        };
        let sender = self.sender.clone();
        afterwards::ring(move || drop(sender.send(record)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::What;
    use super::*;

    #[test]
    fn events_are_numbered_whether_or_not_a_client_reads_them() {
        let mut events = Events::default();
        let tell = |events: &mut Events, fault| {
            events.observe(&Event { who: None, what: What::Injected { fault } });
        };
        tell(&mut events, "panic");
        let mut reader = events.subscribe();
        tell(&mut events, "hang");
        let record = reader.try_recv().expect("an event");
        assert_eq!((record.seq, record.kind.as_str()), (2, "injected"));
        assert_eq!(record.detail, serde_json::json!({ "fault": "hang" }));
        assert!(record.worker.is_none() && reader.try_recv().is_err());
        events.close();
        assert!(matches!(reader.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
    }
}
