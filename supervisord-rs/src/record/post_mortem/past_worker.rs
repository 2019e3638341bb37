//! What a black box tells of one worker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use supervision::{Checkpoint, FaultId, Generation, Phase};
use workers::fault::Fault;
use workers::runtime::board::{Board, Reading, monotonic_ns};

use super::Page;
use crate::control::protocol::EndingReport;
use crate::record::black_box::{Account, NOTE, Note, ProcessMark, STREAMS, load};
use crate::record::evidence::Evidence;

/// What is known of one of its workers.
#[derive(Debug)]
pub struct PastWorker {
    /// Its name.
    pub name: String,
    /// Where it stood.
    pub checkpoint: Checkpoint,
    /// The process of its incarnation, and the one that it calls its main one; `None`: none is
    /// known.
    pub process: Option<(ProcessMark, Option<ProcessMark>)>,
    /// Whether its incarnation had said that it is ready.
    pub said_ready: bool,
    /// Whether its incarnation had been asked to stop.
    pub stop_ordered: bool,
    /// How it was launched, as a number.
    pub fingerprint: u64,
    /// Units of work done.
    pub progress: u64,
    /// Units of work begun and not done.
    pub in_flight: u64,
    /// Bytes that its streams had lost, and the cell that it was the first member of: in all, and
    /// not marked in the file yet.
    pub losses: [[u64; 2]; STREAMS],
    /// Bytes that its streams have carried of its incarnation.
    pub carried: [u64; STREAMS],
    /// What was lost with the last incident that began with it, by its number.
    pub incident_work: Option<(u64, (u64, u64))>,
    /// The last incident that a run of it did which was over, by its number, and that run.
    pub blamed: Option<(u64, Generation)>,
    /// How its last incarnation ended, in words.
    pub ending: Option<EndingReport>,
    pub(super) fault: Option<(FaultId, u64)>,
    pub(super) reading: Option<Reading>,
}

/// The one that ended its supervisor.
#[derive(Clone, Copy, Debug)]
pub struct PastCulprit<'a> {
    /// Its worker.
    pub worker: &'a PastWorker,
    /// Which run of it.
    pub generation: Generation,
    /// Whether that run was over, and had left a thread behind.
    pub is_past: bool,
}

impl<'a> PastCulprit<'a> {
    pub(super) fn running(worker: &'a PastWorker) -> Self {
        Self { worker, generation: worker.checkpoint.generation, is_past: false }
    }

    pub(super) fn past(worker: &'a PastWorker, reading: &Reading) -> Self {
        let generation = Generation(reading.left_by.unwrap_or(reading.generation));
        Self { worker, generation, is_past: true }
    }

    /// What is known of it, as [`PastWorker::evidence`].
    #[must_use]
    pub fn evidence(&self, seen_at: u64) -> Evidence {
        if self.is_past {
            Evidence::new(self.worker.reading.clone(), seen_at, None)
        } else {
            self.worker.evidence(seen_at)
        }
    }
}

