//! Typed values out of the tree. A value that is not what it should be is a problem, and reading
//! goes on.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::time::Duration;

use super::diagnostics::{Problem, nearest};
use super::tree::{Entry, Node, Value};

/// Where problems are collected; shared, so that reading a value is one expression.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Found>);

/// Problems that are kept, and told: a file with more has one reason for most of them.
pub(super) const KEPT: usize = 100;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first ones.
    pub(super) kept: Vec<Problem>,
    /// How many there are.
    pub(super) count: usize,
    /// Those that there were: what stands under `defaults:` is wrong for every worker, and is one
    /// problem; so is what all instances share.
    seen: HashSet<u64>,
}

impl Problems {
    pub(super) fn push(&self, problem: Problem) {
        let mut found = self.0.borrow_mut();
        let mut hash = std::hash::DefaultHasher::new();
        (&problem.span, &problem.message).hash(&mut hash);
        if !found.seen.insert(hash.finish()) {
            return;
        }
        found.count += 1;
        if found.kept.len() < KEPT {
            found.kept.push(problem);
        }
    }

    /// Whether what comes now is only counted: it need not be worked out.
    pub(super) fn is_full(&self) -> bool {
        self.0.borrow().kept.len() >= KEPT
    }

    pub(super) fn take(&self) -> Found {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) path: String,
    pub(super) span: Range<usize>,
    /// Whether it comes from `defaults:`.
    pub(super) is_default: bool,
}

impl<T> At<T> {
    /// A problem with this value.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        let (path, span) = (self.path.clone(), self.span.clone());
        Problem { path, span, message: message.into(), expected: None, nearest: None }
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        let Self { value, path, span, is_default } = self;
        At { value: change(value), path, span, is_default }
    }
}

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
}

impl<'a> Cursor<'a> {
    pub(super) fn at<T>(&self, value: T) -> At<T> {
        let path =
            if self.node.is_default { under_defaults(&self.path) } else { self.path.clone() };
        At { value, path, span: self.node.span.clone(), is_default: self.node.is_default }
    }

    /// Reports that this is wrong, and what would be right.
    pub(super) fn refuse(&self, message: impl Into<String>, expected: &str) {
        self.problems
            .push(Problem { expected: Some(expected.to_owned()), ..self.at(()).problem(message) });
    }

