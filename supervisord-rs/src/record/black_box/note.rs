//! The upper half of a worker's page: what its successor needs to know of it.
#![expect(unsafe_code, reason = "a mapped page has no type")]

use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use supervision::{Checkpoint, Generation};
use workers::runtime::board::{Board, SIZE};
use workers::runtime::mapping::Mapping;

use super::bytes;
use crate::record::checkpoint::Words;

/// Streams that are counted in a worker's note: its own two, and those of the cell that it is the
/// first member of.
pub(in crate::record) const STREAMS: usize = 4;

/// Where a worker's note begins in its page.
pub(in crate::record) const NOTE: usize = SIZE / 2;

/// What a successor needs to know of a worker, beside its board. Each group of words is written so
/// that a death at any instant leaves the old or the new: a checkpoint is written beside the one
/// that counts, and then counts; a process is erased, written, and then named by its generation.
#[repr(C, align(64))]
pub struct Note {
    pub(in crate::record) name_length: AtomicU32,
    /// Which of the checkpoints counts.
    pub(in crate::record) current: AtomicU32,
    pub(in crate::record) name: [AtomicU64; 8],
    pub(in crate::record) checkpoints: [Words; 2],
    /// Of which generation the process below is; 0: of none. Stored last.
    pub(in crate::record) process_generation: AtomicU64,
    pub(in crate::record) pid: AtomicI32,
    pub(in crate::record) main_pid: AtomicI32,
    pub(in crate::record) start_time: AtomicU64,
    pub(in crate::record) main_start_time: AtomicU64,
    /// What was done and said in the generation that stands there.
    pub(in crate::record) ready_generation: AtomicU64,
    pub(in crate::record) stop_generation: AtomicU64,
    /// How it is launched, as a number: another one, and its process is not what the configuration
    /// wants.
    pub(in crate::record) fingerprint: AtomicU64,
    pub(in crate::record) fault: AtomicU32,
    pub(in crate::record) fault_parameter: AtomicU64,
    pub(in crate::record) fault_ordered_at: AtomicU64,
    /// Copied from the worker's own board by the handler of a fatal signal.
    pub(in crate::record) progress: AtomicU64,
    pub(in crate::record) in_flight: AtomicU64,
    /// Bytes of its streams that were lost: by stream, in all and not yet marked in the file.
    pub(in crate::record) losses: [[AtomicU64; 2]; STREAMS],
    /// Bytes that its streams have carried of its present incarnation, or its last one.
    pub(in crate::record) carried: [AtomicU64; STREAMS],
    /// What was lost with the last incident that began with this worker: units done, and begun and
    /// not done. Named by the number of the incident; 0: it is not known. Stored last.
    pub(in crate::record) incident: AtomicU64,
    pub(in crate::record) incident_work: [AtomicU64; 2],
    /// The last incident that a run of it did which was over, and which run. Named by the number of
    /// the incident; 0: there was none. Stored last.
    pub(in crate::record) blamed_for: AtomicU64,
    pub(in crate::record) blamed_generation: AtomicU64,
}

const _: () = assert!(size_of::<Board>() <= NOTE && size_of::<Note>() <= SIZE - NOTE);

/// A process, so that it is not mistaken for another that has its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMark {
    /// Its number; 0: none.
    pub pid: i32,
    /// When it was born, in clock ticks since boot (`starttime`, proc_pid_stat(5)).
    pub start_time: u64,
}

impl Note {
    /// Remembers where the worker stands.
    pub fn remember(&self, checkpoint: &Checkpoint) {
        let next = usize::from(self.current.load(Ordering::Relaxed) == 0);
        self.checkpoints[next].write(checkpoint);
        self.current.store(u32::from(next == 1), Ordering::SeqCst);
    }

    /// Before a launch: nothing has been ordered for the new generation, and it has no process yet.
    pub fn begin_launch(&self) {
        self.process_generation.store(0, Ordering::SeqCst);
        self.fault.store(0, Ordering::Relaxed);
        self.progress.store(0, Ordering::Relaxed);
        self.in_flight.store(0, Ordering::Relaxed);
    }

    /// A generation has this process; and the other one if that is what it calls its main one. Its
    /// successor may take it over from now on.
    pub fn set_process(&self, generation: u64, process: ProcessMark, main: Option<ProcessMark>) {
        self.process_generation.store(0, Ordering::SeqCst);
        self.pid.store(process.pid, Ordering::Relaxed);
        self.start_time.store(process.start_time, Ordering::Relaxed);
        let main = main.unwrap_or_default();
        self.main_pid.store(main.pid, Ordering::Relaxed);
        self.main_start_time.store(main.start_time, Ordering::Relaxed);
        self.process_generation.store(generation, Ordering::SeqCst);
    }

    /// It has said that it is ready.
    pub fn set_ready(&self, generation: u64) {
        self.ready_generation.store(generation, Ordering::SeqCst);
    }

    /// It has been asked to stop.
    pub fn set_stop_ordered(&self, generation: u64) {
        self.stop_generation.store(generation, Ordering::SeqCst);
    }

    /// How it is launched, as a number.
    pub fn set_fingerprint(&self, fingerprint: u64) {
        self.fingerprint.store(fingerprint, Ordering::Relaxed);
    }

    /// What was lost with an incident: units done, and begun and not done.
    pub fn set_incident_work(&self, incident: u64, (done, begun): (u64, u64)) {
        self.incident.store(0, Ordering::SeqCst);
        self.incident_work[0].store(done, Ordering::Relaxed);
        self.incident_work[1].store(begun, Ordering::Relaxed);
        self.incident.store(incident, Ordering::SeqCst);
    }

    /// That of the last incident that began with this worker, with its number.
    #[must_use]
    pub fn incident_work(&self) -> Option<(u64, (u64, u64))> {
        let incident = self.incident.load(Ordering::SeqCst);
        let [done, begun] = self.incident_work.each_ref().map(|word| word.load(Ordering::Relaxed));
        (incident != 0).then_some((incident, (done, begun)))
    }

    /// A run of it that was over has done an incident, by a thread that it had left behind.
    pub fn set_blamed(&self, incident: u64, run: Generation) {
        self.blamed_for.store(0, Ordering::SeqCst);
        self.blamed_generation.store(run.0, Ordering::Relaxed);
        self.blamed_for.store(incident, Ordering::SeqCst);
    }

    /// The last such incident, with its number, and that run.
    #[must_use]
    pub fn blamed(&self) -> Option<(u64, Generation)> {
        let incident = self.blamed_for.load(Ordering::SeqCst);
        let run = Generation(self.blamed_generation.load(Ordering::Relaxed));
        (incident != 0).then_some((incident, run))
    }

    /// The fault just ordered, and when.
    pub fn set_fault_ordered(&self, code: u32, parameter: u64, at: u64) {
        self.fault_parameter.store(parameter, Ordering::Relaxed);
        self.fault_ordered_at.store(at, Ordering::Relaxed);
        self.fault.store(code, Ordering::Release);
    }
}

pub(super) fn note(mapping: &Mapping, worker: usize) -> &Note {
    let page = ptr::from_ref(mapping.page(worker + 1));
    // SAFETY: needed because a mapped page has no type. The page is SIZE bytes long, NOTE is half
    // of that and a multiple of the note's alignment, every bit pattern is valid for atomics, and
    // the board ends before NOTE.
    unsafe { &*page.byte_add(NOTE).cast::<Note>() }
}

pub(super) fn store_name(note: &Note, name: &str) {
    let cut = bytes::store(&note.name, name.as_bytes());
    note.name_length.store(u32::try_from(cut).unwrap_or(0), Ordering::Relaxed);
}
