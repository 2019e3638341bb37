//! `resource`: what workers share, for people and for shells.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use clap::{Args, Subcommand};
use workers::runtime::endowment::OBJECT;
use workers::shared::{
    Error, Holder, Kind, Locked, Mutex, Queue, RwLock, Segment, Semaphore, Space, Wait, WriteLocked,
};

use super::exit::{Exit, report};
use super::output::{bytes, json, line, say, terminal_width};
use super::sharing;
use crate::control::client::Client;
use crate::service_manager::RESOURCES;

/// In the environment of what `acquire` runs where the last owner died: `torn` or `whole`.
const OWNER_DIED: &str = "SUPERVISORD_RS_OWNER_DIED";

/// Exit statuses of `acquire` for a command that is not there or does not start, as of env(1).
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who has resources, and who waits for them.
    Show {
        /// Only this one.
        name: Option<String>,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Send a message to a queue.
    Send {
        /// The queue.
        name: String,
        /// The message; without one, all of standard input, its last newline too.
        message: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Take messages from a queue, print each and a newline, and acknowledge it.
    Receive {
        /// The queue.
        name: String,
        /// So many, one after the other.
        #[arg(short = 'n', long, default_value_t = 1)]
        number: u64,
        #[command(flatten)]
        limit: Limit,
    },
    /// Run a command with a permit of a semaphore, with a mutex, or as the writer of an rw-lock; its
    /// exit status is that of the command.
    Acquire {
        /// The semaphore, mutex or rw-lock.
        name: String,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Give back what dead users had, now and not when another one waits for it.
    Release {
        /// The resource.
        name: String,
    },
}

#[derive(Args, Debug)]
struct Limit {
    /// Wait at most this long, such as 10s. Without it as long as it takes.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl Limit {
    fn wait(&self) -> Wait<'static> {
        self.timeout.map_or_else(|| Wait::while_not(&|| false), Wait::at_most)
    }
}

/// Why it came to nothing.
enum Failed {
    /// It was said already.
    Said(Exit),
    Resource(String, Error),
    Io(String, io::Error),
}

pub(super) fn run(options: &Options, client: &dyn Fn() -> Result<Client, Exit>) -> Exit {
    let done = match &options.action {
        Action::Show { name, json } => return show(name.as_deref(), *json, client),
        Action::Send { name, message, limit } => send(name, message.as_deref(), limit, client),
        Action::Receive { name, number, limit } => receive(name, *number, limit, client),
        Action::Acquire { name, command, limit } => acquire(name, command, limit, client),
        Action::Release { name } => release(name, client),
    };
    match done {
        Ok(exit) | Err(Failed::Said(exit)) => exit,
        Err(Failed::Resource(name, error)) => {
            say(&format!("{name}: {error}"));
            let is_other = matches!(error, Error::OtherKind { .. });
            if is_other { Exit::RefusedOrUnknown } else { Exit::Failed }
        }
        Err(Failed::Io(what, error)) => {
            say(&format!("{what}: {error}"));
            Exit::Failed
        }
    }
}

fn show(name: Option<&str>, as_json: bool, client: &dyn Fn() -> Result<Client, Exit>) -> Exit {
    let status = match client().map(|client| client.status()) {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return report(&error),
        Err(exit) => return exit,
    };
    let mut all = status.resources;
    let known: Vec<String> = all.iter().map(|resource| resource.name.clone()).collect();
    if let Some(name) = name {
        all.retain(|resource| resource.name == name);
        if all.is_empty() {
            return unknown(name, &known);
        }
    }
    if as_json {
        json(&all);
    } else if all.is_empty() {
        say("workers share nothing: `resources:` has none");
    } else {
        let _ = line(&sharing::text(&all, terminal_width()));
    }
    Exit::Done
}

fn unknown(name: &str, known: &[String]) -> Exit {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    say(&format!("no resource is called {name}; there are: {known}"));
    Exit::RefusedOrUnknown
}

/// What a command has of its supervisor by this name: a path to its descriptor.
fn given(name: &str) -> Option<String> {
    let all = std::env::var(RESOURCES).unwrap_or_default();
    let number = all.split(' ').find_map(|one| one.strip_prefix(name)?.strip_prefix('='))?;
    Some(format!("/proc/self/fd/{number}"))
}

/// A resource, opened.
struct Opened {
    fd: OwnedFd,
    /// What of it POSIX has.
    posix: Option<OwnedFd>,
}

/// The descriptor that a command has of its supervisor, else that of the supervisor itself.
fn open(name: &str, client: &dyn Fn() -> Result<Client, Exit>) -> Result<Opened, Failed> {
    if given(&format!("{name}.take")).is_some() {
        return Err(carried(name, "the kernel"));
    }
    let mut posix = given(&format!("{name}.{OBJECT}"));
    let path = match given(name) {
        Some(path) => path,
        None => {
            let status = client().map_err(Failed::Said)?.status();
            let status = status.map_err(|error| Failed::Said(report(&error)))?;
            let all = status.resources;
            let Some(found) = all.iter().find(|resource| resource.name == name) else {
                let known: Vec<String> = all.iter().map(|one| one.name.clone()).collect();
                return Err(Failed::Said(unknown(name, &known)));
            };
            if let Some(by) = found.by.as_ref().filter(|_| found.kind == "queue") {
                return Err(carried(name, by));
            }
            let Some(path) = &found.path else {
                say(&format!("{name} is not made yet: the launch of its first user does that"));
                return Err(Failed::Said(Exit::Failed));
            };
            let space = if found.kind == "region" { Space::Memory } else { Space::Semaphore };
            posix = found.posix_name.as_ref().map(|name| space.path(name));
            path.clone()
        }
    };
    let posix = posix.map(|path| open_path(name, &path)).transpose()?;
    Ok(Opened { fd: open_path(name, &path)?, posix })
}

fn open_path(name: &str, path: &str) -> Result<OwnedFd, Failed> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                " (only root and the supervisor's own user may reach it)"
            }
            _ => "",
        };
        Failed::Io(format!("cannot open {name}{reason}"), error)
    })?;
    Ok(file.into())
}

