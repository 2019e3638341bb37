//! Everything that happens, as a numbered stream. A reader that is too slow loses the oldest and
//! learns how many.

use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::broadcast;
use workers::board::monotonic_ns;

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

    /// Sends one event to all readers. Does not block.
    pub fn publish(&mut self, kind: &str, worker: Option<(&str, u64)>, detail: Value) {
        self.seq += 1;
        if self.sender.receiver_count() == 0 {
            return;
        }
        let record = EventRecord {
            seq: self.seq,
            at: wall(SystemTime::now()),
            monotonic_us: monotonic_ns() / 1000,
            kind: kind.to_owned(),
            worker: worker.map(|(name, _)| name.to_owned()),
            generation: worker.map(|(_, generation)| generation),
            detail,
        };
        let _ = self.sender.send(record);
    }
}

/// Wall time as RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn wall(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
