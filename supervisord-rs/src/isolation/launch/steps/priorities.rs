//! What it gets of the machine, and when the kernel ends it first: its priorities, its processors,
//! its weight for the OOM killer.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use std::ffi::{CStr, CString, c_int};

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::config::execution::{Cpus, IoPriority, Nice, OomScoreAdj};
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::launch::failed;
use crate::isolation::launch::rights::{self, Capability};
use crate::stages;

const ABOUT: [About; 4] = [
    About {
        stage: stages::NICE,
        words: |errno, _| {
            unpermitted("cannot set its priority (setpriority)", errno, rights::SYS_NICE)
        },
    },
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
    About { stage: stages::AFFINITY, words: affinity },
];

/// See above. `None`: ours.
#[derive(Default)]
pub(in crate::isolation::launch) struct Priorities {
    nice: Option<i32>,
    /// Class and level, as ioprio_set(2) takes them.
    io: Option<i32>,
    oom_score_adj: Option<CString>,
    processors: Option<libc::cpu_set_t>,
}

impl std::fmt::Debug for Priorities {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { nice, io, oom_score_adj, .. } = self;
        let mut written = formatter.debug_struct("Priorities");
        written.field("nice", nice).field("io", io).field("oom_score_adj", oom_score_adj);
        written.finish_non_exhaustive()
    }
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
        self.nice = told.get().map(|&Nice(nice)| nice);
        self.io = told.get().map(|&IoPriority(priority)| priority);
        self.weigh(told.get().map(|&OomScoreAdj(score)| score));
        self.processors = told.get().map(|Cpus(cpus)| processors(cpus));
        Ok(())
    }

    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        if let Some(nice) = self.nice {
            // SAFETY: the C library's setpriority is the system call alone.
            check(stages::NICE, unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })?;
        }
        if let Some(priority) = self.io {
            const WHO_PROCESS: c_int = 1;
            // SAFETY: a bare system call, on numbers.
            let done = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) };
            check(stages::IO_PRIORITY, if done < 0 { -1 } else { 0 })?;
        }
        if let Some(score) = &self.oom_score_adj {
            weigh(score)?;
        }
        if let Some(processors) = &self.processors {
            let size = size_of::<libc::cpu_set_t>();
            // SAFETY: the C library's sched_setaffinity is the system call alone, and reads a set
            // that outlives it.
            check(stages::AFFINITY, unsafe { libc::sched_setaffinity(0, size, processors) })?;
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

/// As the kernel wants them.
fn processors(cpus: &[usize]) -> libc::cpu_set_t {
    // SAFETY: a cpu_set_t is a bit mask; all zero is the empty set. CPU_SET ignores numbers beyond
    // its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &cpu in cpus {
            libc::CPU_SET(cpu, &mut set);
        }
        set
    }
}

fn unpermitted(what: &'static str, errno: Errno, right: Capability) -> Words {
    let remedy = match errno {
        Errno::EPERM | Errno::EACCES => right.advice().unwrap_or_default(),
        _ => String::new(),
    };
    Words::Step(what.into(), remedy.into())
}

fn affinity(errno: Errno, _: &str) -> Words {
    let remedy = match errno {
        Errno::EINVAL => ": none of these processors is there",
        _ => "",
    };
    Words::Step("cannot choose its processors (sched_setaffinity)".into(), remedy.into())
}
