//! What is wrong with `args:`, at each argument, in the words of the configuration.

use std::collections::BTreeSet;
use std::ops::Range;

use workers::runtime::arguments::{Place, Refused, Step};
use workers::runtime::shape::{Inside, Shape};

use super::code::Code;
use super::made::{LIMIT, Made};
use super::nearest::nearest;
use super::node::{Entry, Node, Value};
use super::problem::Problem;
use super::reader::{Cursor, join};
use super::variant;

/// Wrong arguments of one worker that are looked for.
const PROBLEMS_MAX: usize = 100;

/// The arguments of a registered worker as they are written.
pub(super) struct Arguments<'a> {
    /// Their node; that of `worker:` where none are written.
    pub(super) at: &'a Cursor<'a>,
    pub(super) are_written: bool,
    pub(super) kind: &'a str,
    pub(super) code: &'a Code<'a>,
}

impl Arguments<'_> {
    /// Reports every argument that is wrong by itself: each is taken away, and the rest tried once
    /// more. Then what is wrong with all together, or what is ignored.
    pub(super) fn check(&self) {
        let nothing = Node { value: Value::Map(Vec::new()), ..self.at.node.clone() };
        let mut rest = if self.are_written { self.at.node.clone() } else { nothing };
        let mut removed = BTreeSet::new();
        for _ in 0..PROBLEMS_MAX {
            let refused = match self.make(&rest) {
                Made::Unknown => return,
                Made::Well(ignored) => {
                    return ignored.iter().for_each(|place| self.warn_of_ignored(place));
                }
                Made::Refused(refused) => refused,
                Made::Late => {
                    return self.report_maker(&format!("did not return within {LIMIT:?}"));
                }
                Made::Panicked(said) => return self.report_maker(&format!("panicked at {said}")),
                Made::Died(how) => return self.report_maker(&how),
                Made::NotAsked => return self.report_not_asked(),
            };
            let place = match refused {
                Refused::TakesNone => return self.report_needless(),
                Refused::Maker(..) if !removed.is_empty() => return,
                Refused::Maker(error, _) => return self.report_whole(&rest, &error),
                Refused::Value(place, error) => {
                    let place = self.of_mapping(place);
                    // Of flattened types and of those without tags serde does not tell the place.
                    let place = if place.0.is_empty() && !is_missing(&error) {
                        self.culprit(&rest, &error)
                    } else {
                        place
                    };
                    self.report(&rest, &place, &error, &removed);
                    place
                }
            };
            match remove(&mut rest, &place) {
                Some(path) => removed.insert(path),
                None => return,
            };
        }
    }

    fn make(&self, rest: &Node) -> Made {
        let cursor = Cursor { node: rest, path: String::new(), problems: self.at.problems };
        self.code.make(self.kind, cursor.json())
    }

    /// What serde says of a list is about its items, as if they were arguments in order.
    fn of_mapping(&self, place: Place) -> Place {
        if matches!(place.0.first(), Some(Step::Item(_))) && self.shape(&[]).is_some_and(has_keys) {
            return Place::default();
        }
        place
    }

    /// What the type wants at a place.
    fn shape(&self, place: &[Step]) -> Option<Shape> {
        let mut shape = self.code.shape(self.kind)?;
        for step in place {
            shape = match (shape.inside, step) {
                (Inside::Keys(keys), Step::Key(key)) => {
                    keys.into_iter().find(|(known, _)| known == key)?.1
                }
                (Inside::Items(of), Step::Item(_)) | (Inside::Entries(of), Step::Key(_)) => *of,
                _ => return None,
            };
        }
        Some(shape)
    }

    /// What a type says of one value.
    fn report(&self, rest: &Node, place: &Place, error: &str, removed: &BTreeSet<String>) {
        if let Some(field) = missing(error) {
            let path = Place([&place.0[..], &[Step::Key(field.into())]].concat());
            // Those that are written are not missing.
            if removed.contains(&path.to_string()) {
                return;
            }
        }
        if variant::is_echo(error, place, removed) {
            return;
        }
        let (path, span) = self.spot(rest, place, error.starts_with("unknown field "));
        let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        let is_variant = error.starts_with("unknown variant ");
        if !error.starts_with("unknown field ") && !is_variant {
            if let Some(field) = missing(error).filter(|_| !self.are_written) {
                let help =
                    format!("write `args: {{ {field}: ... }}` beside `worker: {}`", self.kind);
                let problem = Problem::new(path, span, in_words(error));
                return self.at.problems.push(problem.help(help));
            }
            let (value, shape) = (found(rest, place).node, self.shape(&place.0));
            let of_variant = variant::problem((&path, &span), value, shape.as_ref(), error);
            if let Some(problem) = of_variant {
                return self.at.problems.push(problem);
            }
            let is_list = matches!(value.value, Value::List(_));
            let keys = match shape.map(|shape| shape.inside) {
                Some(Inside::Keys(keys)) if is_list => keys,
                _ => return self.at.problems.push(Problem::new(path, span, in_words(error))),
            };
            let keys: Vec<&str> = keys.into_iter().map(|(key, _)| key).collect();
            let message = "expected a mapping, such as { key: value }, not a list";
            let problem = Problem::new(path, span, message.to_owned());
            let problem = problem.expected(format!("the keys {}", keys.join(", ")));
            return self.at.problems.push(problem);
        }
        let word = error.split('`').nth(1).unwrap_or_default();
        let message = match is_variant {
            true => format!("invalid value `{word}`"),
            false => format!("`{}` has no such argument", self.kind),
        };
        let nearest = nearest(word, known.iter().copied());
        let problem = Problem { nearest, ..Problem::new(path, span, message) };
        self.at.problems.push(match known.as_slice() {
            [] => problem.expected("no arguments: this worker takes none"),
            known => problem.expected(format!("one of: {}", known.join(", "))),
        });
    }

    /// What the worker says of all of them: at the key that it names (`limits.size: too large`), or
    /// at the one without which it says something else.
    fn report_whole(&self, rest: &Node, error: &str) {
        let named = error.split_once(": ").and_then(|(path, said)| {
            let place = place_of(path)?;
            (found(rest, &place).steps == place.0.len()).then_some((place, said))
        });
        let (place, said) = named.unwrap_or_else(|| (self.culprit(rest, error), error));
        let (path, span) = self.spot(rest, &place, false);
        self.at.problems.push(Problem::new(path, span, in_words(said)));
    }

    /// The one argument without which the error is another one, or none; all of them if there are
    /// more.
    fn culprit(&self, rest: &Node, error: &str) -> Place {
        let Value::Map(entries) = &rest.value else { return Place::default() };
        let is_culprit = |entry: &&Entry| {
            let mut others = rest.clone();
            others.remove(&entry.key);
            match self.make(&others) {
                Made::Well(_) => true,
                Made::Refused(Refused::Maker(other, _)) => other != error,
                // Without a necessary one there is no answer.
                Made::Refused(Refused::Value(_, other)) => {
                    other != error && (!is_missing(&other) || entries.len() == 1)
                }
                Made::Refused(Refused::TakesNone)
                | Made::Panicked(_)
                | Made::Died(_)
                | Made::Late
                | Made::NotAsked
                | Made::Unknown => false,
            }
        };
        let culprits: Vec<&Entry> = entries.iter().filter(is_culprit).collect();
        match culprits.as_slice() {
            [one] => Place(vec![Step::Key(one.key.clone())]),
            _ => Place::default(),
        }
    }

    fn warn_of_ignored(&self, place: &Place) {
        let Some((Step::Key(key), parent)) = place.0.split_last() else { return };
        let known: Vec<&str> = match self.shape(parent).map(|shape| shape.inside) {
            Some(Inside::Keys(keys)) => keys.into_iter().map(|(key, _)| key).collect(),
            _ => Vec::new(),
        };
        let (path, span) = self.spot(self.at.node, place, true);
        let problem = Problem::new(path, span, format!("`{}` ignores this argument", self.kind));
        let nearest = nearest(key, known.iter().copied());
        self.at.problems.warn(match known.as_slice() {
            [] => problem.help("remove it"),
            known => {
                Problem { nearest, ..problem }.expected(format!("one of: {}", known.join(", ")))
            }
        });
    }

    fn report_needless(&self) {
        let message = format!("`{}` takes no arguments", self.kind);
        self.at.refuse_with(message, "remove `args:`");
    }

    fn report_maker(&self, what: &str) {
        let message = format!("worker `{}`: making it {what}", self.kind);
        let help = "correct the program: effects belong in `run`, not where it is made";
        self.at.refuse_with(message, help);
    }

    fn report_not_asked(&self) {
        let message = format!(
            "worker `{}`: not made to see whether it can be: others took too long",
            self.kind
        );
        self.at.refuse_with(message, "correct those that did not return or ended, and check again");
    }

    /// The path of a value, and where it is written.
    fn spot(&self, rest: &Node, place: &Place, at_key: bool) -> (String, Range<usize>) {
        let found = found(rest, place);
        let shown = Place(place.0[..found.steps].to_vec()).to_string();
        let path = match shown.as_str() {
            "" => self.at.path.clone(),
            item if item.starts_with('[') => format!("{}{item}", self.at.path),
            key => join(&self.at.path, key),
        };
        let key = found.key.filter(|_| at_key);
        (path, key.unwrap_or(&found.node.span).clone())
    }
}

