//! `limits:` of a worker's process and of a cell: those of a process (setrlimit(2)), and those of
//! its cgroup, which hold for it and all that it starts together.

use super::foreign::Whose;
use super::problems::At;
use super::reader::{Cursor, Section};
use super::settings::{CgroupLimits, IoLimit, Limits, ResourceLimit};

/// Resources by name; what they are counted in decides how they are written.
const RESOURCES: &[(&str, u32, Unit)] = &[
    ("address_space", libc::RLIMIT_AS, Unit::Bytes),
    ("core", libc::RLIMIT_CORE, Unit::Bytes),
    ("cpu_time", libc::RLIMIT_CPU, Unit::Seconds),
    ("data", libc::RLIMIT_DATA, Unit::Bytes),
    ("file_size", libc::RLIMIT_FSIZE, Unit::Bytes),
    ("locked_memory", libc::RLIMIT_MEMLOCK, Unit::Bytes),
    ("message_queues", libc::RLIMIT_MSGQUEUE, Unit::Bytes),
    ("open_files", libc::RLIMIT_NOFILE, Unit::Count),
    ("processes", libc::RLIMIT_NPROC, Unit::Count),
    ("realtime_priority", libc::RLIMIT_RTPRIO, Unit::Count),
    ("pending_signals", libc::RLIMIT_SIGPENDING, Unit::Count),
    ("stack", libc::RLIMIT_STACK, Unit::Bytes),
];
/// Those of the cgroup.
const CGROUP: [&str; 6] = ["memory", "memory_high", "cpu", "cpu_weight", "pids", "io"];
/// No program lives in less, and `memory: 256` is a unit forgotten.
const MEMORY_MIN: u64 = 1024 * 1024;
/// A thousand processors.
const CPU_MAX: u32 = 100_000;
/// The greatest weight that the kernel takes; the least is 1, and 100 is that of all others.
const WEIGHT_MAX: i64 = 10_000;

#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Seconds,
    Count,
}

/// `limits: { open_files: 4096, core: unlimited, stack: { soft: 8MiB, hard: 64MiB }, memory:
/// 256MiB, cpu: 50% }`
pub(super) fn read(cursor: &Cursor<'_>) -> Limits {
    let known: Vec<&str> = RESOURCES.iter().map(|(name, ..)| *name).chain(CGROUP).collect();
    let Some(section) = cursor.section_of(Whose::Limits, &known, &[]) else {
        return Limits::default();
    };
    let resources =
        RESOURCES.iter().filter_map(|resource| resource_limit(&section, *resource)).collect();
    Limits { resources, cgroup: cgroup(&section) }
}

