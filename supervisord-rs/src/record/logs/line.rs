//! What a line gets on its way: the time, the worker's name, or a JSON object around it.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::config::settings::LineFormat;
use crate::record::wall_time::wall;

/// A line longer than this is cut into several.
const LINE_MAX: usize = 64 * 1024;
/// Length of `2026-01-02T03:04:05.678Z`.
const TIME: usize = 24;

/// How the lines of a stream look in its file.
#[derive(Clone, Debug)]
pub(super) struct Form {
    worker: String,
    stream: &'static str,
    format: LineFormat,
}

/// Turns bytes into lines as they are to be written.
#[derive(Debug)]
pub(super) struct Formatter {
    form: Form,
    /// Whether bytes wait for the end of their line: they are changed line by line, or go where
    /// others' lines go.
    by_line: bool,
    partial: Vec<u8>,
}

impl Formatter {
    /// `by_line`: whole lines, even where the form changes nothing.
    pub(super) fn new(form: Form, by_line: bool) -> Self {
        let by_line = by_line || form.format.changes_lines();
        Self { form, by_line, partial: Vec::new() }
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
        self.form.lines(&whole)
    }

    /// The last line, which has no end.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.partial);
        if rest.is_empty() { rest } else { self.form.lines(&rest) }
    }
}

impl Form {
    pub(super) fn new(worker: &str, stream: &'static str, format: LineFormat) -> Self {
        Self { worker: worker.to_owned(), stream, format }
    }

    /// What the stream itself wrote of this end of its file, at most so many bytes of it: without
    /// what its lines got on their way, and without the lines of others, where they say whose they
    /// are. The first line may be cut, and does not count then.
    pub(super) fn written(&self, end: &[u8], most: usize) -> Vec<u8> {
        if !self.format.changes_lines() {
            return end[end.len().saturating_sub(most)..].to_vec();
        }
        let lines = end.split_inclusive(|&byte| byte == b'\n').rev();
        let own = lines.filter_map(|line| self.original(line.strip_suffix(b"\n").unwrap_or(line)));
        let mut length = 0;
        let mut found: Vec<_> = own
            .take_while(|line| {
                let is_within = length < most;
                length += line.len() + 1;
                is_within
            })
            .collect();
        found.reverse();
        found.into_iter().flat_map(|line| [line, b"\n".to_vec()].concat()).collect()
    }

    /// A line as it came. `None`: another wrote it, or it is no whole line.
    fn original(&self, line: &[u8]) -> Option<Vec<u8>> {
        if self.format.json {
            let record: Value = serde_json::from_slice(line).ok()?;
            let is_own = record["worker"] == *self.worker && record["stream"] == self.stream;
            return is_own.then(|| bytes_of(&record))?;
        }
        let mut rest = line;
        if self.format.timestamps {
            let (time, text) = rest.split_at_checked(TIME)?;
            rest = text.strip_prefix(b" ").filter(|_| time.ends_with(b"Z"))?;
        }
        if self.format.prefix {
            rest = rest.strip_prefix(self.worker.as_bytes())?.strip_prefix(b" | ")?;
        }
        Some(rest.to_vec())
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
    fn json(&self, at: &str, line: &[u8]) -> Value {
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

/// What stands in a record of [`Form::json`].
fn bytes_of(record: &Value) -> Option<Vec<u8>> {
    let Some(hex) = record["bytes"].as_str() else {
        return Some(record["message"].as_str()?.into());
    };
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(worker: &str, stream: &'static str, format: LineFormat) -> Formatter {
        Formatter::new(Form::new(worker, stream, format), false)
    }

    #[test]
    fn lines_get_what_is_asked_for_and_bytes_are_kept() {
        let prefixed = LineFormat { prefix: true, ..LineFormat::default() };
        let mut formatter = made("api", "stdout", prefixed);
        assert_eq!(formatter.feed(b"one\ntw"), b"api | one\n");
        assert_eq!(formatter.feed(b"o\xff\n"), b"api | two\xff\n");
        assert_eq!(formatter.feed(b"rest"), b"");
        assert_eq!(formatter.finish(), b"api | rest\n");
        let mut raw = made("api", "stdout", LineFormat::default());
        assert_eq!(raw.feed(b"\x00\xff"), b"\x00\xff");
        let mut whole = Formatter::new(Form::new("api", "stdout", LineFormat::default()), true);
        assert_eq!(
            (whole.feed(b"one "), whole.feed(b"line\nan")),
            (b"".to_vec(), b"one line\n".to_vec())
        );
    }

    #[test]
    fn json_escapes_and_keeps_what_is_no_text() {
        let format = LineFormat { json: true, ..LineFormat::default() };
        let line = made("api", "stderr", format).feed(b"a\"\xfe\n");
        let record: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(record["message"], "a\"\u{fffd}");
        assert_eq!(record["bytes"], "6122fe");
        assert_eq!((&record["worker"], &record["stream"]), (&"api".into(), &"stderr".into()));
    }

    #[test]
    fn the_end_of_a_file_gives_back_what_the_stream_wrote() {
        let timestamps = LineFormat { timestamps: true, ..LineFormat::default() };
        let prefix = LineFormat { prefix: true, ..timestamps };
        let json = LineFormat { json: true, ..LineFormat::default() };
        let written = b"earlier\n\nlast \"1\"\nlast \xff\n";
        for format in [timestamps, prefix, json] {
            let file = made("api", "stdout", format).feed(written);
            let form = Form::new("api", "stdout", format);
            let own = |most| form.written(&file, most);
            assert_eq!(own(100), written);
            assert_eq!(own(16), written[9..], "{format:?}: as much as is its own");
            assert_eq!(form.written(&file[3..], 100), written[8..], "the first is cut");
            if format.timestamps && !format.prefix {
                continue;
            }
            let other = made("apis", "stdout", format).feed(b"another\n");
            assert_eq!(form.written(&[file.as_slice(), &other].concat(), 7), written[18..]);
        }
        assert_eq!(Form::new("api", "stdout", LineFormat::default()).written(b"a\nb", 2), b"\nb");
    }
}
