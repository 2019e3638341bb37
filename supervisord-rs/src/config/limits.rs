//! `limits:` of a worker's process and of a cell: those of a process (setrlimit(2)), and those of
//! its cgroup, which hold for it and all that it starts together.

use super::foreign::Whose;
use super::problems::At;
use super::reader::{Cursor, Section};
use super::schema::key::key;
use super::schema::{Key, Kind, OnlyFor, Table};
use super::settings::{CgroupLimits, IoLimit, Limits, ResourceLimit};

/// A limit of setrlimit(2); what it is counted in decides how it is written.
struct Resource {
    key: Key,
    number: u32,
    unit: Unit,
}

const fn resource(name: &'static str, number: u32, unit: Unit, about: &'static str) -> Resource {
    let kind = match unit {
        Unit::Bytes => OF_BYTES,
        Unit::Seconds => OF_SECONDS,
        Unit::Count => OF_COUNT,
    };
    Resource { key: key(name, kind, about), number, unit }
}

static RESOURCES: [Resource; 12] = [
    resource(
        "address_space",
        libc::RLIMIT_AS,
        Unit::Bytes,
        "The address space of a process (`RLIMIT_AS`).",
    ),
    resource(
        "core",
        libc::RLIMIT_CORE,
        Unit::Bytes,
        "The core file of a crash (`RLIMIT_CORE`). None is written, where this is not written.",
    ),
    resource(
        "cpu_time",
        libc::RLIMIT_CPU,
        Unit::Seconds,
        "The processor time of a process, in whole seconds (`RLIMIT_CPU`). SIGXCPU at the soft \
         limit, SIGKILL at the hard one.",
    ),
    resource("data", libc::RLIMIT_DATA, Unit::Bytes, "The data of a process (`RLIMIT_DATA`)."),
    resource(
        "file_size",
        libc::RLIMIT_FSIZE,
        Unit::Bytes,
        "The largest file that it can write (`RLIMIT_FSIZE`). SIGXFSZ beyond it.",
    ),
    resource(
        "locked_memory",
        libc::RLIMIT_MEMLOCK,
        Unit::Bytes,
        "Memory that mlock(2) keeps from being swapped out (`RLIMIT_MEMLOCK`).",
    ),
    resource(
        "message_queues",
        libc::RLIMIT_MSGQUEUE,
        Unit::Bytes,
        "POSIX message queues of its user (`RLIMIT_MSGQUEUE`).",
    ),
    resource(
        "open_files",
        libc::RLIMIT_NOFILE,
        Unit::Count,
        "Descriptors of a process (`RLIMIT_NOFILE`).",
    ),
    resource(
        "processes",
        libc::RLIMIT_NPROC,
        Unit::Count,
        "Processes and threads of its user, of any program (`RLIMIT_NPROC`). `pids:` \
         counts those of the worker.",
    ),
    resource(
        "realtime_priority",
        libc::RLIMIT_RTPRIO,
        Unit::Count,
        "The highest real-time priority that it may take (`RLIMIT_RTPRIO`).",
    ),
    resource(
        "pending_signals",
        libc::RLIMIT_SIGPENDING,
        Unit::Count,
        "Signals that may wait for processes of its user (`RLIMIT_SIGPENDING`).",
    ),
    resource(
        "stack",
        libc::RLIMIT_STACK,
        Unit::Bytes,
        "The stack of the main thread of a process (`RLIMIT_STACK`).",
    ),
];
static RESOURCE_KEYS: [&Key; 12] = {
    let mut keys = [&RESOURCES[0].key; 12];
    let mut at = 0;
    while at < RESOURCES.len() {
        keys[at] = &RESOURCES[at].key;
        at += 1;
    }
    keys
};

