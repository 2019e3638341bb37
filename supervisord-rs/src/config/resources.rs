//! `resources:`: what workers share, by name.

use std::ops::RangeInclusive;
use std::sync::Arc;

use workers::runtime::endowment::OBJECT;
use workers::shared::{CAPACITY_MAX, MESSAGE_MAX, PERMITS_MAX, REGION_MAX, lives};

use super::mechanism::{
    self, BY_OF_QUEUE, BY_OF_REGION, BY_OF_SEMAPHORE, DELIVERY, ON_DEATH_OF_HOLDER, SEALED,
};
use super::memory::{self, shown};
use super::nearest::nearest;
use super::problem::Problem;
use super::problems::{At, Problems};
use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind as Shape, Table};
use super::settings::{Carrier, OnOwnerDeath, Resource, ResourceKind, ResourcesByName, Scope};
use super::worker;

/// Messages of a queue, and bytes of one, where nothing is written.
const CAPACITY: usize = 1024;
const MESSAGE: usize = 4096;

/// The kinds, as they are written.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Queue,
    Semaphore,
    Region,
    Mutex,
    Condition,
    RwLock,
    Topic,
}

const KINDS: [(&str, Kind); 7] = [
    ("queue", Kind::Queue),
    ("semaphore", Kind::Semaphore),
    ("region", Kind::Region),
    ("mutex", Kind::Mutex),
    ("condition", Kind::Condition),
    ("rw-lock", Kind::RwLock),
    ("topic", Kind::Topic),
];

const SCOPES: [(&str, Scope); 2] = [("process", Scope::Process), ("machine", Scope::Machine)];
const OWNER_DEATHS: [(&str, OnOwnerDeath); 4] = [
    ("repair", OnOwnerDeath::Repair),
    ("poison", OnOwnerDeath::Poison),
    ("continue", OnOwnerDeath::Continue),
    ("restart-users", OnOwnerDeath::RestartUsers),
];

/// Each kind of a resource has a table of its own.
pub(super) static RESOURCES: Key = key(
    "resources",
    Shape::ByName(
        "resource",
        &Shape::Either(&[
            Shape::Section(&QUEUE),
            Shape::Section(&SEMAPHORE),
            Shape::Section(&REGION),
            Shape::Section(&MUTEX),
            Shape::Section(&CONDITION),
            Shape::Section(&RW_LOCK),
            Shape::Section(&TOPIC),
        ]),
    ),
    "What workers share: queues, locks and memory that survive the death of any user. A worker gets \
     what its `uses:` names.",
)
.or("{}")
.such_as("{ jobs: { kind: queue, capacity: 1024, message: 4KiB } }");
static QUEUE: Table =
    Table::of(&[&[&KIND_QUEUE, &CAPACITY_KEY, &MESSAGE_KEY, &SCOPE, &BY_OF_QUEUE, &DELIVERY]]);
static SEMAPHORE: Table =
    Table::of(&[&[&KIND_SEMAPHORE, &PERMITS, &ON_DEATH_OF_HOLDER, &SCOPE, &BY_OF_SEMAPHORE]]);
static REGION: Table =
    Table::of(&[&[&KIND_REGION, &SIZE, &GUARDED_BY, &SEALED, &SCOPE, &BY_OF_REGION]]);
static MUTEX: Table = Table::of(&[&[&KIND_MUTEX, &ON_OWNER_DEATH, &SCOPE]]);
static RW_LOCK: Table = Table::of(&[&[&KIND_RW_LOCK, &ON_OWNER_DEATH, &SCOPE]]);
static CONDITION: Table = Table::of(&[&[&KIND_CONDITION, &OF_MUTEX, &SCOPE]]);
static TOPIC: Table = Table::of(&[&[&KIND_TOPIC, &MESSAGE_KEY, &SCOPE]]);
/// What has no `kind:` yet.
static ANY: Table = Table::of(&[&[&KIND]]);

static KIND: Key =
    key("kind", Shape::Words(&words(&KINDS)), "What kind of resource it is.").needed();
static KIND_QUEUE: Key = kind_key(Shape::Words(&["queue"]));
static KIND_SEMAPHORE: Key = kind_key(Shape::Words(&["semaphore"]));
static KIND_REGION: Key = kind_key(Shape::Words(&["region"]));
static KIND_MUTEX: Key = kind_key(Shape::Words(&["mutex"]));
static KIND_RW_LOCK: Key = kind_key(Shape::Words(&["rw-lock"]));
static KIND_CONDITION: Key = kind_key(Shape::Words(&["condition"]));
static KIND_TOPIC: Key = kind_key(Shape::Words(&["topic"]));

const fn kind_key(word: Shape) -> Key {
    key("kind", word, "What kind of resource it is.").needed()
}

