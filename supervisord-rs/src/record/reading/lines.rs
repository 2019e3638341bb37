//! Lines of several files of output, in the order of their times: of each file one line at a time,
//! so that they need no more room than their bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use serde_json::Value;

use super::choice::Source;
use super::file::LogFile;
use crate::control::protocol::LogLine;

/// Length of `2026-01-02T03:04:05.678Z`.
const TIME: usize = 24;

/// A file that is shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) file: LogFile,
    source: Source,
    /// The time of its last line that had one.
    time: Vec<u8>,
    /// What was read of it and is not shown yet.
    bytes: Vec<u8>,
    /// Where in it the next line begins.
    next: usize,
    /// The line that comes next.
    line: Range<usize>,
}

/// Files, with what was read of them.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) files: Vec<Shown>,
    /// None from before this time, as lines have it.
    since: Option<Vec<u8>>,
    /// The next line of each file that has one: the oldest first, and of equal ones that of the
    /// first file.
    order: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl Shown {
    pub(super) fn new(file: LogFile, source: Source) -> Self {
        let (time, bytes, next, line) = Default::default();
        Self { file, source, time, bytes, next, line }
    }

    /// Bytes that were read and are not shown.
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// What stands in front of its lines, where several files are shown.
    fn label(&self) -> String {
        match self.source.names.first() {
            Some(name) if self.source.names.len() == 1 => name.clone(),
            // Whose line it is, only the line can say.
            _ => self.file.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// The time in front of a line, the name of its worker (`logs: { prefix: true }`), and the
    /// rest.
    fn split<'a>(&self, line: &'a [u8]) -> (Option<&'a [u8]>, Option<&String>, &'a [u8]) {
        let at = time(line);
        let text = match at {
            Some(_) if line.get(TIME) == Some(&b' ') => &line[TIME + 1..],
            _ => line,
        };
        let behind = |name: &String| text.strip_prefix(name.as_bytes())?.strip_prefix(b" | ");
        let named = self.source.names.iter().find_map(|name| Some((name, behind(name)?)));
        named.map_or((at, None, text), |(name, rest)| (at, Some(name), rest))
    }

    /// As it is published. `has_label`: several files are shown.
    fn published(&self, line: &[u8], has_label: bool) -> LogLine {
        let (at, name, text) = self.split(line);
        // Whose line it is, only the line can say where several write.
        let only = self.source.names.first().filter(|_| self.source.names.len() == 1);
        let (whole, message) = (String::from_utf8_lossy(line), String::from_utf8_lossy(text));
        let mut published = LogLine {
            at: at.map(|at| String::from_utf8_lossy(at).into_owned()),
            worker: name.or(only).cloned(),
            stream: self.source.stream.to_owned(),
            label: (has_label && name.is_none()).then(|| self.label()),
            line: (whole != message).then(|| whole.clone().into_owned()),
            message: message.into_owned(),
            bytes: std::str::from_utf8(line).is_err().then(|| line.to_vec()),
        };
        // `logs: { format: json }`
        if line.first() == Some(&b'{')
            && let Ok(Value::Object(record)) = serde_json::from_slice(line)
            && let Some(Value::String(message)) = record.get("message")
        {
            let text = |key| record.get(key).and_then(Value::as_str).map(str::to_owned);
            published.message.clone_from(message);
            published.at = text("at").or(published.at);
            published.worker = text("worker").or(published.worker);
            published.stream = text("stream").unwrap_or(published.stream);
            published.line = Some(whole.into_owned());
        }
        published
    }

    /// Goes on to the next line that is not from before `since`; its time.
    fn advance(&mut self, since: Option<&[u8]>) -> Option<Vec<u8>> {
        while self.next < self.bytes.len() {
            let rest = &self.bytes[self.next..];
            let length = rest.iter().position(|&byte| byte == b'\n');
            let end = self.next + length.unwrap_or(rest.len());
            self.line = self.next..end;
            self.next = end + 1;
            if let Some(time) = time(&self.bytes[self.line.clone()]) {
                self.time = time.to_vec();
            }
            if since.is_none_or(|since| *self.time >= *since) {
                return Some(self.time.clone());
            }
        }
        self.bytes = Vec::new();
        None
    }
}

impl Lines {
    pub(super) fn new(files: Vec<Shown>, since: Option<&str>) -> Self {
        Self { files, since: since.map(|since| since.into()), order: BinaryHeap::new() }
    }

    /// What was read of a file, after all that was read of it before has been shown. A line without
    /// a time counts as written with the one before it; in a file without any times, at the file's
    /// last write. Output need not be UTF-8.
    pub(super) fn add(&mut self, index: usize, bytes: Vec<u8>) {
        let shown = &mut self.files[index];
        if shown.time.is_empty() {
            let first = bytes.split(|&byte| byte == b'\n').find_map(time).map(<[u8]>::to_vec);
            shown.time = first.unwrap_or_else(|| shown.file.modified().into_bytes());
        }
        (shown.bytes, shown.next) = (bytes, 0);
        if let Some(time) = shown.advance(self.since.as_deref()) {
            self.order.push(Reverse((time, index)));
        }
    }

    /// The oldest line.
    pub(super) fn next(&mut self) -> Option<LogLine> {
        let Reverse((_, index)) = self.order.pop()?;
        let has_label = self.files.len() > 1;
        let shown = &mut self.files[index];
        let line = shown.published(&shown.bytes[shown.line.clone()], has_label);
        if let Some(time) = shown.advance(self.since.as_deref()) {
            self.order.push(Reverse((time, index)));
        }
        Some(line)
    }
}

/// The time of a line, if it has one: `timestamps: true`, or `format: json`.
fn time(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(br#"{"at":""#).unwrap_or(line);
    line.get(..TIME).filter(|time| time[4] == b'-' && time[10] == b'T' && time[TIME - 1] == b'Z')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::record::reading::access::Access;

    const AT: &str = "2026-01-02T03:04:05.67";

    fn lines(files: &[(&[&str], &str)], since: Option<&str>) -> Vec<LogLine> {
        let shown = |(names, _): &(&[&str], &str)| {
            let names: BTreeSet<String> = names.iter().map(|&name| name.into()).collect();
            let file = LogFile::new(format!("/none/{}.log", names.len()).into(), Access::Own);
            Shown::new(file, Source { names, stream: "output" })
        };
        let mut all = Lines::new(files.iter().map(shown).collect(), since);
        for (index, (_, text)) in files.iter().enumerate() {
            all.add(index, text.as_bytes().to_vec());
        }
        std::iter::from_fn(|| all.next()).collect()
    }

    #[test]
    fn times_are_those_of_text_and_json() {
        let at = "2026-01-02T03:04:05.678Z";
        assert_eq!(time(format!("{at} x").as_bytes()), Some(at.as_bytes()));
        assert_eq!(
            time(format!("{{\"at\":\"{at}\",\"message\":1}}").as_bytes()),
            Some(at.as_bytes())
        );
        assert_eq!(time(b"a line without a time, and long enough"), None);
    }

    #[test]
    fn lines_of_several_files_come_by_their_times_and_each_file_keeps_its_order() {
        let one = format!("{AT}1Z a1\nwith it\n{AT}5Z a5\n{AT}3Z a3\n");
        let other = format!("{AT}2Z b2\n{AT}4Z b4");
        let files: [(&[&str], &str); 2] = [(&["a"], &one), (&["b"], &other)];
        let messages = |since| -> Vec<String> {
            lines(&files, since).into_iter().map(|line| line.message).collect()
        };
        assert_eq!(messages(None), ["a1", "with it", "b2", "b4", "a5", "a3"]);
        assert_eq!(messages(Some(&format!("{AT}4Z"))), ["b4", "a5"]);
    }

    #[test]
    fn a_line_names_its_worker_or_its_file_does() {
        let shared: (&[&str], &str) = (&["a", "b"], "b | its own\nwhose\n");
        let alone: (&[&str], &str) = (&["c"], "c's\n");
        let found = lines(&[shared], None);
        assert_eq!(found[0].worker.as_deref(), Some("b"));
        assert_eq!((found[0].message.as_str(), found[0].whole()), ("its own", &b"b | its own"[..]));
        assert_eq!((&found[1].worker, &found[1].label), (&None, &None));
        let labels: Vec<_> = lines(&[shared, alone], None)
            .into_iter()
            .map(|line| (line.message, line.label))
            .collect();
        let label = |text: &str| Some(text.to_owned());
        assert_eq!(labels[0], ("its own".into(), None));
        assert_eq!(labels[1], ("whose".into(), label("2.log")));
        assert_eq!(labels[2], ("c's".into(), label("c")));
    }

    #[test]
    fn a_record_is_published_as_it_says_and_other_bytes_stay_whole() {
        let record = format!(
            r#"{{"at":"{AT}1Z","worker":"w","stream":"stderr","message":"said","more":1}}"#
        );
        let found = lines(&[(&["x", "y"], &record)], None).remove(0);
        assert_eq!(found.at, Some(format!("{AT}1Z")));
        assert_eq!((found.worker.as_deref(), found.stream.as_str()), (Some("w"), "stderr"));
        assert_eq!((found.message.as_str(), found.whole()), ("said", record.as_bytes()));
        let mut all = Lines::new(
            vec![Shown::new(
                LogFile::new("/none/x".into(), Access::Own),
                Source { names: BTreeSet::from(["x".to_owned()]), stream: "stdout" },
            )],
            None,
        );
        all.add(0, b"\xff\n".to_vec());
        let line = all.next().expect("a line");
        assert_eq!((line.message.as_str(), line.whole()), ("\u{fffd}", &b"\xff"[..]));
    }
}
