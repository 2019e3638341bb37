//! The text as a tree that knows where everything stands. Duplicate keys are problems here, aliases
//! and merge keys (`<<`) are resolved here.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::node::{Entry, Node, Value};
use super::problem::Problem;
use super::problems::Problems;
use super::syntax::{self, Open};

/// Deepest nesting: far more than any key needs, far less than the stack holds.
const DEPTH_MAX: usize = 64;
/// Keys and values in all, copies by aliases included: an alias bomb is a problem, not a full
/// memory.
const NODES_MAX: usize = 200_000;

/// Parses one document. `None` when there is no tree at all: a syntax error, or nothing.
pub(super) fn parse(text: &str, problems: &Problems) -> Option<Node> {
    try_parse(text, problems).unwrap_or_else(|syntax| {
        problems.push(*syntax);
        None
    })
}

/// The same, without the error of syntax among the problems.
///
/// # Errors
/// The first error of syntax.
pub(super) fn try_parse(text: &str, problems: &Problems) -> Result<Option<Node>, Box<Problem>> {
    let mut builder = Builder {
        text,
        bytes: if text.is_ascii() { Vec::new() } else { bytes_of_characters(text) },
        anchors: HashMap::new(),
        nodes: 0,
        path: Vec::new(),
        problems,
    };
    let events = builder.events()?;
    if let Some(second) = second_document(&events) {
        let span = builder.range(second);
        problems.push(
            Problem::new(String::new(), span, "a second document begins here")
                .help("write one document: remove this line, and what the two have in common"),
        );
        return Ok(None);
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
        let problem = Problem::new(String::new(), 0..1, "the file is empty");
        problems.push(problem.expected("`version: 1` and `workers:`"));
        return Ok(None);
    }
    Ok(builder.node(&mut events, 0))
}

/// Where the second document begins.
fn second_document(events: &[(Event<'_>, Span)]) -> Option<Span> {
    let starts = events.iter().filter(|(event, _)| matches!(event, Event::DocumentStart(_)));
    starts.map(|(_, span)| *span).nth(1)
}

struct Builder<'a> {
    text: &'a str,
    /// Byte offsets by character, where they are not the same: the parser counts characters.
    bytes: Vec<u32>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// The keys and numbers that lead to what is being built.
    path: Vec<String>,
    problems: &'a Problems,
}

impl<'a> Builder<'a> {
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

    fn problem(&self, span: Range<usize>, message: &str, help: &str) {
        self.problems.push(Problem::new(self.path.concat(), span, message).help(help));
    }

    /// What stands below that step of the path.
    fn below<T>(&mut self, step: String, build: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let built = build(self);
        self.path.pop();
        built
    }

    /// The path of a key of the mapping that is being built.
    fn step(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!(".{key}") }
    }

    /// All events; where the text is no YAML, what is wrong with it.
    fn events(&self) -> Result<Vec<(Event<'a>, Span)>, Box<Problem>> {
        let mut events = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        for event in Parser::new_from_str(self.text) {
            let (event, span) = match event {
                Ok(found) => found,
                Err(error) => {
                    let at = self.byte(error.marker().index());
                    return Err(syntax::problem(error.info(), self.text, at, &open).into());
                }
            };
            match event {
                Event::SequenceStart(..) | Event::MappingStart(..) => {
                    let span = self.range(span);
                    open.push(Open { span: span.start..span.start + 1 });
                }
                Event::SequenceEnd | Event::MappingEnd => drop(open.pop()),
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Alias(_)
                | Event::Scalar(..) => {}
            }
            events.push((event, span));
        }
        Ok(events)
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
            Some((
                format!("nested deeper than {DEPTH_MAX} levels"),
                "remove the brackets or the indentation that no key needs",
            ))
        } else if self.nodes > NODES_MAX {
            Some((
                format!(
                    "more than {NODES_MAX} keys and values, each alias counted as what it \
                     stands for"
                ),
                "remove what repeats (`defaults:` and `instances:` say it once), or run two \
                 supervisors with a part each",
            ))
        } else {
            None
        };
        if let Some((message, help)) = excess {
            self.problems.push(Problem::new(self.path.concat(), range, message).help(help));
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
                    self.problem(
                        range,
                        "no anchor of this name stands before this alias",
                        "write `&NAME` before the value that `*NAME` stands for, or put a text that \
                         begins with `*` into quotes",
                    );
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
            let step = format!("[{}]", nodes.len());
            nodes.push(self.below(step, |it| it.build(event, span, events, depth + 1))?);
        }
    }

    fn map<'e>(
        &mut self,
        events: &mut impl Iterator<Item = (Event<'e>, Span)>,
        depth: usize,
    ) -> Option<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut known: HashMap<String, Range<usize>> = HashMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = events.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.build(event, span, events, depth + 1)?;
            let step = self.step(key.text().unwrap_or_default());
            let value = self.below(step, |it| it.node(events, depth + 1))?;
            let Some(text) = key.text().map(str::to_owned) else {
                let help = "write `WORD: VALUE`; `{{ NAME }}` of a template needs quotes";
                self.problem(key.span, "a key must be a single word", help);
                continue;
            };
            let value = value.marked_at(&key.span);
            if text == "<<" {
                self.merge(value, &mut merged);
            } else if let Some(first) = known.get(&text) {
                let message = format!("duplicate key `{text}`");
                let path = self.path.concat() + &self.step(&text);
                self.problems.push(
                    Problem::new(path, key.span, message)
                        .beside(first.clone(), "first written here")
                        .help("remove or rename one of the two"),
                );
            } else {
                known.insert(text.clone(), key.span.clone());
                entries.push(Entry { key: text, key_span: key.span, value });
            }
        }
        // What is written wins over what is merged.
        for entry in merged {
            if !known.contains_key(&entry.key) {
                known.insert(entry.key.clone(), entry.key_span.clone());
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
                self.problems.push(
                    Problem::new(String::new(), value.span, "`<<` merges mappings only")
                        .expected("an alias of a mapping, such as `*defaults`"),
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
