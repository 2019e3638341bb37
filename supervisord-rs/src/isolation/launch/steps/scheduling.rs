//! When it gets a processor, and which: for threads, the same is set by themselves.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use std::ffi::{CStr, CString};

use nix::errno::Errno;
use supervision::{LaunchFailure, LaunchStage};
use workers::runtime::scheduling::{Part, Policy, Prepared, Refused};

use super::{About, Newborn, Step, Words};
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::launch::{failed, failure};
use crate::stages;

const ABOUT: [About; 3] = [
    About { stage: stages::NICE, words: |errno, _| words(Part::Nice, errno) },
    About { stage: stages::AFFINITY, words: |errno, _| words(Part::Cpus, errno) },
    About { stage: stages::SCHEDULER, words: |errno, _| words(Part::Policy, errno) },
];

/// See above. Nothing set: ours.
#[derive(Debug, Default)]
pub(in crate::isolation::launch) struct Scheduling {
    own: Prepared,
    /// The nice value of its session among others.
    session: Option<CString>,
}

/// That of a session with the `idle` policy: a group has no policy, and this is the least.
const NICE_LEAST: i32 = 19;

impl Step for Scheduling {
    fn prepare(&mut self, execution: &ExecutionEnvironment) -> failed::Result<()> {
        let wanted = &execution.scheduling;
        self.own = wanted.prepare();
        let is_idle = wanted.policy == Some(Policy::Idle);
        let nice = wanted.nice.or(is_idle.then_some(NICE_LEAST));
        // A new session has 0, and a change may have to wait for the one before.
        self.session = nice
            .filter(|&nice| execution.own_session && nice != 0)
            .and_then(|nice| CString::new(nice.to_string()).ok());
        Ok(())
    }

    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        self.own.set().map_err(|Refused { part, errno }| failure(stage(part), errno))?;
        if let Some(nice) = &self.session {
            set_session(nice);
        }
        Ok(())
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}

/// The kernel first shares a processor among sessions, and then a nice value counts within one
/// (sched(7), autogroup): without this, that of a worker with its own session would count for
/// nothing. There may be no such groups, and a process without rights may change one in a tenth of
/// a second alone: it has its nice value all the same.
fn set_session(nice: &CStr) {
    let path = c"/proc/self/autogroup";
    // SAFETY: open, write and close are listed in signal-safety(7); the strings outlive the calls.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, nice.as_ptr().cast(), nice.count_bytes());
            libc::close(file);
        }
    }
}

const fn stage(part: Part) -> LaunchStage {
    match part {
        Part::Nice => stages::NICE,
        Part::Policy => stages::SCHEDULER,
        Part::Cpus => stages::AFFINITY,
    }
}

fn words(part: Part, errno: Errno) -> Words {
    let refused = Refused { part, errno };
    Words::Step(refused.what().into(), refused.remedy().into())
}