impl PastWorker {
    /// `None` when the page makes no sense.
    pub(super) fn read(page: &Page, account: Option<&Account>) -> Option<Self> {
        // SAFETY: the note lies in the upper half of the page, aligned; the board in the lower.
        // Atomics take any bits.
        let (board, note) = unsafe {
            let start = std::ptr::from_ref(page);
            (&*start.cast::<Board>(), &*start.byte_add(NOTE).cast::<Note>())
        };
        let now = monotonic_ns();
        let current = usize::from(note.current.load(Ordering::Relaxed) == 1);
        let mut checkpoint = note.checkpoints[current].read(Duration::from_nanos(now))?;
        let name = load(&note.name, note.name_length.load(Ordering::Relaxed) as usize);
        let generation = checkpoint.generation.0;
        let is_present =
            |word: &AtomicU64| generation != 0 && word.load(Ordering::Relaxed) == generation;
        // The board is this incarnation's for threads of the supervisor; others have theirs
        // elsewhere.
        let reading =
            board.read().filter(|reading| reading.generation == generation && generation != 0);
        // Its launch was not answered any more, but it did run, and may have been our end: its
        // board is its own.
        if checkpoint.phase == Phase::Launching && reading.is_some() {
            checkpoint.phase = Phase::Starting;
        }
        let mark = |pid: i32, start_time: u64| (pid > 0).then_some(ProcessMark { pid, start_time });
        let process =
            mark(note.pid.load(Ordering::Relaxed), note.start_time.load(Ordering::Relaxed));
        let main = mark(
            note.main_pid.load(Ordering::Relaxed),
            note.main_start_time.load(Ordering::Relaxed),
        );
        let fault = FaultId {
            code: note.fault.load(Ordering::Relaxed),
            parameter: note.fault_parameter.load(Ordering::Relaxed),
            at_launch: false,
        };
        let ordered_at = note.fault_ordered_at.load(Ordering::Relaxed);
        let (progress, in_flight) = match &reading {
            Some(reading) => (reading.progress, reading.in_flight),
            None => (note.progress.load(Ordering::Relaxed), note.in_flight.load(Ordering::Relaxed)),
        };
        Some(Self {
            name: String::from_utf8(name).ok()?,
            process: process
                .filter(|_| is_present(&note.process_generation))
                .map(|process| (process, main)),
            said_ready: is_present(&note.ready_generation),
            stop_ordered: is_present(&note.stop_generation),
            fingerprint: note.fingerprint.load(Ordering::Relaxed),
            ending: checkpoint.last_ending.and_then(|ending| account?.read(ending)),
            checkpoint,
            progress,
            in_flight,
            losses: std::array::from_fn(|stream| {
                std::array::from_fn(|word| note.losses[stream][word].load(Ordering::Relaxed))
            }),
            carried: std::array::from_fn(|stream| note.carried[stream].load(Ordering::Relaxed)),
            incident_work: note.incident_work(),
            blamed: note.blamed(),
            fault: (fault.code != 0 && ordered_at <= now).then_some((fault, ordered_at)),
            reading,
        })
    }

    /// Whether it had been launched and had not ended.
    #[must_use]
    pub fn was_running(&self) -> bool {
        match self.checkpoint.phase {
            Phase::Starting | Phase::Running | Phase::Stopping | Phase::Killing => true,
            Phase::Idle
            | Phase::Launching
            | Phase::Backoff
            | Phase::Quarantined
            | Phase::Finished => false,
        }
    }

    /// The fault last ordered for this incarnation.
    #[must_use]
    pub fn fault_ordered(&self) -> Option<FaultId> {
        self.fault.map(|(fault, _)| fault)
    }

    /// What stands on its board of the run that it had; where a thread of an earlier one has
    /// written there, nothing.
    pub(super) fn own_reading(&self) -> Option<&Reading> {
        self.reading.as_ref().filter(|reading| reading.left_by.is_none())
    }

    /// What a thread has said last that a run which was over had left behind.
    pub(super) fn words_of_past(&self) -> Option<&Reading> {
        let is_past = |reading: &&Reading| reading.left_by.is_some() || !self.was_running();
        self.reading.as_ref().filter(is_past)
    }

    /// When that was, in monotonic nanoseconds.
    #[must_use]
    pub fn fault_ordered_at(&self) -> Option<u64> {
        self.fault.map(|(_, at)| at)
    }

    /// The signal that was ordered for it.
    #[must_use]
    pub fn signal_ordered(&self) -> Option<i32> {
        Fault::from_code(self.fault?.0.code)?.signal()
    }

    /// The source of its incident: seen at `seen_at` by the successor; struck when a signal was
    /// ordered for it, or at the time on its board, if one is there.
    #[must_use]
    pub fn evidence(&self, seen_at: u64) -> Evidence {
        let struck_at = self.signal_ordered().and(self.fault).map(|(_, at)| at);
        let reading = self.reading.clone().map(Reading::of_its_run);
        let mut known = Evidence::new(reading, seen_at, struck_at);
        // Of a process: as far as the handler of a fatal signal could still write it down.
        if known.reading.is_none() && (self.progress, self.in_flight) != (0, 0) {
            known.work = Some((self.progress, self.in_flight));
        }
        known
    }
}
