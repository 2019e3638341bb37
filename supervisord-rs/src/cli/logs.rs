//! `logs`: the captured output of workers, from their files.
//!
//! inotify(7) reports new output: the verb sleeps while no worker writes. It sorts lines of several
//! files by their times, as far as they have any.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::Exit;
use super::exit::report;
use super::harmless::{harmless, harmless_bytes};
use super::log_file::{LogFile, open_regular};
use crate::control::client::Client;
use crate::control::protocol::WorkerStatus;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Workers, groups or instances as `NAME:`; all when none is named.
    workers: Vec<String>,
    /// Follow new lines, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Show so many lines of each file first, rotated ones included.
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
    /// Print the original bytes on a terminal too. Without it, control characters are escaped, as
    /// `\x1b`.
    #[arg(long)]
    raw: bool,
}

/// Advice to a user who may not read a log: the API passes no output of workers on.
const DENIED: &str =
    "; read it as root or as the supervisor's own user, or let the group of the file in";

/// A file to show.
struct Shown {
    file: LogFile,
    label: String,
    /// The time of its last line that had one.
    time: Vec<u8>,
}

pub(super) fn run(options: &Options, client: &Client) -> Exit {
    let status = match client.status() {
        Ok(status) => status,
        Err(error) => return report(&error),
    };
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    for name in &options.workers {
        let base = name.strip_suffix(':').unwrap_or(name);
        let is_empty = status.supervisor.instances.contains_key(base);
        if !is_empty && !status.workers.iter().any(|worker| is_meant(worker, name)) {
            eprintln!("supervisord-rs: unknown worker or group {name}");
            return Exit::NoSuchWorker;
        }
    }
    let mut elsewhere = Vec::new();
    let mut unreadable = Vec::new();
    let mut is_denied = false;
    for worker in &status.workers {
        if options.workers.is_empty() || options.workers.iter().any(|name| is_meant(worker, name)) {
            for target in [&worker.stdout, &worker.stderr] {
                // Such a name means another file in this process than in the supervisor.
                let is_a_process =
                    ["/dev/", "/proc/"].iter().any(|start| target.starts_with(start));
                if target.starts_with('/') && !is_a_process {
                    // One file, whatever names it has: the supervisor rotates it under its own
                    // name.
                    let own = std::fs::canonicalize(target).unwrap_or_else(|_| target.into());
                    match open_regular(&own) {
                        // A file that does not exist yet may appear.
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
                            is_denied |= denied;
                            let advice = if denied { DENIED } else { "" };
                            unreadable.push(format!(
                                "cannot show {target}, the output of {}: {error}{advice}",
                                worker.name
                            ));
                        }
                        Ok(_) | Err(_) => {
                            files.entry(own).or_insert_with(|| worker.name.clone());
                        }
                    }
                } else if !options.workers.is_empty() {
                    elsewhere.push(format!("the output of {} goes to {target}", worker.name));
                }
            }
        }
    }
    elsewhere.dedup();
    unreadable.dedup();
    elsewhere
        .iter()
        .chain(&unreadable)
        .for_each(|line| eprintln!("supervisord-rs: {}", harmless(line)));
    if files.is_empty() && !unreadable.is_empty() {
        return if is_denied { Exit::RefusedOrUnknown } else { Exit::Failed };
    }
    let has_names = files.len() > 1;
    let mut shown: Vec<Shown> = files
        .into_iter()
        .map(|(path, name)| Shown {
            file: LogFile::new(path),
            label: if has_names { format!("{name} | ") } else { String::new() },
            time: Vec::new(),
        })
        .collect();
    // Before the first read, so that no line is missed.
    let watch = options.follow.then(|| watch(&shown));
    // Another program gets the original bytes; a terminal would obey them.
    let is_raw = options.raw || !std::io::stdout().is_terminal();
    if !print(&mut shown, is_raw, |file| file.last_lines(options.lines)) {
        return Exit::Done;
    }
    match watch {
        None => Exit::Done,
        Some(Ok(watch)) => follow(&watch, &mut shown, is_raw),
        Some(Err(error)) => {
            eprintln!("supervisord-rs: cannot follow: {error}");
            Exit::Failed
        }
    }
}

/// Its own name, the name that its instances share, or its group as `GROUP:`.
fn is_meant(worker: &WorkerStatus, name: &str) -> bool {
    let group = name.strip_suffix(':');
    name == "all"
        || worker.name == name
        || worker.base == name
        || group.is_some_and(|group| worker.group == group || worker.base == group)
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

fn follow(watch: &Inotify, shown: &mut [Shown], is_raw: bool) -> Exit {
    loop {
        // Repeats while there is more than one read returns.
        while shown.iter_mut().any(|shown| shown.file.has_news()) {
            if !print(shown, is_raw, LogFile::news) {
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

/// Length of `2026-01-02T03:04:05.678Z`.
const TIME: usize = 24;

/// The time of a line, if it has one: `timestamps: true`, or `format: json`.
fn time(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(br#"{"at":""#).unwrap_or(line);
    line.get(..TIME).filter(|time| time[4] == b'-' && time[10] == b'T' && time[TIME - 1] == b'Z')
}

/// Prints the lines of all files by time. A line without a time counts as written with the one
/// before it; in a file without any times, at the file's last write. Raw: prints the original
/// bytes, which need not be UTF-8. False when the reader has gone.
fn print(shown: &mut [Shown], is_raw: bool, mut take: impl FnMut(&mut LogFile) -> Vec<u8>) -> bool {
    let mut all: Vec<(Vec<u8>, usize, Vec<u8>)> = Vec::new();
    for (index, shown) in shown.iter_mut().enumerate() {
        let bytes = take(&mut shown.file);
        let lines = || bytes.split_inclusive(|&byte| byte == b'\n');
        if shown.time.is_empty() {
            let first = lines().find_map(time).map(<[u8]>::to_vec);
            shown.time = first.unwrap_or_else(|| shown.file.modified().into_bytes());
        }
        for line in lines() {
            if let Some(time) = time(line) {
                shown.time = time.to_vec();
            }
            all.push((shown.time.clone(), index, line.to_vec()));
        }
    }
    // Stable: the lines of one file stay in their order.
    all.sort_by(|one, other| one.0.cmp(&other.0));
    let mut stdout = std::io::stdout().lock();
    let mut write = || -> std::io::Result<()> {
        for (_, index, line) in &all {
            stdout.write_all(shown[*index].label.as_bytes())?;
            if is_raw {
                stdout.write_all(line)?;
            } else {
                stdout.write_all(&harmless_bytes(line))?;
            }
            if !line.ends_with(b"\n") {
                stdout.write_all(b"\n")?;
            }
        }
        stdout.flush()
    };
    write().is_ok()
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
