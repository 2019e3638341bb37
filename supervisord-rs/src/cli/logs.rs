//! `logs`: the captured output of workers. The supervisor reads the files; where none runs, the
//! same code reads those that the configuration names here.

mod printing;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Exit;
use super::afterwards::Afterwards;
use super::exit::{of_failure, report};
use super::following::successor;
use super::output::say;
use super::waits::PAUSE;
use crate::control::client::{Client, ClientError, Parts};
use crate::control::protocol::{Failure, LogItem, LogsRequest, StatusReport};
use crate::record::reading::{Access, Reading, TOTAL_MAX, Writers};
use printing::Printer;

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

/// How an answer of the supervisor ended.
enum End {
    /// The reader of the output has gone.
    Unread,
    /// All of it came.
    Closed,
    /// The supervisor broke off: it has died, or gives way.
    BrokenOff,
    /// What came is no answer.
    Invalid(ClientError),
}

impl Options {
    fn request(&self) -> LogsRequest {
        let since = |since| {
            let from = SystemTime::now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH);
            crate::record::wall_time::wall(from)
        };
        LogsRequest {
            workers: self.workers.clone(),
            lines: self.lines,
            since: self.since.map(since),
            stderr: self.stderr,
            follow: self.follow,
            from: Vec::new(),
        }
    }
}

impl Options {
    /// So an empty answer does not pass for one that is missing.
    fn nothing(&self) -> String {
        let mut text = "there is no output".to_owned();
        if self.stderr {
            text.push_str(" on standard error");
        }
        if !self.workers.is_empty() && self.workers != ["all"] {
            text = format!("{text} of {}", self.workers.join(", "));
        }
        text += &match self.since {
            Some(since) => format!(" of the last {}", humantime::format_duration(since)),
            None => " yet".to_owned(),
        };
        if self.follow { text + "; new lines are shown as they come" } else { text }
    }
}

pub(super) fn run(options: &Options, client: &Client, afterwards: Afterwards<'_>) -> Exit {
    // Another program gets the original bytes; a terminal would obey them.
    let is_raw = options.raw || !std::io::stdout().is_terminal();
    let mut printer = Printer::new(is_raw, options.json, options.nothing());
    let mut request = options.request();
    let mut answer = client.logs(&request);
    let mut last = None;
    loop {
        let parts = match answer {
            Ok(parts) => parts,
            Err(ClientError::Failed(failure)) => return refused(&failure),
            Err(error) => {
                return match files(&error, last, afterwards) {
                    Ok((writers, file)) => read_here(&writers, &file, &request, &mut printer),
                    Err(exit) => exit,
                };
            }
        };
        if request.follow {
            last = client.status().ok().or(last);
        }
        let has_died = match shown(parts, &request, &mut printer) {
            End::Unread => return Exit::Done,
            End::Invalid(error) => return report(&error),
            End::Closed if !request.follow => return Exit::Done,
            End::Closed => false,
            End::BrokenOff => true,
        };
        printer.go_on(&mut request);
        if !request.follow {
            std::thread::sleep(PAUSE);
            answer = client.logs(&request);
            continue;
        }
        answer = match successor(|| client.logs(&request), has_died) {
            Ok(Some(parts)) => Ok(parts),
            // No supervisor follows: the files stay, and the next one writes to them.
            Ok(None) => client.logs(&request),
            Err(error) => Err(error),
        };
    }
}

/// Prints an answer.
fn shown(mut parts: Parts<'_, LogItem>, request: &LogsRequest, printer: &mut Printer) -> End {
    // A reader that stops does not hold up the supervisor.
    if !request.follow
        && let Err(error) = parts.receive_all()
    {
        return match error {
            ClientError::BrokenOff(_) => End::BrokenOff,
            error => End::Invalid(error),
        };
    }
    for part in parts {
        let is_printed = match part {
            Ok(item) => printer.add(item),
            Err(ClientError::BrokenOff(_)) => return End::BrokenOff,
            Err(error) => return End::Invalid(error),
        };
        if !is_printed {
            return End::Unread;
        }
    }
    End::Closed
}

/// Who writes to which files, where no supervisor answers, and the configuration that says so: that
/// of the supervisor that has answered last, or that of the command line.
fn files(
    error: &ClientError,
    last: Option<StatusReport>,
    afterwards: Afterwards<'_>,
) -> Result<(Writers, String), Exit> {
    if let (ClientError::NoSupervisor { .. }, Some(last)) = (error, last) {
        let file = last.supervisor.config.clone();
        return Ok((last.into(), file));
    }
    let settings = afterwards.settings(error)?;
    let file = settings.source.file.display().to_string();
    Ok((settings.into(), file))
}

/// Reads the files, where no supervisor does.
fn read_here(writers: &Writers, file: &str, request: &LogsRequest, printer: &mut Printer) -> Exit {
    say(&format!("no supervisor runs; these are the files of {file}"));
    let (mut reading, notes) = match Reading::begin(request, writers, &Access::Own) {
        Ok(begun) => begun,
        Err(failure) => return refused(&failure),
    };
    let left_out = reading.first(TOTAL_MAX);
    let mut notes = notes.into_iter().map(|note| LogItem::Note { note });
    let is_printed = notes.all(|note| printer.add(note)) && all(&mut reading, printer);
    left_out.iter().for_each(|note| say(note));
    let watch = reading.watch();
    while is_printed && (watch.is_some() || reading.begins_with_news()) {
        // Repeats while there is more than is read at once.
        while reading.news() {
            if !all(&mut reading, printer) {
                return Exit::Done;
            }
        }
        let Some(watch) = &watch else { break };
        let mut waits = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        let waited = match poll(&mut waits, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => watch.clear(),
            Err(errno) => Err(errno.into()),
        };
        if let Err(error) = waited {
            eprintln!("supervisord-rs: cannot follow: {error}");
            return Exit::Failed;
        }
    }
    Exit::Done
}

/// Prints all that was read. False when the reader of the output has gone.
fn all(reading: &mut Reading, printer: &mut Printer) -> bool {
    loop {
        let items = reading.take(1 << 16);
        if items.is_empty() {
            return true;
        }
        if !items.into_iter().all(|item| printer.add(item)) {
            return false;
        }
    }
}

/// Why nothing is shown, a line for each reason.
fn refused(failure: &Failure) -> Exit {
    failure.message.lines().for_each(say);
    of_failure(failure)
}
