//! A worker's checkpoint as words of shared memory, and back. What is read may be anything: it
//! becomes a checkpoint that makes sense, or none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use supervision::{Checkpoint, FaultId, Generation, IncidentId, InjectionMemo, Marks};

mod endings;
mod losses;
mod numbers;

pub(super) use endings::ending;
use endings::read_ending;
use numbers::{PHASES, STOP_REASONS, phase, why};

/// Failures that a successor hears of; the newest.
pub(super) const FAILURES: usize = 16;
/// Injections of which it hears how far they are; the first of the configuration.
const INJECTIONS: usize = 8;
const FIXED: usize = 12;
/// Where the failures of a group begin, as many as a worker's.
const GROUP: usize = FIXED + FAILURES + 3 * INJECTIONS;
/// Where its parts in incidents that are not on record begin.
const OPEN: usize = GROUP + FAILURES;
/// So many of them: as many as the machine remembers.
const LOSSES: usize = 3;
/// Words of a checkpoint.
const WORDS: usize = OPEN + LOSSES * losses::WORDS;
/// Stands for "never".
const NEVER: u64 = u64::MAX;

/// A checkpoint in memory.
#[repr(C)]
pub(super) struct Words([AtomicU64; WORDS]);

impl Words {
    /// Writes a checkpoint. A concurrent reader looks at other words.
    pub(super) fn write(&self, checkpoint: &Checkpoint) {
        let mut words = [0; WORDS];
        let order = checkpoint.order.map_or(0, |order| why(order) + 1);
        words[0] = phase(checkpoint.phase) | order << 8 | marks(checkpoint.marks) << 16;
        words[1] = checkpoint.generation.0;
        words[2] = nanos(checkpoint.since);
        words[3] = checkpoint.due.map_or(NEVER, nanos);
        words[4] = checkpoint.restarts;
        words[5] = u64::from(checkpoint.attempt) | u64::from(checkpoint.abandoned) << 32;
        (words[6], words[7]) = checkpoint.last_ending.map_or((NEVER, 0), ending);
        words[8] = checkpoint.last_incident.map_or(0, |id| id.0);
        words[9] = checkpoint.injected.map_or(0, |fault| u64::from(fault.code));
        words[10] = checkpoint.injected.map_or(0, |fault| fault.parameter);
        for (start, failures) in
            [(FIXED, &checkpoint.failures), (GROUP, &checkpoint.group_failures)]
        {
            let newest = failures.iter().rev().take(FAILURES);
            for (word, at) in words[start..].iter_mut().zip(newest) {
                *word = nanos(*at).max(1);
            }
        }
        for (place, open) in words[OPEN..].chunks_exact_mut(losses::WORDS).zip(&checkpoint.losses) {
            place.copy_from_slice(&losses::write(*open));
        }
        for (three, injection) in
            words[FIXED + FAILURES..GROUP].chunks_exact_mut(3).zip(&checkpoint.injections)
        {
            three[0] = injection.draws;
            three[1] = u64::from(injection.times);
            three[2] = injection.due.map_or(NEVER, nanos);
        }
        for (place, word) in self.0.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// Reads it back; `None` when it makes no sense. Times that lie after `now` are `now`, but for
    /// what is due.
    pub(super) fn read(&self, now: Duration) -> Option<Checkpoint> {
        let word = |index: usize| self.0.get(index).map_or(0, |word| word.load(Ordering::Relaxed));
        let time = |word: u64| Some(Duration::from_nanos(word)).filter(|_| word != NEVER);
        let code = u64::from(u32::try_from(word(9)).ok()?);
        let failures = |start: usize| {
            let moments = (start..start + FAILURES).map(|index| Duration::from_nanos(word(index)));
            let mut moments: Vec<Duration> =
                moments.filter(|at| !at.is_zero() && *at <= now).collect();
            moments.sort_unstable();
            moments
        };
        let injections = (0..INJECTIONS).map(|position| {
            let at = FIXED + FAILURES + 3 * position;
            let times = u32::try_from(word(at + 1)).unwrap_or(u32::MAX);
            InjectionMemo {
                draws: word(at),
                times,
                due: time(word(at + 2)).filter(|_| word(at + 2) != 0),
            }
        });
        Some(Checkpoint {
            phase: *PHASES.get(index(word(0) & 0xff))?,
            order: match word(0) >> 8 & 0xff {
                0 => None,
                order => Some(*STOP_REASONS.get(index(order - 1))?),
            },
            marks: read_marks(word(0) >> 16),
            generation: Generation(word(1)),
            since: Duration::from_nanos(word(2)).min(now),
            due: time(word(3)),
            restarts: word(4),
            attempt: u32::try_from(word(5) & u64::from(u32::MAX)).ok()?,
            abandoned: u32::try_from(word(5) >> 32).ok()?,
            last_ending: read_ending(word(6), word(7)),
            last_incident: Some(IncidentId(word(8))).filter(|id| id.0 != 0),
            injected: (code != 0).then(|| FaultId {
                code: u32::try_from(code).unwrap_or(0),
                parameter: word(10),
                at_launch: false,
            }),
            failures: failures(FIXED),
            injections: injections.collect(),
            group_failures: failures(GROUP),
            losses: (0..LOSSES)
                .map(|position| OPEN + position * losses::WORDS)
                .filter_map(|at| losses::read(&std::array::from_fn(|index| word(at + index)), now))
                .collect(),
        })
    }
}

fn index(word: u64) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER - 1)
}

