//! When a worker's threads get a processor, and which: `scheduler:`, with `nice:` and `cpus:`
//! beside it. Processes and threads have them alike: the kernel keeps them by thread.

use std::ops::RangeInclusive;
use std::time::Duration;

use workers::runtime::scheduling::{Policy, SLICE, Scheduling};

use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind, Table};
use super::world;

/// The keys of a worker that are read here.
pub(super) static KEYS: [&Key; 3] = [&NICE, &CPUS, &SCHEDULER];
static NICE: Key = key(
    "nice",
    Kind::Number { low: -20, high: 19 },
    "Its share of the processors among threads of `normal` and `batch`; each step is a quarter more \
     or less. The supervisor's, where it is not written.",
)
.such_as("10");
static CPUS: Key = key(
    "cpus",
    Kind::Processors,
    "The processors that it may run on. All of the supervisor's, where it is not written.",
)
.or("[]")
.such_as("[0]");
static SCHEDULER: Key = key(
    "scheduler",
    Kind::Either(&[Kind::Words(&["normal", "batch", "idle"]), Kind::Section(&TABLE)]),
    "When its threads get a processor: the scheduling policy, and what belongs to it. The \
     supervisor's, where it is not written. A word alone is the `policy:`.",
)
.such_as("{ policy: batch, slice: 3ms }");
static TABLE: Table =
    Table::of(&[&[&POLICY, &SLICE_KEY, &PRIORITY_KEY, &RUNTIME, &DEADLINE, &PERIOD]]);
static POLICY: Key =
    key("policy", Kind::Words(&words(&WORDS)), "`SCHED_OTHER` and the others of sched(7).")
        .or("normal");
static SLICE_KEY: Key = key(
    "slice",
    Kind::Duration,
    "100us to 100ms, of `normal` and `batch`: how long it runs before another one has its turn \
     (Linux 6.12). The kernel's, where it is not written.",
)
.such_as("3ms");
static PRIORITY_KEY: Key = key(
    "priority",
    Kind::Number { low: *PRIORITY.start(), high: *PRIORITY.end() },
    "Of `fifo` and `round-robin`: higher ones come first.",
)
.such_as("10");
static RUNTIME: Key =
    key("runtime", Kind::Duration, "Of `deadline`: so much time in each `period:`.").such_as("2ms");
static DEADLINE: Key = key(
    "deadline",
    Kind::Duration,
    "Of `deadline`: within so long of the beginning of each `period:`, whose end it is where it is \
     not written.",
)
.such_as("20ms");
static PERIOD: Key =
    key("period", Kind::Duration, "Of `deadline`: how often it has its `runtime:`.")
        .such_as("20ms");

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
    let policy = worker.get(&SCHEDULER).and_then(|cursor| policy(&cursor));
    let is_fair = matches!(policy, None | Some(Policy::Normal { .. } | Policy::Batch { .. }));
    let is_deadline = matches!(policy, Some(Policy::Deadline { .. }));
    let nice = worker.get_if(
        is_fair,
        &NICE,
        "a nice value counts with `scheduler: normal` and `batch` alone",
        "no `nice:`, or another policy",
    );
    let cpus = worker.get_if(
        !is_deadline,
        &CPUS,
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
    let section = cursor.section(&TABLE)?;
    let word = match section.get(&POLICY) {
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

    /// Whether this key says more of it.
    fn has(self, key: &Key) -> bool {
        let keys: &[&Key] = match self {
            Self::Normal | Self::Batch => &[&SLICE_KEY],
            Self::Idle => &[],
            Self::Fifo | Self::RoundRobin => &[&PRIORITY_KEY],
            Self::Deadline => &[&RUNTIME, &DEADLINE, &PERIOD],
        };
        keys.iter().any(|own| own.name == key.name)
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
    let others = TABLE.keys().skip(1).filter(|key| !word.has(key));
    for key in others {
        let message = format!("`{}` has no `{}:`", word.name(), key.name);
        let expected = format!("no `{}:`, or another policy", key.name);
        let _ = section.get_if(false, key, &message, &expected);
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
    let cursor = section.get(&SLICE_KEY)?;
    let [shortest, longest] = SLICE;
    let slice = cursor.node.text().and_then(|text| humantime::parse_duration(text).ok());
    let Some(slice) = slice.filter(|slice| (shortest..=longest).contains(slice)) else {
        return cursor.refuse_value("a slice from 100us to 100ms, such as 3ms");
    };
    world::check_slice(&cursor, slice);
    Some(slice)
}

fn priority(cursor: &Cursor<'_>, section: &Section<'_>, word: Word) -> Option<u32> {
    let Some(priority) = section.get(&PRIORITY_KEY) else { return refuse_without(cursor, word) };
    let priority = priority.integer(*PRIORITY.start(), *PRIORITY.end())?;
    u32::try_from(priority.value).ok()
}

/// `runtime` in each `period`, by its end unless `deadline` is earlier.
fn deadline(cursor: &Cursor<'_>, section: &Section<'_>) -> Option<Policy> {
    let (Some(place), Some(period)) = (section.get(&RUNTIME), section.get(&PERIOD)) else {
        return refuse_without(cursor, Word::Deadline);
    };
    let time = |cursor: Cursor<'_>| cursor.duration().map(|time| time.value);
    let (runtime, period) = (time(place.clone()), time(period));
    let deadline = section.get(&DEADLINE).map_or(period, time);
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