fn resource_limit(
    section: &Section<'_>,
    (name, resource, unit): (&'static str, u32, Unit),
) -> Option<ResourceLimit> {
    let cursor = section.get(name)?;
    if cursor.is_scalar() {
        let limit = ResourceLimit { resource, name, soft: amount(&cursor, unit)?, hard: None };
        warn_of_small(&cursor, limit);
        return Some(limit);
    }
    let both = cursor.section(&["soft", "hard"], &[])?;
    let hard = both.get("hard").and_then(|cursor| amount(&cursor, unit));
    let soft = both.get("soft").and_then(|cursor| amount(&cursor, unit)).or(hard)?;
    if hard.is_some_and(|hard| soft > hard) {
        cursor.refuse("the soft limit is above the hard one", "`soft` no higher than `hard`");
    }
    let limit = ResourceLimit { resource, name, soft, hard };
    warn_of_small(&cursor, limit);
    Some(limit)
}

/// The kernel takes any number, and the program ends as it begins.
fn warn_of_small(cursor: &Cursor<'_>, limit: ResourceLimit) {
    if let Some(needed) = limit.needed() {
        let (name, soft, needed) = (limit.name, limit.written(limit.soft), limit.written(needed));
        let message = format!("`{name}: {soft}` may be too little for a program to start");
        cursor.warn(message, &format!("few programs start with less than {needed}"));
    }
}

fn amount(cursor: &Cursor<'_>, unit: Unit) -> Option<u64> {
    if is_unlimited(cursor) {
        return Some(u64::MAX);
    }
    match unit {
        Unit::Bytes => cursor.size().map(|size| size.value),
        Unit::Seconds => cursor.duration().map(|time| time.value.as_secs().max(1)),
        Unit::Count => {
            cursor.integer(0, i64::MAX).and_then(|count| u64::try_from(count.value).ok())
        }
    }
}

fn is_unlimited(cursor: &Cursor<'_>) -> bool {
    cursor.node.text() == Some("unlimited")
}

/// `unlimited` takes back what stands in `defaults:`.
fn cgroup(section: &Section<'_>) -> CgroupLimits {
    let get = |key: &str| section.get(key).filter(|cursor| !is_unlimited(cursor));
    let (memory, high) = (get("memory"), get("memory_high"));
    let limits = CgroupLimits {
        memory: memory.as_ref().and_then(bytes),
        memory_high: high.as_ref().and_then(bytes),
        cpu: get("cpu").and_then(|cursor| percent(&cursor)),
        cpu_weight: get("cpu_weight").and_then(|cursor| weight(&cursor)),
        pids: get("pids").and_then(|cursor| count(&cursor)),
        io: get("io").map(|cursor| io(&cursor)).unwrap_or_default(),
    };
    if let (Some(memory), Some(high), Some(cursor)) = (limits.memory, limits.memory_high, high)
        && high > memory
    {
        cursor.refuse(
            "`memory_high` is above `memory`, and would never be reached",
            "`memory_high` no higher than `memory`",
        );
    }
    limits
}

fn bytes(cursor: &Cursor<'_>) -> Option<u64> {
    let size = cursor.size()?.value;
    if size < MEMORY_MIN {
        cursor.refuse(
            format!("{size} bytes are too few for any program"),
            "1MiB or more, such as 256MiB",
        );
        return None;
    }
    Some(size)
}

/// `50%`, `150%`: of one processor.
fn percent(cursor: &Cursor<'_>) -> Option<u32> {
    let number =
        cursor.node.text().and_then(|text| text.strip_suffix('%')?.trim_end().parse().ok());
    let number = number.filter(|number| (1..=CPU_MAX).contains(number));
    if number.is_none() {
        cursor.refuse_value::<()>("whole percent of one processor, such as 50% or 150%");
    }
    number
}

fn weight(cursor: &Cursor<'_>) -> Option<u32> {
    cursor.integer(1, WEIGHT_MAX).and_then(|weight| u32::try_from(weight.value).ok())
}

fn count(cursor: &Cursor<'_>) -> Option<u64> {
    cursor.integer(1, i64::MAX).and_then(|count| u64::try_from(count.value).ok())
}

/// `{ /dev/sda: { read_bytes: 10MiB, write_operations: 500 } }`
fn io(cursor: &Cursor<'_>) -> Vec<IoLimit> {
    let entries = cursor.entries().unwrap_or_default();
    entries.into_iter().filter_map(|(device, cursor)| io_limit(device, &cursor)).collect()
}

fn io_limit(device: At<String>, cursor: &Cursor<'_>) -> Option<IoLimit> {
    if !device.value.starts_with('/') {
        cursor.refuse(
            format!("`{}` is not the path of a device", device.value),
            "the path of a block device, such as /dev/sda",
        );
        return None;
    }
    let section = cursor
        .section(&["read_bytes", "write_bytes", "read_operations", "write_operations"], &[])?;
    let amount = |key: &str, is_size: bool| {
        let cursor = section.get(key).filter(|cursor| !is_unlimited(cursor))?;
        let amount = if is_size { cursor.size()?.value } else { count(&cursor)? };
        if amount == 0 {
            cursor.refuse("0 would stop all of it", "1 or more, or `unlimited`");
        }
        Some(amount)
    };
    Some(IoLimit {
        device: device.value.into(),
        read_bytes: amount("read_bytes", true),
        write_bytes: amount("write_bytes", true),
        read_operations: amount("read_operations", false),
        write_operations: amount("write_operations", false),
    })
}
