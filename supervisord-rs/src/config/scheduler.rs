//! When a worker's threads get a processor, and which: `scheduler:`, with `nice:` and `cpus:`
//! beside it. Processes and threads have them alike: the kernel keeps them by thread.

use std::ops::RangeInclusive;
use std::time::Duration;

use workers::runtime::scheduling::{Policy, SLICE, Scheduling};

use super::reader::{Cursor, Section};
use super::world;

/// The keys of a worker that are read here.
pub(super) const KEYS: [&str; 3] = ["nice", "cpus", "scheduler"];
/// Those of `scheduler:`.
const OF_SCHEDULER: [&str; 6] = ["policy", "slice", "priority", "runtime", "deadline", "period"];

/// `policy:` as it is written; what belongs to it has other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Normal,
    Batch,
    Idle,
    Fifo,
    RoundRobin,
    Deadline,
}

const WORDS: [(&str, Word); 6] = [
    ("normal", Word::Normal),
    ("batch", Word::Batch),
    ("idle", Word::Idle),
    ("fifo", Word::Fifo),
    ("round-robin", Word::RoundRobin),
    ("deadline", Word::Deadline),
];

/// sched(7).
const PRIORITY: RangeInclusive<i64> = 1..=99;
/// The kernel takes 1024 ns at least.
const RUNTIME_LEAST: Duration = Duration::from_micros(2);

/// Reads all three.
pub(super) fn read(worker: &Section<'_>) -> Scheduling {
    let policy = worker.get("scheduler").and_then(|cursor| policy(&cursor));
    let is_fair = matches!(policy, None | Some(Policy::Normal { .. } | Policy::Batch { .. }));
    let is_deadline = matches!(policy, Some(Policy::Deadline { .. }));
    let nice = worker.get_if(
        is_fair,
        "nice",
        "a nice value counts with `scheduler: normal` and `batch` alone",
        "no `nice:`, or another policy",
    );
    let cpus = worker.get_if(
        !is_deadline,
        "cpus",
        "with `policy: deadline` the kernel chooses among all processors",
        "no `cpus:`, or another policy",
    );
    let nice = nice.and_then(|cursor| cursor.integer(-20, 19));
    Scheduling {
        nice: nice.and_then(|nice| i32::try_from(nice.value).ok()),
        policy,
        cpus: cpus.map(|cursor| self::cpus(&cursor)).unwrap_or_default(),
    }
}

/// What a whole process gets from its birth on, and what the thread that runs registered code sets
/// itself.
pub(super) fn placed(
    scheduling: Scheduling,
    is_process: bool,
    is_sdk: bool,
) -> (Scheduling, Scheduling) {
    match (is_process, is_sdk) {
        (true, false) => (scheduling, Scheduling::default()),
        (true, true) => scheduling.inheritable(),
        (false, _) => (Scheduling::default(), scheduling),
    }
}

/// `batch`, or `{ policy: batch, slice: 3ms }`.
fn policy(cursor: &Cursor<'_>) -> Option<Policy> {
    if cursor.is_scalar() {
        let word = cursor.choice_or(&WORDS, Some("{ policy: batch, slice: 3ms }"))?.value;
        return match word {
            Word::Normal => Some(Policy::Normal { slice: None }),
            Word::Batch => Some(Policy::Batch { slice: None }),
            Word::Idle => Some(Policy::Idle),
            Word::Fifo | Word::RoundRobin | Word::Deadline => refuse_without(cursor, word),
        };
    }
    let section = cursor.section(&OF_SCHEDULER, &[])?;
    let word = match section.get("policy") {
        Some(cursor) => cursor.choice(&WORDS)?.value,
        None => Word::Normal,
    };
    refuse_others(&section, word);
    match word {
        Word::Normal => Some(Policy::Normal { slice: slice(&section) }),
        Word::Batch => Some(Policy::Batch { slice: slice(&section) }),
        Word::Idle => Some(Policy::Idle),
        Word::Fifo => Some(Policy::Fifo { priority: priority(cursor, &section, word)? }),
        Word::RoundRobin => {
            Some(Policy::RoundRobin { priority: priority(cursor, &section, word)? })
        }
        Word::Deadline => deadline(cursor, &section),
    }
}

