//! The steps of a launch, a file for each: what it needs, looked up in the parent, where it may
//! fail with advice; what the child does with that before its `execve`; and what people read when
//! it fails.
//!
//! A new step is a file here and a line in the list of [`Steps`]. One that may fail has a number:
//! in `crate::stages`, or beside the key of the file that asks for it (`config::execution`).

mod cgroup;
mod credentials;
mod descriptors;
mod directory;
mod exec;
mod in_parent;
mod life;
mod limits;
mod priorities;
mod scheduling;
mod session;
mod signals;
mod umask;

use std::borrow::Cow;
use std::ffi::c_int;
use std::fmt::Debug;
use std::os::fd::RawFd;

use nix::errno::Errno;
use supervision::{LaunchFailure, LaunchStage};

use super::failed::Result;
use super::{Attempt, failure};
use crate::config::settings::ExecutionEnvironment;

pub(in crate::isolation) use credentials::Credentials;
pub(super) use descriptors::Descriptors;
pub(super) use exec::{Exec, candidates};
pub(super) use life::ties;
pub(super) use limits::Limits;

/// What is known of the child when it begins to run.
pub(super) struct Newborn<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) parent: i32,
    /// By bit, signal 1 first: the signals that may not have their default action.
    pub(super) to_reset: u64,
    /// `cgroup.procs` of the cgroup to move to, or -1.
    pub(super) cgroup_procs: RawFd,
}

/// One thing that the child does before its `execve`, with what it needs for that.
pub(super) trait Step: Debug {
    /// Looks up, in the parent, what a worker's configuration asks for. What is a launch's own
    /// comes in other ways: descriptors, its cgroup, whose life it shares.
    fn prepare(&mut self, _: &ExecutionEnvironment) -> Result<()> {
        Ok(())
    }

    /// In the child, which borrows our memory: system calls that signal-safety(7) lists, or bare
    /// ones, on what was prepared. Nothing is allocated, and nothing is touched that the C library
    /// keeps for all threads.
    fn execute(&self, newborn: &Newborn<'_>) -> std::result::Result<(), LaunchFailure>;

    /// What people read where it fails: none where it cannot, or another step has its words.
    fn about() -> &'static [About]
    where
        Self: Sized,
    {
        &[]
    }
}

macro_rules! steps {
    ($($name:ident: $step:ty,)+) => {
        /// What the child does before it executes its program.
        #[derive(Debug, Default)]
        pub(super) struct Steps {
            $(pub(super) $name: $step,)+
        }

        const COUNT: usize = [$(stringify!($name)),+].len();

        impl Steps {
            /// All that the child does; the program comes last.
            pub(super) fn in_order<'a>(&'a self, exec: &'a Exec<'a>) -> [&'a dyn Step; COUNT + 1] {
                [$(&self.$name,)+ exec]
            }

            /// Looks up what the configuration asks for.
            pub(super) fn prepare(&mut self, execution: &ExecutionEnvironment) -> Result<()> {
                $(self.$name.prepare(execution)?;)+
                Ok(())
            }
        }

        /// What people read of every step.
        fn about() -> impl Iterator<Item = &'static About> {
            let of_child = [$(<$step>::about(),)+ Exec::about()];
            in_parent::ABOUT.iter().chain(of_child.into_iter().flatten())
        }
    };
}

// In the order in which the child takes them. What needs our rights comes before they are given up.
// What may hang comes last: a child that hangs then blocks nothing else.
steps! {
    signals: signals::Dispositions,
    cgroup: cgroup::Entry,
    session: session::Session,
    umask: umask::Mask,
    // They open files: before the limits, which may leave no number for that.
    priorities: priorities::Priorities,
    // After the session, whose place among others it sets.
    scheduling: scheduling::Scheduling,
    limits: Limits,
    credentials: Credentials,
    // After the change of user, which would untie it.
    life: life::UntilExec,
    descriptors: Descriptors,
    directory: directory::Directory,
    mask: signals::Mask,
    last: life::FromExec,
}

/// What people read of a step that failed.
pub(super) struct About {
    stage: LaunchStage,
    words: fn(Errno, &str) -> Words,
}

/// The errno of the step, and its subject: what was to be executed, or the file, socket or account
/// that it was about.
pub(super) enum Words {
    /// What could not be done, and what to do about it, from a colon on; the error's name stands
    /// between them. Empty: what to do about such errors in general.
    Step(Cow<'static, str>, Cow<'static, str>),
    /// All of it.
    Sentence(String),
}

impl Words {
    /// Without advice of its own.
    fn plain(what: &'static str) -> Self {
        Self::Step(what.into(), "".into())
    }
}

/// What to do about a launch that failed, in a sentence; `subject` is what was to be executed, or
/// the file, socket or account that the failed step was about.
#[must_use]
pub fn advice(failed: LaunchFailure, subject: &str) -> String {
    let errno = Errno::from_raw(failed.errno);
    let about = about().find(|about| about.stage == failed.stage);
    let words = about
        .map_or_else(|| Words::plain("cannot launch it"), |about| (about.words)(errno, subject));
    match words {
        Words::Sentence(sentence) => sentence,
        Words::Step(what, _) if errno == Errno::ETIMEDOUT => {
            format!("{what}: it hangs; does its file system answer?")
        }
        Words::Step(what, remedy) => {
            let remedy = if remedy.is_empty() { in_general(errno).into() } else { remedy };
            format!("{what}: {}{remedy}", errno.desc())
        }
    }
}

/// What to do about it, whatever the step.
fn in_general(errno: Errno) -> &'static str {
    match errno {
        Errno::EMFILE | Errno::ENFILE => {
            ": raise the limit of open files (`ulimit -n`, `LimitNOFILE=`)"
        }
        Errno::EAGAIN => {
            ": raise the limit of processes (`ulimit -u`, `TasksMax=`, cgroup `pids.max`)"
        }
        Errno::ENOMEM => ": the machine or the cgroup is out of memory",
        _ => "",
    }
}

/// What a system call says.
fn check(stage: LaunchStage, result: c_int) -> std::result::Result<(), LaunchFailure> {
    if result >= 0 { Ok(()) } else { Err(failure(stage, Errno::last())) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::execution;
    use crate::stages;

    #[test]
    fn each_step_has_its_words_once() {
        let known: Vec<LaunchStage> = about().map(|about| about.stage).collect();
        let all: BTreeSet<LaunchStage> = stages::ALL
            .iter()
            .copied()
            .chain(execution::stages().map(|(stage, _)| stage))
            .collect();
        assert_eq!(known.len(), all.len());
        assert_eq!(known.into_iter().collect::<BTreeSet<_>>(), all);
    }

    #[test]
    fn a_limit_that_the_worker_has_is_named_where_it_is_too_low() {
        let full = advice(failure(stages::EXEC, Errno::EAGAIN), "web");
        assert!(full.contains("`limits: { processes: }`"), "{full}");
        let threaded = advice(failure(stages::CGROUP, Errno::EOPNOTSUPP), "web");
        assert!(threaded.contains("`cgroup.type`"), "{threaded}");
    }

    #[test]
    fn what_a_later_version_has_stored_reads_as_a_launch_that_failed() {
        let failed = failure(LaunchStage(200), Errno::EMFILE);
        let advice = advice(failed, "a");
        assert!(
            advice.starts_with("cannot launch it: ") && advice.contains("ulimit -n"),
            "{advice}"
        );
    }
}
