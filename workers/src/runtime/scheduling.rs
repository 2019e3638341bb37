//! When a thread gets a processor, and which: its nice value, its policy with its slice, its
//! processors (sched(7)).
//!
//! Linux keeps all of this by thread. A thread sets its own, and what it starts inherits it; a
//! process is set by its first thread, before there are others.

use std::ffi::c_int;
use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_getres};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// As it is configured. What is not set stays as it was inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scheduling {
    /// −20 to 19, setpriority(2).
    pub nice: Option<i32>,
    /// How it takes turns with others.
    pub policy: Option<Policy>,
    /// The processors that it may run on; empty: those that it may already.
    pub cpus: Vec<usize>,
}

/// How a thread takes turns with others on a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// A fair share of the time, by its nice value (`SCHED_OTHER`).
    Normal {
        /// See [`SLICE`]; `None`: the kernel's own.
        slice: Option<Duration>,
    },
    /// The same for one that computes: it does not interrupt others when it wakes up
    /// (`SCHED_BATCH`).
    Batch {
        /// See [`SLICE`]; `None`: the kernel's own.
        slice: Option<Duration>,
    },
    /// What hardly any other wants (`SCHED_IDLE`).
    Idle,
    /// Before all of the above, until it waits (`SCHED_FIFO`).
    Fifo {
        /// 1 to 99; higher ones come first.
        priority: u32,
    },
    /// The same, in turns with others of its priority (`SCHED_RR`).
    RoundRobin {
        /// 1 to 99; higher ones come first.
        priority: u32,
    },
    /// Before all of the above: `runtime` in each `period`, within `deadline` of its beginning
    /// (`SCHED_DEADLINE`). What it starts does not inherit it: the kernel starts nothing otherwise
    /// (sched(7)).
    Deadline {
        /// Processor time.
        runtime: Duration,
        /// From the beginning of a period.
        deadline: Duration,
        /// From one beginning to the next.
        period: Duration,
    },
}

/// The slices that the kernel gives, from the shortest to the longest: how long a thread runs
/// before another one has its turn (EEVDF, Linux 6.12). It would take others for the nearest of
/// these.
pub const SLICE: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(100)];

/// The same as the kernel takes it. To set it allocates nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prepared {
    nice: Option<c_int>,
    policy: Option<Attributes>,
    cpus: Option<CpuSet>,
}

/// What was to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The nice value.
    Nice,
    /// The policy with what belongs to it.
    Policy,
    /// The processors.
    Cpus,
}

/// What the kernel did not allow, or does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What.
    pub part: Part,
    /// Why; EOPNOTSUPP: the kernel is too old for a slice.
    pub errno: Errno,
}

/// How long a thread that computes runs at least before the kernel takes its processor away,
/// however short its slice: a tick of the timer (`CONFIG_HZ`, time(7)), which is the resolution of
/// the coarse clocks (clock_getres(2)). `None`: it is not known, or the kernel ends slices in time
/// (`HRTICK`, as far as debugfs tells).
#[must_use]
pub fn tick() -> Option<Duration> {
    let features = std::fs::read_to_string("/sys/kernel/debug/sched/features").unwrap_or_default();
    if features.split_whitespace().any(|feature| feature == "HRTICK") {
        return None;
    }
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok()?;
    Some(Duration::from(tick)).filter(|tick| !tick.is_zero())
}

impl Scheduling {
    /// Nothing is set.
    pub const INHERITED: Self = Self { nice: None, policy: None, cpus: Vec::new() };

    /// Whether nothing is set.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        *self == Self::INHERITED
    }

    /// What a process hands down to the threads that it starts, and what each of them has to set
    /// itself.
    #[must_use]
    pub fn inheritable(self) -> (Self, Self) {
        match self.policy {
            Some(deadline @ Policy::Deadline { .. }) => {
                let own = Self { policy: Some(deadline), ..Self::default() };
                (Self { policy: None, ..self }, own)
            }
            _ => (self, Self::default()),
        }
    }

    /// For [`Prepared::set`]. Processors beyond what the kernel can have are left out.
    #[must_use]
    pub fn prepare(&self) -> Prepared {
        let mut cpus = CpuSet::new();
        for &cpu in &self.cpus {
            let _ = cpus.set(cpu);
        }
        Prepared {
            nice: self.nice,
            policy: self.policy.map(Attributes::of),
            cpus: (!self.cpus.is_empty()).then_some(cpus),
        }
    }
}

