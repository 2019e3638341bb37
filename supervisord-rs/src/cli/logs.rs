//! `logs`: the captured output of workers, from their files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Exit;
use super::exit::report;
use crate::control::client::Client;

/// Between two looks at files that are followed.
const PAUSE: Duration = Duration::from_millis(200);
/// How much of a file's end is searched for its last lines.
const TAIL_MAX: u64 = 4 * 1024 * 1024;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only these workers.
    workers: Vec<String>,
    /// Go on with what comes, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Lines of each worker to begin with.
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
}

pub(super) fn run(options: &Options, client: &Client) -> Exit {
    let status = match client.status() {
        Ok(status) => status,
        Err(error) => return report(&error),
    };
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    for name in &options.workers {
        if !status.workers.iter().any(|worker| worker.name == *name) {
            eprintln!("supervisord-rs: no worker is called {name}");
            return Exit::NoSuchWorker;
        }
    }
    for worker in &status.workers {
        if options.workers.is_empty() || options.workers.contains(&worker.name) {
            for path in [&worker.stdout, &worker.stderr] {
                files.entry(path.into()).or_insert_with(|| worker.name.clone());
            }
        }
    }
    let has_names = files.len() > 1;
    let mut ends = Vec::new();
    for (path, name) in files {
        let label = if has_names { format!("{name} | ") } else { String::new() };
        // A worker that has not written yet has no file yet.
        let end = match File::open(&path).and_then(|mut file| tail(&mut file, options.lines)) {
            Ok((bytes, end)) => {
                if !print(&label, &bytes) {
                    return Exit::Done;
                }
                end
            }
            Err(_) => 0,
        };
        ends.push((path, label, end));
    }
    if !options.follow {
        return Exit::Done;
    }
    loop {
        for (path, label, end) in &mut ends {
            let Ok(bytes) = since(path, end) else { continue };
            if !print(label, &bytes) {
                return Exit::Done;
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// The last lines, and where the file ends.
fn tail(file: &mut File, lines: usize) -> std::io::Result<(Vec<u8>, u64)> {
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(TAIL_MAX)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_MAX).read_to_end(&mut bytes)?;
    let newlines = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index);
    let skipped = usize::from(bytes.ends_with(b"\n"));
    let start = newlines.skip(skipped).nth(lines.saturating_sub(1)).map_or(0, |index| index + 1);
    Ok((if lines == 0 { Vec::new() } else { bytes.split_off(start) }, end))
}

/// What was written since; whole lines only. A file that became shorter is read from its start.
fn since(path: &PathBuf, end: &mut u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length < *end {
        *end = 0;
    }
    file.seek(SeekFrom::Start(*end))?;
    let mut bytes = Vec::new();
    file.take(TAIL_MAX).read_to_end(&mut bytes)?;
    bytes.truncate(bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |index| index + 1));
    *end += bytes.len() as u64;
    Ok(bytes)
}

/// Bytes as they are: output need not be UTF-8. False when nobody reads any more.
fn print(label: &str, bytes: &[u8]) -> bool {
    let mut stdout = std::io::stdout().lock();
    let mut write = || -> std::io::Result<()> {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            stdout.write_all(label.as_bytes())?;
            stdout.write_all(line)?;
        }
        stdout.flush()
    };
    write().is_ok()
}