    fn wrong<T>(&self, expected: &str) -> Option<T> {
        let shown = match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => {
                format!("`{}` is not what goes here", shortened(text))
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                format!("{} is not what goes here", self.node.kind())
            }
        };
        self.refuse(shown, expected);
        None
    }

    /// Any scalar's text.
    pub(super) fn string(&self) -> Option<At<String>> {
        match self.node.text() {
            Some(text) if !self.node.is_null() => Some(self.at(text.to_owned())),
            Some(_) | None => self.wrong("a text"),
        }
    }

    /// The path of a file or directory: not empty, and without a byte that ends it for the kernel.
    pub(super) fn path(&self) -> Option<At<String>> {
        let path = self.string()?;
        if path.value.is_empty() || path.value.contains('\0') {
            self.wrong("a path")
        } else {
            Some(path)
        }
    }

    pub(super) fn boolean(&self) -> Option<At<bool>> {
        match self.node.text() {
            Some("true") => Some(self.at(true)),
            Some("false") => Some(self.at(false)),
            Some(_) | None => self.wrong("true or false"),
        }
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, low: i64, high: i64) -> Option<At<i64>> {
        let number = self.node.text().and_then(|text| text.parse().ok());
        match number.filter(|number| (low..=high).contains(number)) {
            Some(number) => Some(self.at(number)),
            None if high == i64::MAX => self.wrong(&format!("a whole number, {low} or more")),
            None => self.wrong(&format!("a whole number from {low} to {high}")),
        }
    }

    /// A whole number of 32 bits, `low` or more.
    pub(super) fn count(&self, low: u32) -> Option<At<u32>> {
        let number = self.integer(low.into(), u32::MAX.into())?;
        Some(number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
    }

    /// A size in bytes: `64MiB`, `10K`, `4096`; units are powers of 1024, as systemd has them.
    pub(super) fn size(&self) -> Option<At<u64>> {
        match self.node.text().and_then(size) {
            Some(size) => Some(self.at(size)),
            None => self.wrong("a size, such as 512KiB, 64MiB or 10GiB (units of 1024)"),
        }
    }

    /// A fraction in thousandths, within bounds that are thousandths too.
    pub(super) fn permille(&self, (low, high): (u32, u32)) -> Option<At<u32>> {
        let number = self.node.text().and_then(|text| text.parse::<f64>().ok());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked against the bounds first"
        )]
        let below = number
            .filter(|number| (0.0..=1e6).contains(number))
            .map(|number| (number, (number * 1000.0).floor() as u32));
        // The floor of what is a thousandth can be the one below it.
        let near = below.map(|(number, below)| (number, [below, below + 1]));
        let exact = |number: f64| move |near: &u32| (fraction(*near) - number).abs() <= 0.0;
        let found = near.and_then(|(number, near)| near.into_iter().find(exact(number)));
        match found.filter(|permille| (low..=high).contains(permille)) {
            Some(permille) => Some(self.at(permille)),
            None => {
                let bounds = format!("a number from {} to {}", fraction(low), fraction(high));
                let near = near.filter(|(_, [below, above])| {
                    found.is_none() && low <= *below && *above <= high
                });
                let thousandths = near.map_or_else(String::new, |(_, [below, above])| {
                    format!(", in full thousandths: {} or {}", fraction(below), fraction(above))
                });
                self.wrong(&(bounds + &thousandths))
            }
        }
    }

    pub(super) fn duration(&self) -> Option<At<Duration>> {
        match self.node.text().and_then(|text| humantime::parse_duration(text).ok()) {
            Some(duration) => Some(self.at(duration)),
            None => self.wrong("a duration with its unit, such as 500ms, 10s or 2m"),
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<At<T>> {
        let text = self.node.text();
        if let Some((_, value)) = words.iter().find(|(word, _)| Some(*word) == text) {
            return Some(self.at(*value));
        }
        let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let mut problem = self.at(()).problem(match text {
            Some(text) if !self.node.is_null() => {
                format!("`{}` is not what goes here", shortened(text))
            }
            Some(_) | None => format!("{} is not what goes here", self.node.kind()),
        });
        problem.expected = Some(format!("one of: {list}"));
        problem.nearest = text
            .filter(|_| !self.problems.is_full())
            .and_then(|text| nearest(text, words.iter().map(|(word, _)| *word)));
        self.problems.push(problem);
        None
    }

    /// Permission bits in octal.
    pub(super) fn mode(&self) -> Option<At<u32>> {
        let bits = self
            .node
            .text()
            .and_then(|text| u32::from_str_radix(text.trim_start_matches("0o"), 8).ok());
        match bits.filter(|bits| *bits <= 0o777) {
            Some(bits) => Some(self.at(bits)),
            None => self.wrong("permission bits in octal, such as \"0660\""),
        }
    }

    /// The name of a signal, with or without `SIG`.
    pub(super) fn signal(&self) -> Option<At<i32>> {
        let name = self.node.text().unwrap_or_default().to_ascii_uppercase();
        let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
        match name.parse::<nix::sys::signal::Signal>() {
            Ok(signal) => Some(self.at(signal as i32)),
            Err(_) => {
                let written = self.node.text().unwrap_or_default();
                self.refuse(
                    format!("`{written}` is no signal"),
                    "a name such as TERM, INT or QUIT",
                );
                None
            }
        }
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
            Value::Scalar { .. } | Value::Map(_) => self.wrong("a list, such as [one, two]"),
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

    /// The words of a command.
    pub(super) fn command(&self) -> Option<At<Vec<String>>> {
        if let Value::Scalar { text, .. } = &self.node.value
            && !self.node.is_null()
        {
            let words: Vec<&str> = text.split_whitespace().collect();
            let expected =
                format!("a list of words, such as [{}]: no shell is involved", words.join(", "));
            self.refuse("a command is not one text", &expected);
            return None;
        }
        let words: Vec<String> = self.strings()?.into_iter().map(|word| word.value).collect();
        if words.is_empty() {
            self.refuse(
                "the command has no words",
                "a program and its arguments, such as [sleep, 1d]",
            );
            return None;
        }
        Some(self.at(words))
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
                self.wrong("a mapping, such as { key: value }")
            }
        }
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

    /// A mapping with known keys; others are problems: unknown, or `later` (known, and not
    /// supported yet).
    pub(super) fn section(&self, known: &[&str], later: &[&str]) -> Option<Section<'a>> {
        let Value::Map(entries) = &self.node.value else {
            return self.wrong(&format!("a mapping with some of: {}", known.join(", ")));
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let is_told = !self.problems.is_full();
            let is_later = later.contains(&entry.key.as_str());
            let path = join(&self.path, &entry.key);
            self.problems.push(Problem {
                path: if entry.value.is_default { under_defaults(&path) } else { path },
                span: entry.key_span.clone(),
                message: if is_later {
                    "this key is not supported yet"
                } else {
                    "there is no such key"
                }
                .into(),
                expected: is_told.then(|| format!("some of: {}", known.join(", "))),
                nearest: if is_told && !is_later {
                    nearest(&entry.key, known.iter().copied())
                } else {
                    None
                },
            });
        }
        Some(Section { entries, path: self.path.clone(), problems: self.problems })
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
    /// The value of a key, if it is written.
    pub(super) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Cursor { node: &entry.value, path: join(&self.path, key), problems: self.problems })
    }

    /// The value of a key that this kind of worker can have. Where it cannot, that is said, unless
    /// it comes from `defaults:`, which are for those that can.
    pub(super) fn get_if(
        &self,
        fits: bool,
        key: &str,
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

    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        self.get(key)?.duration().map(|at| at.value)
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        self.get(key)?.boolean().map(|at| at.value)
    }

    pub(super) fn string(&self, key: &str) -> Option<At<String>> {
        self.get(key)?.string()
    }

    pub(super) fn count(&self, key: &str, low: u32) -> Option<u32> {
        self.get(key)?.count(low).map(|at| at.value)
    }

    pub(super) fn size(&self, key: &str) -> Option<u64> {
        self.get(key)?.size().map(|at| at.value)
    }

    pub(super) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.get(key)?.choice(words).map(|at| at.value)
    }
}

/// As much of a text as a person reads.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// `a.b`; `b` at the top.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// `workers.api.restart` → `defaults.restart`.
fn under_defaults(path: &str) -> String {
    path.splitn(3, '.').nth(2).map_or_else(|| path.to_owned(), |rest| format!("defaults.{rest}"))
}

/// Thousandths as the fraction that they are.
fn fraction(permille: u32) -> f64 {
    f64::from(permille) / 1000.0
}

/// Bytes of a size as written; units of 1024.
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
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
