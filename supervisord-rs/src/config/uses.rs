//! `uses:` of a worker, which says what it gets of `resources:`.

use std::collections::BTreeSet;
use std::sync::Arc;

use workers::fault::Fault;

use super::nearest::{nearest, one_of};
use super::problem::Problem;
use super::problems::At;
use super::reader::Section;
use super::schema::key::key;
use super::schema::{Key, Kind};
use super::settings::{COMMAND_NUMBERS, FIRST_SOCKET, Resource, ResourcesByName};

pub(super) static USES: Key = key(
    "uses",
    Kind::List(&Kind::Name),
    "What it shares with others: names of `resources:`. It gets no other.",
)
.or("[]")
.such_as("[jobs, gate]");

/// `uses: [jobs, gate]` of a worker, in the order of the file, each once.
pub(super) fn read(section: &Section<'_>, known: &ResourcesByName) -> Vec<Arc<Resource>> {
    let Some(cursor) = section.get(&USES) else { return Vec::new() };
    let mut found: Vec<Arc<Resource>> = Vec::new();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for name in cursor.strings().unwrap_or_default() {
        match known.get(&name.value) {
            Some(_) if !listed.insert(name.value.clone()) => {
                let problem = name.problem(format!("`{}` is listed twice", name.value));
                cursor.problems.push(problem.expected("each resource once"));
            }
            Some(Some(resource)) => found.push(Arc::clone(resource)),
            // It is reported where it is defined.
            Some(None) => {}
            None => cursor.problems.push(unknown(&name, known, cursor.problems.is_full())),
        }
    }
    found
}

/// What a fault strikes that is in none of these: it would strike nothing.
#[must_use]
pub(crate) fn missing_for(fault: Fault, uses: &[Arc<Resource>]) -> Option<&'static str> {
    let has = |word: &str| uses.iter().any(|one| one.word() == word);
    let needed: &[&'static str] =
        if matches!(fault, Fault::DieWithLock | Fault::DieWithinChange | Fault::KeepLock) {
            &["mutex"]
        } else if matches!(fault, Fault::DieWaiting) {
            &["mutex", "condition"]
        } else if matches!(fault, Fault::DieWithMessage | Fault::DieSending | Fault::ScribbleQueue)
        {
            &["queue"]
        } else if matches!(fault, Fault::TruncateRegion) {
            &["region"]
        } else {
            &[]
        };
    needed.iter().copied().find(|word| !has(word))
}

/// A command gets them as descriptors, beside its `sockets:`, whose numbers have an end.
pub(super) fn check_numbers(section: &Section<'_>, uses: &[Arc<Resource>], others: usize) {
    // What the kernel carries has two ends besides.
    let uses: usize = uses.iter().map(|one| 1 + one.ends().len()).sum();
    let free = (COMMAND_NUMBERS - FIRST_SOCKET).unsigned_abs() as usize;
    let most = free.saturating_sub(others);
    let Some(cursor) = section.get(&USES).filter(|_| uses > most) else { return };
    let beside = match others {
        0 => String::new(),
        count => format!(" beside {count} of its `sockets:` and `ready:`"),
    };
    cursor.refuse(
        format!("{uses} descriptors of resources, where a command can have {most}{beside}"),
        "fewer, or several commands, or a `worker:`, which has no such limit",
    );
}

fn unknown(name: &At<String>, known: &ResourcesByName, is_full: bool) -> Problem {
    let words = || known.keys().map(String::as_str);
    let problem = name.problem(format!("unknown resource `{}`", name.value));
    if is_full {
        return problem;
    }
    if known.is_empty() {
        return problem.help("define it in `resources:`, at the top level of the file");
    }
    Problem { nearest: nearest(&name.value, words()), ..problem.expected(one_of(words())) }
}
