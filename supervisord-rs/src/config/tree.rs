//! The text as a tree that knows where everything stands. Duplicate keys are problems here, aliases
//! and merge keys (`<<`) are resolved here.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::diagnostics::Problem;
use super::reader::Problems;

/// Deepest nesting: far more than any key needs, far less than the stack holds.
const DEPTH_MAX: usize = 64;
/// Nodes in all, copies by aliases included: an alias bomb is a problem, not a full memory.
const NODES_MAX: usize = 200_000;

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
    /// Whether it stands under `defaults:`, and not where it is used.
    pub(super) is_default: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `plain`: without quotes, so that `true` and `1` mean what they look like.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

impl Node {
    /// The value of a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// A scalar's text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether nothing is written here: `key:` or `key: null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What a scalar, a list or a mapping is called in messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// This with `defaults` under it: mappings are merged key by key, anything else is taken whole.
    pub(super) fn over(mut self, defaults: &Self) -> Self {
        let (Value::Map(own), Value::Map(below)) = (&mut self.value, &defaults.value) else {
            return self;
        };
        for entry in below {
            match own.iter_mut().find(|known| known.key == entry.key) {
                None => {
                    own.push(Entry {
                        value: entry.value.clone().marked_default(),
                        ..entry.clone()
                    });
                }
                Some(_) if WHOLE.contains(&entry.key.as_str()) => {}
                Some(known) => {
                    let value = std::mem::replace(&mut known.value, defaults.clone());
                    known.value = value
                        .spelled_out(&known.key)
                        .over(&entry.value.clone().spelled_out(&entry.key));
                }
            }
        }
        self
    }

    /// `restart: always` is `restart: { policy: always }`.
    fn spelled_out(self, key: &str) -> Self {
        let is_short = matches!(self.value, Value::Scalar { .. }) && !self.is_null();
        match key {
            "restart" if is_short => {
                let (span, is_default) = (self.span.clone(), self.is_default);
                let entry = Entry { key: "policy".into(), key_span: span.clone(), value: self };
                Self { value: Value::Map(vec![entry]), span, is_default }
            }
            _ => self,
        }
    }

    fn marked_default(mut self) -> Self {
        self.is_default = true;
        match &mut self.value {
            Value::Scalar { .. } => {}
            Value::List(nodes) => {
                for node in nodes {
                    *node = std::mem::replace(node, EMPTY).marked_default();
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    entry.value = std::mem::replace(&mut entry.value, EMPTY).marked_default();
                }
            }
        }
        self
    }

    /// This with every text changed; keys stay.
    pub(super) fn map_texts(mut self, change: &impl Fn(&str) -> String) -> Self {
        match &mut self.value {
            Value::Scalar { text, .. } => *text = change(text),
            Value::List(nodes) => {
                for node in nodes {
                    *node = std::mem::replace(node, EMPTY).map_texts(change);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    entry.value = std::mem::replace(&mut entry.value, EMPTY).map_texts(change);
                }
            }
        }
        self
    }
}

/// Stands in while a node is changed.
const EMPTY: Node = Node { value: Value::List(Vec::new()), span: 0..0, is_default: false };

/// Keys of a worker that replace those of `defaults:` and are not merged with them.
const WHOLE: [&str; 5] = ["depends_on", "inject", "sockets", "hooks", "ready"];

/// Parses one document. `None` when there is no tree at all: a syntax error, or nothing.
pub(super) fn parse(text: &str, problems: &Problems) -> Option<Node> {
    let mut builder = Builder {
        text,
        bytes: if text.is_ascii() { Vec::new() } else { bytes_of_characters(text) },
        anchors: HashMap::new(),
        nodes: 0,
        problems,
    };
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => events.push((event, span)),
            Err(error) => {
                let start = builder.byte(error.marker().index());
                builder.problem(
                    start..start + 1,
                    format!("this is no valid YAML: {}", error.info()),
                    None,
                );
                return None;
            }
        }
    }
    let documents =
        events.iter().filter(|(event, _)| matches!(event, Event::DocumentStart(_))).count();
    if documents > 1 {
        builder.problem(
            0..1,
            "the file has more than one document".into(),
            Some("one document, without a second `---`"),
        );
        return None;
    }
    let mut events = events
        .into_iter()
        .filter(|(event, _)| {
            !matches!(
                event,
                Event::Nothing
                    | Event::StreamStart
                    | Event::StreamEnd
                    | Event::DocumentStart(_)
                    | Event::DocumentEnd
            )
        })
        .peekable();
    if events.peek().is_none() {
        builder.problem(0..1, "the file is empty".into(), Some("`version: 1` and `workers:`"));
        return None;
    }
    builder.node(&mut events, 0)
}

