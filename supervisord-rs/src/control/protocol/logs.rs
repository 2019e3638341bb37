//! The captured output of workers: the question, and the parts of the answer, one in each line.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What is asked for; the query of `/v1/logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogsRequest {
    /// `worker`, as often as needed: workers, groups or instances as `NAME:`; without one, all.
    pub workers: Vec<String>,
    /// So many lines of each file to begin with. `None`: ten; with `since`, all.
    pub lines: Option<usize>,
    /// Only lines from this time on: RFC 3339 in UTC with milliseconds, as lines have it.
    pub since: Option<String>,
    /// Only standard error, of workers that keep it apart.
    pub stderr: bool,
    /// Goes on with new lines.
    pub follow: bool,
    /// Where an earlier answer has come to, file by file, as JSON: nothing from before comes again,
    /// and `lines` does not count.
    pub from: Vec<LogPosition>,
}

impl LogsRequest {
    /// As a query.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = String::new();
        let mut add = |key: &str, value: &str| {
            let between = if query.is_empty() { "" } else { "&" };
            write!(query, "{between}{key}=").expect("a text takes everything");
            for byte in value.bytes() {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        query.push(char::from(byte));
                    }
                    other => write!(query, "%{other:02X}").expect("a text takes everything"),
                }
            }
        };
        self.workers.iter().for_each(|worker| add("worker", worker));
        self.lines.iter().for_each(|lines| add("lines", &lines.to_string()));
        self.since.iter().for_each(|since| add("since", since));
        for (key, is_set) in [("stderr", self.stderr), ("follow", self.follow)] {
            if is_set {
                add(key, "true");
            }
        }
        if !self.from.is_empty() {
            add("from", &serde_json::to_string(&self.from).expect("positions are valid JSON"));
        }
        query
    }

    /// From the pairs of a query.
    ///
    /// # Errors
    /// A sentence about the pair that makes no sense.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut request = Self::default();
        let mut seen = BTreeSet::new();
        for (key, value) in pairs {
            if key != "worker" && !seen.insert(key.clone()) {
                return Err(format!("{key} stands twice in the query: give it once"));
            }
            let wrong = |expected: &str| format!("{key}={value}: it has to be {expected}");
            let flag = || value.parse().map_err(|_| wrong("true or false"));
            match key.as_str() {
                "worker" => request.workers.push(value),
                "lines" => {
                    request.lines =
                        Some(value.parse().map_err(|_| wrong("a number of lines, from 0"))?);
                }
                "since" => {
                    let time = humantime::parse_rfc3339(&value)
                        .map_err(|_| wrong("a time, as 2026-01-02T03:04:05.678Z"))?;
                    request.since = Some(humantime::format_rfc3339_millis(time).to_string());
                }
                "stderr" => request.stderr = flag()?,
                "follow" => request.follow = flag()?,
                "from" => {
                    request.from = serde_json::from_str(&value).map_err(|_| {
                        wrong("a JSON array of the `positions` of an earlier answer")
                    })?;
                }
                _ => {
                    return Err(format!(
                        "unknown parameter `{key}`: allowed are worker, lines, since, \
                         stderr, follow, from"
                    ));
                }
            }
        }
        Ok(request)
    }
}

/// A part of the answer. A reader passes what it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogItem {
    /// A line of output.
    Line(LogLine),
    /// What is not shown, and why.
    Note {
        /// A sentence for people.
        note: String,
    },
    /// Where the reading has come to in those files that have had lines since the last of these.
    Positions {
        /// To go on from there: `from` of another request.
        positions: Vec<LogPosition>,
    },
}

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, where the line says so.
    pub at: Option<String>,
    /// Who wrote it; null where several share the file and the line does not name its own.
    pub worker: Option<String>,
    /// `stdout`, `stderr`, or `output` where both have one file.
    pub stream: String,
    /// What was written, without time and name in front.
    pub message: String,
    /// What tells its file from the others, where several are shown and the line names no worker.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
    /// The whole line as the file has it, where that is more than the message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<String>,
    /// The bytes of the whole line, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<Vec<u8>>,
}

impl LogLine {
    /// The whole line as the file has it.
    #[must_use]
    pub fn whole(&self) -> &[u8] {
        let text = || self.line.as_ref().unwrap_or(&self.message).as_bytes();
        self.bytes.as_deref().unwrap_or_else(text)
    }
}

/// Where the reading of a file has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// A hash of its path.
    pub file: String,
    /// The file itself, whatever its name has become.
    pub inode: u64,
    /// Bytes from its start.
    pub offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server decodes it.
    fn pairs(query: &str) -> Vec<(String, String)> {
        let decode = |text: &str| {
            let mut bytes = Vec::new();
            let mut rest = text.as_bytes();
            while let [first, after @ ..] = rest {
                rest = after;
                if *first == b'%' {
                    let digits = std::str::from_utf8(&after[..2]).expect("two digits");
                    bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                    rest = &after[2..];
                } else {
                    bytes.push(*first);
                }
            }
            String::from_utf8(bytes).expect("UTF-8")
        };
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (decode(key), decode(value))).collect()
    }

    #[test]
    fn a_request_comes_back_from_its_query() {
        let position = LogPosition { file: "0f".into(), inode: 7, offset: 9 };
        let request = LogsRequest {
            workers: vec!["g:".into(), "grün & co=1".into()],
            lines: Some(3),
            since: Some("2026-01-02T03:04:05.678Z".into()),
            stderr: true,
            follow: true,
            from: vec![position],
        };
        for request in [request, LogsRequest::default()] {
            let query = request.to_query();
            assert!(query.is_ascii() && !query.contains(' '), "{query}");
            assert_eq!(LogsRequest::from_pairs(pairs(&query)), Ok(request));
        }
    }

    #[test]
    fn a_pair_that_makes_no_sense_is_named() {
        for (query, expected) in [
            ("lines=many", "lines=many: it has to be a number of lines"),
            ("since=10m", "since=10m: it has to be a time"),
            ("follow=1", "follow=1: it has to be true or false"),
            ("from=x", "a JSON array of the `positions`"),
            ("tail=3", "unknown parameter `tail`"),
            ("lines=1&lines=2", "lines stands twice in the query: give it once"),
        ] {
            let error = LogsRequest::from_pairs(pairs(query)).expect_err("no sense");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn each_part_of_an_answer_is_read_back_as_what_it_is() {
        let line = LogLine {
            at: None,
            worker: Some("w".into()),
            stream: "stdout".into(),
            message: "x".into(),
            label: None,
            line: None,
            bytes: Some(vec![255]),
        };
        let position = LogPosition { file: "0f".into(), inode: 7, offset: 9 };
        for item in [
            LogItem::Line(line),
            LogItem::Note { note: "n".into() },
            LogItem::Positions { positions: vec![position] },
        ] {
            let text = serde_json::to_string(&item).expect("JSON");
            assert_eq!(serde_json::from_str::<LogItem>(&text).expect("the same"), item);
        }
    }
}
