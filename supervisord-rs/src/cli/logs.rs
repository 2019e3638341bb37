//! `logs`: the captured output of workers, from their files.
//!
//! inotify(7) reports new output: the verb sleeps while no worker writes. It sorts lines of several
//! files by their times, as far as they have any.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::Exit;
use super::afterwards::Afterwards;
use super::last_lines::Room;
use super::log_file::LogFile;
use super::log_lines::{Shown, Style, print};
use super::names::{Named, is_meant};
use super::output::say;
use crate::config::{Launch, Settings};
use crate::control::client::Client;
use crate::control::protocol::{StatusReport, WorkerStatus};
use crate::log_tail::{open_regular, own_name};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Workers, groups or instances as `NAME:`; all when none is named.
    workers: Vec<String>,
    /// Follow new lines, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Show so many lines of each file first, rotated ones included. Default: 10; with --since,
    /// all.
    #[arg(short = 'n', long)]
    lines: Option<usize>,
    /// Only lines of the last 10m, say. A line without a time counts as the one before it, and a
    /// file without any (`logs: { timestamps: true }`) as when it was last written to.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Only standard error, of workers whose `logs:` keep it apart.
    #[arg(long)]
    stderr: bool,
    /// An object a line: at, worker (null where several share a file and the line does not name
    /// its own), stream (stdout, stderr, or output where both have one file), message.
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the original bytes on a terminal too. Without it, control characters are escaped, as
    /// `\x1b`.
    #[arg(long)]
    raw: bool,
}

/// The stream of a file that has both: only `format: json` tells them apart there, line by line.
const BOTH: &str = "output";

/// Lines to begin with by default.
const LINES: usize = 10;

/// Advice to a user who may not read a log: the API passes no output of workers on.
const DENIED: &str =
    "; read it as root or as the supervisor's own user, or let the group of the file in";

/// Files to show, and messages about the others.
#[derive(Default)]
struct Files {
    /// By their own names: who writes to each, and which stream.
    found: BTreeMap<PathBuf, (BTreeSet<String>, &'static str)>,
    elsewhere: Vec<String>,
    unreadable: Vec<String>,
    is_denied: bool,
}

/// One that writes: a worker of a supervisor, or of the configuration of one that has ended.
struct Writer {
    name: String,
    base: String,
    group: String,
    stdout: String,
    stderr: String,
}

/// Those that write, and the names of instances: also those that have none.
struct Writers {
    all: Vec<Writer>,
    bases: BTreeSet<String>,
}

impl From<StatusReport> for Writers {
    fn from(status: StatusReport) -> Self {
        let writer = |worker: WorkerStatus| {
            let WorkerStatus { name, base, group, stdout, stderr, .. } = worker;
            Writer { name, base, group, stdout, stderr }
        };
        let bases = status.supervisor.instances.into_keys().collect();
        Self { all: status.workers.into_iter().map(writer).collect(), bases }
    }
}

impl From<Settings> for Writers {
    fn from(settings: Settings) -> Self {
        let writer = |launch: Launch| Writer {
            stdout: launch.logs.stdout.to_string(),
            stderr: launch.logs.stderr.as_ref().unwrap_or(&launch.logs.stdout).to_string(),
            name: launch.name,
            base: launch.base,
            group: launch.group,
        };
        let bases = settings.templates.into_keys().collect();
        Self { all: settings.launches.into_iter().map(writer).collect(), bases }
    }
}

impl Writers {
    /// # Errors
    /// The exit status; the reason has been printed.
    fn of(client: &Client, afterwards: Afterwards<'_>) -> Result<Self, Exit> {
        let error = match client.status() {
            Ok(status) => return Ok(status.into()),
            Err(error) => error,
        };
        let settings = afterwards.settings(&error)?;
        say(&format!(
            "no supervisor runs; these are the files of {}",
            settings.source.file.display()
        ));
        Ok(settings.into())
    }
}

pub(super) fn run(options: &Options, client: &Client, afterwards: Afterwards<'_>) -> Exit {
    let writers = match Writers::of(client, afterwards) {
        Ok(writers) => writers,
        Err(exit) => return exit,
    };
    for name in &options.workers {
        let base = name.strip_suffix(':').unwrap_or(name);
        let is_empty = writers.bases.contains(base);
        if !is_empty && !writers.all.iter().any(|worker| is_meant(worker, name)) {
            if writers.all.iter().any(|worker| worker.group == *name) {
                say(&format!("{name} is a group: `logs {name}:`"));
            } else {
                say(&format!("unknown worker or group {name}"));
            }
            return Exit::NoSuchWorker;
        }
    }
    let files = Files::of(options, &writers.all);
    files.elsewhere.iter().chain(&files.unreadable).for_each(|line| say(line));
    if files.found.is_empty() && !files.unreadable.is_empty() {
        return if files.is_denied { Exit::RefusedOrUnknown } else { Exit::Failed };
    }
    let style = Style {
        // Another program gets the original bytes; a terminal would obey them.
        is_raw: options.raw || !std::io::stdout().is_terminal(),
        is_json: options.json,
        has_names: files.found.len() > 1,
        since: options.since.map(|since| {
            let from = SystemTime::now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH);
            crate::record::wall_time::wall(from).into_bytes()
        }),
    };
    let mut shown: Vec<Shown> = files
        .found
        .into_iter()
        .map(|(path, (names, stream))| Shown::new(LogFile::new(path), names, stream))
        .collect();
    // Before the first read, so that no line is missed.
    let watch = options.follow.then(|| watch(&shown));
    let default = if options.since.is_some() { usize::MAX } else { LINES };
    let lines = options.lines.unwrap_or(default);
    let room = Room::of(lines, shown.len());
    let mut left_out = Vec::new();
    let is_printed = print(&mut shown, &style, |file| {
        let (bytes, notes) = file.last_lines(room);
        left_out.extend(notes);
        bytes
    });
    left_out.iter().for_each(|note| say(note));
    if !is_printed {
        return Exit::Done;
    }
    match watch {
        None => Exit::Done,
        Some(Ok(watch)) => follow(&watch, &mut shown, &style),
        Some(Err(error)) => {
            eprintln!("supervisord-rs: cannot follow: {error}");
            Exit::Failed
        }
    }
}

