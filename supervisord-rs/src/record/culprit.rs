//! Whose doing the death of a domain was: of those that ran in it, by what they said last and what
//! was ordered for them; or of none of them.

use nix::libc::{SI_USER, SIGABRT, SIGKILL, SIGSEGV, SIGSTOP};
use supervision::{Incarnation, Status};
use workers::runtime::board::{LastWords, Reading};

use super::evidence::Evidence;

/// One of a domain that has died.
#[derive(Clone, Copy, Debug)]
pub struct Suspect<'a, T> {
    /// Who.
    pub who: T,
    /// Its board.
    pub reading: Option<&'a Reading>,
    /// The signal that was ordered for it, and that strikes all of the process.
    pub struck_by: Option<i32>,
}

/// Last words this much older than the last of a domain belong to another moment: what they tell of
/// did not end it. Between a fault and the end of its process lie milliseconds; on a machine that
/// has no time for it, more.
const MOMENT_NS: u64 = 1_000_000_000;

/// Whose doing the death of a domain was: of those that said at that moment what ends a process so,
/// the first that fell over its own feet; else the one for which a signal was ordered that ends a
/// process so, whichever thread the kernel gave it to; else another that left last words; else the
/// one that had begun a fault last.
#[must_use]
pub fn culprit<'a, T: Copy + 'a>(
    members: impl Iterator<Item = Suspect<'a, T>> + Clone,
    status: Status,
) -> Option<T> {
    let read = || members.clone().filter_map(|one| Some((one.who, one.reading?)));
    let spoke_at = |reading: &Reading| {
        (reading.last_words != LastWords::None).then(|| reading.last_words_at.unwrap_or(0))
    };
    let moment = read().filter_map(|(_, reading)| spoke_at(reading)).max().unwrap_or(0);
    let is_own =
        |reading: &Reading| reading.last_words != LastWords::Signal || reading.code != SI_USER;
    // Those of that moment, the first of them first; without any that explain the end, the others.
    let first_of = |may_be: &dyn Fn(&Reading) -> bool| {
        let all = || {
            read().filter_map(|(who, reading)| {
                let at = spoke_at(reading).filter(|_| may_be(reading))?;
                Some((at, who, leads_to(reading, status)))
            })
        };
        let recent = all().filter(|(at, ..)| at.saturating_add(MOMENT_NS) >= moment);
        let explaining = recent.clone().filter(|(.., explains)| *explains);
        explaining.min_by_key(|(at, ..)| *at).or_else(|| recent.min_by_key(|(at, ..)| *at))
    };
    let struck = || {
        let mut all = members.clone();
        all.find(|one| one.struck_by.is_some_and(|signal| explains(signal, status)))
    };
    let begun = || {
        let all = read().filter_map(|(who, reading)| Some((reading.fault_at?, who)));
        all.max_by_key(|(at, _)| *at).map(|(_, who)| who)
    };
    first_of(&is_own)
        .map(|(_, who, _)| who)
        .or_else(|| struck().map(|one| one.who))
        .or_else(|| first_of(&|_| true).map(|(_, who, _)| who))
        .or_else(begun)
}

/// Whether a process ends so by what these last words tell.
#[must_use]
pub fn leads_to(reading: &Reading, status: Status) -> bool {
    match (reading.last_words, status) {
        (LastWords::None, _) => false,
        (LastWords::Panic | LastWords::PanicNoUnwind, Status::Signaled { signal, .. }) => {
            signal == SIGABRT
        }
        // std's handler tells of it, and aborts.
        (LastWords::StackOverflow, Status::Signaled { signal, .. }) => {
            [SIGABRT, SIGSEGV].contains(&signal)
        }
        (LastWords::Signal, Status::Signaled { signal, .. }) => signal == reading.signal,
        (LastWords::Exit, Status::Exited(_)) => true,
        // What others do while exit(3) destroys what they use is its doing; one that hangs is ended
        // in one way or another.
        (LastWords::Exit | LastWords::Hang, Status::Signaled { .. }) => true,
        (
            LastWords::Panic
            | LastWords::PanicNoUnwind
            | LastWords::StackOverflow
            | LastWords::Signal
            | LastWords::Hang,
            Status::Exited(_),
        ) => false,
        (
            _,
            Status::Returned
            | Status::Failed
            | Status::Panicked
            | Status::Abandoned
            | Status::NotLaunched(_)
            | Status::Unknown,
        ) => true,
    }
}

/// Whether a process that got this signal ends so: one that was stopped is killed for its silence.
fn explains(signal: i32, status: Status) -> bool {
    match status {
        Status::Signaled { signal: ended_by, .. } => {
            ended_by == signal || (signal == SIGSTOP && ended_by == SIGKILL)
        }
        Status::Exited(_)
        | Status::Returned
        | Status::Failed
        | Status::Panicked
        | Status::Abandoned
        | Status::NotLaunched(_)
        | Status::Unknown => false,
    }
}