/// A pipe, a socket and a message queue have system calls of their own.
fn carried(name: &str, by: &str) -> Failed {
    say(&format!(
        "{name} is carried by: {by}; `resource` cannot use it. A command that has it in its `uses:` \
         reads from the descriptor `{name}.take` and writes to `{name}.send` ({RESOURCES} has the \
         numbers)"
    ));
    Failed::Said(Exit::RefusedOrUnknown)
}

fn holder() -> Result<Holder, Failed> {
    Holder::this_thread().map_err(|error| Failed::Resource("/proc".into(), error))
}

fn send(
    name: &str,
    message: Option<&str>,
    limit: &Limit,
    client: &dyn Fn() -> Result<Client, Exit>,
) -> Result<Exit, Failed> {
    let failed = |error| Failed::Resource(name.to_owned(), error);
    let queue = Queue::open(open(name, client)?.fd, holder()?).map_err(failed)?;
    let message = match message {
        Some(message) => message.as_bytes().to_vec(),
        None => {
            let mut message = Vec::new();
            // One byte more than fits is enough to be told so.
            let most = queue.size().message as u64 + 1;
            let read = io::stdin().take(most).read_to_end(&mut message);
            read.map_err(|error| Failed::Io("cannot read standard input".into(), error))?;
            message
        }
    };
    queue.send(&message, &limit.wait()).map_err(failed)?;
    Ok(Exit::Done)
}

fn receive(
    name: &str,
    number: u64,
    limit: &Limit,
    client: &dyn Fn() -> Result<Client, Exit>,
) -> Result<Exit, Failed> {
    let failed = |error| Failed::Resource(name.to_owned(), error);
    let queue = Queue::open(open(name, client)?.fd, holder()?).map_err(failed)?;
    for _ in 0..number {
        let message = queue.take(&limit.wait()).map_err(failed)?;
        let mut text = message.to_vec();
        text.push(b'\n');
        // What was not printed is another one's.
        if !bytes(&text) || super::output::unprinted().is_some() {
            return Ok(Exit::Failed);
        }
        message.acknowledge().map_err(failed)?;
    }
    Ok(Exit::Done)
}

