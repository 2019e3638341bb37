//! Who comes first: at the disk, by its I/O priority; when memory runs out, by its weight for the
//! OOM killer.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use std::ffi::{CStr, CString, c_int};

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::config::execution::{IoPriority, OomScoreAdj};
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::launch::failed;
use crate::isolation::launch::rights::{self, Capability};
use crate::stages;

const ABOUT: [About; 2] = [
    About {
        stage: stages::IO_PRIORITY,
        words: |errno, _| {
            unpermitted("cannot set its I/O priority (ioprio_set)", errno, rights::SYS_NICE)
        },
    },
    About {
        stage: stages::OOM_SCORE,
        words: |errno, _| {
            let what = "cannot set its OOM score (oom_score_adj)";
            unpermitted(what, errno, rights::SYS_RESOURCE)
        },
    },
];

/// See above. `None`: ours.
#[derive(Debug, Default)]
pub(in crate::isolation::launch) struct Priorities {
    /// Class and level, as ioprio_set(2) takes them.
    io: Option<i32>,
    oom_score_adj: Option<CString>,
}

impl Priorities {
    /// Its weight for the OOM killer, -1000 to 1000.
    pub(in crate::isolation::launch) fn weigh(&mut self, oom_score_adj: Option<i32>) {
        self.oom_score_adj = oom_score_adj.and_then(score);
    }
}

impl Step for Priorities {
    fn prepare(&mut self, execution: &ExecutionEnvironment) -> failed::Result<()> {
        let told = &execution.for_steps;
        self.io = told.get().map(|&IoPriority(priority)| priority);
        self.weigh(told.get().map(|&OomScoreAdj(score)| score));
        Ok(())
    }

    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        if let Some(priority) = self.io {
            const WHO_PROCESS: c_int = 1;
            // SAFETY: a bare system call, on numbers.
            let done = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) };
            check(stages::IO_PRIORITY, if done < 0 { -1 } else { 0 })?;
        }
        if let Some(score) = &self.oom_score_adj {
            weigh(score)?;
        }
        Ok(())
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}

fn weigh(score: &CStr) -> Result<(), LaunchFailure> {
    let path = c"/proc/self/oom_score_adj";
    // SAFETY: open, write and close are listed in signal-safety(7); the strings outlive the calls.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(stages::OOM_SCORE, file)?;
        let written = libc::write(file, score.as_ptr().cast(), score.count_bytes());
        check(stages::OOM_SCORE, if written < 0 { -1 } else { 0 })?;
        libc::close(file);
    }
    Ok(())
}

fn score(score: i32) -> Option<CString> {
    CString::new(score.to_string()).ok()
}

fn unpermitted(what: &'static str, errno: Errno, right: Capability) -> Words {
    let remedy = match errno {
        Errno::EPERM | Errno::EACCES => right.advice().unwrap_or_default(),
        _ => String::new(),
    };
    Words::Step(what.into(), remedy.into())
}
