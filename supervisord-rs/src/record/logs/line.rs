//! What a line gets on its way: the time, the worker's name, or a JSON object around it.

use std::time::SystemTime;

use serde_json::json;

use crate::config::settings::LineFormat;
use crate::record::wall_time::wall;

/// A line longer than this is cut into several.
const LINE_MAX: usize = 64 * 1024;

/// Turns bytes into lines as they are to be written.
#[derive(Debug)]
pub(super) struct Formatter {
    worker: String,
    stream: &'static str,
    format: LineFormat,
    /// Whether bytes wait for the end of their line: they are changed line by line, or go where
    /// others' lines go.
    by_line: bool,
    partial: Vec<u8>,
}

impl Formatter {
    pub(super) fn new(
        worker: &str,
        stream: &'static str,
        format: LineFormat,
        by_line: bool,
    ) -> Self {
        let by_line = by_line || format.changes_lines();
        Self { worker: worker.to_owned(), stream, format, by_line, partial: Vec::new() }
    }

    /// What can be written now: the bytes as they are, or whole lines.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        if !self.by_line {
            return bytes.to_vec();
        }
        self.partial.extend_from_slice(bytes);
        let end = match self.partial.iter().rposition(|&byte| byte == b'\n') {
            Some(newline) => newline + 1,
            None if self.partial.len() >= LINE_MAX => self.partial.len(),
            None => return Vec::new(),
        };
        let whole: Vec<u8> = self.partial.drain(..end).collect();
        self.lines(&whole)
    }

    /// The last line, which has no end.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.partial);
        if rest.is_empty() { rest } else { self.lines(&rest) }
    }

    fn lines(&self, bytes: &[u8]) -> Vec<u8> {
        // One time for what came in one piece: it was written at once.
        let at = wall(SystemTime::now());
        let mut text = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if self.format.json {
                text.extend_from_slice(self.json(&at, line).to_string().as_bytes());
            } else {
                if self.format.timestamps {
                    text.extend_from_slice(at.as_bytes());
                    text.push(b' ');
                }
                if self.format.prefix {
                    text.extend_from_slice(self.worker.as_bytes());
                    text.extend_from_slice(b" | ");
                }
                text.extend_from_slice(line);
            }
            text.push(b'\n');
        }
        text
    }

    /// Bytes that are no UTF-8 are not lost: they stand in `bytes`, in hexadecimal, beside the
    /// readable form.
    fn json(&self, at: &str, line: &[u8]) -> serde_json::Value {
        let message = String::from_utf8_lossy(line);
        let mut record =
            json!({ "at": at, "worker": self.worker, "stream": self.stream, "message": message });
        if std::str::from_utf8(line).is_err() {
            let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            record["bytes"] = hex.into();
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_get_what_is_asked_for_and_bytes_are_kept() {
        let prefixed = LineFormat { prefix: true, ..LineFormat::default() };
        let mut formatter = Formatter::new("api", "stdout", prefixed, false);
        assert_eq!(formatter.feed(b"one\ntw"), b"api | one\n");
        assert_eq!(formatter.feed(b"o\xff\n"), b"api | two\xff\n");
        assert_eq!(formatter.feed(b"rest"), b"");
        assert_eq!(formatter.finish(), b"api | rest\n");
        let mut raw = Formatter::new("api", "stdout", LineFormat::default(), false);
        assert_eq!(raw.feed(b"\x00\xff"), b"\x00\xff");
        let mut whole = Formatter::new("api", "stdout", LineFormat::default(), true);
        assert_eq!(
            (whole.feed(b"one "), whole.feed(b"line\nan")),
            (b"".to_vec(), b"one line\n".to_vec())
        );
    }

    #[test]
    fn json_escapes_and_keeps_what_is_no_text() {
        let format = LineFormat { json: true, ..LineFormat::default() };
        let line = Formatter::new("api", "stderr", format, false).feed(b"a\"\xfe\n");
        let record: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(record["message"], "a\"\u{fffd}");
        assert_eq!(record["bytes"], "6122fe");
        assert_eq!((&record["worker"], &record["stream"]), (&"api".into(), &"stderr".into()));
    }
}
