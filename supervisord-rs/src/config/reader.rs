//! Typed values out of the tree. A value that is not what it should be is a problem, and reading
//! goes on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::foreign::{self, Whose};
use super::later;
use super::nearest::nearest;
use super::node::{Entry, Node, Value};
use super::problem::Problem;
use super::problems::{At, Problems};
use super::schema::{Key, Table};
pub(super) use super::words::join;
use super::words::shortened;

/// A node on its way to a typed value.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
    pub(super) problems: &'a Problems,
}

/// A mapping whose keys are known.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    entries: &'a [Entry],
    path: String,
    problems: &'a Problems,
    table: &'static Table,
    /// Known keys that unknown ones most likely stand for.
    meant: Vec<String>,
}

impl<'a> Cursor<'a> {
    pub(super) fn at<T>(&self, value: T) -> At<T> {
        let path =
            if self.node.is_default { under_defaults(&self.path) } else { self.path.clone() };
        At { value, path, span: self.node.span.clone(), is_default: self.node.is_default }
    }

    /// Reports that this is wrong, and what would be right.
    pub(super) fn refuse(&self, message: impl Into<String>, expected: &str) {
        self.problems.push(self.at(()).problem(message).expected(expected));
    }

    /// Reports that this is wrong, and what to do.
    pub(super) fn refuse_with(&self, message: impl Into<String>, help: &str) {
        self.problems.push(self.at(()).problem(message).help(help));
    }

    /// Reports what is valid, and most likely not what was meant.
    pub(super) fn warn(&self, message: impl Into<String>, help: &str) {
        self.problems.warn(self.at(()).problem(message).help(help));
    }

    /// This value is none that can stand here.
    pub(super) fn wrong(&self, expected: &str) -> Problem {
        let message = match &self.node.value {
            Value::Scalar { .. } if self.node.is_null() => "missing value".to_owned(),
            Value::Scalar { text, .. } => format!("invalid value `{}`", shortened(text)),
            Value::List(_) => "a list cannot stand here".to_owned(),
            Value::Map(_) => "a mapping cannot stand here".to_owned(),
        };
        self.at(()).problem(message).expected(expected)
    }

    pub(super) fn refuse_value<T>(&self, expected: &str) -> Option<T> {
        self.problems.push(self.wrong(expected));
        None
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        match &self.node.value {
            Value::List(nodes) => Some(
                nodes
                    .iter()
                    .enumerate()
                    .map(|(index, node)| Cursor {
                        node,
                        path: format!("{}[{index}]", self.path),
                        problems: self.problems,
                    })
                    .collect(),
            ),
            Value::Scalar { .. } | Value::Map(_) => self.refuse_value("a list, such as [one, two]"),
        }
    }

    /// The first element of a list.
    pub(super) fn first(&self) -> Option<Self> {
        match &self.node.value {
            Value::List(_) => self.list()?.into_iter().next(),
            Value::Scalar { .. } | Value::Map(_) => None,
        }
    }

    /// The elements of a list, or the only one where it is written without brackets.
    pub(super) fn one_or_more(&self) -> Option<Vec<Self>> {
        match &self.node.value {
            Value::Scalar { .. } if !self.node.is_null() => Some(vec![self.clone()]),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => self.list(),
        }
    }

    pub(super) fn strings(&self) -> Option<Vec<At<String>>> {
        Some(self.list()?.iter().filter_map(Self::string).collect())
    }

    /// The words of a command. `can_be_shell`: whether `shell: true` can stand beside it.
    pub(super) fn command(&self, can_be_shell: bool) -> Option<At<Vec<String>>> {
        if let Value::Scalar { text, .. } = &self.node.value
            && !self.node.is_null()
        {
            self.refuse_text(text, can_be_shell);
            return None;
        }
        if self.node.is_null() {
            return self.refuse_value("a program and its arguments, such as [sleep, 1d]");
        }
        let mut words: Vec<String> = self.strings()?.into_iter().map(|word| word.value).collect();
        let Some(program) = words.first_mut().filter(|program| !program.is_empty()) else {
            self.refuse("no program is named", "a program and its arguments, such as [sleep, 1d]");
            return None;
        };
        if program.contains('/') {
            *program = self.problems.resolve(program).display().to_string();
        }
        Some(self.at(words))
    }

