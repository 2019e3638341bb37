//! What the chosen worker has written: its last lines, as the supervisor reads them.

use ratatui::style::Stylize;
use ratatui::text::Line;

use crate::cli::harmless::harmless;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{LogItem, LogsRequest, WorkerStatus};

/// Lines that are shown.
const LINES: usize = 12;
/// With the heading.
pub(super) const HEIGHT: u16 = 13;

const _: () = assert!(HEIGHT as usize == LINES + 1, "there is room for each");

/// See above. Nothing was read yet, by default.
#[derive(Debug, Default)]
pub(super) struct Log {
    worker: String,
    heading: String,
    lines: Vec<String>,
}

impl Log {
    /// Asks for the lines of now. Where no supervisor answers, those that were there stay: it may
    /// be on its way back.
    pub(super) fn read(&mut self, client: &Client, worker: &WorkerStatus) {
        let workers = vec![worker.name.clone()];
        let request = LogsRequest { workers, lines: Some(LINES), ..LogsRequest::default() };
        let items = client.logs(&request).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let lines = match items {
            Ok(items) => last(items),
            Err(ClientError::Failed(failure)) => {
                failure.message.lines().map(str::to_owned).collect()
            }
            Err(_) if self.worker == worker.name => return,
            Err(error) => vec![error.to_string()],
        };
        *self = Self {
            worker: worker.name.clone(),
            heading: format!("── {} ──", worker.stdout),
            lines,
        };
    }

    pub(super) fn lines(&self) -> Vec<Line<'static>> {
        let heading = Line::from(self.heading.clone()).bold();
        let shown = |line: &String| Line::from(harmless(line).replace('\t', " "));
        [heading].into_iter().chain(self.lines.iter().map(shown)).collect()
    }
}

/// The last lines of standard output, whatever came in between; where there are none, why.
fn last(items: Vec<LogItem>) -> Vec<String> {
    let (mut lines, mut notes) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            LogItem::Line(line) if line.stream == "stderr" => {}
            LogItem::Line(line) => lines.push(String::from_utf8_lossy(line.whole()).into_owned()),
            LogItem::Note { note } => notes.push(note),
            LogItem::Positions { .. } => {}
        }
    }
    if lines.is_empty() {
        return notes;
    }
    lines.split_off(lines.len().saturating_sub(LINES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::LogLine;

    fn line(stream: &str, message: &str) -> LogItem {
        LogItem::Line(LogLine {
            at: None,
            worker: None,
            stream: stream.into(),
            message: message.into(),
            label: None,
            line: None,
            bytes: None,
        })
    }

    #[test]
    fn the_last_lines_of_standard_output_are_shown_and_notes_where_there_are_none() {
        let note = || LogItem::Note { note: "left out".into() };
        let numbers = (0..20).map(|number| line("output", &number.to_string()));
        let shown = last(numbers.chain([line("stderr", "e"), note()]).collect());
        assert_eq!((shown.len(), shown[0].as_str(), shown[11].as_str()), (LINES, "8", "19"));
        assert_eq!(last(vec![line("stderr", "e"), note()]), ["left out"]);
    }
}