impl Files {
    fn of(options: &Options, writers: &[Writer]) -> Self {
        let mut files = Self::default();
        let is_named = !options.workers.is_empty();
        for worker in writers {
            if is_named && !options.workers.iter().any(|name| is_meant(worker, name)) {
                continue;
            }
            let is_merged = worker.stdout == worker.stderr;
            if options.stderr && is_merged {
                files.elsewhere.push(format!(
                    "{} writes both streams to one place; `logs: {{ stderr: FILE }}` keeps them \
                     apart",
                    worker.name
                ));
                continue;
            }
            if !options.stderr {
                let stream = if is_merged { BOTH } else { "stdout" };
                files.add(worker, &worker.stdout, stream, is_named);
            }
            if !is_merged {
                files.add(worker, &worker.stderr, "stderr", is_named);
            }
        }
        // Others may write to the same files.
        for worker in writers {
            for (target, stream) in [(&worker.stdout, "stdout"), (&worker.stderr, "stderr")] {
                if let Some((names, known)) = files.found.get_mut(&own_name(target)) {
                    names.insert(worker.name.clone());
                    if *known != stream {
                        *known = BOTH;
                    }
                }
            }
        }
        files.elsewhere.dedup();
        files.unreadable.dedup();
        files
    }

    fn add(&mut self, worker: &Writer, target: &str, stream: &'static str, is_named: bool) {
        // Such a name means another file in this process than in the supervisor.
        let is_a_process = ["/dev/", "/proc/"].iter().any(|start| target.starts_with(start));
        if !target.starts_with('/') || is_a_process {
            if is_named {
                self.elsewhere.push(format!("the output of {} goes to {target}", worker.name));
            }
            return;
        }
        let own = own_name(target);
        match open_regular(&own) {
            // A file that does not exist yet may appear.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                self.is_denied |= error.kind() == std::io::ErrorKind::PermissionDenied;
                // A link of another user says itself what is wrong.
                let is_of_kernel = error.raw_os_error() == Some(libc::EACCES);
                let advice = if is_of_kernel { DENIED } else { "" };
                let name = &worker.name;
                self.unreadable
                    .push(format!("cannot show {target}, the output of {name}: {error}{advice}"));
            }
            Ok(_) | Err(_) => {
                self.found.entry(own).or_insert_with(|| (BTreeSet::new(), stream));
            }
        }
    }
}

impl Named for Writer {
    fn names(&self) -> [&str; 3] {
        [&self.name, &self.base, &self.group]
    }
}

/// Watches the directories, since files in them come and go.
fn watch(shown: &[Shown]) -> nix::Result<Inotify> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let flags = AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO;
    let mut directories: Vec<&Path> =
        shown.iter().filter_map(|shown| shown.file.path().parent()).collect();
    directories.sort_unstable();
    directories.dedup();
    for directory in directories {
        watch.add_watch(directory, flags)?;
    }
    Ok(watch)
}

fn follow(watch: &Inotify, shown: &mut [Shown], style: &Style) -> Exit {
    loop {
        // Repeats while there is more than one read returns.
        while shown.iter_mut().any(|shown| shown.file.has_news()) {
            if !print(shown, style, LogFile::news) {
                return Exit::Done;
            }
        }
        // Waits.
        match watch.read_events() {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                eprintln!("supervisord-rs: cannot follow: {error}");
                return Exit::Failed;
            }
        }
    }
}
