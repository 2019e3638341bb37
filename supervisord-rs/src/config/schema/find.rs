//! A key by its path: `workers.api.restart.backoff`, or without what is above: `restart.backoff`.

use super::{Key, Kind, Table};
use crate::config::nearest::nearest;
use crate::config::words::join;

/// A key, and where it stands.
#[derive(Debug)]
pub struct Found {
    /// From the top of the file, with `NAME` for names of the user's choice.
    pub path: String,
    /// The key.
    pub key: &'static Key,
}

/// No key has this path.
#[derive(Debug)]
pub struct Unknown {
    /// The part that is none.
    pub word: String,
    /// The path before it; empty at the top.
    pub above: String,
    /// The keys that can stand there.
    pub known: Vec<&'static str>,
    /// The one that was most likely meant.
    pub nearest: Option<String>,
}

/// What this path means below `top`: the key that it leads to from there, or else each place where
/// such a path begins. A name of the user's choice may be left out.
///
/// # Errors
/// There is none.
pub fn find(top: &'static Table, path: &str) -> Result<Vec<Found>, Unknown> {
    let words: Vec<&str> = path.split('.').map(plain).filter(|word| !word.is_empty()).collect();
    let from_the_top = walk(top, "", &words);
    if let Ok(found) = from_the_top {
        return Ok(vec![found]);
    }
    let mut found: Vec<Found> = Vec::new();
    each(top, "", &mut |above, table| {
        // What `defaults:` has is there for the sake of workers.
        if above != "defaults"
            && let Ok(one) = walk(table, above, &words)
        {
            found.push(one);
        }
    });
    match from_the_top {
        Err(unknown) if found.is_empty() => Err(unknown),
        _ => Ok(found),
    }
}

/// `sockets[0]` is an element of `sockets`, and `restart:` the key as it is written.
fn plain(word: &str) -> &str {
    word.split('[').next().unwrap_or(word).trim().trim_end_matches(':')
}

fn walk(table: &'static Table, above: &str, words: &[&str]) -> Result<Found, Unknown> {
    let [word, rest @ ..] = words else {
        return Err(unknown(table, above, ""));
    };
    let Some(key) = table.key(word) else { return Err(unknown(table, above, word)) };
    let path = join(above, key.name);
    if rest.is_empty() {
        return Ok(Found { path, key });
    }
    let mut first = None;
    for (place, table) in below(&key.kind, &path) {
        // A name that is a key too is a name: `workers.restart.restart`.
        let (named, unnamed) = match place.strip_suffix(".NAME") {
            Some(_) => (Some(&rest[1..]), Some(rest)),
            None => (None, Some(rest)),
        };
        let tries = [unnamed, named].into_iter().flatten();
        for words in tries {
            if words.is_empty() {
                // The name alone: what stands below it has no key of its own.
                return Ok(Found { path, key });
            }
            match walk(table, &place, words) {
                Ok(found) => return Ok(found),
                // What goes further knows better what is wrong.
                Err(unknown) => {
                    let is_better = |other: &Unknown| unknown.above.len() >= other.above.len();
                    if first.as_ref().is_none_or(is_better) {
                        first = Some(unknown);
                    }
                }
            }
        }
    }
    Err(first.unwrap_or_else(|| Unknown {
        word: rest[0].to_owned(),
        above: path,
        known: Vec::new(),
        nearest: None,
    }))
}

/// The tables below a key, each with its path.
pub(super) fn below(kind: &Kind, path: &str) -> Vec<(String, &'static Table)> {
    match kind {
        Kind::Section(table) => vec![(path.to_owned(), table)],
        Kind::List(of) | Kind::OneOrMore(of) => below(of, path),
        Kind::ByName(_, of) => below(of, &format!("{path}.NAME")),
        Kind::Either(kinds) => kinds.iter().flat_map(|kind| below(kind, path)).collect(),
        _ => Vec::new(),
    }
}

/// Each table below this, and this. One that is below itself, as the steps of a `load:` are, once.
pub(super) fn each(
    table: &'static Table,
    above: &str,
    visit: &mut impl FnMut(&str, &'static Table),
) {
    let mut way = Vec::new();
    within(table, above, &mut way, visit);
}

fn within(
    table: &'static Table,
    above: &str,
    way: &mut Vec<&'static Table>,
    visit: &mut impl FnMut(&str, &'static Table),
) {
    if way.iter().any(|known| std::ptr::eq(*known, table)) {
        return;
    }
    visit(above, table);
    way.push(table);
    for key in table.keys() {
        for (place, below) in below(&key.kind, &join(above, key.name)) {
            within(below, &place, way, visit);
        }
    }
    way.pop();
}

fn unknown(table: &'static Table, above: &str, word: &str) -> Unknown {
    Unknown {
        word: word.to_owned(),
        above: above.to_owned(),
        known: table.names(),
        nearest: nearest(word, table.names()),
    }
}