fn has_keys(shape: Shape) -> bool {
    matches!(shape.inside, Inside::Keys(_))
}

/// How far a place is there.
struct Found<'a> {
    node: &'a Node,
    /// Where its key is.
    key: Option<&'a Range<usize>>,
    steps: usize,
}

fn found<'a>(node: &'a Node, place: &Place) -> Found<'a> {
    let mut found = Found { node, key: None, steps: 0 };
    for step in &place.0 {
        let next = match (&found.node.value, step) {
            (Value::Map(entries), Step::Key(key)) => entries
                .iter()
                .find(|entry| entry.key == *key)
                .map(|entry| (&entry.value, Some(&entry.key_span))),
            (Value::List(nodes), Step::Item(index)) => nodes.get(*index).map(|node| (node, None)),
            _ => None,
        };
        let Some((node, key)) = next else { break };
        found = Found { node, key, steps: found.steps + 1 };
    }
    found
}

/// Takes the argument at a place away, of a list the whole; the place of what is gone. `None`: only
/// all of them could be.
fn remove(rest: &mut Node, place: &Place) -> Option<String> {
    let keys = place.0.iter().map_while(|step| match step {
        Step::Key(key) => Some(key),
        Step::Item(_) => None,
    });
    let keys: Vec<&String> = keys.take(found(rest, place).steps).collect();
    let (last, parents) = keys.split_last()?;
    let mut node = rest;
    for key in parents {
        let Value::Map(entries) = &mut node.value else { return None };
        node = &mut entries.iter_mut().find(|entry| entry.key == **key)?.value;
    }
    node.remove(last)?;
    Some(keys.iter().map(|key| key.as_str()).collect::<Vec<_>>().join("."))
}