impl Prepared {
    /// Sets it for the calling thread. Async-signal-safe: system calls on numbers alone.
    ///
    /// # Errors
    /// The first part that cannot be had; those before it are set.
    pub fn set(&self) -> Result<(), Refused> {
        let of = |part| move |errno| Refused { part, errno };
        if let Some(nice) = self.nice {
            set_nice(nice).map_err(of(Part::Nice))?;
        }
        if let Some(attributes) = &self.policy {
            attributes.set(self.nice).map_err(of(Part::Policy))?;
        }
        if let Some(cpus) = &self.cpus {
            sched_setaffinity(Pid::from_raw(0), cpus).map_err(of(Part::Cpus))?;
        }
        Ok(())
    }
}

impl Refused {
    /// What could not be done.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self.part {
            Part::Nice => "cannot set its priority (setpriority)",
            Part::Policy => "cannot set its scheduling policy (sched_setattr)",
            Part::Cpus => "cannot choose its processors (sched_setaffinity)",
        }
    }

    /// What to do about it, from a colon on; empty where nothing is known.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match (self.part, self.errno) {
            (Part::Nice, Errno::EPERM | Errno::EACCES) => {
                ": this needs the capability CAP_SYS_NICE, which root has, or a limit that allows it \
                 (`ulimit -e`, `LimitNICE=`)"
            }
            (Part::Policy, Errno::EPERM) => {
                ": this needs the capability CAP_SYS_NICE, which root has; `fifo` and `round-robin` \
                 need a limit that allows the priority otherwise (`ulimit -r`, `LimitRTPRIO=`), and \
                 a cgroup with time for them (`cpu.rt_runtime_us`); `deadline` needs all processors"
            }
            (Part::Policy, Errno::EBUSY) => {
                ": the `deadline` threads of this machine would take more time than it has for them \
                 (`sched_rt_runtime_us`): a shorter `runtime:` or a longer `period:` may fit"
            }
            (Part::Policy, Errno::EINVAL) => {
                ": this kernel has no such policy, or takes no such `period:` \
                 (`sched_deadline_period_min_us`, `sched_deadline_period_max_us`)"
            }
            (Part::Policy, Errno::EOPNOTSUPP) => {
                ": this kernel has one slice for all threads: `slice:` needs Linux 6.12"
            }
            (Part::Cpus, Errno::EINVAL) => ": none of these processors is there",
            _ => "",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}{}", self.what(), self.errno.desc(), self.remedy())
    }
}

/// The calling thread's nice value.
fn set_nice(nice: c_int) -> nix::Result<()> {
    // SAFETY: the C library's setpriority is the system call alone, on numbers. 0 is the calling
    // thread: on Linux a nice value is a thread's (setpriority(2), BUGS).
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
}

/// As sched_setattr(2) takes them.
#[derive(Clone, Copy, Debug)]
struct Attributes(libc::sched_attr);

/// Of a thread that hands its policy down to none.
const RESET_ON_FORK: u64 = libc::SCHED_FLAG_RESET_ON_FORK as u64;
const SIZE: u32 = size_of::<libc::sched_attr>() as u32;

impl Attributes {
    fn of(policy: Policy) -> Self {
        let mut attributes = Self::none().0;
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        attributes.sched_policy = match policy {
            Policy::Normal { slice } | Policy::Batch { slice } => {
                attributes.sched_runtime = slice.map_or(0, ns);
                if matches!(policy, Policy::Batch { .. }) {
                    libc::SCHED_BATCH
                } else {
                    libc::SCHED_OTHER
                }
            }
            Policy::Idle => libc::SCHED_IDLE,
            Policy::Fifo { priority } => {
                attributes.sched_priority = priority;
                libc::SCHED_FIFO
            }
            Policy::RoundRobin { priority } => {
                attributes.sched_priority = priority;
                libc::SCHED_RR
            }
            Policy::Deadline { runtime, deadline, period } => {
                attributes.sched_flags = RESET_ON_FORK;
                attributes.sched_runtime = ns(runtime);
                attributes.sched_deadline = ns(deadline);
                attributes.sched_period = ns(period);
                libc::SCHED_DEADLINE
            }
        } as u32;
        Self(attributes)
    }

    const fn none() -> Self {
        Self(libc::sched_attr {
            size: SIZE,
            sched_policy: 0,
            sched_flags: 0,
            sched_nice: 0,
            sched_priority: 0,
            sched_runtime: 0,
            sched_deadline: 0,
            sched_period: 0,
        })
    }

