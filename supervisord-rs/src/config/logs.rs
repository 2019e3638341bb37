//! `logs:`: where output goes, when files are rotated, what lines get.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use super::node::Node;
use super::problem::Problem;
use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind, Table};
use super::settings::{Launch, LineFormat, Logs, Rotate, Sink};
use super::world;

pub(super) static LOGS: Key = key(
    "logs",
    Kind::Section(&TABLE),
    "Where its output goes, when files are rotated, and what its lines get.",
)
.such_as("{ stdout: app.log, rotate: { size: 10MiB, keep: 3 } }");
static TABLE: Table =
    Table::of(&[&[&STDOUT, &STDERR, &ROTATE, &CAP, &TIMESTAMPS, &PREFIX, &FORMAT]]);
static STDOUT: Key = key(
    "stdout",
    TARGET,
    "A file, relative to the `log_dir`, or a target. `NAME.log` where it is not written. `inherit` \
     is for a `command:` alone: it is not captured.",
)
.such_as("terminal");
static STDERR: Key = key(
    "stderr",
    TARGET,
    "The same for standard error. Where it is not written, both streams go to one target, in the \
     order in which they were written.",
)
.such_as("errors.log");
const TARGET: Kind = Kind::Either(&[
    Kind::Words(&["terminal", "journald", "syslog", "null", "inherit"]),
    Kind::Path,
    Kind::Nothing,
]);
static ROTATE: Key = key(
    "rotate",
    Kind::Either(&[Kind::Words(&["never"]), Kind::Section(&ROTATE_TABLE)]),
    "When a new file is begun, and what becomes of the old ones.",
)
.or("{ size: 50MiB, keep: 10, compress: false }");
static ROTATE_TABLE: Table = Table::of(&[&[&SIZE, &EVERY, &KEEP, &COMPRESS]]);
static SIZE: Key = key(
    "size",
    Kind::Either(&[Kind::Size, Kind::Words(&["never"])]),
    "A file of this size is rotated.",
)
.or("50MiB");
static EVERY: Key = key(
    "every",
    Kind::Duration,
    "A file of this age is rotated; `1s` at least. By size alone, where it is not written.",
)
.such_as("1d");
static KEEP: Key =
    key("keep", Kind::Number { low: 0, high: u32::MAX as i64 }, "So many rotated files stay.")
        .or("10");
static COMPRESS: Key =
    key("compress", Kind::Boolean, "Whether rotated files are compressed by gzip.").or("false");
static CAP: Key = key(
    "cap",
    Kind::Size,
    "The most bytes of one stream, its rotated files included. No bound, where it is not written.",
)
.such_as("1GiB");
static TIMESTAMPS: Key =
    key("timestamps", Kind::Boolean, "Whether each line gets the time at its front.").or("false");
static PREFIX: Key =
    key("prefix", Kind::Boolean, "Whether each line gets the name of its worker at its front.")
        .or("false");
static FORMAT: Key = key(
    "format",
    Kind::Words(&words(&FORMATS)),
    "`json`: each line becomes an object with time, worker and stream.",
)
.or("raw");

/// Whether lines become JSON.
const FORMATS: [(&str, bool); 2] = [("raw", false), ("json", true)];

/// Reads them; `name` is the worker's, whose file is `NAME.log` by default.
pub(super) fn read(worker: &Section<'_>, is_command: bool, name: &str, log_dir: &Path) -> Logs {
    let mut logs = Logs {
        stdout: Sink::File(log_dir.join(format!("{name}.log"))),
        stderr: None,
        rotate: Rotate::default(),
        cap: None,
        line: LineFormat::default(),
    };
    let Some(section) = worker.get(&LOGS).and_then(|cursor| cursor.section(&TABLE)) else {
        return logs;
    };
    if let Some(stdout) = section.get(&STDOUT).and_then(|cursor| sink(&cursor, log_dir)) {
        logs.stdout = stdout;
    }
    let stderr = section.get(&STDERR).and_then(|cursor| sink(&cursor, log_dir));
    logs.stderr = stderr.filter(|stderr| *stderr != logs.stdout);
    if let Some(cursor) = section.get(&ROTATE) {
        rotate(&cursor, &mut logs.rotate);
    }
    logs.cap = section.size(&CAP);
    if let Some(cap) =
        section.get(&CAP).filter(|_| logs.rotate.size.is_none() && logs.rotate.every.is_none())
    {
        cap.refuse(
            "`cap:` needs rotation, and `rotate:` is `never`",
            "`rotate: { size: 50MiB }`, or no `cap:`",
        );
    }
    logs.line = LineFormat {
        timestamps: section.boolean(&TIMESTAMPS).unwrap_or(false),
        prefix: section.boolean(&PREFIX).unwrap_or(false),
        json: section.choice(&FORMAT, &FORMATS).unwrap_or(false),
        whole: false,
    };
    if !is_command && (logs.stdout == Sink::Inherit || logs.stderr == Some(Sink::Inherit)) {
        let cursor = section.get(&STDOUT).or_else(|| section.get(&STDERR));
        if let Some(cursor) = cursor {
            cursor.refuse(
                "the output of a `worker:` is always captured",
                "a file or another target; `inherit` is for a `command:` only",
            );
        }
    }
    logs
}