    /// A command is a list: nothing splits a text, quotes in it or not.
    fn refuse_text(&self, text: &str, can_be_shell: bool) {
        let problem = self.at(()).problem("a command is a list of words, not one text");
        let words: Vec<&str> = text.split_whitespace().collect();
        let list = shortened(&words.join(", "));
        let needs_shell = text.contains(['|', '&', ';', '<', '>', '$', '`', '*', '(', '"', '\'']);
        self.problems.push(match (needs_shell, can_be_shell) {
            (true, true) => problem.help("add `shell: true` to have /bin/sh run this text"),
            (true, false) => problem.help("write [/bin/sh, -c, TEXT] to have a shell run it"),
            (false, _) => problem.help(format!("write [{list}]")),
        });
    }

    /// A mapping with keys of the user's choice; nothing written is an empty one.
    pub(super) fn entries(&self) -> Option<Vec<(At<String>, Self)>> {
        match &self.node.value {
            Value::Map(entries) => Some(
                entries
                    .iter()
                    .map(|entry| {
                        let path = join(&self.path, &entry.key);
                        let is_default = entry.value.is_default;
                        let name = At {
                            value: entry.key.clone(),
                            path: path.clone(),
                            span: entry.key_span.clone(),
                            is_default,
                        };
                        (name, Cursor { node: &entry.value, path, problems: self.problems })
                    })
                    .collect(),
            ),
            Value::Scalar { .. } if self.node.is_null() => Some(Vec::new()),
            Value::Scalar { .. } | Value::List(_) => {
                let problem = self.wrong("a mapping, such as { key: value }");
                let help = self.as_mapping();
                self.problems.push(Problem { help, ..problem });
                None
            }
        }
    }

    /// How to write `[NAME=value]` as a mapping.
    fn as_mapping(&self) -> Option<String> {
        let Value::List(nodes) = &self.node.value else { return None };
        let (name, value) = nodes.first()?.text()?.split_once('=')?;
        Some(format!("write a mapping: {{ {name}: \"{}\" }}", shortened(value)))
    }

    /// Names with texts, such as an environment; numbers and booleans are taken as they are
    /// written.
    pub(super) fn texts(&self) -> Option<BTreeMap<String, String>> {
        let text = |(name, cursor): (At<String>, Self)| {
            if cursor.node.is_null() {
                return Some((name.value, String::new()));
            }
            cursor.string().map(|text| (name.value, text.value))
        };
        Some(self.entries()?.into_iter().filter_map(text).collect())
    }

