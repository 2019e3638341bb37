//! Typed values out of the tree. A value that is not what it should be is a problem, and reading goes on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::diagnostics::{Problem, nearest};
use super::tree::{Entry, Node, Value};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) path: String,
    pub(super) span: Range<usize>,
}

impl<T> At<T> {
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        let (path, span) = (self.path.clone(), self.span.clone());
        Problem { path, span, message: message.into(), expected: None, nearest: None }
    }
}

/// A node on its way to a typed value.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
}

/// A mapping whose keys are known.
#[derive(Debug)]
pub(super) struct Section<'a> {
    entries: &'a [Entry],
    path: String,
}

impl<'a> Cursor<'a> {
    fn at<T>(&self, value: T) -> At<T> {
        At { value, path: self.path.clone(), span: self.node.span.clone() }
    }

    fn wrong<T>(&self, problems: &mut Vec<Problem>, expected: &str) -> Option<T> {
        let shown = match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => format!("`{text}` is not what goes here"),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                format!("{} is not what goes here", self.node.kind())
            }
        };
        problems.push(Problem { expected: Some(expected.to_owned()), ..self.at(()).problem(shown) });
        None
    }

    /// Any scalar's text.
    pub(super) fn string(&self, problems: &mut Vec<Problem>) -> Option<At<String>> {
        match self.node.text() {
            Some(text) if !self.node.is_null() => Some(self.at(text.to_owned())),
            Some(_) | None => self.wrong(problems, "a text"),
        }
    }

    pub(super) fn boolean(&self, problems: &mut Vec<Problem>) -> Option<At<bool>> {
        match self.node.text() {
            Some("true") => Some(self.at(true)),
            Some("false") => Some(self.at(false)),
            Some(_) | None => self.wrong(problems, "true or false"),
        }
    }

    pub(super) fn number(&self, problems: &mut Vec<Problem>) -> Option<At<u64>> {
        match self.node.text().and_then(|text| text.parse().ok()) {
            Some(number) => Some(self.at(number)),
            None => self.wrong(problems, "a whole number, 0 or more"),
        }
    }

    /// A fraction in thousandths, within bounds that are thousandths too.
    pub(super) fn permille(&self, (low, high): (u32, u32), problems: &mut Vec<Problem>) -> Option<At<u32>> {
        let number = self.node.text().and_then(|text| text.parse::<f64>().ok());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked against the bounds first"
        )]
        let permille = number
            .filter(|number| (0.0..=1e6).contains(number))
            .map(|number| (number * 1000.0).round() as u32);
        match permille.filter(|permille| (low..=high).contains(permille)) {
            Some(permille) => Some(self.at(permille)),
            None => {
                let expected =
                    format!("a number from {} to {}", f64::from(low) / 1000.0, f64::from(high) / 1000.0);
                self.wrong(problems, &expected)
            }
        }
    }

    pub(super) fn duration(&self, problems: &mut Vec<Problem>) -> Option<At<Duration>> {
        match self.node.text().and_then(|text| humantime::parse_duration(text).ok()) {
            Some(duration) => Some(self.at(duration)),
            None => self.wrong(problems, "a duration with its unit, such as 500ms, 10s or 2m"),
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)], problems: &mut Vec<Problem>) -> Option<At<T>> {
        let text = self.node.text();
        if let Some((_, value)) = words.iter().find(|(word, _)| Some(*word) == text) {
            return Some(self.at(*value));
        }
        let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let _: Option<()> = self.wrong(problems, &format!("one of: {list}"));
        if let (Some(problem), Some(text)) = (problems.last_mut(), text) {
            problem.nearest = nearest(text, words.iter().map(|(word, _)| *word));
        }
        None
    }

    /// The elements of a list.
    pub(super) fn list(&self, problems: &mut Vec<Problem>) -> Option<Vec<Self>> {
        match &self.node.value {
            Value::List(nodes) => Some(
                nodes
                    .iter()
                    .enumerate()
                    .map(|(index, node)| Cursor { node, path: format!("{}[{index}]", self.path) })
                    .collect(),
            ),
            Value::Scalar { .. } | Value::Map(_) => self.wrong(problems, "a list, such as [one, two]"),
        }
    }

    pub(super) fn strings(&self, problems: &mut Vec<Problem>) -> Option<Vec<At<String>>> {
        let list = self.list(problems)?;
        Some(list.iter().filter_map(|cursor| cursor.string(problems)).collect())
    }

    /// A mapping with keys of the user's choice; nothing written is an empty one.
    pub(super) fn entries(&self, problems: &mut Vec<Problem>) -> Option<Vec<(At<String>, Self)>> {
        match &self.node.value {
            Value::Map(entries) => Some(
                entries
                    .iter()
                    .map(|entry| {
                        let path = join(&self.path, &entry.key);
                        let name =
                            At { value: entry.key.clone(), path: path.clone(), span: entry.key_span.clone() };
                        (name, Cursor { node: &entry.value, path })
                    })
                    .collect(),
            ),
            Value::Scalar { .. } if self.node.is_null() => Some(Vec::new()),
            Value::Scalar { .. } | Value::List(_) => {
                self.wrong(problems, "a mapping, such as { key: value }")
            }
        }
    }

    /// Names with texts, such as an environment; numbers and booleans are taken as they are written.
    pub(super) fn texts(&self, problems: &mut Vec<Problem>) -> Option<BTreeMap<String, String>> {
        let entries = self.entries(problems)?;
        let text = |(name, cursor): (At<String>, Self), problems: &mut Vec<Problem>| {
            if cursor.node.is_null() {
                return Some((name.value, String::new()));
            }
            cursor.string(problems).map(|text| (name.value, text.value))
        };
        Some(entries.into_iter().filter_map(|entry| text(entry, problems)).collect())
    }

    /// A mapping with known keys; others are problems: unknown, or `later` (known, and not supported yet).
    pub(super) fn section(
        &self,
        known: &[&str],
        later: &[&str],
        problems: &mut Vec<Problem>,
    ) -> Option<Section<'a>> {
        let Value::Map(entries) = &self.node.value else {
            let expected = format!("a mapping with some of: {}", known.join(", "));
            return self.wrong(problems, &expected);
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let is_later = later.contains(&entry.key.as_str());
            problems.push(Problem {
                path: join(&self.path, &entry.key),
                span: entry.key_span.clone(),
                message: if is_later { "this key is not supported yet" } else { "there is no such key" }
                    .into(),
                expected: Some(format!("some of: {}", known.join(", "))),
                nearest: if is_later { None } else { nearest(&entry.key, known.iter().copied()) },
            });
        }
        Some(Section { entries, path: self.path.clone() })
    }

    /// Arguments of a worker: any value, as JSON has it. Scalars are resolved as YAML 1.2 does.
    pub(super) fn json(&self) -> serde_json::Value {
        json(self.node)
    }
}

impl<'a> Section<'a> {
    /// The value of a key, if it is written.
    pub(super) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Cursor { node: &entry.value, path: join(&self.path, key) })
    }
}

/// `a.b`; `b` at the top.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
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
