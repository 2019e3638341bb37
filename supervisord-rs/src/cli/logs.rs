//! `logs`: the captured output of workers, from their files.
//!
//! What comes is followed by inotify(7): nothing is read while nobody writes, and a rotated file is read to its end
//! before the new one is begun.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::Exit;
use super::exit::report;
use crate::control::client::Client;
use crate::control::protocol::WorkerStatus;

/// How much of a file's end is searched for its last lines.
const TAIL_MAX: u64 = 4 * 1024 * 1024;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Workers, groups or instances as `NAME:`; all when none is named.
    workers: Vec<String>,
    /// Go on with what comes, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Lines of each worker to begin with.
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
}

/// A file that is shown.
struct Shown {
    path: PathBuf,
    label: String,
    file: Option<File>,
    /// The file's number, to tell a new one of the same name.
    inode: u64,
}

pub(super) fn run(options: &Options, client: &Client) -> Exit {
    let status = match client.status() {
        Ok(status) => status,
        Err(error) => return report(&error),
    };
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    for name in &options.workers {
        if !status.workers.iter().any(|worker| is_meant(worker, name)) {
            eprintln!("supervisord-rs: no worker and no group is called {name}");
            return Exit::NoSuchWorker;
        }
    }
    let mut elsewhere = Vec::new();
    for worker in &status.workers {
        if options.workers.is_empty() || options.workers.iter().any(|name| is_meant(worker, name)) {
            for target in [&worker.stdout, &worker.stderr] {
                if target.starts_with('/') {
                    files.entry(target.into()).or_insert_with(|| worker.name.clone());
                } else if !options.workers.is_empty() {
                    elsewhere.push(format!("the output of {} goes to {target}", worker.name));
                }
            }
        }
    }
    elsewhere.dedup();
    elsewhere.iter().for_each(|line| eprintln!("supervisord-rs: {line}"));
    let has_names = files.len() > 1;
    let mut shown: Vec<Shown> = files
        .into_iter()
        .map(|(path, name)| {
            let label = if has_names { format!("{name} | ") } else { String::new() };
            Shown { path, label, file: None, inode: 0 }
        })
        .collect();
    // Before the first look, so that nothing falls between.
    let watch = options.follow.then(|| watch(&shown));
    if !show_tails(&mut shown, options.lines) {
        return Exit::Done;
    }
    match watch {
        None => Exit::Done,
        Some(Ok(watch)) => follow(&watch, &mut shown),
        Some(Err(error)) => {
            eprintln!("supervisord-rs: cannot follow: {error}");
            Exit::Failed
        }
    }
}

/// Its own name, the name its instances share, or its group as `GROUP:`.
fn is_meant(worker: &WorkerStatus, name: &str) -> bool {
    let group = name.strip_suffix(':');
    name == "all"
        || worker.name == name
        || worker.base == name
        || group.is_some_and(|group| worker.group == group || worker.base == group)
}

/// The last lines of each; by time where every line begins with one (`timestamps: true`). False when nobody reads.
fn show_tails(shown: &mut [Shown], lines: usize) -> bool {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for file in shown.iter_mut() {
        // A worker that has not written yet has no file yet.
        let Ok(mut opened) = File::open(&file.path) else { continue };
        file.inode = opened.metadata().map_or(0, |metadata| metadata.ino());
        let tail = tail(&mut opened, lines).unwrap_or_default();
        file.file = Some(opened);
        all.extend(
            tail.split_inclusive(|&byte| byte == b'\n').map(|line| (file.label.clone(), line.to_vec())),
        );
    }
    if all.iter().all(|(_, line)| has_time(line)) {
        all.sort_by(|(_, one), (_, other)| one[..TIME].cmp(&other[..TIME]));
    }
    all.iter().all(|(label, line)| print(label, line))
}

/// Length of `2026-01-02T03:04:05.678Z`.
const TIME: usize = 24;

fn has_time(line: &[u8]) -> bool {
    line.get(..TIME).is_some_and(|time| time[4] == b'-' && time[10] == b'T' && time[TIME - 1] == b'Z')
}

/// Watches the directories: files in them come and go.
fn watch(shown: &[Shown]) -> nix::Result<Inotify> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let flags = AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO;
    let mut directories: Vec<&Path> = shown.iter().filter_map(|file| file.path.parent()).collect();
    directories.sort_unstable();
    directories.dedup();
    for directory in directories {
        watch.add_watch(directory, flags)?;
    }
    Ok(watch)
}

fn follow(watch: &Inotify, shown: &mut [Shown]) -> Exit {
    loop {
        for file in shown.iter_mut() {
            if !file.show_news() {
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

impl Shown {
    /// Prints what was written since, whole lines only. False when nobody reads any more.
    fn show_news(&mut self) -> bool {
        loop {
            if let Some(file) = &mut self.file {
                match news(file) {
                    Ok(bytes) if !print(&self.label, &bytes) => return false,
                    Ok(_) | Err(_) => {}
                }
            }
            // The old one has been read to its end; is there a new one of this name?
            let inode = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.ino());
            if inode == self.inode || inode == 0 {
                return true;
            }
            self.inode = inode;
            self.file = File::open(&self.path).ok();
        }
    }
}

/// The last lines; the file is read up to its end.
pub(super) fn tail(file: &mut File, lines: usize) -> std::io::Result<Vec<u8>> {
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(TAIL_MAX)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_MAX).read_to_end(&mut bytes)?;
    let newlines = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index);
    let skipped = usize::from(bytes.ends_with(b"\n"));
    let start = newlines.skip(skipped).nth(lines.saturating_sub(1)).map_or(0, |index| index + 1);
    Ok(if lines == 0 { Vec::new() } else { bytes.split_off(start) })
}

/// What was written since; whole lines only. A file that became shorter is read from its start.
fn news(file: &mut File) -> std::io::Result<Vec<u8>> {
    let position = file.stream_position()?;
    if file.metadata()?.len() < position {
        file.rewind()?;
    }
    let position = file.stream_position()?;
    let mut bytes = Vec::new();
    Read::by_ref(file).take(TAIL_MAX).read_to_end(&mut bytes)?;
    bytes.truncate(bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |index| index + 1));
    file.seek(SeekFrom::Start(position + bytes.len() as u64))?;
    Ok(bytes)
}

/// Bytes as they are: output need not be UTF-8. False when nobody reads any more.
fn print(label: &str, bytes: &[u8]) -> bool {
    let mut stdout = std::io::stdout().lock();
    let mut write = || -> std::io::Result<()> {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            stdout.write_all(label.as_bytes())?;
            stdout.write_all(line)?;
            if !line.ends_with(b"\n") {
                stdout.write_all(b"\n")?;
            }
        }
        stdout.flush()
    };
    write().is_ok()
}