const OF_BYTES: Kind = Kind::Either(&[Kind::Size, UNLIMITED, Kind::Section(&SIZES)]);
const OF_SECONDS: Kind = Kind::Either(&[Kind::Duration, UNLIMITED, Kind::Section(&TIMES)]);
const OF_COUNT: Kind = Kind::Either(&[ANY_NUMBER, UNLIMITED, Kind::Section(&NUMBERS)]);
const UNLIMITED: Kind = Kind::Words(&["unlimited"]);
const ANY_NUMBER: Kind = Kind::Number { low: 0, high: i64::MAX };
const ANY_COUNT: Kind = Kind::Number { low: 1, high: i64::MAX };
static SIZES: Table = Table::of(&[&[&SOFT_SIZE, &HARD_SIZE]]);
static TIMES: Table = Table::of(&[&[&SOFT_TIME, &HARD_TIME]]);
static NUMBERS: Table = Table::of(&[&[&SOFT_NUMBER, &HARD_NUMBER]]);
static SOFT_SIZE: Key = soft(Kind::Either(&[Kind::Size, UNLIMITED])).such_as("8MiB");
static HARD_SIZE: Key = hard(Kind::Either(&[Kind::Size, UNLIMITED])).such_as("64MiB");
static SOFT_TIME: Key = soft(Kind::Either(&[Kind::Duration, UNLIMITED])).such_as("10s");
static HARD_TIME: Key = hard(Kind::Either(&[Kind::Duration, UNLIMITED])).such_as("20s");
static SOFT_NUMBER: Key = soft(Kind::Either(&[ANY_NUMBER, UNLIMITED])).such_as("1024");
static HARD_NUMBER: Key = hard(Kind::Either(&[ANY_NUMBER, UNLIMITED])).such_as("4096");

const fn soft(kind: Kind) -> Key {
    key("soft", kind, "What holds. The hard limit, where it is not written.")
}

const fn hard(kind: Kind) -> Key {
    key("hard", kind, "How far the process itself may raise it.")
}

/// Of a worker.
pub(super) static LIMITS: Key = key(
    "limits",
    Kind::Section(&TABLE),
    "What it may use: the limits of setrlimit(2), which hold for each process, and those of its \
     cgroup, which hold for the worker and all that it starts. `unlimited` cancels one of \
     `defaults:`.",
)
.such_as("{ open_files: 4096, memory: 256MiB }")
.only_for(OnlyFor::Processes);
/// Of a cell.
pub(super) static LIMITS_OF_CELL: Key =
    key("limits", Kind::Section(&TABLE), "What its process may use, for all its threads together.")
        .such_as("{ memory: 512MiB }");
static TABLE: Table =
    Table::of(&[&RESOURCE_KEYS, &[&MEMORY, &MEMORY_HIGH, &CPU, &CPU_WEIGHT, &PIDS, &IO]])
        .like(Whose::Limits);
static MEMORY: Key = key(
    "memory",
    Kind::Either(&[Kind::Size, UNLIMITED]),
    "The most memory of the cgroup, 1MiB or more; beyond it the kernel kills the whole worker.",
)
.such_as("256MiB");
static MEMORY_HIGH: Key = key(
    "memory_high",
    Kind::Either(&[Kind::Size, UNLIMITED]),
    "Beyond it the kernel slows the worker down and takes memory back; it kills nothing.",
)
.such_as("224MiB");
static CPU: Key = key(
    "cpu",
    Kind::Either(&[Kind::Percent, UNLIMITED]),
    "The most processor time, in percent of one processor, measured over 100 ms.",
)
.such_as("50%");
static CPU_WEIGHT: Key = key(
    "cpu_weight",
    Kind::Either(&[Kind::Number { low: 1, high: WEIGHT_MAX }, UNLIMITED]),
    "Its share of a processor that others want too, beside their weights. 100 for each that has \
     none.",
)
.such_as("200");
static PIDS: Key = key(
    "pids",
    Kind::Either(&[ANY_COUNT, UNLIMITED]),
    "Processes and threads of the worker; beyond it fork(2) fails.",
)
.such_as("64");
static IO: Key = key(
    "io",
    Kind::Either(&[Kind::ByName("block device", &Kind::Section(&IO_TABLE)), UNLIMITED]),
    "Bytes and operations a second, by block device.",
)
.such_as("{ /dev/sda: { write_bytes: 10MiB } }");
static IO_TABLE: Table =
    Table::of(&[&[&READ_BYTES, &WRITE_BYTES, &READ_OPERATIONS, &WRITE_OPERATIONS]]);