struct Builder<'a> {
    text: &'a str,
    /// Byte offsets by character, where they are not the same: the parser counts characters.
    bytes: Vec<u32>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    problems: &'a Problems,
}

impl Builder<'_> {
    fn byte(&self, character: usize) -> usize {
        let byte = if self.bytes.is_empty() {
            character
        } else {
            self.bytes.get(character).map_or(usize::MAX, |&byte| byte as usize)
        };
        byte.min(self.text.len())
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.byte(span.start.index())..self.byte(span.end.index())
    }

    fn problem(&mut self, span: Range<usize>, message: String, expected: Option<&str>) {
        let expected = expected.map(str::to_owned);
        self.problems.push(Problem { path: String::new(), span, message, expected, nearest: None });
    }

    /// The next node with everything in it; `None` after a problem that leaves no tree.
    fn node<'e>(
        &mut self,
        events: &mut impl Iterator<Item = (Event<'e>, Span)>,
        depth: usize,
    ) -> Option<Node> {
        let (event, span) = events.next()?;
        self.build(event, span, events, depth)
    }

    fn build<'e>(
        &mut self,
        event: Event<'e>,
        span: Span,
        events: &mut impl Iterator<Item = (Event<'e>, Span)>,
        depth: usize,
    ) -> Option<Node> {
        let range = self.range(span);
        self.nodes += 1;
        let excess = if depth > DEPTH_MAX {
            Some(format!("nested deeper than {DEPTH_MAX} levels"))
        } else if self.nodes > NODES_MAX {
            Some(format!("more than {NODES_MAX} values, each alias counted as what it stands for"))
        } else {
            None
        };
        if let Some(message) = excess {
            self.problem(range, message, None);
            return None;
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain },
                anchor,
            ),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let Some(node) = node else {
                    self.problem(range, "this alias points to nothing before it".into(), None);
                    return None;
                };
                self.nodes += size(&node);
                return Some(node);
            }
            Event::SequenceStart(anchor, _) => (Value::List(self.list(events, depth)?), anchor),
            Event::MappingStart(anchor, _) => (Value::Map(self.map(events, depth)?), anchor),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return None,
        };
        let node = Node { value, span: range, is_default: false };
        if anchor != 0 {
            // It is kept twice: what is anchored in what is anchored, again and again.
            self.nodes += size(&node);
            self.anchors.insert(anchor, node.clone());
        }
        Some(node)
    }

    fn list<'e>(
        &mut self,
        events: &mut impl Iterator<Item = (Event<'e>, Span)>,
        depth: usize,
    ) -> Option<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            let (event, span) = events.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Some(nodes);
            }
            nodes.push(self.build(event, span, events, depth + 1)?);
        }
    }

    fn map<'e>(
        &mut self,
        events: &mut impl Iterator<Item = (Event<'e>, Span)>,
        depth: usize,
    ) -> Option<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = events.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.build(event, span, events, depth + 1)?;
            let value = self.node(events, depth + 1)?;
            let Some(text) = key.text().map(str::to_owned) else {
                self.problem(key.span, "a key must be a single word".into(), None);
                continue;
            };
            if text == "<<" {
                self.merge(value, &mut merged);
            } else if let Some(line) = known.get(&text) {
                let message = format!(
                    "the key `{text}` is there twice (first at byte {line}): one of them would be lost"
                );
                self.problem(key.span, message, None);
            } else {
                known.insert(text.clone(), key.span.start);
                entries.push(Entry { key: text, key_span: key.span, value });
            }
        }
        // What is written wins over what is merged.
        for entry in merged {
            if !known.contains_key(&entry.key) {
                known.insert(entry.key.clone(), entry.key_span.start);
                entries.push(entry);
            }
        }
        Some(entries)
    }

    fn merge(&mut self, value: Node, merged: &mut Vec<Entry>) {
        match value.value {
            Value::Map(entries) => {
                // The first of a name wins; that is seen to when all are there.
                merged.extend(entries);
            }
            Value::List(nodes) => nodes.into_iter().for_each(|node| self.merge(node, merged)),
            Value::Scalar { .. } => {
                self.problem(
                    value.span,
                    "`<<` merges mappings only".into(),
                    Some("an alias of a mapping, such as `*defaults`"),
                );
            }
        }
    }
}

fn bytes_of_characters(text: &str) -> Vec<u32> {
    text.char_indices().map(|(byte, _)| u32::try_from(byte).unwrap_or(u32::MAX)).collect()
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(nodes) => 1 + nodes.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
    }
}
