//! The limits of the supervisor's own process (setrlimit(2)). One of a thread worker that lowers
//! them makes the supervisor deaf (open files), has it lose output (the size of files), and limits
//! all that is launched from then on.
//!
//! Limits that are higher than before are left as they are: a person may have raised them
//! (prlimit(1)).

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use super::Changes;

/// All that there are.
const ALL: [Resource; 16] = [
    Resource::RLIMIT_AS,
    Resource::RLIMIT_CORE,
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_LOCKS,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_MSGQUEUE,
    Resource::RLIMIT_NICE,
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_RSS,
    Resource::RLIMIT_RTPRIO,
    Resource::RLIMIT_RTTIME,
    Resource::RLIMIT_SIGPENDING,
    Resource::RLIMIT_STACK,
];

/// Soft and hard.
type Limit = (rlim_t, rlim_t);

/// What is kept.
#[derive(Debug)]
pub(super) struct OwnLimits(Vec<(Resource, Limit)>);

impl OwnLimits {
    /// As they are now: before the first thread worker is launched.
    pub(super) fn take() -> Self {
        let all = ALL.into_iter();
        Self(all.filter_map(|resource| Some((resource, getrlimit(resource).ok()?))).collect())
    }

    /// Puts back what is lower than before. Where a hard limit is, which takes a right to raise, the
    /// soft one is put as high as it may be.
    pub(super) fn keep(&mut self) -> Changes<String> {
        let mut changes = Changes::default();
        for (resource, own) in &mut self.0 {
            let Ok(present) = getrlimit(*resource) else { continue };
            if present.0 >= own.0 && present.1 >= own.1 {
                *own = present;
                continue;
            }
            let back = (own.0.max(present.0), own.1.max(present.1));
            let name = format!("{resource:?}");
            if setrlimit(*resource, back.0, back.1).is_ok() {
                changes.restored.push(name);
            } else {
                let soft = back.0.min(present.1);
                *own = (soft, present.1);
                let _ = setrlimit(*resource, soft, present.1);
                changes.lost.push(name);
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lower_is_put_back_and_told_once_and_what_is_higher_is_left() {
        let resource = Resource::RLIMIT_MSGQUEUE;
        let mut own = OwnLimits::take();
        let before = getrlimit(resource).expect("a limit");
        setrlimit(resource, before.0 - 4, before.1).expect("lower");
        assert_eq!(own.keep().restored, ["RLIMIT_MSGQUEUE"]);
        assert_eq!(getrlimit(resource), Ok(before));
        assert_eq!(own.keep(), Changes::default());
        setrlimit(resource, before.0 - 4, before.1).expect("lower");
        let mut own = OwnLimits::take();
        setrlimit(resource, before.0, before.1).expect("higher");
        assert_eq!(own.keep(), Changes::default());
        assert_eq!(getrlimit(resource), Ok(before));
        setrlimit(resource, before.0 - 4, before.1).expect("lower");
        assert_eq!(own.keep().restored, ["RLIMIT_MSGQUEUE"], "as high as it was last");
        assert_eq!(getrlimit(resource), Ok(before));
    }
}
