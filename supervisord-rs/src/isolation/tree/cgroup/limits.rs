//! Limits of one cgroup: from the configuration to the kernel's files, and what those say
//! afterwards.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::refusal::Refusal;
use crate::config::settings::{CgroupLimits, IoLimit};
use crate::kernel_file;

/// Time over which the share of a processor is measured, in microseconds: as the kernel's default
/// and systemd's.
const CPU_PERIOD_US: u64 = 100_000;

/// The controllers that limits need.
pub(super) fn controllers(limits: &CgroupLimits) -> Vec<&'static str> {
    let CgroupLimits { memory, memory_high, cpu, cpu_weight, pids, io } = limits;
    let needed = [
        (memory.is_some() || memory_high.is_some(), "memory"),
        (cpu.is_some() || cpu_weight.is_some(), "cpu"),
        (pids.is_some(), "pids"),
        (!io.is_empty(), "io"),
    ];
    needed.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, name)| name).collect()
}

/// Writes them all into a cgroup.
pub(super) fn apply(limits: &CgroupLimits, cgroup: &Path) -> Result<(), Refusal> {
    for (file, value) in orders(limits) {
        let file = cgroup.join(file);
        // Only kernels with swap have it.
        if file.ends_with("memory.swap.max") && !file.exists() {
            continue;
        }
        fs::write(&file, &value).map_err(|error| Refusal::write(&file, &value, &error))?;
    }
    for limit in &limits.io {
        let file = cgroup.join("io.max");
        let line = io_line(device(&limit.device)?, limit);
        fs::write(&file, &line).map_err(|error| Refusal::write(&file, &line, &error))?;
    }
    Ok(())
}

/// File and value, of all but `io`. Whatever of a cgroup reaches its limit of memory, the whole is
/// ended (`memory.oom.group`): half a worker is worse than none. The order matters to a cgroup in
/// use: what slows down comes before what kills.
fn orders(limits: &CgroupLimits) -> Vec<(&'static str, String)> {
    let mut orders = Vec::new();
    if let Some(high) = limits.memory_high {
        orders.push(("memory.high", high.to_string()));
    }
    if let Some(memory) = limits.memory {
        orders.push(("memory.oom.group", "1".to_owned()));
        orders.push(("memory.swap.max", "0".to_owned()));
        orders.push(("memory.max", memory.to_string()));
    }
    if let Some(percent) = limits.cpu {
        orders.push((
            "cpu.max",
            format!("{} {CPU_PERIOD_US}", u64::from(percent) * CPU_PERIOD_US / 100),
        ));
    }
    if let Some(weight) = limits.cpu_weight {
        orders.push(("cpu.weight", weight.to_string()));
    }
    if let Some(pids) = limits.pids {
        orders.push(("pids.max", pids.to_string()));
    }
    orders
}

fn io_line((major, minor): (u32, u32), limit: &IoLimit) -> String {
    let IoLimit { device: _, read_bytes, write_bytes, read_operations, write_operations } = limit;
    let keys = [
        ("rbps", read_bytes),
        ("wbps", write_bytes),
        ("riops", read_operations),
        ("wiops", write_operations),
    ];
    let mut line = format!("{major}:{minor}");
    for (key, value) in keys {
        let value = value.map_or_else(|| "max".to_owned(), |value| value.to_string());
        line.push_str(&format!(" {key}={value}"));
    }
    line
}

/// The numbers of a block device; of a partition, those of its disk: the kernel limits whole disks.
fn device(path: &Path) -> Result<(u32, u32), Refusal> {
    let metadata = fs::metadata(path).map_err(|error| Refusal::device(path, &error.to_string()))?;
    if !metadata.file_type().is_block_device() {
        return Err(Refusal::device(path, "it is another kind of file"));
    }
    let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
    let known = format!("/sys/dev/block/{major}:{minor}");
    let known = Path::new(&known);
    if !known.join("partition").exists() {
        return Ok((major, minor));
    }
    let disk = fs::read_to_string(known.join("../dev"))
        .map_err(|error| Refusal::device(path, &format!("its disk is not known: {error}")))?;
    let numbers = disk
        .trim()
        .split_once(':')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| Refusal::device(path, "its disk is not known"))
}

/// Processes of a cgroup that the OOM killer has ended, those of cgroups below it included
/// (`memory.events`, Linux 4.13). One that is ended as a whole counts as well where all of its
/// processes were dying already.
pub(super) fn oom_kills(cgroup: &Path) -> u64 {
    let text = kernel_file::read_text(cgroup.join("memory.events")).unwrap_or_default();
    ["oom_kill", "oom_group_kill"].iter().map(|key| event(&text, key)).sum()
}

fn event(text: &str, key: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

/// What a cgroup uses, in bytes: now, and at most so far (Linux 5.19). `None` where there is no
/// such controller.
pub(crate) fn memory(cgroup: &Path) -> (Option<u64>, Option<u64>) {
    let read = |file: &str| kernel_file::read_text(cgroup.join(file)).ok()?.trim().parse().ok();
    (read("memory.current"), read("memory.peak"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_the_kernel_wants_them() {
        let limits = CgroupLimits {
            memory: Some(64 << 20),
            memory_high: Some(48 << 20),
            cpu: Some(50),
            cpu_weight: Some(20),
            pids: Some(16),
            io: Vec::new(),
        };
        let written: Vec<(&str, String)> = orders(&limits);
        let expected = [
            ("memory.high", "50331648"),
            ("memory.oom.group", "1"),
            ("memory.swap.max", "0"),
            ("memory.max", "67108864"),
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "20"),
            ("pids.max", "16"),
        ];
        assert_eq!(written, expected.map(|(file, value)| (file, value.to_owned())));
        assert_eq!(controllers(&limits), ["memory", "cpu", "pids"]);
        let more_than_one = CgroupLimits { cpu: Some(150), ..CgroupLimits::default() };
        assert_eq!(orders(&more_than_one), [("cpu.max", "150000 100000".to_owned())]);
        let weight = CgroupLimits { cpu_weight: Some(1), ..CgroupLimits::default() };
        assert_eq!(controllers(&weight), ["cpu"]);
        assert_eq!(orders(&CgroupLimits::default()), []);
        assert_eq!(controllers(&CgroupLimits::default()), Vec::<&str>::new());
    }

    #[test]
    fn a_line_of_io_names_every_key_so_that_nothing_of_an_older_one_stays() {
        let limit = IoLimit {
            device: "/dev/x".into(),
            read_bytes: Some(10 << 20),
            write_bytes: None,
            read_operations: None,
            write_operations: Some(500),
        };
        assert_eq!(io_line((254, 16), &limit), "254:16 rbps=10485760 wbps=max riops=max wiops=500");
        let limits = CgroupLimits { io: vec![limit], ..CgroupLimits::default() };
        assert_eq!(controllers(&limits), ["io"]);
    }

    #[test]
    fn what_is_no_block_device_is_refused() {
        assert!(device(Path::new("/dev/null")).is_err());
        assert!(device(Path::new("/no/such/device")).is_err());
    }

    #[test]
    fn oom_kills_are_counted_by_their_exact_key() {
        let text = "low 0\nhigh 3\nmax 41\noom 2\noom_kill 5\noom_group_kill 1\n";
        assert_eq!(
            (event(text, "oom_kill"), event(text, "oom_group_kill"), event(text, "oom")),
            (5, 1, 2)
        );
        assert_eq!(event("", "oom_kill"), 0);
        assert_eq!(event("oom_kill x\n", "oom_kill"), 0);
    }
}