fn acquire(
    name: &str,
    command: &[OsString],
    limit: &Limit,
    client: &dyn Fn() -> Result<Client, Exit>,
) -> Result<Exit, Failed> {
    let failed = |error| Failed::Resource(name.to_owned(), error);
    let Opened { fd, posix } = open(name, client)?;
    let copy = fd.try_clone().map_err(|error| Failed::Io(name.to_owned(), error))?;
    let (holder, wait) = (holder()?, limit.wait());
    let died = |is_torn: bool| Some(if is_torn { "torn" } else { "whole" });
    match Segment::adopt(copy).map_err(failed)?.kind() {
        Kind::Semaphore => {
            let semaphore = match posix {
                Some(posix) => Semaphore::open_posix(fd, posix, holder),
                None => Semaphore::open(fd, holder),
            };
            let semaphore = semaphore.map_err(failed)?;
            let _permit = semaphore.acquire(&wait).map_err(failed)?;
            run_command(command, None)
        }
        Kind::Mutex => {
            let mutex = Mutex::open(fd, holder).map_err(failed)?;
            match mutex.lock(&wait).map_err(failed)? {
                Locked::Clean(_guard) => run_command(command, None),
                Locked::OwnerDied(recovery) => {
                    let exit = run_command(command, died(recovery.is_torn()))?;
                    // Else it is poisoned: the command has not mended it.
                    if exit == Exit::Done {
                        drop(recovery.repaired());
                    }
                    Ok(exit)
                }
            }
        }
        Kind::RwLock => {
            let lock = RwLock::open(fd, holder).map_err(failed)?;
            match lock.write(&wait).map_err(failed)? {
                WriteLocked::Clean(_guard) => run_command(command, None),
                WriteLocked::WriterDied(recovery) => {
                    let exit = run_command(command, died(recovery.is_torn()))?;
                    if exit == Exit::Done {
                        drop(recovery.repaired());
                    }
                    Ok(exit)
                }
            }
        }
        Kind::Region => Ok(not_to_acquire(name, "region")),
        Kind::Condition => Ok(not_to_acquire(name, "condition")),
        Kind::Queue => Ok(not_to_acquire(name, "queue")),
        Kind::Topic => Ok(not_to_acquire(name, "topic")),
    }
}

fn not_to_acquire(name: &str, kind: &str) -> Exit {
    say(&format!("{name} is a {kind}: `acquire` is for a semaphore, a mutex or an rw-lock"));
    Exit::RefusedOrUnknown
}

/// Runs it to its end. This process holds the resource: where it is killed, the command goes on
/// without.
fn run_command(command: &[OsString], owner_died: Option<&str>) -> Result<Exit, Failed> {
    let Some((program, arguments)) = command.split_first() else { return Ok(Exit::Usage) };
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(state) = owner_died {
        command.env(OWNER_DIED, state);
    }
    let status = match command.status() {
        Ok(status) => status,
        Err(error) => {
            say(&format!("cannot run {}: {error}", program.display()));
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            return Ok(Exit::OfCommand(if is_missing { NOT_FOUND } else { NOT_RUN }));
        }
    };
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    Ok(if code == 0 { Exit::Done } else { Exit::OfCommand(u8::try_from(code).unwrap_or(u8::MAX)) })
}

fn release(name: &str, client: &dyn Fn() -> Result<Client, Exit>) -> Result<Exit, Failed> {
    let failed = |error| Failed::Resource(name.to_owned(), error);
    let Opened { fd, posix } = open(name, client)?;
    if posix.is_some() {
        say(&format!("{name} is by posix: what dead users had of it does not come back"));
        return Ok(Exit::RefusedOrUnknown);
    }
    let segment = Segment::adopt(fd).map_err(failed)?;
    let left = segment.release_dead().map_err(failed)?;
    let counted = [
        (left.permits, "permits"),
        (left.readers, "readers"),
        (left.messages, "messages, which are taken again"),
        (left.half_messages, "half messages, which are gone"),
        (usize::from(left.lock.is_some()), "lock, of which the next one learns"),
    ];
    let said: Vec<String> = counted
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let said = if said.is_empty() { "nothing".to_owned() } else { said.join(", ") };
    let _ = line(&format!("the dead had {said}"));
    Ok(Exit::Done)
}