/// `limits.size`, if it looks like one.
fn place_of(path: &str) -> Option<Place> {
    let is_key = |key: &str| {
        !key.is_empty()
            && key.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
    };
    let keys: Vec<&str> = path.split('.').collect();
    keys.iter()
        .all(|key| is_key(key))
        .then(|| Place(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect()))
}

fn is_missing(error: &str) -> bool {
    missing(error).is_some()
}

/// The argument that is not there.
fn missing(error: &str) -> Option<&str> {
    Some(error.strip_prefix("missing field ")?.trim_matches('`'))
}

/// An error of serde in the words of the configuration; other errors as they are.
fn in_words(error: &str) -> String {
    let error = without_place(error);
    if let Some(field) = error.strip_prefix("missing field ") {
        return format!("missing argument {field}");
    }
    let said = error.strip_prefix("invalid type: ").or(error.strip_prefix("invalid value: "));
    let Some((found, expected)) = said.and_then(|said| said.rsplit_once(", expected ")) else {
        return error.to_owned();
    };
    let wanted = match range(expected).filter(|_| error.starts_with("invalid value: integer")) {
        Some(range) => format!("a whole number {range}"),
        None => wanted(expected),
    };
    format!("expected {wanted}, not {}", given(found))
}

/// Without the place in a text that the value was read from: it is none of the file.
fn without_place(error: &str) -> &str {
    let is_place = |place: &str| {
        let numbers = place.split_once(" column ");
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        numbers.is_some_and(|(line, column)| is_number(line) && is_number(column))
    };
    error.rsplit_once(" at line ").filter(|(_, place)| is_place(place)).map_or(error, |(it, _)| it)
}