static READ_BYTES: Key =
    key("read_bytes", Kind::Either(&[Kind::Size, UNLIMITED]), "Bytes read a second.")
        .such_as("10MiB");
static WRITE_BYTES: Key =
    key("write_bytes", Kind::Either(&[Kind::Size, UNLIMITED]), "Bytes written a second.")
        .such_as("10MiB");
static READ_OPERATIONS: Key =
    key("read_operations", Kind::Either(&[ANY_COUNT, UNLIMITED]), "Reads a second.").such_as("500");
static WRITE_OPERATIONS: Key =
    key("write_operations", Kind::Either(&[ANY_COUNT, UNLIMITED]), "Writes a second.")
        .such_as("500");

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
    let Some(section) = cursor.section(&TABLE) else { return Limits::default() };
    let resources =
        RESOURCES.iter().filter_map(|resource| resource_limit(&section, resource)).collect();
    Limits { resources, cgroup: cgroup(&section) }
}

fn resource_limit(section: &Section<'_>, of: &'static Resource) -> Option<ResourceLimit> {
    let (name, resource, unit) = (of.key.name, of.number, of.unit);
    let cursor = section.get(&of.key)?;
    if cursor.is_scalar() {
        let limit = ResourceLimit { resource, name, soft: amount(&cursor, unit)?, hard: None };
        warn_of_small(&cursor, limit);
        return Some(limit);
    }
    let (table, soft, hard) = match unit {
        Unit::Bytes => (&SIZES, &SOFT_SIZE, &HARD_SIZE),
        Unit::Seconds => (&TIMES, &SOFT_TIME, &HARD_TIME),
        Unit::Count => (&NUMBERS, &SOFT_NUMBER, &HARD_NUMBER),
    };
    let both = cursor.section(table)?;
    let hard = both.get(hard).and_then(|cursor| amount(&cursor, unit));
    let soft = both.get(soft).and_then(|cursor| amount(&cursor, unit)).or(hard)?;
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
    let get = |key: &'static Key| section.get(key).filter(|cursor| !is_unlimited(cursor));
    let (memory, high) = (get(&MEMORY), get(&MEMORY_HIGH));
    let limits = CgroupLimits {
        memory: memory.as_ref().and_then(bytes),
        memory_high: high.as_ref().and_then(bytes),
        cpu: get(&CPU).and_then(|cursor| percent(&cursor)),
        cpu_weight: get(&CPU_WEIGHT).and_then(|cursor| weight(&cursor)),
        pids: get(&PIDS).and_then(|cursor| count(&cursor)),
        io: get(&IO).map(|cursor| io(&cursor)).unwrap_or_default(),
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
    let section = cursor.section(&IO_TABLE)?;
    let amount = |key: &'static Key, is_size: bool| {
        let cursor = section.get(key).filter(|cursor| !is_unlimited(cursor))?;
        let amount = if is_size { cursor.size()?.value } else { count(&cursor)? };
        if amount == 0 {
            cursor.refuse("0 would stop all of it", "1 or more, or `unlimited`");
        }
        Some(amount)
    };
    Some(IoLimit {
        device: device.value.into(),
        read_bytes: amount(&READ_BYTES, true),
        write_bytes: amount(&WRITE_BYTES, true),
        read_operations: amount(&READ_OPERATIONS, false),
        write_operations: amount(&WRITE_OPERATIONS, false),
    })
}
