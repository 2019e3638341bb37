//! What is wrong with `args:`, at each argument, in the words of the configuration.

use serde_json::Value as Json;
use workers::Registry;

use super::nearest::nearest;
use super::node::{Entry, Value};
use super::problem::Problem;
use super::reader::{Cursor, join};

/// The arguments of a registered worker as they are written.
pub(super) struct Arguments<'a> {
    pub(super) written: &'a Cursor<'a>,
    pub(super) kind: &'a str,
    pub(super) registry: &'a Registry,
}

impl Arguments<'_> {
    /// Reports every argument that is wrong by itself; else what is wrong with all together.
    pub(super) fn check(&self, args: &Json) {
        let Some(error) = self.error(args) else { return };
        let (Value::Map(entries), Some(all)) = (&self.written.node.value, args.as_object()) else {
            if args.is_object() {
                // None are written.
                return self.report_whole(&error);
            }
            // What serde says of a list is about its items, as if they were arguments in order.
            let of_none = self.error(&Json::Object(serde_json::Map::new()));
            let takes_mapping =
                !of_none.is_some_and(|error| error.starts_with("invalid type: map"));
            return self.report_whole(if takes_mapping {
                "expected a mapping, such as { key: value }"
            } else {
                &error
            });
        };
        let mut right = all.clone();
        for entry in entries {
            let Some(value) = all.get(&entry.key) else { continue };
            let alone = Json::Object([(entry.key.clone(), value.clone())].into_iter().collect());
            if let Some(error) = self.error(&alone).filter(|error| !is_missing(error)) {
                right.remove(&entry.key);
                self.report(entry, &error);
            }
        }
        if right.len() == all.len() {
            match entries.iter().find(|entry| self.is_culprit(entry, args, &error)) {
                Some(entry) if !is_missing(&error) => self.report(entry, &error),
                _ => self.report_whole(&error),
            }
        } else if let Some(error) = self.error(&Json::Object(right)).filter(|error| {
            // Those that are written are not missing.
            is_missing(error) && !all.keys().any(|key| error.contains(&format!("`{key}`")))
        }) {
            self.report_whole(&error);
        }
    }

    /// What the worker says of these arguments.
    fn error(&self, args: &Json) -> Option<String> {
        let error = self.registry.create(self.kind, args).err()?.to_string();
        let prefix = format!("args of {}: ", self.kind);
        Some(error.strip_prefix(&prefix).map_or(error.clone(), str::to_owned))
    }

    /// Whether the error is another one, or none, without this argument.
    fn is_culprit(&self, entry: &Entry, args: &Json, error: &str) -> bool {
        let mut others = args.clone();
        others.as_object_mut().is_some_and(|others| others.remove(&entry.key).is_some())
            && self.error(&others).is_none_or(|other| other != error)
    }

    fn report_whole(&self, error: &str) {
        self.written.problems.push(self.written.at(()).problem(in_words(error)));
    }

    fn report(&self, entry: &Entry, error: &str) {
        let (path, key) = (join(&self.written.path, &entry.key), &entry.key);
        let problems = self.written.problems;
        let Some(rest) = error.strip_prefix(&format!("unknown field `{key}`, ")) else {
            return problems.push(Problem::new(path, entry.value.span.clone(), in_words(error)));
        };
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let message = format!("`{}` has no such argument", self.kind);
        let problem = Problem::new(path, entry.key_span.clone(), message);
        let problem = Problem { nearest: nearest(key, known.iter().copied()), ..problem };
        problems.push(match known.as_slice() {
            [] => problem.expected("no arguments: this worker takes none"),
            known => problem.expected(format!("one of: {}", known.join(", "))),
        });
    }
}

fn is_missing(error: &str) -> bool {
    error.starts_with("missing field ")
}

/// An error of serde in the words of the configuration; other errors as they are.
fn in_words(error: &str) -> String {
    if let Some(field) = error.strip_prefix("missing field ") {
        return format!("missing argument {field}");
    }
    let said = error.strip_prefix("invalid type: ").or(error.strip_prefix("invalid value: "));
    let Some((found, expected)) = said.and_then(|said| said.rsplit_once(", expected ")) else {
        return error.to_owned();
    };
    format!("expected {}, not {}", wanted(expected), given(found))
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

fn wanted(expected: &str) -> String {
    let numbers = ["usize", "u8", "u16", "u32", "u64", "u128"];
    match expected {
        word if numbers.contains(&word) => "a whole number from 0".into(),
        "isize" | "i8" | "i16" | "i32" | "i64" | "i128" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a string" | "a borrowed string" | "a character" | "path string" => "a text".into(),
        "a boolean" => "true or false".into(),
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
                "expected a whole number from 0, not the number -1",
            ),
            ("missing field `to`", "missing argument `to`"),
            ("chunk: 0 is not from 1 to 5", "chunk: 0 is not from 1 to 5"),
        ];
        for (error, expected) in cases {
            assert_eq!(in_words(error), expected);
        }
    }
}
