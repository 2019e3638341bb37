//! `logs:`: where output goes, when files are rotated, what lines get.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use super::node::Node;
use super::problem::Problem;
use super::reader::{Cursor, Section};
use super::settings::{Launch, LineFormat, Logs, Rotate, Sink};
use super::world;

/// Reads them; `name` is the worker's, whose file is `NAME.log` by default.
pub(super) fn read(worker: &Section<'_>, is_command: bool, name: &str, log_dir: &Path) -> Logs {
    let mut logs = Logs {
        stdout: Sink::File(log_dir.join(format!("{name}.log"))),
        stderr: None,
        rotate: Rotate::default(),
        cap: None,
        line: LineFormat::default(),
    };
    let known = ["stdout", "stderr", "rotate", "cap", "timestamps", "prefix", "format"];
    let Some(section) = worker.get("logs").and_then(|cursor| cursor.section(&known, &[])) else {
        return logs;
    };
    if let Some(stdout) = section.get("stdout").and_then(|cursor| sink(&cursor, log_dir)) {
        logs.stdout = stdout;
    }
    let stderr = section.get("stderr").and_then(|cursor| sink(&cursor, log_dir));
    logs.stderr = stderr.filter(|stderr| *stderr != logs.stdout);
    if let Some(cursor) = section.get("rotate") {
        rotate(&cursor, &mut logs.rotate);
    }
    logs.cap = section.size("cap");
    if let Some(cap) =
        section.get("cap").filter(|_| logs.rotate.size.is_none() && logs.rotate.every.is_none())
    {
        cap.refuse(
            "`cap:` needs rotation, and `rotate:` is `never`",
            "`rotate: { size: 50MiB }`, or no `cap:`",
        );
    }
    logs.line = LineFormat {
        timestamps: section.boolean("timestamps").unwrap_or(false),
        prefix: section.boolean("prefix").unwrap_or(false),
        json: section.choice("format", &[("raw", false), ("json", true)]).unwrap_or(false),
        whole: false,
    };
    if !is_command && (logs.stdout == Sink::Inherit || logs.stderr == Some(Sink::Inherit)) {
        let cursor = section.get("stdout").or_else(|| section.get("stderr"));
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
    let Some(section) = cursor.section(&["size", "every", "keep", "compress"], &[]) else { return };
    match section.get("size") {
        Some(size) if size.node.text() == Some("never") => rotate.size = None,
        Some(size) => rotate.size = size.size().map(|size| size.value.max(1)),
        None => {}
    }
    rotate.every = section.duration("every").map(|every| every.max(Duration::from_secs(1)));
    if let Some(keep) = section.count("keep", 0) {
        rotate.keep = keep;
    }
    rotate.compress = section.boolean("compress").unwrap_or(false);
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
