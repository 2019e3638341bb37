//! `by:` of a resource, and what the file asks of it: what a mechanism cannot promise is refused,
//! also where the file asks for it by saying nothing.

use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind};
use super::settings::{Carrier, Mechanism};

pub(super) static ON_DEATH_OF_HOLDER: Key = key(
    "on_owner_death",
    Kind::Words(&words(&ON_HOLDER_DEATH)),
    "What becomes of the permits of a dead holder. `lose` is all that `by: posix` can promise, and \
     has to be written for it.",
)
.or("release");
pub(super) static SEALED: Key = key(
    "sealed",
    Kind::Boolean,
    "Whether nothing can shrink it. `false` is all that `by: posix` can promise, and has to be \
     written for it.",
)
.or("true");
pub(super) static BY_OF_QUEUE: Key = key(
    "by",
    Kind::Words(&["ring", "pipe", "socket", "mqueue"]),
    "What carries it. What the kernel carries loses what a dead taker had.",
)
.or("ring");
pub(super) static BY_OF_SEMAPHORE: Key = key(
    "by",
    Kind::Words(&words(&OF_SEMAPHORE)),
    "What has its permits. `posix`: a semaphore with a name (sem_overview(7)).",
)
.or("tracked");
pub(super) static BY_OF_REGION: Key = key(
    "by",
    Kind::Words(&words(&OF_REGION)),
    "What has its bytes. `posix`: shared memory with a name (shm_overview(7)).",
)
.or("memfd");
pub(super) static DELIVERY: Key = key(
    "delivery",
    Kind::Words(&words(&DELIVERIES)),
    "Whether what a dead taker had comes again. `at-most-once` is all that `pipe`, `socket` and \
     `mqueue` can promise, and has to be written for them.",
)
.or("at-least-once");

/// What has the permits of a semaphore. `None`: that is wrong.
pub(super) fn of_semaphore(section: &Section<'_>, cursor: &Cursor<'_>) -> Option<Mechanism> {
    let written = section.get(&ON_DEATH_OF_HOLDER);
    let loses = match &written {
        Some(written) => written.choice(&ON_HOLDER_DEATH)?.value,
        None => false,
    };
    let by = mechanism(section, &BY_OF_SEMAPHORE, &OF_SEMAPHORE)?;
    let place = written.as_ref().unwrap_or(cursor);
    match (by, loses) {
        (Mechanism::Own, false) | (Mechanism::Posix, true) => {}
        (Mechanism::Own, true) => place.refuse_with(
            "`by: tracked` gives back the permits of a dead holder",
            "leave `on_owner_death:` out, or write `by: posix`",
        ),
        (Mechanism::Posix, false) => place.refuse_with(
            "`by: posix` cannot give back the permit of a dead holder: it is lost with it",
            "write `on_owner_death: lose`, or leave `by:` out",
        ),
    }
    Some(by)
}

/// What has the bytes of a region. `None`: that is wrong.
pub(super) fn of_region(section: &Section<'_>, cursor: &Cursor<'_>) -> Option<Mechanism> {
    let written = section.get(&SEALED);
    let is_sealed = match &written {
        Some(written) => written.boolean()?.value,
        None => true,
    };
    let by = mechanism(section, &BY_OF_REGION, &OF_REGION)?;
    let place = written.as_ref().unwrap_or(cursor);
    match (by, is_sealed) {
        (Mechanism::Own, true) | (Mechanism::Posix, false) => {}
        (Mechanism::Own, false) => place.refuse_with(
            "`by: memfd` is sealed: nothing can shrink it",
            "leave `sealed:` out, or write `by: posix`",
        ),
        (Mechanism::Posix, true) => place.refuse_with(
            "`by: posix` cannot be sealed: a user that shrinks it ends all of them (SIGBUS)",
            "write `sealed: false`, or leave `by:` out",
        ),
    }
    Some(by)
}

/// Whether the permits of a dead holder are lost.
const ON_HOLDER_DEATH: [(&str, bool); 2] = [("release", false), ("lose", true)];
/// `by:` of a semaphore.
const OF_SEMAPHORE: [(&str, Mechanism); 2] =
    [("tracked", Mechanism::Own), ("posix", Mechanism::Posix)];
/// `by:` of a region.
const OF_REGION: [(&str, Mechanism); 2] = [("memfd", Mechanism::Own), ("posix", Mechanism::Posix)];
/// `delivery:` of a queue: whether what a dead taker had comes again.
const DELIVERIES: [(&str, bool); 2] = [("at-least-once", true), ("at-most-once", false)];

fn mechanism(
    section: &Section<'_>,
    key: &'static Key,
    words: &[(&str, Mechanism)],
) -> Option<Mechanism> {
    let Some(cursor) = section.get(key) else { return Some(Mechanism::Own) };
    Some(cursor.choice(words)?.value)
}

/// What carries a queue. `None`: that is wrong, or more is asked of it than it can promise.
pub(super) fn of_queue(section: &Section<'_>, cursor: &Cursor<'_>) -> Option<Carrier> {
    let by = carrier(section);
    delivery(section, cursor, by);
    by
}

fn carrier(section: &Section<'_>) -> Option<Carrier> {
    let Some(cursor) = section.get(&BY_OF_QUEUE) else { return Some(Carrier::Ring) };
    let all = [Carrier::Ring, Carrier::Pipe, Carrier::Socket, Carrier::Mqueue];
    Some(cursor.choice(&all.map(|one| (one.word(), one)))?.value)
}

/// What the carrier cannot promise is not asked for, also not by saying nothing.
fn delivery(section: &Section<'_>, cursor: &Cursor<'_>, by: Option<Carrier>) {
    let written = section.get(&DELIVERY);
    let again = written.as_ref().and_then(|written| written.choice(&DELIVERIES));
    let is_wrong = written.is_some() && again.is_none();
    let again = again.is_none_or(|again| again.value);
    let Some(by) = by.filter(|_| !is_wrong) else { return };
    let place = written.as_ref().unwrap_or(cursor);
    if by == Carrier::Ring && !again {
        place.refuse_with(
            "`by: ring` delivers at least once: again what a dead taker had",
            "leave `delivery:` out, or write `by: pipe`, `by: socket` or `by: mqueue`",
        );
    } else if by != Carrier::Ring && again {
        let message = format!(
            "`by: {}` cannot deliver again what a dead taker had: it is lost with it",
            by.word()
        );
        place.refuse_with(message, "write `delivery: at-most-once`, or leave `by:` out");
    }
}
