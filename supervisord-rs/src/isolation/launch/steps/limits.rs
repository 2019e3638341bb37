//! Its resource limits: no core of a worker unless it is asked for; the soft limits that we were
//! started with; then what is configured.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::launch::{failed, own_limits, rights};
use crate::stages;

const ABOUT: [About; 1] = [About { stage: stages::LIMITS, words }];

/// A resource limit: number, soft, hard.
type Limit = (u32, u64, Option<u64>);

/// See above.
#[derive(Debug, Default)]
pub(in crate::isolation::launch) struct Limits {
    /// Whether its core limit stays ours.
    pub(in crate::isolation::launch) dumps_core: bool,
    /// Whether its limits of open files, of their size and of the stack stay ours.
    pub(in crate::isolation::launch) stay_ours: bool,
    /// A limit of real-time processor time that limits nothing, and tells whose it is.
    pub(in crate::isolation::launch) tree_mark: Option<u64>,
    configured: Vec<Limit>,
}

impl Step for Limits {
    fn prepare(&mut self, execution: &ExecutionEnvironment) -> failed::Result<()> {
        let resources = execution.limits.resources.iter();
        self.configured = resources.map(|limit| (limit.resource, limit.soft, limit.hard)).collect();
        Ok(())
    }

    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        if !self.dumps_core && get(libc::RLIMIT_CORE).is_some_and(|now| now.rlim_cur != 0) {
            set(libc::RLIMIT_CORE, |now| now.rlim_cur = 0)?;
        }
        let originals = own_limits::originals().filter(|_| !self.stay_ours);
        for (resource, soft) in originals.into_iter().flatten() {
            let Some(now) = get(resource) else { continue };
            let soft = soft.min(now.rlim_max);
            if soft != now.rlim_cur {
                // It may have ours where that is refused.
                let _ = set(resource, |now| now.rlim_cur = soft);
            }
        }
        if let Some(mark) = self.tree_mark {
            let mark = libc::rlimit { rlim_cur: mark, rlim_max: mark };
            // Where ours is lower already, and we may not raise it, there is no mark.
            // SAFETY: setrlimit is the system call alone; the pointer is to a local.
            unsafe { libc::setrlimit(libc::RLIMIT_RTTIME, &raw const mark) };
        }
        for &(resource, soft, hard) in &self.configured {
            set(resource, |now| {
                now.rlim_max = hard.unwrap_or(now.rlim_max.max(soft));
                now.rlim_cur = soft;
            })?;
        }
        Ok(())
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}

fn get(resource: u32) -> Option<libc::rlimit> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit is the system call alone; the pointer is to a local.
    (unsafe { libc::getrlimit(resource, &raw mut now) } == 0).then_some(now)
}

/// Changes one, of this process alone.
fn set(resource: u32, change: impl FnOnce(&mut libc::rlimit)) -> Result<(), LaunchFailure> {
    let Some(mut now) = get(resource) else { return check(stages::LIMITS, -1) };
    change(&mut now);
    // SAFETY: setrlimit is the system call alone; the pointer is to a local.
    check(stages::LIMITS, unsafe { libc::setrlimit(resource, &raw const now) })
}

fn words(errno: Errno, _: &str) -> Words {
    let what = "cannot set its resource limits (setrlimit)";
    if errno == Errno::EPERM && !rights::SYS_RESOURCE.is_ours() {
        let right = rights::SYS_RESOURCE;
        let remedy = format!(": a limit is above the hard limit, which only {right} may raise");
        return Words::Step(what.into(), remedy.into());
    }
    let remedy = match errno {
        Errno::EPERM | Errno::EINVAL => ": a limit is above what this kernel allows (fs.nr_open)",
        _ => "",
    };
    Words::Step(what.into(), remedy.into())
}