impl Word {
    const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Batch => "batch",
            Self::Idle => "idle",
            Self::Fifo => "fifo",
            Self::RoundRobin => "round-robin",
            Self::Deadline => "deadline",
        }
    }

    /// The keys that say more of it.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Normal | Self::Batch => &["slice"],
            Self::Idle => &[],
            Self::Fifo | Self::RoundRobin => &["priority"],
            Self::Deadline => &["runtime", "deadline", "period"],
        }
    }

    /// What it cannot do without.
    const fn example(self) -> &'static str {
        match self {
            Self::Normal | Self::Batch | Self::Idle => "nothing",
            Self::Fifo => "`{ policy: fifo, priority: 10 }`, from 1 to 99: higher ones come first",
            Self::RoundRobin => {
                "`{ policy: round-robin, priority: 10 }`, from 1 to 99: higher ones come first"
            }
            Self::Deadline => "`{ policy: deadline, runtime: 2ms, period: 20ms }`",
        }
    }
}

/// Keys of another policy.
fn refuse_others(section: &Section<'_>, word: Word) {
    let others = OF_SCHEDULER.into_iter().skip(1).filter(|key| !word.keys().contains(key));
    for key in others {
        let message = format!("`{}` has no `{key}:`", word.name());
        let _ = section.get_if(false, key, &message, &format!("no `{key}:`, or another policy"));
    }
}

/// It says too little.
fn refuse_without<T>(cursor: &Cursor<'_>, word: Word) -> Option<T> {
    let needed = if word == Word::Deadline { "`runtime:` and `period:`" } else { "`priority:`" };
    cursor.refuse(format!("`{}` needs {needed}", word.name()), word.example());
    None
}

/// How long it runs before another one has its turn.
fn slice(section: &Section<'_>) -> Option<Duration> {
    let cursor = section.get("slice")?;
    let [shortest, longest] = SLICE;
    let slice = cursor.node.text().and_then(|text| humantime::parse_duration(text).ok());
    let Some(slice) = slice.filter(|slice| (shortest..=longest).contains(slice)) else {
        return cursor.refuse_value("a slice from 100us to 100ms, such as 3ms");
    };
    world::check_slice(&cursor, slice);
    Some(slice)
}

fn priority(cursor: &Cursor<'_>, section: &Section<'_>, word: Word) -> Option<u32> {
    let Some(priority) = section.get("priority") else { return refuse_without(cursor, word) };
    let priority = priority.integer(*PRIORITY.start(), *PRIORITY.end())?;
    u32::try_from(priority.value).ok()
}

/// `runtime` in each `period`, by its end unless `deadline` is earlier.
fn deadline(cursor: &Cursor<'_>, section: &Section<'_>) -> Option<Policy> {
    let (Some(place), Some(period)) = (section.get("runtime"), section.get("period")) else {
        return refuse_without(cursor, Word::Deadline);
    };
    let time = |cursor: Cursor<'_>| cursor.duration().map(|time| time.value);
    let (runtime, period) = (time(place.clone()), time(period));
    let deadline = section.get("deadline").map_or(period, time);
    let (runtime, deadline, period) = (runtime?, deadline?, period?);
    if runtime < RUNTIME_LEAST {
        place.refuse_value::<()>("2us or more");
    }
    if runtime > deadline || deadline > period {
        place.refuse(
            "this runtime does not fit",
            "`runtime` no longer than `deadline`, and that no longer than `period`",
        );
    }
    Some(Policy::Deadline { runtime, deadline, period })
}

/// `[0, 2-3]`, `0`, `0-3`.
fn cpus(cursor: &Cursor<'_>) -> Vec<usize> {
    let mut found = Vec::new();
    for item in cursor.one_or_more().unwrap_or_default() {
        let known = found.len();
        let text = item.node.text().unwrap_or_default();
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < 1024 => found.extend(first..=last),
            _ => item.refuse(
                format!("`{text}` is not a processor"),
                "numbers and ranges, such as [0, 2-3]",
            ),
        }
        world::check_processors(&item, &found[known..]);
    }
    found
}