fn marks(marks: Marks) -> u64 {
    let Marks { wanted, stopped, held, overdue, exited, paused, unready, retired } = marks;
    let all = [wanted, stopped, held, overdue, exited, paused, unready, retired];
    all.iter().enumerate().map(|(bit, is_set)| u64::from(*is_set) << bit).sum()
}

fn read_marks(word: u64) -> Marks {
    let is_set = |bit: u32| word >> bit & 1 == 1;
    Marks {
        wanted: is_set(0),
        stopped: is_set(1),
        held: is_set(2),
        overdue: is_set(3),
        exited: is_set(4),
        paused: is_set(5),
        unready: is_set(6),
        retired: is_set(7),
    }
}

#[cfg(test)]
mod tests {
    use supervision::{
        Cause, Ending, Incarnation, LaunchFailure, Loss, OpenLoss, Outcome, Phase, Status,
        StopReason, WorkerId,
    };

    use super::*;

    fn words() -> Words {
        Words([const { AtomicU64::new(0) }; WORDS])
    }

    #[test]
    fn a_memo_comes_back_as_it_was() {
        let seconds = Duration::from_secs;
        let checkpoint = Checkpoint {
            phase: Phase::Stopping,
            generation: Generation(7),
            since: seconds(3),
            due: Some(seconds(99)),
            restarts: 6,
            attempt: 2,
            failures: vec![seconds(1), seconds(2)],
            order: Some(StopReason::Collateral),
            marks: Marks { wanted: true, held: true, unready: true, ..Marks::default() },
            abandoned: 1,
            last_ending: Some(Ending {
                status: Status::Signaled { signal: 11, core_dumped: true },
                cause: Cause::Segfault,
            }),
            last_incident: Some(IncidentId(4)),
            injected: Some(FaultId { code: 3, parameter: 9, at_launch: false }),
            injections: (0..INJECTIONS as u64)
                .map(|position| InjectionMemo { draws: position, times: 1, due: Some(seconds(5)) })
                .collect(),
            group_failures: vec![seconds(3)],
            losses: vec![OpenLoss {
                incident: IncidentId(4),
                opened: seconds(2),
                ending: Ending { status: Status::Exited(3), cause: Cause::Error },
                count: 97,
                loss: Loss {
                    incarnation: Incarnation { worker: WorkerId(0), generation: Generation(6) },
                    collateral: true,
                    outcome: Outcome::Recovered {
                        incarnation: Incarnation { worker: WorkerId(0), generation: Generation(7) },
                        at: seconds(3),
                    },
                },
                is_culprit: true,
                supervisor_died: true,
                injected: Some(FaultId { code: 3, parameter: 9, at_launch: false }),
            }],
        };
        let words = words();
        words.write(&checkpoint);
        assert_eq!(words.read(seconds(10)), Some(checkpoint));
    }

    #[test]
    fn every_way_to_end_comes_back_as_it_was() {
        let failed = |stage, transient, code| {
            Status::NotLaunched(LaunchFailure { stage, errno: 95, transient, code })
        };
        let not_launched = crate::stages::ALL
            .iter()
            .flat_map(|&stage| [failed(stage, false, 0), failed(stage, true, 0)]);
        let other = [
            failed(crate::stages::START_BEFORE, false, 137),
            Status::Exited(-1),
            Status::Signaled { signal: 64, core_dumped: false },
            Status::Returned,
            Status::Failed,
            Status::Panicked,
            Status::Abandoned,
            Status::Unknown,
        ];
        for status in not_launched.chain(other) {
            for &cause in &numbers::CAUSES {
                let how = Ending { status, cause };
                let (word, value) = ending(how);
                assert_eq!(read_ending(word, value), Some(how));
            }
        }
    }

    #[test]
    fn a_step_that_was_not_stored_is_not_made_up() {
        // As binaries stored it that left the step out.
        let how = read_ending(8 | numbers::cause(Cause::LaunchFailure) << 8, 95);
        assert_eq!(how, Some(Ending { status: Status::Unknown, cause: Cause::LaunchFailure }));
    }

    #[test]
    fn garbage_is_no_memo_or_one_that_makes_sense() {
        let now = Duration::from_secs(10);
        for seed in 0..2000_u64 {
            let words = words();
            for (position, word) in (0_u64..).zip(&words.0) {
                let mixed = (seed + 1)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .rotate_left(position as u32 % 64);
                word.store(mixed & (u64::MAX >> (seed % 64)), Ordering::Relaxed);
            }
            if let Some(checkpoint) = words.read(now) {
                assert!(
                    checkpoint.since <= now && checkpoint.failures.iter().all(|at| *at <= now),
                    "{checkpoint:?}"
                );
            }
        }
        let fresh = words().read(now).expect("nothing happened yet");
        assert_eq!((fresh.phase, fresh.generation), (Phase::Idle, Generation(0)));
    }
}
