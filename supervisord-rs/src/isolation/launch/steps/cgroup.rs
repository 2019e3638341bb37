//! Its cgroup, where it could not be born there.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::stages;

const ABOUT: [About; 1] = [About { stage: stages::CGROUP, words }];

/// Where it moves to is known when it is born: [`Newborn::cgroup_procs`].
#[derive(Debug, Default)]
pub(in crate::isolation::launch) struct Entry;

impl Step for Entry {
    fn execute(&self, newborn: &Newborn<'_>) -> Result<(), LaunchFailure> {
        if newborn.cgroup_procs < 0 {
            return Ok(());
        }
        // SAFETY: write is listed in signal-safety(7); the text is a literal.
        let written = unsafe { libc::write(newborn.cgroup_procs, c"0".as_ptr().cast(), 1) };
        check(stages::CGROUP, if written == 1 { 0 } else { -1 })
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}

fn words(errno: Errno, subject: &str) -> Words {
    // With a path: the cgroup itself could not be made, for a reason that stands there.
    if subject.starts_with('/') && subject.contains(": ") {
        return Words::Sentence(format!("cannot make its cgroup {subject}"));
    }
    // The state of the cgroup, and what to do.
    if subject.starts_with("the cgroup ") {
        return Words::Sentence(subject.to_owned());
    }
    let remedy = match errno {
        Errno::ECANCELED => {
            return Words::Sentence(
                "it was killed as it was made, twice, before it ran: something writes to the \
                 `cgroup.kill` of its cgroup, or of the supervisor's"
                    .into(),
            );
        }
        Errno::EOPNOTSUPP => {
            ": its cgroup, or the supervisor's, is threaded, and takes no process (`cgroup.type`, \
             cgroups(7)); start the supervisor in a cgroup of the type `domain`"
        }
        _ => "",
    };
    Words::Step("cannot create it in its cgroup".into(), remedy.into())
}