static CAPACITY_KEY: Key = key(
    "capacity",
    Shape::Number { low: 1, high: CAPACITY_MAX as i64 },
    "Messages at most, with those that are taken and not acknowledged. 64 with `by: pipe`, 10 with \
     `by: mqueue`, and none with `by: socket`.",
)
.or("1024");
static MESSAGE_KEY: Key =
    key("message", Shape::Size, "Bytes of the longest message or value; up to 16MiB.").or("4KiB");
static PERMITS: Key = key(
    "permits",
    Shape::Number { low: 1, high: PERMITS_MAX as i64 },
    "How many holders there can be at a time.",
)
.such_as("4")
.needed();
static SIZE: Key = key(
    "size",
    Shape::Size,
    "Bytes of the region; up to 512GiB, and not more than the machine has.",
)
.such_as("64MiB")
.needed();
static GUARDED_BY: Key = key(
    "guarded_by",
    Shape::Name,
    "The mutex or rw-lock that its users agree on. Each of them has that in its `uses:` too.",
)
.such_as("door");
static OF_MUTEX: Key = key(
    "mutex",
    Shape::Name,
    "The mutex that it goes with. Each user has that in its `uses:` too.",
)
.such_as("door")
.needed();
static ON_OWNER_DEATH: Key = key(
    "on_owner_death",
    Shape::Words(&words(&OWNER_DEATHS)),
    "What becomes of the lock of a dead owner. `repair`: the next one learns of it, and mends the \
     data. `poison`: none gets it any more. `continue`: as if nothing had happened. \
     `restart-users`: all its users are restarted.",
)
.or("repair");
static SCOPE: Key = key(
    "scope",
    Shape::Words(&words(&SCOPES)),
    "Who may be its users. `process`: all of them are in one fault domain, or the file is refused. \
     The narrowest that holds all users, where it is not written.",
)
.such_as("machine");

/// One entry, and where it is written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: At<String>,
    /// `None`: it is not known what it is to be.
    kind: Option<Kind>,
    pub(super) scope: Option<At<Scope>>,
    /// The name of the other one that it needs.
    pub(super) needs: Option<At<String>>,
    pub(super) on_owner_death: Option<At<OnOwnerDeath>>,
    /// `None`: something is wrong with it.
    pub(super) resource: Option<Arc<Resource>>,
}

/// Reads them.
pub(super) fn read(top: &Section<'_>, problems: &Problems) -> Vec<Written> {
    let entries = top.get(&RESOURCES).and_then(|cursor| cursor.entries()).unwrap_or_default();
    let all: Vec<Written> = entries
        .iter()
        .map(|(name, cursor)| {
            worker::check_name(name, problems);
            one(name, cursor)
        })
        .collect();
    let known = known(&all);
    for written in &all {
        check_needs(written, &known, problems);
        check_parts(written, &all, problems);
    }
    check_memory(&all, problems);
    warn_of_lives(top, &all, problems);
    all
}

/// Where only the numbers can be known of those who live, what the dead had may not come back.
fn warn_of_lives(top: &Section<'_>, all: &[Written], problems: &Problems) {
    if all.is_empty() || !problems.sees_world() || lives::are_known() {
        return;
    }
    if let Some(cursor) = top.get(&RESOURCES) {
        cursor.warn(
            "`/proc` is of another PID namespace: what the dead had comes back only while no other \
             has their number",
            "mount the own one (`unshare --mount-proc`, proc(5))",
        );
    }
}

/// By name.
pub(super) fn known(all: &[Written]) -> ResourcesByName {
    all.iter().map(|one| (one.name.value.clone(), one.resource.clone())).collect()
}

fn one(name: &At<String>, cursor: &Cursor<'_>) -> Written {
    let nothing = Written {
        name: name.clone(),
        kind: None,
        scope: None,
        needs: None,
        on_owner_death: None,
        resource: None,
    };
    let Some(kind) = kind(cursor) else { return nothing };
    let Some(section) = cursor.section(table(kind)) else { return nothing };
    let section = &section;
    let scope = section.get(&SCOPE).and_then(|cursor| cursor.choice(&SCOPES));
    let needs = match kind {
        Kind::Region => section.string(&GUARDED_BY),
        Kind::Condition => section.string(&OF_MUTEX),
        Kind::Queue | Kind::Semaphore | Kind::Mutex | Kind::RwLock | Kind::Topic => None,
    };
    let on_owner_death = match kind {
        Kind::Mutex | Kind::RwLock => on_owner_death(section),
        Kind::Queue | Kind::Semaphore | Kind::Region | Kind::Condition | Kind::Topic => None,
    };
    let what = what(kind, cursor, section, on_owner_death.as_ref().map(|written| written.value));
    let resource = what.map(|kind| Resource { name: name.value.clone(), kind });
    let (kind, resource) = (Some(kind), resource.map(Arc::new));
    Written { kind, scope, needs, on_owner_death, resource, ..nothing }
}

