//! Lines of several files of output: in the order of their times, with the names of those who wrote
//! them, as text or as JSON.

use std::collections::BTreeSet;
use std::io::Write;

use super::harmless::harmless_bytes;
use super::log_file::LogFile;
use super::output::is_printed;

/// Length of `2026-01-02T03:04:05.678Z`.
const TIME: usize = 24;

/// How lines are shown.
#[derive(Clone, Debug)]
pub(super) struct Style {
    /// Bytes as they were written, also on a terminal.
    pub(super) is_raw: bool,
    /// An object a line.
    pub(super) is_json: bool,
    /// Whether lines of several files are mixed, so that each needs its name.
    pub(super) has_names: bool,
    /// None from before this time, as lines have it.
    pub(super) since: Option<Vec<u8>>,
}

/// A file that is shown.
pub(super) struct Shown {
    pub(super) file: LogFile,
    /// The workers that write to it.
    names: BTreeSet<String>,
    /// `stdout` or `stderr`; of a file that has both, `output`.
    stream: &'static str,
    /// The time of its last line that had one.
    time: Vec<u8>,
}

/// One line of a file, without its end.
struct Line {
    time: Vec<u8>,
    index: usize,
    text: Vec<u8>,
}

impl Shown {
    pub(super) fn new(file: LogFile, names: BTreeSet<String>, stream: &'static str) -> Self {
        Self { file, names, stream, time: Vec::new() }
    }

    /// What is put in front of its lines.
    fn label(&self) -> String {
        match self.names.first() {
            Some(name) if self.names.len() == 1 => name.clone(),
            // Whose line it is, only the line can say.
            _ => self.file.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// The time in front of a line, the name of its worker (`logs: { prefix: true }`), and the rest.
    fn split<'a>(&self, line: &'a [u8]) -> (Option<&'a [u8]>, Option<&String>, &'a [u8]) {
        let at = time(line);
        let text = match at {
            Some(_) if line.get(TIME) == Some(&b' ') => &line[TIME + 1..],
            _ => line,
        };
        let behind = |name: &String| text.strip_prefix(name.as_bytes())?.strip_prefix(b" | ");
        let named = self.names.iter().find_map(|name| Some((name, behind(name)?)));
        named.map_or((at, None, text), |(name, rest)| (at, Some(name), rest))
    }

    fn json(&self, line: &[u8]) -> serde_json::Value {
        let written = serde_json::from_slice::<serde_json::Value>(line).ok();
        if let Some(record) = written.filter(|record| record.get("message").is_some()) {
            // `logs: { format: json }`
            return record;
        }
        let (at, name, text) = self.split(line);
        // Whose line it is, only the line can say where several write.
        let worker = name.or_else(|| self.names.first().filter(|_| self.names.len() == 1));
        serde_json::json!({
            "at": at.map(String::from_utf8_lossy), "worker": worker, "stream": self.stream,
            "message": String::from_utf8_lossy(text),
        })
    }
}

/// The time of a line, if it has one: `timestamps: true`, or `format: json`.
fn time(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(br#"{"at":""#).unwrap_or(line);
    line.get(..TIME).filter(|time| time[4] == b'-' && time[10] == b'T' && time[TIME - 1] == b'Z')
}

/// Prints the lines of all files by time. A line without a time counts as written with the one
/// before it; in a file without any times, at the file's last write. Output need not be UTF-8.
/// False when the reader has gone.
pub(super) fn print(
    shown: &mut [Shown],
    style: &Style,
    mut take: impl FnMut(&mut LogFile) -> Vec<u8>,
) -> bool {
    let mut all: Vec<Line> = Vec::new();
    for (index, shown) in shown.iter_mut().enumerate() {
        let bytes = take(&mut shown.file);
        let lines = || bytes.split_inclusive(|&byte| byte == b'\n');
        if shown.time.is_empty() {
            let first = lines().find_map(time).map(<[u8]>::to_vec);
            shown.time = first.unwrap_or_else(|| shown.file.modified().into_bytes());
        }
        for line in lines() {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if let Some(time) = time(text) {
                shown.time = time.to_vec();
            }
            all.push(Line { time: shown.time.clone(), index, text: text.to_vec() });
        }
    }
    if let Some(since) = &style.since {
        all.retain(|line| line.time >= *since);
    }
    // Stable: the lines of one file stay in their order.
    all.sort_by(|one, other| one.time.cmp(&other.time));
    let mut stdout = std::io::stdout().lock();
    let mut write = || -> std::io::Result<()> {
        for line in &all {
            write_line(&mut stdout, line, &shown[line.index], style)?;
        }
        stdout.flush()
    };
    is_printed(write())
}

fn write_line(
    out: &mut impl Write,
    line: &Line,
    shown: &Shown,
    style: &Style,
) -> std::io::Result<()> {
    if style.is_json {
        return writeln!(out, "{}", shown.json(&line.text));
    }
    if style.has_names && shown.split(&line.text).1.is_none() {
        write!(out, "{} | ", shown.label())?;
    }
    if style.is_raw {
        out.write_all(&line.text)?;
    } else {
        out.write_all(&harmless_bytes(&line.text))?;
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::time;

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
}
