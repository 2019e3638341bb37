//! Reading of captured output: the last lines of some workers, and what follows, through every
//! rotation. The supervisor reads for its clients, on a thread that may wait for a disk; `logs`
//! reads so by itself where no supervisor runs.
//!
//! | file | concept |
//! |---|---|
//! | `choice` | which files have the output of which workers |
//! | `access` | what the one who asks may read of them |
//! | `file` | one file, through its rotations |
//! | `last_lines` | its last lines, within a limit of bytes |
//! | `lines` | lines of several files, in the order of their times |
//! | `watch` | the news that there is new output |

mod access;
mod choice;
mod file;
mod last_lines;
mod lines;
mod watch;

use crate::control::protocol::{Failure, LogItem, LogPosition, LogsRequest};
pub use access::Access;
use choice::Choice;
pub use choice::Writers;
use file::LogFile;
use last_lines::Room;
use lines::{Lines, Shown};
pub use watch::Watch;

/// Lines to begin with by default.
const LINES: usize = 10;
/// Bytes of new output that are read at once, of all files; a file that has more comes to its end
/// later.
const NEWS_MAX: usize = 4 << 20;

/// Bytes of all logs together.
pub const TOTAL_MAX: u64 = last_lines::TOTAL_MAX;

/// A reading that has begun.
#[derive(Debug)]
pub struct Reading {
    lines: Lines,
    watch: Option<Watch>,
    begins_with: Begin,
    /// The positions that were published last.
    published: Vec<Option<LogPosition>>,
    /// Whether lines were taken since, or nothing was published yet.
    owes_positions: bool,
    /// The file whose news come first.
    turn: usize,
    /// Bytes of news that were read.
    read: u64,
}

/// How a reading begins.
#[derive(Debug)]
enum Begin {
    /// With so many lines of each file.
    Lines(usize),
    /// Where an earlier one has come to.
    From(Vec<LogPosition>),
}

impl Reading {
    /// Finds the files, and messages about what is not shown.
    ///
    /// # Errors
    /// `unknown-worker`; `refused` where nothing may be shown, `failed` where nothing can be.
    pub fn begin(
        asked: &LogsRequest,
        writers: &Writers,
        access: &Access,
    ) -> Result<(Self, Vec<String>), Failure> {
        let choice = Choice::of(asked, writers, access)?;
        let notes = choice.notes();
        let shown = choice
            .found
            .into_iter()
            .map(|(path, source)| Shown::new(LogFile::new(path, access.clone()), source));
        let files: Vec<Shown> = shown.collect();
        // Before the first read, so that no line is missed.
        let watch = asked
            .follow
            .then(|| Watch::of(&files))
            .transpose()
            .map_err(|error| Failure::new("failed", format!("cannot follow: {error}")))?;
        let default = if asked.since.is_some() { usize::MAX } else { LINES };
        let begins_with = if asked.from.is_empty() {
            Begin::Lines(asked.lines.unwrap_or(default))
        } else {
            Begin::From(asked.from.clone())
        };
        let published = vec![None; files.len()];
        let lines = Lines::new(files, asked.since.as_deref());
        let reading =
            Self { lines, watch, begins_with, published, owes_positions: true, turn: 0, read: 0 };
        Ok((reading, notes))
    }

    /// Reads what comes first, at most so many bytes of all files; a sentence about each thing that
    /// is left out.
    pub fn first(&mut self, most: u64) -> Vec<String> {
        let mut left_out = Vec::new();
        for index in 0..self.lines.files.len() {
            let count = self.lines.files.len();
            let file = &mut self.lines.files[index].file;
            match &self.begins_with {
                Begin::From(positions) => left_out.extend(file.resume(positions)),
                Begin::Lines(lines) => {
                    let (bytes, notes) = file.last_lines(Room::within(most, *lines, count));
                    left_out.extend(notes);
                    self.lines.add(index, bytes);
                }
            }
        }
        left_out
    }

    /// Bytes that were read and are not taken.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lines.files.iter().map(Shown::held).sum()
    }

    /// Whether [`news`](Self::news) has to be asked for: it is all that is read where an earlier
    /// reading goes on, up to so many bytes.
    #[must_use]
    pub fn begins_with_news(&self) -> bool {
        matches!(self.begins_with, Begin::From(_)) && self.read < TOTAL_MAX
    }

    /// Reads new output, once all that was read before is taken. Whether there was any.
    pub fn news(&mut self) -> bool {
        let count = self.lines.files.len();
        let mut read = 0;
        for index in (0..count).map(|index| (index + self.turn) % count) {
            let file = &mut self.lines.files[index].file;
            if !file.has_news() {
                continue;
            }
            let bytes = file.news();
            read += bytes.len().max(1);
            self.lines.add(index, bytes);
            if read >= NEWS_MAX {
                self.turn = index + 1;
                break;
            }
        }
        self.read += read as u64;
        read > 0
    }

    /// Lines that were read, of about so many bytes; after the last of them, where the reading has
    /// come to. Nothing: all is taken.
    pub fn take(&mut self, about: usize) -> Vec<LogItem> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while bytes < about {
            let Some(line) = self.lines.next() else {
                if std::mem::take(&mut self.owes_positions) {
                    items.push(LogItem::Positions { positions: self.positions() });
                }
                break;
            };
            self.owes_positions = true;
            bytes += line.whole().len();
            items.push(LogItem::Line(line));
        }
        items
    }

    /// What reports new output; `None` where it is not followed.
    #[must_use]
    pub fn watch(&mut self) -> Option<Watch> {
        self.watch.take()
    }

    /// The positions that are new.
    fn positions(&mut self) -> Vec<LogPosition> {
        let mut positions = Vec::new();
        for (shown, published) in self.lines.files.iter_mut().zip(&mut self.published) {
            let position = shown.file.position();
            if position != *published {
                positions.extend(position.clone());
                *published = position;
            }
        }
        positions
    }
}