fn kind(cursor: &Cursor<'_>) -> Option<Kind> {
    let missing = || {
        let words = KINDS.map(|(word, _)| word).join(", ");
        cursor.refuse("missing `kind:`", &format!("one of: {words}"));
        None
    };
    if cursor.node.is_null() {
        return missing();
    }
    // A list or a text is reported as such.
    let Some(node) = cursor.node.get(KIND.name) else {
        return match cursor.section(&ANY) {
            Some(_) => missing(),
            None => None,
        };
    };
    let path = format!("{}.kind", cursor.path);
    Some(Cursor { node, path, problems: cursor.problems }.choice(&KINDS)?.value)
}

fn table(kind: Kind) -> &'static Table {
    match kind {
        Kind::Queue => &QUEUE,
        Kind::Semaphore => &SEMAPHORE,
        Kind::Region => &REGION,
        Kind::Mutex => &MUTEX,
        Kind::RwLock => &RW_LOCK,
        Kind::Condition => &CONDITION,
        Kind::Topic => &TOPIC,
    }
}

/// What it is made with. `None`: that is wrong, or missing.
fn what(
    kind: Kind,
    cursor: &Cursor<'_>,
    section: &Section<'_>,
    on_owner_death: Option<OnOwnerDeath>,
) -> Option<ResourceKind> {
    let on_owner_death = on_owner_death.unwrap_or_default();
    let message = || match section.get(&MESSAGE_KEY) {
        Some(message) => bytes(&message, "a message", 1..=MESSAGE_MAX),
        None => Some(MESSAGE),
    };
    Some(match kind {
        Kind::Queue => {
            let by = mechanism::of_queue(section, cursor);
            let bounds = Bounds::of(by);
            let capacity = match section.get(&CAPACITY_KEY) {
                Some(written) if bounds.capacity_max == 0 => {
                    written.refuse_with(
                        "`by: socket` has no `capacity:`",
                        "leave it out: the kernel decides how much a socket holds",
                    );
                    None
                }
                Some(written) => number_of(&written, bounds.capacity_max),
                None => Some(bounds.capacity),
            };
            let message = match section.get(&MESSAGE_KEY) {
                Some(written) => bytes(&written, "a message", 1..=bounds.message_max),
                None => Some(MESSAGE),
            };
            ResourceKind::Queue { capacity: capacity?, message: message?, by: by? }
        }
        Kind::Semaphore => {
            let by = mechanism::of_semaphore(section, cursor);
            let permits = needed(cursor, section, &PERMITS, "`permits: 4`")?;
            ResourceKind::Semaphore { permits: number_of(&permits, PERMITS_MAX)?, by: by? }
        }
        Kind::Region => {
            let by = mechanism::of_region(section, cursor);
            let size = needed(cursor, section, &SIZE, "`size: 64MiB`")?;
            let guarded_by = section.get(&GUARDED_BY).and_then(|cursor| cursor.string());
            ResourceKind::Region {
                size: bytes(&size, "a region", 1..=REGION_MAX)?,
                guarded_by: guarded_by.map(|name| name.value),
                by: by?,
            }
        }
        Kind::Mutex => ResourceKind::Mutex { on_owner_death },
        Kind::RwLock => ResourceKind::RwLock { on_owner_death },
        Kind::Condition => {
            let mutex =
                needed(cursor, section, &OF_MUTEX, "`mutex: NAME` of the one it goes with")?;
            ResourceKind::Condition { mutex: mutex.string()?.value }
        }
        Kind::Topic => ResourceKind::Topic { message: message()? },
    })
}

/// What a queue can be made with.
struct Bounds {
    /// Where none is written.
    capacity: usize,
    /// 0: it has none.
    capacity_max: usize,
    message_max: usize,
}

impl Bounds {
    fn of(by: Option<Carrier>) -> Self {
        let (capacity, capacity_max, message_max) = match by.unwrap_or_default() {
            Carrier::Ring => (CAPACITY, CAPACITY_MAX, MESSAGE_MAX),
            // A packet of a pipe is a page at most (PIPE_BUF), and a pipe of an ordinary user 1 MiB
            // (pipe(7)).
            Carrier::Pipe => (64, 256, 4096),
            Carrier::Socket => (1, 0, 64 << 10),
            // What the kernel allows without rights (mq_overview(7)); the launch says where a
            // machine allows less.
            Carrier::Mqueue => (10, 65_536, MESSAGE_MAX),
        };
        Self { capacity, capacity_max, message_max }
    }
}