/// The numbers that a type takes.
fn range(integer: &str) -> Option<&'static str> {
    Some(match integer {
        "u8" => "from 0 to 255",
        "u16" => "from 0 to 65535",
        "u32" => "from 0 to 4294967295",
        "u64" | "usize" => "from 0 to 18446744073709551615",
        "i8" => "from -128 to 127",
        "i16" => "from -32768 to 32767",
        "i32" => "from -2147483648 to 2147483647",
        "i64" | "isize" => "from -9223372036854775808 to 9223372036854775807",
        _ => return None,
    })
}

fn given(found: &str) -> String {
    let (kind, value) = found
        .split_once(['`', '"'])
        .map_or((found, ""), |(kind, rest)| (kind.trim_end(), rest.trim_end_matches(['`', '"'])));
    match kind {
        "sequence" => "a list".into(),
        "map" => "a mapping".into(),
        "null" | "unit" | "unit value" => "nothing".into(),
        "string" => format!("the text `{value}`"),
        "integer" | "floating point" => format!("the number {value}"),
        "boolean" => format!("`{value}`"),
        _ => found.into(),
    }
}

/// What a type wants, in words.
pub(super) fn wanted(expected: &str) -> String {
    let numbers = ["usize", "u8", "u16", "u32", "u64", "u128"];
    match expected {
        word if numbers.contains(&word) => "a whole number from 0".into(),
        "isize" | "i8" | "i16" | "i32" | "i64" | "i128" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a string" | "a borrowed string" | "path string" => "a text".into(),
        "a character" => "a single character".into(),
        "unit" => "nothing".into(),
        "string or map" => "a word, or a mapping with one key".into(),
        "a boolean" => "true or false".into(),
        "socket address" => "an address such as 127.0.0.1:80".into(),
        "IP address" => "an address such as 127.0.0.1".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping, such as { key: value }".into(),
        word if word.starts_with("struct ") => "a mapping, such as { key: value }".into(),
        word => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_type_of_the_source_wants_is_in_words_of_the_file() {
        let cases = [
            (
                "invalid type: sequence, expected usize",
                "expected a whole number from 0, not a list",
            ),
            (
                "invalid type: string \"x\", expected struct Args",
                "expected a mapping, such as { key: value }, not the text `x`",
            ),
            (
                "invalid value: integer `-1`, expected u32",
                "expected a whole number from 0 to 4294967295, not the number -1",
            ),
            (
                "invalid value: integer `300`, expected u8",
                "expected a whole number from 0 to 255, not the number 300",
            ),
            (
                "invalid value: string \"ab\", expected a character",
                "expected a single character, not the text `ab`",
            ),
            ("invalid type: integer `3`, expected unit", "expected nothing, not the number 3"),
            ("no such rule `x` at line 1 column 5", "no such rule `x`"),
            ("the train leaves at line 5", "the train leaves at line 5"),
            ("missing field `to`", "missing argument `to`"),
            ("chunk: 0 is not from 1 to 5", "chunk: 0 is not from 1 to 5"),
        ];
        for (error, expected) in cases {
            assert_eq!(in_words(error), expected);
        }
    }
}
