//! Which files have the output of which workers, and who may read them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::access::Access;
use crate::config::{Launch, Settings};
use crate::control::protocol::{Failure, LogsRequest, Named, StatusReport, WorkerStatus, is_meant};
use crate::log_tail::own_name;

/// The stream of a file that has both: only `format: json` tells them apart there, line by line.
const BOTH: &str = "output";

/// Advice to a user who may not read a log.
const DENIED: &str =
    "; read it as root or as the supervisor's own user, or let the group of the file in";

/// One that writes: a worker of a supervisor, or of the configuration of one that has ended.
#[derive(Debug)]
struct Writer {
    name: String,
    base: String,
    group: String,
    cell: Option<String>,
    stdout: String,
    stderr: String,
}

impl Named for Writer {
    fn names(&self) -> [&str; 3] {
        [&self.name, &self.base, &self.group]
    }
}

/// Those that write, and the names of instances: also those that have none.
#[derive(Debug)]
pub struct Writers {
    all: Vec<Writer>,
    bases: BTreeSet<String>,
}

impl From<StatusReport> for Writers {
    fn from(status: StatusReport) -> Self {
        let writer = |worker: WorkerStatus| {
            let WorkerStatus { name, base, group, cell, stdout, stderr, .. } = worker;
            Writer { name, base, group, cell, stdout, stderr }
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
            cell: launch.isolation.cell().map(str::to_owned),
            name: launch.name,
            base: launch.base,
            group: launch.group,
        };
        let bases = settings.templates.into_keys().collect();
        Self { all: settings.launches.into_iter().map(writer).collect(), bases }
    }
}

/// A file to show: who writes to it, and which stream.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) names: BTreeSet<String>,
    pub(super) stream: &'static str,
}

/// Files to show, and messages about the others.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// By their own names.
    pub(super) found: BTreeMap<PathBuf, Source>,
    /// The directories of these files, by each name.
    places: BTreeSet<PathBuf>,
    elsewhere: Vec<String>,
    unreadable: Vec<String>,
    is_denied: bool,
}

impl Choice {
    /// # Errors
    /// `unknown-worker` for a name that is none; `refused` where nothing can be shown, since the
    /// one who asks may not read it; `failed` where nothing can be shown for another reason.
    pub(super) fn of(
        asked: &LogsRequest,
        writers: &Writers,
        access: &Access,
    ) -> Result<Self, Failure> {
        check_names(&asked.workers, writers)?;
        let choice = Self::among(asked, &writers.all, access);
        if !choice.found.is_empty() || choice.unreadable.is_empty() {
            return Ok(choice);
        }
        let kind = if choice.is_denied { "refused" } else { "failed" };
        Err(Failure::new(kind, choice.notes().join("\n")))
    }

    /// Messages about what is not shown.
    pub(super) fn notes(&self) -> Vec<String> {
        self.elsewhere.iter().chain(&self.unreadable).cloned().collect()
    }

    fn among(asked: &LogsRequest, writers: &[Writer], access: &Access) -> Self {
        let mut choice = Self::default();
        let is_named = !asked.workers.is_empty();
        for worker in writers {
            if is_named && !asked.workers.iter().any(|name| is_meant(worker, name)) {
                continue;
            }
            let is_merged = worker.stdout == worker.stderr;
            if asked.stderr && is_merged {
                choice.elsewhere.push(format!(
                    "{} writes both streams to one place; `logs: {{ stderr: FILE }}` keeps them \
                     apart",
                    worker.name
                ));
                continue;
            }
            if !asked.stderr {
                let stream = if is_merged { BOTH } else { "stdout" };
                choice.add(worker, &worker.stdout, stream, is_named, access);
            }
            if !is_merged {
                choice.add(worker, &worker.stderr, "stderr", is_named, access);
            }
        }
        choice.add_others(writers);
        choice.elsewhere.dedup();
        choice.unreadable.dedup();
        choice
    }

    /// Others may write to the same files. Only those in the same directories are looked up: the
    /// disk of another worker's log may not answer.
    fn add_others(&mut self, writers: &[Writer]) {
        for worker in writers {
            for (target, stream) in [(&worker.stdout, "stdout"), (&worker.stderr, "stderr")] {
                let place = Path::new(target).parent();
                if !place.is_some_and(|place| self.places.contains(place)) {
                    continue;
                }
                if let Some(source) = self.found.get_mut(&own_name(target)) {
                    source.names.insert(worker.name.clone());
                    if source.stream != stream {
                        source.stream = BOTH;
                    }
                }
            }
        }
    }

    fn add(
        &mut self,
        worker: &Writer,
        target: &str,
        stream: &'static str,
        is_named: bool,
        access: &Access,
    ) {
        // Such a name means another file in the process that reads than in the one that writes.
        let is_a_process = ["/dev/", "/proc/"].iter().any(|start| target.starts_with(start));
        if !target.starts_with('/') || is_a_process {
            if is_named {
                self.elsewhere.push(format!("the output of {} goes to {target}", worker.name));
            }
            return;
        }
        let own = own_name(target);
        let places = [Path::new(target), &own].into_iter().filter_map(|path| path.parent());
        self.places.extend(places.map(Path::to_path_buf));
        match access.open(&own) {
            // A file that does not exist yet may appear.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.is_denied |= error.kind() == io::ErrorKind::PermissionDenied;
                // A link of another user says itself what is wrong.
                let is_of_kernel = error.raw_os_error() == Some(libc::EACCES);
                let advice = if is_of_kernel { DENIED } else { "" };
                let name = &worker.name;
                self.unreadable
                    .push(format!("cannot show {target}, the output of {name}: {error}{advice}"));
            }
            Ok(_) | Err(_) => {
                self.found.entry(own).or_insert_with(|| Source { names: BTreeSet::new(), stream });
            }
        }
    }
}

/// The workers of a cell.
fn members<'a>(writers: &'a Writers, cell: &str) -> Vec<&'a str> {
    let members = writers.all.iter().filter(|worker| worker.cell.as_deref() == Some(cell));
    members.map(|worker| worker.name.as_str()).collect()
}

/// # Errors
/// `unknown-worker` for the first name that is none.
fn check_names(names: &[String], writers: &Writers) -> Result<(), Failure> {
    for name in names {
        let base = name.strip_suffix(':').unwrap_or(name);
        let is_empty = writers.bases.contains(base);
        if is_empty || name == "all" || writers.all.iter().any(|worker| is_meant(worker, name)) {
            continue;
        }
        let message = if writers.all.iter().any(|worker| worker.group == *name) {
            format!("{name} is a group: `logs {name}:`")
        } else if !members(writers, name).is_empty() {
            format!(
                "{name} is a cell: `logs {}` shows its workers; what its process writes itself is \
                 in cell-{name}.log, in the `log_dir:`",
                members(writers, name).join(" ")
            )
        } else {
            let known: Vec<&str> = writers.all.iter().map(|worker| worker.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("no worker or group is called {name}; there are: {known}")
        };
        return Err(Failure::new("unknown-worker", message));
    }
    Ok(())
}
