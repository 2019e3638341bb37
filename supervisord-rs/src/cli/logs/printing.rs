//! Lines of output as text or as JSON. They are printed when it is known where the reading has come
//! to: what breaks off before that comes again.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};

use crate::cli::harmless::harmless_bytes;
use crate::cli::output::{is_printed, say};
use crate::control::protocol::{LogItem, LogLine, LogPosition, LogsRequest};

/// Bytes of a query that names positions: more do not fit into a request.
const QUERY_MAX: usize = 60_000;

/// What prints lines.
#[derive(Debug)]
pub(super) struct Printer {
    /// Bytes as they were written, also on a terminal.
    is_raw: bool,
    /// An object a line.
    is_json: bool,
    /// Lines to print together.
    waiting: Vec<u8>,
    /// Whether any were printed, or are known not to be there.
    has_begun: bool,
    /// The words where there is nothing to show at first, until something was shown or said.
    nothing: Option<String>,
    /// Where the reading has come to, by file.
    positions: BTreeMap<String, LogPosition>,
}

impl Printer {
    /// `nothing`: what to say where there is nothing to show.
    pub(super) fn new(is_raw: bool, is_json: bool, nothing: String) -> Self {
        let (waiting, has_begun, positions) = Default::default();
        Self { is_raw, is_json, waiting, has_begun, nothing: Some(nothing), positions }
    }

    /// Takes a part of an answer. False when the reader of the output has gone.
    pub(super) fn add(&mut self, item: LogItem) -> bool {
        match item {
            LogItem::Line(line) => {
                self.nothing = None;
                self.write(&line);
                true
            }
            LogItem::Note { note } => {
                self.nothing = None;
                say(&note);
                true
            }
            LogItem::Positions { positions } => {
                let positions = positions.into_iter().map(|one| (one.file.clone(), one));
                self.positions.extend(positions);
                self.has_begun = true;
                self.nothing.take().iter().for_each(|nothing| say(nothing));
                let lines = std::mem::take(&mut self.waiting);
                let mut stdout = std::io::stdout().lock();
                is_printed(stdout.write_all(&lines).and_then(|()| stdout.flush()))
            }
        }
    }

    /// Has a request go on where the lines that were printed end.
    pub(super) fn go_on(&mut self, request: &mut LogsRequest) {
        self.waiting.clear();
        if !self.has_begun {
            return;
        }
        request.from = self.positions.values().cloned().collect();
        if request.from.is_empty() || request.to_query().len() > QUERY_MAX {
            (request.from, request.lines) = (Vec::new(), Some(0));
        }
    }

    fn write(&mut self, line: &LogLine) {
        if self.is_json {
            self.waiting.extend(json(line).to_string().into_bytes());
        } else {
            if let Some(label) = &line.label {
                self.waiting.extend(label.as_bytes());
                self.waiting.extend(b" | ");
            }
            if self.is_raw {
                self.waiting.extend(line.whole());
            } else {
                self.waiting.extend(&*harmless_bytes(line.whole()));
            }
        }
        self.waiting.push(b'\n');
    }
}

fn json(line: &LogLine) -> Value {
    // `logs: { format: json }`
    let written = serde_json::from_slice::<Value>(line.whole()).ok();
    if let Some(record) = written.filter(|record| record.get("message").is_some()) {
        return record;
    }
    let LogLine { at, worker, stream, message, .. } = line;
    json!({ "at": at, "worker": worker, "stream": stream, "message": message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> LogLine {
        LogLine {
            at: None,
            worker: Some("w".into()),
            stream: "stdout".into(),
            message: message.into(),
            label: None,
            line: None,
            bytes: None,
        }
    }

    #[test]
    fn a_line_is_printed_as_it_was_written_or_as_an_object() {
        let printed = |is_raw, is_json, line| {
            let mut printer = Printer::new(is_raw, is_json, String::new());
            printer.write(&line);
            String::from_utf8_lossy(&printer.waiting).into_owned()
        };
        let labelled = LogLine { label: Some("w".into()), ..line("\u{1b}[2J") };
        assert_eq!(printed(true, false, labelled.clone()), "w | \u{1b}[2J\n");
        assert_eq!(printed(false, false, labelled), "w | \\x1b[2J\n");
        let object = "{\"at\":null,\"message\":\"x\",\"stream\":\"stdout\",\"worker\":\"w\"}\n";
        assert_eq!(printed(true, true, line("x")), object);
        let record = "{\"message\":\"m\",\"more\":1}";
        let written = LogLine { line: Some(record.into()), ..line("m") };
        assert_eq!(printed(true, true, written), format!("{record}\n"));
    }

    #[test]
    fn what_was_not_printed_is_asked_for_again() {
        let mut printer = Printer::new(true, false, String::new());
        let mut request = LogsRequest { lines: Some(3), ..LogsRequest::default() };
        printer.add(LogItem::Line(line("lost on its way")));
        printer.go_on(&mut request);
        assert_eq!((request.lines, request.from.len()), (Some(3), 0), "nothing came");
        assert!(printer.waiting.is_empty());
        let at = |offset| LogPosition { file: "0f".into(), inode: 7, offset };
        for offset in [1, 2] {
            printer.add(LogItem::Positions { positions: vec![at(offset)] });
        }
        printer.add(LogItem::Line(line("lost too")));
        printer.go_on(&mut request);
        assert_eq!(request.from, [at(2)]);
        let many = (0..2000).map(|file| LogPosition { file: format!("{file:016x}"), ..at(1) });
        printer.add(LogItem::Positions { positions: many.collect() });
        printer.go_on(&mut request);
        assert_eq!((request.lines, request.from.len()), (Some(0), 0), "too many for a request");
    }
}
