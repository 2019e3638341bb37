//! The record of settled incidents: a file, one line each, and the newest of them in memory. The
//! observer that writes it: [`IncidentFile`].

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use supervision::IncidentId;

use super::event::{Event, Observer, What};
use super::record_file::{self, Lines};
pub use super::record_file::{LeftOut, READ_MAX};
use super::record_writer::RecordWriter;
use crate::control::protocol::IncidentRecord;

/// Incidents kept in memory for `incidents`; older ones are read from the file. Each names everyone
/// who was running.
const KEPT: usize = 100;

/// The newest settled incidents, and the file that has them all.
#[derive(Debug)]
pub struct Settled {
    newest: VecDeque<Arc<IncidentRecord>>,
    path: Arc<Path>,
}

impl Settled {
    /// Reads back the newest of the file, if there is one. Skips a line that is not an incident.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(path: Arc<Path>) -> io::Result<Self> {
        let newest = read_others(&path, &BTreeSet::new(), KEPT)?;
        Ok(Self { newest: newest.into_iter().map(Arc::new).collect(), path })
    }

    /// Without anything of the file.
    #[must_use]
    pub fn empty(path: Arc<Path>) -> Self {
        Self { newest: VecDeque::new(), path }
    }

    /// Takes what the file has, where it could not be read before.
    pub fn recall(&mut self, earlier: Self) {
        let kept = std::mem::replace(&mut self.newest, earlier.newest);
        for record in kept {
            if !self.has(IncidentId(record.id)) {
                self.newest.push_back(record);
            }
        }
    }

    /// The highest number so far.
    #[must_use]
    pub fn last_id(&self) -> Option<u64> {
        self.newest.iter().map(|record| record.id).max()
    }

    /// Whether it is among the newest of the file, or was kept since.
    #[must_use]
    pub fn has(&self, id: IncidentId) -> bool {
        self.newest.iter().any(|record| record.id == id.0)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// The newest ones that are in memory, oldest first.
    #[must_use]
    pub fn newest(&self, last: usize) -> Vec<IncidentRecord> {
        let skipped = self.newest.len().saturating_sub(last);
        self.newest.iter().skip(skipped).map(|record| IncidentRecord::clone(record)).collect()
    }

    fn keep(&mut self, record: Arc<IncidentRecord>) {
        self.newest.push_back(record);
        if self.newest.len() > KEPT {
            self.newest.pop_front();
        }
    }
}

/// Writes each incident that is settled into the file, and keeps it.
pub struct IncidentFile {
    /// What the file has.
    pub settled: Settled,
    writer: RecordWriter,
    /// Is called when an incident is in the file, on the thread that wrote it.
    written: Arc<dyn Fn(IncidentId) + Send + Sync>,
}

impl IncidentFile {
    /// `written` is called for each incident that is in the file, by the thread that writes.
    #[must_use]
    pub fn new(
        settled: Settled,
        writer: RecordWriter,
        written: impl Fn(IncidentId) + Send + Sync + 'static,
    ) -> Self {
        Self { settled, writer, written: Arc::new(written) }
    }
}

impl Observer for IncidentFile {
    fn observe(&mut self, event: &Event<'_>) {
        let What::IncidentSettled { record, recovered: _ } = &event.what else { return };
        let line = serde_json::to_string(&***record).expect("strings and numbers are valid JSON");
        let (id, written) = (IncidentId(record.id), Arc::clone(&self.written));
        if !self.writer.record(&self.settled.path, line, move || written(id)) {
            tracing::error!(
                incident = record.id,
                "incident not written: the disk is too slow; it is kept in memory"
            );
        }
        self.settled.keep(Arc::clone(record));
    }
}

impl fmt::Debug for IncidentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncidentFile").field("settled", &self.settled).finish_non_exhaustive()
    }
}

/// Reads settled incidents from the files that are not among the `known` numbers: the last `most`
/// that were written, in the order in which they were settled, which is not that of their numbers.
/// Skips a line that is not an incident. Reads nothing older. Blocks; for a thread in the
/// background.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read_others(
    path: &Path,
    known: &BTreeSet<u64>,
    most: usize,
) -> io::Result<Vec<IncidentRecord>> {
    let mut lines = record_file::newest_first(path)?;
    Ok(read_from(&mut lines, known, most))
}

/// The last `most` incidents of the files, and what the files have besides.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read_last(path: &Path, most: usize) -> io::Result<(Vec<IncidentRecord>, LeftOut)> {
    let mut lines = record_file::newest_first(path)?;
    let records = read_from(&mut lines, &BTreeSet::new(), most);
    Ok((records, lines.left_out()))
}

fn read_from(lines: &mut Lines, known: &BTreeSet<u64>, most: usize) -> Vec<IncidentRecord> {
    let records = lines
        .filter_map(|line| serde_json::from_slice::<IncidentRecord>(&line).ok())
        .filter(|record| !known.contains(&record.id));
    let mut found: Vec<IncidentRecord> = records.take(most).collect();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_memory_comes_from_the_file_whatever_the_order_of_the_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("incidents.jsonl");
        let line = |id: u64| {
            serde_json::to_string(&IncidentRecord { id, ..IncidentRecord::default() }).unwrap()
                + "\n"
        };
        // Incident 2 was settled last of all.
        let text: String = [1, 3, 4, 5, 2].into_iter().map(line).collect();
        std::fs::write(&path, text + "no record\n").unwrap();
        let ids = |known: &[u64], most| {
            let others = read_others(&path, &known.iter().copied().collect(), most).unwrap();
            others.iter().map(|record| record.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&[], usize::MAX), [1, 3, 4, 5, 2]);
        assert_eq!(ids(&[5, 2], usize::MAX), [1, 3, 4], "neither lost nor twice");
        assert_eq!(ids(&[5, 2], 2), [3, 4]);
    }
}
