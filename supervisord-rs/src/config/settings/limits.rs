//! What a process may use, and what its cgroup may.

use std::path::PathBuf;

/// `limits:`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of a process; its children inherit them, each for itself.
    pub resources: Vec<ResourceLimit>,
    /// Of the cgroup.
    pub cgroup: CgroupLimits,
}

/// One resource limit, setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// The kernel's number of the resource.
    pub resource: u32,
    /// What it is called in the configuration.
    pub name: &'static str,
    /// The soft limit; `u64::MAX` is none.
    pub soft: u64,
    /// The hard limit; `None`: as the soft one where that is higher than the present hard one, else
    /// unchanged.
    pub hard: Option<u64>,
}

/// What programs need to begin: the name of a limit, and the amount below which few do.
const NEEDED: [(&str, u64); 4] =
    [("stack", 128 << 10), ("data", 2 << 20), ("address_space", 16 << 20), ("open_files", 8)];

impl ResourceLimit {
    /// How much few programs begin without, where the limit is lower.
    #[must_use]
    pub fn needed(&self) -> Option<u64> {
        let (_, needed) = NEEDED.into_iter().find(|(name, _)| *name == self.name)?;
        (self.soft < needed).then_some(needed)
    }

    /// An amount of it, as it is written in the configuration.
    #[must_use]
    pub fn written(&self, amount: u64) -> String {
        match amount {
            count if self.name == "open_files" => count.to_string(),
            bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => {
                format!("{}MiB", bytes >> 20)
            }
            bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => {
                format!("{}KiB", bytes >> 10)
            }
            bytes => bytes.to_string(),
        }
    }
}

/// What a cgroup (version 2) may use. `None` and empty: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Bytes beyond which it is ended whole, `memory.max`. It gets no swap either, which would put
    /// that off.
    pub memory: Option<u64>,
    /// Bytes beyond which it is slowed down and its memory taken back, `memory.high`.
    pub memory_high: Option<u64>,
    /// Percent of one processor, `cpu.max`.
    pub cpu: Option<u32>,
    /// Its share where others want the same processor, beside their weights: `cpu.weight`.
    pub cpu_weight: Option<u32>,
    /// Processes and threads, `pids.max`.
    pub pids: Option<u64>,
    /// Of block devices, `io.max`.
    pub io: Vec<IoLimit>,
}

/// What a cgroup may read and write of one block device in a second. `None`: no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoLimit {
    /// The device; of a partition, its disk is meant.
    pub device: PathBuf,
    /// Bytes.
    pub read_bytes: Option<u64>,
    /// Bytes.
    pub write_bytes: Option<u64>,
    /// Operations.
    pub read_operations: Option<u64>,
    /// Operations.
    pub write_operations: Option<u64>,
}

impl CgroupLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