    /// Those of the calling thread.
    fn now() -> nix::Result<Self> {
        let mut now = Self::none();
        // SAFETY: the system call writes at most `SIZE` bytes to a local that has as many.
        let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now.0, SIZE, 0) };
        Errno::result(got).map(|_| now)
    }

    /// Makes them those of the calling thread. The nice value is among them: it stays as it is, or
    /// as it has just been set.
    fn set(&self, nice: Option<c_int>) -> nix::Result<()> {
        let now = Self::now()?.0;
        let mut wanted = self.0;
        wanted.sched_nice = nice.unwrap_or(now.sched_nice);
        // To take this away needs a right.
        wanted.sched_flags |= now.sched_flags & RESET_ON_FORK;
        // SAFETY: the system call reads a local that has the size that it says.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) })?;
        let is_slice = wanted.sched_deadline == 0 && wanted.sched_runtime != 0;
        // Kernels before 6.12 take a slice and have none.
        if is_slice && Self::now()?.0.sched_runtime != wanted.sched_runtime {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn on_a_thread<T: Send>(what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(what).join().expect("no panic"))
    }

    fn seen() -> (u32, i32, u32, u64, u64) {
        let now = Attributes::now().expect("ours").0;
        let libc::sched_attr { sched_policy, sched_nice, sched_priority, .. } = now;
        (sched_policy, sched_nice, sched_priority, now.sched_runtime, now.sched_flags)
    }

    #[test]
    fn a_thread_sets_its_own_and_hands_it_down() {
        let before = seen();
        let scheduling = Scheduling {
            nice: Some(7),
            policy: Some(Policy::Batch { slice: Some(MS(3)) }),
            cpus: vec![0],
        };
        let (own, inherited, cpus) = on_a_thread(|| {
            scheduling.prepare().set().expect("no right is needed");
            let cpus = nix::sched::sched_getaffinity(Pid::from_raw(0)).expect("ours");
            (seen(), on_a_thread(seen), cpus)
        });
        assert_eq!(own, (libc::SCHED_BATCH as u32, 7, 0, 3_000_000, 0));
        assert_eq!(inherited, own);
        assert!((0..CpuSet::count()).all(|cpu| cpus.is_set(cpu) == Ok(cpu == 0)));
        assert_eq!(seen(), before, "of no other thread");
    }

    #[test]
    fn a_policy_leaves_the_nice_value_and_takes_the_kernel_s_slice() {
        let usual = seen().3;
        let nice = Scheduling { nice: Some(4), ..Scheduling::default() };
        let slice =
            |slice| Scheduling { policy: Some(Policy::Normal { slice }), ..Scheduling::default() };
        on_a_thread(|| {
            nice.prepare().set().expect("no right is needed");
            slice(Some(SLICE[1])).prepare().set().expect("no right is needed");
            assert_eq!((seen().1, seen().3), (4, 100_000_000));
            slice(Some(SLICE[0])).prepare().set().expect("no right is needed");
            assert_eq!((seen().1, seen().3), (4, 100_000));
            slice(None).prepare().set().expect("no right is needed");
            assert_eq!((seen().1, seen().3), (4, usual));
        });
    }

    #[test]
    fn what_the_kernel_would_change_silently_is_refused() {
        let too_long = Scheduling {
            policy: Some(Policy::Normal { slice: Some(MS(200)) }),
            ..Scheduling::default()
        };
        let refused = on_a_thread(|| too_long.prepare().set()).expect_err("it is 100 ms then");
        assert_eq!(refused, Refused { part: Part::Policy, errno: Errno::EOPNOTSUPP });
        let nowhere = Scheduling { cpus: vec![CpuSet::count() - 1], ..Scheduling::default() };
        let refused = on_a_thread(|| nowhere.prepare().set()).expect_err("no such processor");
        assert!(refused.to_string().ends_with("none of these processors is there"), "{refused}");
    }

    #[test]
    fn only_a_deadline_is_each_thread_s_own() {
        let deadline = Policy::Deadline { runtime: MS(1), deadline: MS(10), period: MS(10) };
        let all = Scheduling { nice: Some(1), policy: Some(deadline), cpus: vec![0] };
        let (process, thread) = all.clone().inheritable();
        assert_eq!((process.policy, process.nice, process.cpus), (None, Some(1), vec![0]));
        assert_eq!(thread, Scheduling { policy: Some(deadline), ..Scheduling::default() });
        let batch = Scheduling { policy: Some(Policy::Batch { slice: None }), ..all };
        assert_eq!(batch.clone().inheritable(), (batch, Scheduling::default()));
    }

    #[test]
    fn a_tick_is_one_of_those_that_kernels_are_built_with() {
        // 1000 to 100 in a second.
        assert!(tick().is_none_or(|tick| (MS(1)..=MS(10)).contains(&tick)), "{:?}", tick());
    }

    #[test]
    fn it_comes_over_as_it_was_sent_and_is_nothing_where_none_was() {
        let sent = Scheduling {
            policy: Some(Policy::RoundRobin { priority: 9 }),
            cpus: vec![1, 3],
            ..Scheduling::default()
        };
        let text = serde_json::to_string(&sent).expect("JSON");
        assert_eq!(serde_json::from_str::<Scheduling>(&text).expect("the same"), sent);
        assert!(serde_json::from_str::<Scheduling>("{}").expect("the same").is_inherited());
    }
}