fn sink(cursor: &Cursor<'_>, log_dir: &Path) -> Option<Sink> {
    if cursor.node.is_null() {
        return Some(Sink::Null);
    }
    let written = cursor.string()?.value;
    Some(match written.as_str() {
        "terminal" => Sink::Terminal,
        "journald" => Sink::Journald,
        "syslog" => Sink::Syslog,
        "null" => Sink::Null,
        "inherit" => Sink::Inherit,
        stream if let Some(problem) = no_stream(cursor, stream) => {
            cursor.problems.push(problem);
            return None;
        }
        path => {
            world::warn_of_variable(cursor, "write the name itself");
            Sink::File(log_dir.join(path))
        }
    })
}

/// A stream in the place of a target: it would be the name of a file.
fn no_stream(cursor: &Cursor<'_>, written: &str) -> Option<Problem> {
    let plain = written.trim_start_matches(['2', '1', '>', '&']);
    let is_stream = plain.is_empty() || ["stdout", "stderr"].contains(&plain);
    is_stream.then(|| {
        let message = format!("`{written}` is a stream, and no target");
        cursor.at(()).problem(message).help(
            "leave `stderr:` out: both streams go to the target of `stdout:` then, in the order \
             in which they were written; `/dev/stdout` is that of the supervisor, and `./stdout` \
             a file of this name",
        )
    })
}

/// `never`, or when and how.
fn rotate(cursor: &Cursor<'_>, rotate: &mut Rotate) {
    if cursor.is_scalar() {
        let longer = "a mapping such as { every: 1d, keep: 10 }";
        if cursor.choice_or(&[("never", ())], Some(longer)).is_some() {
            (rotate.size, rotate.every) = (None, None);
        }
        return;
    }
    let Some(section) = cursor.section(&ROTATE_TABLE) else { return };
    match section.get(&SIZE) {
        Some(size) if size.node.text() == Some("never") => rotate.size = None,
        Some(size) => rotate.size = size.size().map(|size| size.value.max(1)),
        None => {}
    }
    rotate.every = section.duration(&EVERY).map(|every| every.max(Duration::from_secs(1)));
    if let Some(keep) = section.count(&KEEP, 0) {
        rotate.keep = keep;
    }
    rotate.compress = section.boolean(&COMPRESS).unwrap_or(false);
}

/// Has lines written whole where several workers, or several instances of one, write to one file.
pub(super) fn keep_lines_whole(launches: &mut [Launch]) {
    let mut users: HashMap<&Path, usize> = HashMap::new();
    for launch in launches.iter() {
        let files: BTreeSet<&Path> = files(&launch.logs).collect();
        for file in files {
            *users.entry(file).or_default() += 1;
        }
    }
    let is_shared = |launch: &Launch| files(&launch.logs).any(|file| users[file] > 1);
    let shared: Vec<bool> = launches.iter().map(is_shared).collect();
    for (launch, is_shared) in launches.iter_mut().zip(shared) {
        launch.logs.line.whole |= is_shared;
    }
}

fn files(logs: &Logs) -> impl Iterator<Item = &Path> {
    logs.captured().filter_map(|(_, sink)| match sink {
        Sink::File(path) => Some(path.as_path()),
        Sink::Terminal | Sink::Journald | Sink::Syslog | Sink::Null | Sink::Inherit => None,
    })
}

/// Whether an entry with `instances:` names a file that all of them have.
pub(super) fn is_shared_by_instances(entry: &Node) -> bool {
    let is_same = |stream: &str| {
        let written = entry.get("logs").and_then(|logs| logs.get(stream)?.text());
        written.is_some_and(|text| !text.contains("${instance}") && !text.contains("${name}"))
    };
    is_same("stdout") || is_same("stderr")
}