/// Who ended a domain, where that is none of those that lived in it.
#[derive(Clone, Debug)]
pub enum Outsider {
    /// A run that was over, of a worker that is configured, by a thread that it had left behind.
    Past(Incarnation, Box<Evidence>),
    /// A worker that is not configured any more.
    Removed(Box<Removed>),
    /// Whatever had stopped its process.
    Stopper,
}

/// A worker that is not configured any more.
#[derive(Clone, Debug)]
pub struct Removed {
    /// Its name.
    pub name: String,
    /// Its run.
    pub generation: u64,
    /// The label of the isolation that it had.
    pub isolation: &'static str,
    /// Whether that run was over.
    pub is_past: bool,
    /// What is known of it.
    pub evidence: Evidence,
}

/// What an incident says of a process that was stopped, and so were all that run in it.
pub const STOPPED: &str = "its whole process was stopped (SIGSTOP, or by a tracer): none of its \
                           workers ran";

impl Outsider {
    /// The run of a configured worker, if it was one.
    #[must_use]
    pub const fn run(&self) -> Option<Incarnation> {
        match self {
            Self::Past(run, _) => Some(*run),
            Self::Removed(_) | Self::Stopper => None,
        }
    }

    /// What is known of it.
    #[must_use]
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Past(_, known) => Some(known),
            Self::Removed(removed) => Some(&removed.evidence),
            Self::Stopper => None,
        }
    }

    /// What an incident says of how it ended the domain.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Past(..) | Self::Removed(_) => self.evidence()?.message.as_deref(),
            Self::Stopper => Some(STOPPED),
        }
    }

    /// Whether it was a thread that a run which is over had left behind.
    #[must_use]
    pub fn is_past(&self) -> bool {
        match self {
            Self::Past(..) => true,
            Self::Removed(removed) => removed.is_past,
            Self::Stopper => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::libc::SIGFPE;
    use workers::runtime::mapping::Mapping;

    use super::*;

    #[test]
    fn a_signal_that_was_ordered_is_the_doing_of_the_one_it_was_ordered_for() {
        let board = Mapping::sealed("b").expect("memory");
        board.board().begin("b", 1);
        let board = board.board().read().expect("it has begun");
        let spoke = |code| Reading {
            last_words: LastWords::Signal,
            signal: SIGSEGV,
            code,
            ..board.clone()
        };
        let (by_kernel, by_person) = (spoke(1), spoke(SI_USER));
        let signaled = |signal| Status::Signaled { signal, core_dumped: false };
        let who = |a: Option<&Reading>, struck_by, status| {
            let all = [
                Suspect { who: 'a', reading: a, struck_by: None },
                Suspect { who: 'b', reading: Some(&board), struck_by },
            ];
            culprit(all.into_iter(), status)
        };
        assert_eq!(who(None, Some(SIGKILL), signaled(SIGKILL)), Some('b'));
        assert_eq!(who(None, Some(SIGSTOP), signaled(SIGKILL)), Some('b'));
        assert_eq!(who(None, Some(SIGSEGV), signaled(SIGKILL)), None, "another ended it");
        // The kernel gives a signal for a process to any of its threads.
        assert_eq!(who(Some(&by_person), Some(SIGSEGV), signaled(SIGSEGV)), Some('b'));
        assert_eq!(who(Some(&by_person), None, signaled(SIGSEGV)), Some('a'));
        assert_eq!(who(Some(&by_kernel), Some(SIGSEGV), signaled(SIGSEGV)), Some('a'));
    }

    #[test]
    fn of_several_that_left_last_words_the_first_of_that_moment_did_it() {
        let board = Mapping::sealed("b").expect("memory");
        board.board().begin("b", 1);
        let board = board.board().read().expect("it has begun");
        let second = 1_000_000_000;
        let spoke = |last_words, signal, at| Reading {
            last_words,
            signal,
            code: 1,
            last_words_at: Some(at),
            ..board.clone()
        };
        let segfault = |at| spoke(LastWords::Signal, SIGSEGV, at);
        let who = |all: [Reading; 2], signal| {
            let suspects = ['a', 'b'].into_iter().zip(&all).map(|(who, reading)| Suspect {
                who,
                reading: Some(reading),
                struck_by: None,
            });
            culprit(suspects, Status::Signaled { signal, core_dumped: false })
        };
        let now = 100 * second;
        assert_eq!(who([segfault(now), segfault(now - 1000)], SIGSEGV), Some('b'), "by time");
        assert_eq!(who([segfault(now - 1000), segfault(now)], SIGSEGV), Some('a'));
        // It has survived that: another handler mended it.
        assert_eq!(who([segfault(now - 5 * second), segfault(now)], SIGSEGV), Some('b'));
        let panic = || spoke(LastWords::PanicNoUnwind, SIGABRT, now - 1000);
        assert_eq!(who([panic(), segfault(now)], SIGSEGV), Some('b'), "by what ended it");
        assert_eq!(who([panic(), segfault(now)], SIGABRT), Some('a'));
        assert_eq!(who([panic(), segfault(now)], SIGFPE), Some('a'), "nothing explains it");
        let exit = || spoke(LastWords::Exit, 0, now - 1000);
        assert_eq!(who([segfault(now), exit()], SIGSEGV), Some('b'), "others fall with it");
    }
}
