//! `usage` and `limits` in `GET /v1/status`.

use serde::{Deserialize, Serialize};

/// The limits and the usage of a worker's cgroup. `None`: no limit, or no counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsReport {
    /// Bytes beyond which it is ended (`memory.max`).
    pub memory: Option<u64>,
    /// Bytes beyond which it is slowed down (`memory.high`).
    pub memory_high: Option<u64>,
    /// Percent of one processor (`cpu.max`).
    pub cpu_percent: Option<u32>,
    /// Share of a processor that others want too, beside their weights (`cpu.weight`).
    #[serde(default)]
    pub cpu_weight: Option<u32>,
    /// Processes and threads (`pids.max`).
    pub pids: Option<u64>,
    /// Reading and writing, by block device (`io.max`).
    pub io: Vec<IoLimitReport>,
    /// Bytes of memory in use now (`memory.current`); all incarnations share the count.
    pub memory_current: Option<u64>,
    /// Most bytes of memory in use so far (`memory.peak`, Linux 5.19).
    pub memory_peak: Option<u64>,
    /// Where that is counted: read outside the loop.
    #[serde(skip)]
    pub(crate) cgroup: Option<std::path::PathBuf>,
}

/// What may be read and written of a block device in a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoLimitReport {
    /// The device, as configured.
    pub device: String,
    /// Bytes.
    pub read_bytes: Option<u64>,
    /// Bytes.
    pub write_bytes: Option<u64>,
    /// Operations.
    pub read_operations: Option<u64>,
    /// Operations.
    pub write_operations: Option<u64>,
}

/// What a worker uses, or the supervisor. A thread has only what the kernel keeps by thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time so far, in microseconds: of a process to 10 ms, and with that of threads that
    /// have ended.
    pub cpu_us: u64,
    /// Time so far in which it could have run and had no processor, in microseconds, of the threads
    /// that there are; `None` where the kernel does not count it.
    #[serde(default)]
    pub wait_us: Option<u64>,
    /// The processor that it was on last: of SDK code its thread, of a command its first one.
    #[serde(default)]
    pub last_cpu: Option<u32>,
    /// Memory with shared pages counted by share (PSS), in KiB; `None` where it may not be read.
    pub pss_kib: Option<u64>,
    /// Memory in RAM (RSS), in KiB.
    pub rss_kib: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// Processes.
    pub processes: u64,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// Context switches because it waited.
    pub voluntary_switches: u64,
    /// Context switches because its time was over.
    pub involuntary_switches: u64,
    /// Whether a signal (SIGSTOP) or a tracer suspends it: state T or t of proc_pid_stat(5).
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub suspended: bool,
}
