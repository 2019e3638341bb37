//! What was so at a mark, with which expectations compare.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bed::Bed;
use super::failure::TrialError;
use crate::control::client::{Client, ClientError, MANY_INCIDENTS};
use crate::control::protocol::{LogItem, LogPosition, LogsRequest, StatusReport, WorkerStatus};
use crate::waiting::until;

/// For each worker that counts its work to do one unit. Who does none in this time is idle, and
/// nothing is expected of its progress.
const MOVING: Duration = Duration::from_secs(1);
/// For the supervisor to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// What was so.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) status: StatusReport,
    /// Who made progress.
    pub(super) moving: BTreeSet<String>,
    /// The newest incident.
    pub(super) known: u64,
    /// Where the output of workers ended.
    positions: BTreeMap<String, Vec<LogPosition>>,
}

impl Mark {
    /// Takes it. `written`: names of workers whose output is read later.
    ///
    /// # Errors
    /// The supervisor does not answer, or has ended.
    pub(super) fn take(bed: &mut Bed, written: &BTreeSet<String>) -> Result<Self, TrialError> {
        let first = bed.wait("an answer", ANSWER, |bed| Ok(bed.client.status().ok()))?;
        let mut status = first.clone();
        let mut moving = BTreeSet::new();
        let counts =
            |worker: &&WorkerStatus| worker.phase == "running" && worker.progress.is_some();
        // Who is idle is not waited for longer.
        let _ = until(MOVING, PAUSE, || {
            status = bed.client.status().unwrap_or_else(|_| status.clone());
            let steps = first.workers.iter().zip(&status.workers);
            let moved = steps.filter(|(then, now)| has_moved(then, now));
            moving.extend(moved.map(|(_, now)| now.name.clone()));
            let mut those = status.workers.iter().filter(counts);
            those.all(|worker| moving.contains(&worker.name)).then_some(())
        });
        let known = bed.client.incidents_and_open(MANY_INCIDENTS).unwrap_or_default();
        let known = known.iter().map(|one| one.id).max().unwrap_or(0);
        let mut positions = BTreeMap::new();
        for name in written {
            if let Ok((_, end)) = read(&bed.client, name, &[]) {
                positions.insert(name.clone(), end);
            }
        }
        Ok(Self { status, moving, known, positions })
    }

    /// What a worker has written since.
    ///
    /// # Errors
    /// The supervisor does not answer.
    pub(super) fn output(&self, client: &Client, name: &str) -> Result<Vec<String>, ClientError> {
        let from = self.positions.get(name).map_or(&[][..], Vec::as_slice);
        read(client, name, from).map(|(lines, _)| lines)
    }

    /// A worker as it was.
    pub(super) fn worker(&self, name: &str) -> Option<&WorkerStatus> {
        self.status.workers.iter().find(|worker| worker.name == name)
    }
}

fn has_moved(then: &WorkerStatus, now: &WorkerStatus) -> bool {
    then.name == now.name && then.generation == now.generation && now.progress > then.progress
}

/// All lines of a worker from these positions on, and where they end.
pub(super) fn read(
    client: &Client,
    name: &str,
    from: &[LogPosition],
) -> Result<(Vec<String>, Vec<LogPosition>), ClientError> {
    let request = LogsRequest {
        workers: vec![name.to_owned()],
        lines: Some(usize::MAX),
        from: from.to_vec(),
        ..LogsRequest::default()
    };
    let (mut lines, mut end) = (Vec::new(), from.to_vec());
    for item in client.logs(&request)? {
        match item? {
            LogItem::Line(line) => lines.push(line.message),
            LogItem::Note { .. } => {}
            LogItem::Positions { positions } => {
                for position in positions {
                    end.retain(|known| known.file != position.file);
                    end.push(position);
                }
            }
        }
    }
    Ok((lines, end))
}