/// A key without a default.
fn needed<'a>(
    cursor: &Cursor<'a>,
    section: &Section<'a>,
    key: &'static Key,
    expected: &str,
) -> Option<Cursor<'a>> {
    let found = section.get(key);
    if found.is_none() && !section.means(key) {
        cursor.refuse(format!("missing `{}:`", key.name), expected);
    }
    found
}

fn number_of(cursor: &Cursor<'_>, most: usize) -> Option<usize> {
    let number = cursor.integer(1, i64::try_from(most).unwrap_or(i64::MAX))?;
    usize::try_from(number.value).ok()
}

fn bytes(cursor: &Cursor<'_>, what: &str, range: RangeInclusive<usize>) -> Option<usize> {
    let size = cursor.size()?.value;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if range.contains(&size) {
        return Some(size);
    }
    let expected = format!("from 1 to {}", shown(*range.end() as u64));
    cursor.refuse(format!("{what} of {size} bytes"), &expected);
    None
}

fn on_owner_death(section: &Section<'_>) -> Option<At<OnOwnerDeath>> {
    section.get(&ON_OWNER_DEATH)?.choice(&OWNER_DEATHS)
}

/// What they may all take must be there: the kernel ends a process that finds that it is not. It
/// is checked again when each is made.
fn check_memory(all: &[Written], problems: &Problems) {
    let Some(bound) = memory::limit().filter(|_| problems.sees_world()) else { return };
    let made = all.iter().filter_map(|one| Some((one, one.resource.as_ref()?.bytes())));
    let sum = made.clone().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(bytes));
    let Some((largest, bytes)) = made.max_by_key(|(_, bytes)| *bytes) else { return };
    if sum <= bound.bytes {
        return;
    }
    let rest =
        if bytes == sum { String::new() } else { format!(", and all together {}", size(sum)) };
    let message = format!("it may take {} of memory{rest}, and {bound}", size(bytes));
    let help =
        "make it, or others, smaller: what does not fit is not made, and its users do not start";
    problems.warn(largest.name.problem(message).help(help));
}

/// Whole MiB, where it is more than one.
fn size(bytes: u64) -> String {
    shown(if bytes >> 20 == 0 { bytes } else { bytes >> 20 << 20 })
}

/// Commands find the parts of a resource, which have descriptors of their own, by its name and a
/// word: no other resource has such a name.
fn check_parts(written: &Written, all: &[Written], problems: &Problems) {
    let Some(resource) = &written.resource else { return };
    let is_carried = matches!(resource.kind, ResourceKind::Queue { by, .. } if by != Carrier::Ring);
    let words: &[&str] = if is_carried {
        &["take", "send"]
    } else if resource.named().is_some() {
        &[OBJECT]
    } else {
        &[]
    };
    for other in all {
        let part = other.name.value.strip_prefix(&written.name.value);
        let part = part.and_then(|rest| rest.strip_prefix('.'));
        if part.is_some_and(|part| words.contains(&part)) {
            let message = format!(
                "`{}` is what commands call a part of `{}`",
                other.name.value, written.name.value
            );
            problems.push(other.name.problem(message).help("give it another name"));
        }
    }
}

/// The other one that it needs is there, and of a kind that can be it.
fn check_needs(written: &Written, known: &ResourcesByName, problems: &Problems) {
    // Whatever else is wrong with it.
    let (Some(needs), Some(kind)) = (&written.needs, written.kind) else { return };
    let is_region = matches!(kind, Kind::Region);
    let fits = |kind: &ResourceKind| match kind {
        ResourceKind::Mutex { .. } => true,
        ResourceKind::RwLock { .. } => is_region,
        ResourceKind::Queue { .. }
        | ResourceKind::Semaphore { .. }
        | ResourceKind::Region { .. }
        | ResourceKind::Condition { .. }
        | ResourceKind::Topic { .. } => false,
    };
    let wanted = if is_region { "a mutex or rw-lock" } else { "a mutex" };
    match known.get(&needs.value) {
        Some(Some(other)) if !fits(&other.kind) => {
            let message =
                format!("`{}` is a {}, where {wanted} is needed", needs.value, other.word());
            problems.push(needs.problem(message).expected(format!("the name of {wanted}")));
        }
        Some(_) => {}
        None => {
            let fitting = || {
                let fits =
                    |one: &Option<Arc<Resource>>| one.as_ref().is_none_or(|one| fits(&one.kind));
                known.iter().filter(move |(_, one)| fits(one)).map(|(name, _)| name.as_str())
            };
            let nearest = nearest(&needs.value, fitting());
            let help = nearest.is_none().then(|| {
                format!("define it: `{}: {{ kind: mutex }}` in `resources:`", needs.value)
            });
            let problem = needs.problem(format!("no resource `{}`", needs.value));
            problems.push(Problem {
                nearest,
                help,
                ..problem.expected(format!("the name of {wanted}"))
            });
        }
    }
}
