//! What processes use, as the kernel counts it.

use std::fs::read_to_string;
use std::time::{Duration, Instant};

/// Of some processes together, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) rss: f64,
    pub(super) pss: f64,
    pub(super) private: f64,
    pub(super) page_tables: f64,
    /// Of the whole machine since some moment; `None`: it is too little to be seen.
    pub(super) kernel: Option<f64>,
    whole: f64,
}

/// What the kernel itself uses, in bytes: stacks, and slabs that it cannot give back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Kernel(f64);

/// So many workers are seen in the kernel's memory.
const SEEN: usize = 100;

impl Kernel {
    pub(super) fn now() -> Self {
        let text = read_to_string("/proc/meminfo").unwrap_or_default();
        let field = |name| kib(&text, name).unwrap_or(0.0);
        Self(field("KernelStack:") + field("SUnreclaim:"))
    }

    pub(super) fn since(self, before: &Self) -> Self {
        Self(self.0 - before.0)
    }
}

impl Usage {
    /// Of these processes, beside this of the kernel.
    pub(super) fn of(pids: &[i32], kernel: Kernel) -> Result<Self, String> {
        let mut sum = Self { whole: kernel.0, kernel: Some(kernel.0), ..Self::default() };
        for pid in pids {
            let read = |file: &str| {
                let path = format!("/proc/{pid}/{file}");
                read_to_string(&path).map_err(|error| format!("{path}: {error}"))
            };
            let (rollup, status) = (read("smaps_rollup")?, read("status")?);
            let field = |name| kib(&rollup, name).unwrap_or(0.0);
            sum.rss += field("Rss:");
            sum.pss += field("Pss:");
            sum.private += field("Private_Clean:") + field("Private_Dirty:");
            sum.page_tables += kib(&status, "VmPTE:").unwrap_or(0.0);
        }
        Ok(sum)
    }

    /// What has come since then.
    pub(super) fn since(&self, before: &Self) -> Self {
        let kernel = self.whole - before.whole;
        Self {
            rss: (self.rss - before.rss).max(0.0),
            pss: (self.pss - before.pss).max(0.0),
            private: (self.private - before.private).max(0.0),
            page_tables: (self.page_tables - before.page_tables).max(0.0),
            kernel: Some(kernel),
            whole: kernel,
        }
    }

    /// For each of so many.
    pub(super) fn divided(&self, count: usize) -> Self {
        let by = count as f64;
        Self {
            rss: self.rss / by,
            pss: self.pss / by,
            private: self.private / by,
            page_tables: self.page_tables / by,
            kernel: self.kernel.filter(|_| count >= SEEN).map(|kernel| (kernel / by).max(0.0)),
            whole: self.whole / by,
        }
    }
}

/// The number behind a name, which is in KiB, in bytes.
fn kib(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let number: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(number * 1024.0)
}

/// Waits until all of them sleep: they have started, and wait for their end.
pub(super) fn await_sleep(pids: &[i32]) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    for pid in pids {
        let sleeps = || {
            let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            // Not in the middle of its start: its program is in memory, and its threads are all.
            let wchan = read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            status.contains("State:\tS") && !wchan.starts_with("running")
        };
        while !sleeps() {
            if Instant::now() > deadline {
                return Err("a process does not come to rest".to_owned());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_are_kib() {
        let text = "Rss:                 512 kB\nPss:                  12 kB\n";
        assert_eq!((kib(text, "Pss:"), kib(text, "Swap:")), (Some(12288.0), None));
    }

    #[test]
    fn few_workers_are_not_seen_in_the_memory_of_the_kernel() {
        let usage = Usage { kernel: Some(160_000.0), ..Usage::default() };
        assert_eq!(usage.divided(10).kernel, None);
        assert_eq!(usage.divided(100).kernel, Some(1600.0));
    }

    #[test]
    fn this_process_has_memory_of_its_own() {
        let own = i32::try_from(std::process::id()).expect("a PID");
        let usage = Usage::of(&[own], Kernel::now()).expect("readable");
        assert!(usage.rss >= usage.pss && usage.pss >= usage.private, "{usage:?}");
        assert!(usage.private > 0.0 && usage.page_tables > 0.0, "{usage:?}");
    }
}