    /// A mapping with the keys of a table; others are problems: unknown, or of a later version.
    pub(super) fn section(&self, table: &'static Table) -> Option<Section<'a>> {
        let Value::Map(entries) = &self.node.value else {
            let keys = sample(&table.names());
            return self.refuse_value(&format!("a mapping with keys such as {keys}"));
        };
        let mut meant = Vec::new();
        let is_unknown = |entry: &&Entry| {
            // `x-` is for what YAML alone needs, such as anchors.
            table.key(&entry.key).is_none() && !entry.key.starts_with("x-")
        };
        for entry in entries.iter().filter(is_unknown) {
            let problem = self.unknown_key(entry, table);
            if foreign::is_command(&entry.key) && table.whose == Whose::Worker {
                meant.push("command".to_owned());
            }
            meant.extend(problem.nearest.clone());
            self.problems.push(problem);
        }
        let path = self.path.clone();
        Some(Section { entries, path, problems: self.problems, table, meant })
    }

    fn unknown_key(&self, entry: &Entry, table: &'static Table) -> Problem {
        let whose = table.whose;
        let path = join(&self.path, &entry.key);
        let path = if entry.value.is_default { under_defaults(&path) } else { path };
        let span = entry.key_span.clone();
        if let Some((_, instead)) = table.later.iter().find(|(key, _)| *key == entry.key) {
            return later::problem(path, span, instead);
        }
        let problem = Problem::new(path, span, "unknown key");
        let known = table.names();
        if self.problems.is_full() {
            // It is only counted, and so is what is missing because of it.
            let needed = NEEDED.into_iter().filter(|key| known.contains(key));
            let is_foreign = foreign::exactly(whose, &entry.key, None).is_some();
            let nearest = if is_foreign { None } else { nearest(&entry.key, needed) };
            return Problem { nearest, ..problem };
        }
        let problem = problem.expected(format!("one of: {}", known.join(", ")));
        // `autorestart` is not `autostart` misspelt, and `logging` not `logs`.
        if let Some(help) = foreign::exactly(whose, &entry.key, entry.value.text()) {
            return problem.help(help);
        }
        match nearest(&entry.key, known) {
            Some(nearest) => Problem { nearest: Some(nearest), ..problem },
            None => {
                Problem { help: foreign::nearly(whose, &entry.key, entry.value.text()), ..problem }
            }
        }
    }

    /// Arguments of a worker: any value, as JSON has it. Scalars are resolved as YAML 1.2 does.
    pub(super) fn json(&self) -> serde_json::Value {
        json(self.node)
    }

    /// Whether this is a single word, the short form of something longer.
    pub(super) fn is_scalar(&self) -> bool {
        matches!(self.node.value, Value::Scalar { .. }) && !self.node.is_null()
    }
}

impl<'a> Section<'a> {
    /// The value of a key, if it is written. A key that is not in the table of this mapping would
    /// never be there: it is unknown.
    pub(super) fn get(&self, key: &'static Key) -> Option<Cursor<'a>> {
        debug_assert!(self.knows(key), "`{}` is in no table of {}", key.name, self.path);
        #[cfg(test)]
        super::schema::key::note(key);
        let entry = self.entry(key)?;
        let path = join(&self.path, key.name);
        Some(Cursor { node: &entry.value, path, problems: self.problems })
    }

    fn entry(&self, key: &'static Key) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key.name)
    }

    /// Whether this mapping can have it.
    pub(super) fn knows(&self, key: &'static Key) -> bool {
        self.table.key(key.name).is_some()
    }

    /// Whether it is written.
    pub(super) fn has(&self, key: &'static Key) -> bool {
        self.get(key).is_some()
    }

    /// Where a key is written.
    pub(super) fn key_span(&self, key: &'static Key) -> Option<Range<usize>> {
        self.entry(key).map(|entry| entry.key_span.clone())
    }

    /// Whether an unknown key most likely stands for this one.
    pub(super) fn means(&self, key: &'static Key) -> bool {
        self.meant.iter().any(|meant| meant == key.name)
    }

    /// The value of a key that this kind of worker can have. Where it cannot, that is an error,
    /// unless it comes from `defaults:`, which are for those that can.
    pub(super) fn get_if(
        &self,
        fits: bool,
        key: &'static Key,
        message: &str,
        expected: &str,
    ) -> Option<Cursor<'a>> {
        let cursor = self.get(key)?;
        if fits {
            return Some(cursor);
        }
        if !cursor.node.is_default {
            cursor.refuse(message, expected);
        }
        None
    }

    pub(super) fn duration(&self, key: &'static Key) -> Option<Duration> {
        self.get(key)?.duration().map(|at| at.value)
    }

    pub(super) fn boolean(&self, key: &'static Key) -> Option<bool> {
        self.get(key)?.boolean().map(|at| at.value)
    }

    pub(super) fn string(&self, key: &'static Key) -> Option<At<String>> {
        self.get(key)?.string()
    }

    pub(super) fn count(&self, key: &'static Key, low: u32) -> Option<u32> {
        self.get(key)?.count(low).map(|at| at.value)
    }

    pub(super) fn size(&self, key: &'static Key) -> Option<u64> {
        self.get(key)?.size().map(|at| at.value)
    }

    pub(super) fn choice<T: Copy>(&self, key: &'static Key, words: &[(&str, T)]) -> Option<T> {
        self.get(key)?.choice(words).map(|at| at.value)
    }
}

/// Keys whose absence is an error, unless a misspelt one stands for them.
const NEEDED: [&str; 4] = ["command", "worker", "listen", "on"];

/// Some of many words.
fn sample(words: &[&str]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = words.iter().take(SHOWN).map(|word| format!("`{word}:`")).collect();
    shown.join(", ")
}

/// `workers.api.restart` → `defaults.restart`.
fn under_defaults(path: &str) -> String {
    path.splitn(3, '.').nth(2).map_or_else(|| path.to_owned(), |rest| format!("defaults.{rest}"))
}

fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Scalar { text, plain: false } => text.clone().into(),
        Value::Scalar { text, plain: true } => {
            serde_yaml::from_str(text).unwrap_or_else(|_| text.clone().into())
        }
        Value::List(nodes) => nodes.iter().map(json).collect(),
        Value::Map(entries) => serde_json::Value::Object(
            entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect(),
        ),
    }
}
