//! Where output goes, when files are rotated, what lines get.

use std::path::PathBuf;
use std::time::Duration;

use super::default;

/// Where the output of a worker goes, and what is done with it on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// Standard output.
    pub stdout: Sink,
    /// Standard error; `None`: where standard output goes, in the order of writing.
    pub stderr: Option<Sink>,
    /// When files are rotated.
    pub rotate: Rotate,
    /// Most bytes that all files of one stream take, rotated ones included.
    pub cap: Option<u64>,
    /// What each line gets.
    pub line: LineFormat,
}

impl Logs {
    /// The streams that pass through the supervisor, and where they go.
    pub fn captured(&self) -> impl Iterator<Item = (&'static str, &Sink)> {
        let all =
            [Some(("stdout", &self.stdout)), self.stderr.as_ref().map(|sink| ("stderr", sink))];
        let is_captured = |(_, sink): &(&str, &Sink)| !matches!(sink, Sink::Null | Sink::Inherit);
        all.into_iter().flatten().filter(is_captured)
    }
}

impl std::fmt::Display for Sink {
    /// A path, or the name that the configuration has for it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Terminal => formatter.write_str("terminal"),
            Self::Journald => formatter.write_str("journald"),
            Self::Syslog => formatter.write_str("syslog"),
            Self::Null => formatter.write_str("null"),
            Self::Inherit => formatter.write_str("inherit"),
        }
    }
}

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A file, rotated.
    File(PathBuf),
    /// The supervisor's own standard output, each line with the worker's name in front.
    Terminal,
    /// The journal of systemd, with the worker's name as a field.
    Journald,
    /// The local syslog, with the worker's name as the tag.
    Syslog,
    /// Nowhere.
    Null,
    /// The supervisor's own descriptor, directly: nothing is captured.
    Inherit,
}

/// When a file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// When it has this many bytes; `None`: never for its size.
    pub size: Option<u64>,
    /// At each start of a period of this length (aligned to UTC); `None`: never for its age.
    pub every: Option<Duration>,
    /// Rotated files that are kept.
    pub keep: u32,
    /// Whether rotated files are compressed (gzip).
    pub compress: bool,
}

impl Default for Rotate {
    fn default() -> Self {
        Self {
            size: Some(default::ROTATE_SIZE),
            every: None,
            keep: default::ROTATE_KEEP,
            compress: false,
        }
    }
}

/// What a line gets on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineFormat {
    /// The wall time in front, RFC 3339 in UTC.
    pub timestamps: bool,
    /// The worker's name in front.
    pub prefix: bool,
    /// A JSON object with time, worker, stream and text, instead of the line as it is.
    pub json: bool,
    /// Written whole, because other workers write to the same file.
    pub whole: bool,
}

impl LineFormat {
    /// Whether lines have to be looked at.
    #[must_use]
    pub fn changes_lines(self) -> bool {
        self.timestamps || self.prefix || self.json || self.whole
    }
}
