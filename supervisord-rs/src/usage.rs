//! The resource usage of workers: time on a processor and in its queue, memory, threads,
//! descriptors, context switches, from /proc (proc(5)).
//!
//! A worker's figures are those of its process and all its descendants; a thread's are its own,
//! where the kernel keeps them by thread. To read the share of memory (PSS) the kernel inspects
//! every page: do it outside the loop. Processes and threads end while they are looked at: what is
//! gone adds nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::config::Kind;
use crate::control::protocol::{StatusReport, Usage, WorkerStatus};
use crate::isolation::tree::cgroup::memory;
use crate::process_table::{self, Stat, field};

/// Fills in the figures of a report. Blocks for as long as /proc takes: milliseconds, longer with
/// large workers.
pub fn fill(report: &mut StatusReport) {
    fill_limits(report);
    let children = children();
    report.supervisor.usage = process(report.supervisor.pid);
    for worker in &mut report.workers {
        worker.usage = of_worker(worker, report.supervisor.pid, &children);
    }
}

/// Fills in what the cgroups of limited workers use.
pub fn fill_limits(report: &mut StatusReport) {
    for limits in report.workers.iter_mut().filter_map(|worker| worker.limits.as_mut()) {
        if let Some(cgroup) = &limits.cgroup {
            (limits.memory_current, limits.memory_peak) = memory(cgroup);
        }
    }
}

fn of_worker(
    worker: &WorkerStatus,
    supervisor: i32,
    children: &BTreeMap<i32, Vec<i32>>,
) -> Option<Usage> {
    let pid = worker.pid?;
    if !Kind::by_name(&worker.isolation).is_some_and(|kind| kind.capabilities.has_own_process) {
        let usage = thread(pid, worker.tid?)?;
        return Some(Usage { threads: worker.own_threads.max(1).into(), ..usage });
    }
    debug_assert_ne!(pid, supervisor, "a process worker has a process of its own");
    let mut sum = process(pid)?;
    let mut open = vec![pid];
    while let Some(parent) = open.pop() {
        for &child in children.get(&parent).into_iter().flatten() {
            open.push(child);
            if let Some(usage) = process(child) {
                sum.add(&usage);
            }
        }
    }
    // The number is the worker's word, and means nothing outside its own process.
    if let Some(stat) = worker.tid.and_then(|tid| process_table::thread_stat(pid, tid)) {
        sum.last_cpu = stat.processor;
    }
    Some(sum)
}

impl Usage {
    /// With a child of its, whose processor says nothing of it.
    fn add(&mut self, other: &Self) {
        self.cpu_us += other.cpu_us;
        self.wait_us = of_both(self.wait_us, other.wait_us);
        self.rss_kib = sum(self.rss_kib, other.rss_kib);
        self.pss_kib = sum(self.pss_kib, other.pss_kib);
        self.fds = sum(self.fds, other.fds);
        self.threads += other.threads;
        self.processes += other.processes;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
    }
}

/// Known only where both are.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one? + other?)
}

/// Of those that are known: one whose threads have just ended adds nothing.
fn of_both(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).reduce(u64::saturating_add)
}

/// A single process; `None` when it is gone.
fn process(pid: i32) -> Option<Usage> {
    let root = process_table::entry(pid);
    let stat = process_table::stat(pid)?;
    if stat.state == 'Z' {
        return Some(of_zombie(&stat));
    }
    let mut usage = Usage {
        cpu_us: microseconds(&stat),
        threads: stat.threads,
        processes: 1,
        suspended: is_suspended(&stat),
        rss_kib: field(&root.join("status"), "VmRSS:"),
        pss_kib: field(&root.join("smaps_rollup"), "Pss:"),
        fds: fs::read_dir(root.join("fd")).ok().map(|entries| entries.count() as u64),
        last_cpu: stat.processor,
        ..Usage::default()
    };
    // The kernel counts these by thread.
    for tid in process_table::threads(pid) {
        let (voluntary, involuntary) = switches(&process_table::task(pid, tid));
        usage.voluntary_switches += voluntary;
        usage.involuntary_switches += involuntary;
        if let Some(times) = process_table::thread_times(pid, tid) {
            usage.wait_us = of_both(usage.wait_us, Some(times.wait_ns / 1000));
        }
    }
    Some(usage)
}

/// Of one that has ended and is not reaped nothing is left but the time that it took. That nothing
/// is known of its memory must not hide what its process tree uses.
fn of_zombie(stat: &Stat) -> Usage {
    Usage {
        cpu_us: microseconds(stat),
        processes: 1,
        rss_kib: Some(0),
        pss_kib: Some(0),
        fds: Some(0),
        ..Usage::default()
    }
}

/// A single thread, without what it shares with its process.
fn thread(pid: i32, tid: i32) -> Option<Usage> {
    let stat = process_table::thread_stat(pid, tid)?;
    let (voluntary_switches, involuntary_switches) = switches(&process_table::task(pid, tid));
    let times = process_table::thread_times(pid, tid);
    Some(Usage {
        cpu_us: times.map_or_else(|| microseconds(&stat), |times| times.run_ns / 1000),
        wait_us: times.map(|times| times.wait_ns / 1000),
        last_cpu: stat.processor,
        threads: 1,
        voluntary_switches,
        involuntary_switches,
        suspended: is_suspended(&stat),
        ..Usage::default()
    })
}

fn is_suspended(stat: &Stat) -> bool {
    matches!(stat.state, 'T' | 't')
}

fn switches(task: &Path) -> (u64, u64) {
    let status = task.join("status");
    let count = |name| field(&status, name).unwrap_or(0);
    (count("voluntary_ctxt_switches:"), count("nonvoluntary_ctxt_switches:"))
}

/// Processor time in microseconds.
fn microseconds(stat: &Stat) -> u64 {
    stat.ticks * (1_000_000 / ticks_per_second())
}

fn ticks_per_second() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    ticks.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// The children of each process.
fn children() -> BTreeMap<i32, Vec<i32>> {
    let mut found: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in process_table::pids() {
        if let Some(stat) = process_table::stat(pid) {
            found.entry(stat.parent).or_default().push(pid);
        }
    }
    found
}
