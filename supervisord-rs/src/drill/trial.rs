//! One trial: a real supervisor with its guardian in a separate directory, four workers, one fault.

use std::fs::File;
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::control::client::{Client, ClientError};
use crate::control::protocol::{IncidentRecord, StatusReport, WorkerStatus};
use crate::process_table::children;
use crate::waiting::until;

/// The worker that commits the fault.
const VICTIM: &str = "b";
/// The deadline for progress of four workers. Generous, so that a loaded machine does not fail a
/// trial.
const START: Duration = Duration::from_secs(20);
/// The deadline from the order to the settled incident, including a restart of the supervisor.
const RECOVERY: Duration = Duration::from_secs(20);
/// The deadline for an answer: a stopped supervisor gives none.
const ANSWER: Duration = Duration::from_secs(5);
/// The deadline from the order to shut down to the end of the last process.
const STOP: Duration = Duration::from_secs(15);
/// The guardian's limit for a supervisor that a fault stops.
const WATCHDOG: &str = "3s";
/// The interval between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// The subject of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The fault, as given.
    pub fault: &'a str,
    /// The isolation of the four workers.
    pub isolation: Isolation,
    /// Whether panics are contained.
    pub contain: bool,
}

/// The isolation of all four workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Threads of the supervisor.
    Thread,
    /// Threads of one child process.
    Cell,
    /// One process for each.
    Process,
}

impl Isolation {
    /// Its value in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Cell => "cell",
            Self::Process => "process",
        }
    }

    /// The configuration, as in `config/`: the three differ in one line.
    const fn configuration(self) -> &'static str {
        match self {
            Self::Thread => include_str!("thread.yaml"),
            Self::Cell => include_str!("cell.yaml"),
            Self::Process => include_str!("process.yaml"),
        }
    }
}

/// The result of a trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The fault.
    pub fault: String,
    /// The isolation of the four workers.
    pub isolation: Isolation,
    /// `abort` or `contain`.
    pub on_panic: String,
    /// The running workers.
    pub running: Vec<String>,
    /// Workers whose incarnation ended, seen from outside: another generation or another process
    /// than before.
    pub lost: Vec<String>,
    /// Workers with the same generation and process as before, which made further progress.
    pub survived: Vec<String>,
    /// Whether the supervisor has another process than before.
    pub supervisor_died: bool,
    /// From the fault to its detection, in microseconds.
    pub seen_after_us: Option<u64>,
    /// From the fault until all lost were running again, in microseconds.
    pub back_after_us: Option<u64>,
    /// Units of work that were begun and not done.
    pub work_lost: u64,
    /// Threads and processes left behind.
    pub leftovers: Vec<String>,
    /// Whether the incident agrees with the view from outside.
    pub incident_agrees: bool,
    /// The incident in one line.
    pub sentence: String,
}

/// Why a trial could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The surroundings failed.
    #[error("cannot set up the trial: {0}")]
    Setup(#[from] io::Error),
    /// An expected condition did not come.
    #[error("{what} did not happen within {} s; the supervisor said:\n{log}", limit.as_secs())]
    Timeout {
        /// The condition.
        what: &'static str,
        /// Its deadline.
        limit: Duration,
        /// The supervisor's own log.
        log: String,
    },
    /// The supervisor refused.
    #[error("the supervisor refused: {0}")]
    Refused(String),
}

/// Runs one trial in an empty directory, and leaves it empty.
///
/// # Errors When it could not be finished; then too, no process of it is left.
pub fn run(setting: Setting<'_>) -> Result<Trial, TrialError> {
    let bed = Bed::start(setting)?;
    let before = bed.wait("progress of four workers", START, |bed| {
        let status = bed.client.status().ok()?;
        let works =
            |worker: &WorkerStatus| worker.phase == "running" && worker.progress.unwrap_or(0) > 0;
        status.workers.iter().all(works).then_some(status)
    })?;
    let known =
        bed.client.incidents(1).ok().and_then(|list| list.last().map(|last| last.id)).unwrap_or(0);
    let is_silent = match bed.client.inject(VICTIM, setting.fault) {
        Ok(done) => done.is_silent,
        // A fault that stops the whole process stops it before it has answered.
        Err(ClientError::TimedOut(_)) => false,
        Err(error) => return Err(TrialError::Refused(error.to_string())),
    };
    let mut incident = None;
    if is_silent {
        bed.wait_until_committed()?;
    } else {
        incident = Some(bed.wait("the incident", RECOVERY, |bed| bed.incident_since(known))?);
    }
    let after = bed.wait("progress of all workers after the fault", RECOVERY, |bed| {
        let status = bed.client.status().ok()?;
        status.workers.iter().all(|worker| went_on(&before, worker)).then_some(status)
    })?;
    let incident = incident.or_else(|| bed.incident_since(known));
    let leftovers = bed.stop(&after)?;
    Ok(conclude(setting, &before, &after, incident.as_ref(), leftovers))
}

/// Running, with more progress than before: survivors have worked on, lost ones work again.
fn went_on(before: &StatusReport, worker: &WorkerStatus) -> bool {
    let past = before.workers.iter().find(|past| past.name == worker.name);
    let is_same = past.is_some_and(|past| past.generation == worker.generation);
    let progress = past.and_then(|past| past.progress).unwrap_or(0);
    worker.phase == "running" && (!is_same || worker.progress.unwrap_or(0) > progress)
}

fn conclude(
    setting: Setting<'_>,
    before: &StatusReport,
    after: &StatusReport,
    incident: Option<&IncidentRecord>,
    leftovers: Vec<String>,
) -> Trial {
    let is_same = |past: &&WorkerStatus| {
        let now = after.workers.iter().find(|now| now.name == past.name);
        now.is_some_and(|now| now.generation == past.generation && now.pid == past.pid)
    };
    let names = |list: Vec<&WorkerStatus>| {
        list.iter().map(|worker| worker.name.clone()).collect::<Vec<_>>()
    };
    let (survived, lost): (Vec<_>, Vec<_>) = before.workers.iter().partition(is_same);
    let (survived, lost) = (names(survived), names(lost));
    let supervisor_died = before.supervisor.pid != after.supervisor.pid;
    Trial {
        fault: setting.fault.to_owned(),
        isolation: setting.isolation,
        on_panic: if setting.contain { "contain" } else { "abort" }.to_owned(),
        running: before.workers.iter().map(|worker| worker.name.clone()).collect(),
        incident_agrees: match incident {
            None => lost.is_empty() && !supervisor_died,
            Some(incident) => {
                incident.lost == lost
                    && incident.survived == survived
                    && incident.supervisor_died == supervisor_died
            }
        },
        lost,
        survived,
        supervisor_died,
        seen_after_us: incident.and_then(|incident| incident.detected_us),
        back_after_us: incident.and_then(|incident| incident.recovered_us),
        work_lost: incident.map_or(0, |incident| incident.work.in_flight_lost),
        leftovers,
        sentence: incident
            .map_or_else(|| "no incident".to_owned(), |incident| incident.sentence.clone()),
    }
}

/// A supervisor for the trial, in its own directory. Dropping it ends all its processes.
struct Bed {
    directory: TempDir,
    client: Client,
    guardian: Child,
}

impl Bed {
    fn start(setting: Setting<'_>) -> io::Result<Self> {
        // Processes that the guardian could not end become children of this one, which finds them.
        nix::sys::prctl::set_child_subreaper(true)?;
        let directory = TempDir::with_prefix("supervisord-rs-compare-")?;
        let file = directory.path().join("supervisord-rs.yaml");
        std::fs::write(&file, configuration(setting))?;
        let log = File::create(directory.path().join("supervisor.log"))?;
        let sub = |name: &str| directory.path().join(name);
        let guardian = Command::new("/proc/self/exe")
            .arg0_is_ours()
            .args(["run", "-c"])
            .arg(&file)
            .env("RUNTIME_DIRECTORY", sub("run"))
            .env("STATE_DIRECTORY", sub("state"))
            .env("LOGS_DIRECTORY", sub("logs"))
            .env("SUPERVISORD_RS_QUIET", "1")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("INVOCATION_ID")
            .env_remove("SUPERVISORD_RS_GUARDIAN")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        super::interrupt::on_interrupt(directory.path());
        let client = Client::new(&sub("run").join("control.sock")).clone_with(Some(ANSWER));
        Ok(Self { directory, client, guardian })
    }

    /// Waits for a condition; on failure the error contains the supervisor's log.
    fn wait<T>(
        &self,
        what: &'static str,
        limit: Duration,
        condition: impl Fn(&Self) -> Option<T>,
    ) -> Result<T, TrialError> {
        until(limit, PAUSE, || condition(self)).ok_or_else(|| self.timeout(what, limit))
    }

    /// Of a fault that no incident comes of: a worker commits it at its next checkpoint, so it has
    /// when it has done two more units.
    fn wait_until_committed(&self) -> Result<(), TrialError> {
        let progress = |bed: &Self| {
            let status = bed.client.status().ok()?;
            status.workers.into_iter().find(|worker| worker.name == VICTIM)?.progress
        };
        let ordered = self.wait("an answer after the fault", RECOVERY, progress)?;
        self.wait("the fault to be committed", RECOVERY, |bed| {
            (progress(bed)? >= ordered + 2).then_some(())
        })
    }

    /// The newest settled incident after the one with this number.
    fn incident_since(&self, known: u64) -> Option<IncidentRecord> {
        self.client.incidents(1).ok()?.into_iter().rfind(|record| record.id > known)
    }

    /// Stops everything in order, and returns what was left behind.
    fn stop(mut self, last: &StatusReport) -> Result<Vec<String>, TrialError> {
        let mut leftovers = Vec::new();
        match last.supervisor.abandoned_threads {
            0 => {}
            1 => leftovers.push("1 thread".to_owned()),
            count => leftovers.push(format!("{count} threads")),
        }
        self.client.shutdown(false).map_err(|error| TrialError::Refused(error.to_string()))?;
        until(STOP, PAUSE, || self.guardian.try_wait().transpose())
            .ok_or_else(|| self.timeout("the end of the supervisor", STOP))??;
        let processes = children();
        if !processes.is_empty() {
            leftovers.push(format!("processes {processes:?}"));
        }
        Ok(leftovers)
    }

    fn timeout(&self, what: &'static str, limit: Duration) -> TrialError {
        TrialError::Timeout { what, limit, log: self.log() }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("supervisor.log")).unwrap_or_default()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // After an orderly end there is nothing to do. Otherwise the guardian's death ends the
        // supervisor, and that ends the workers (`PR_SET_PDEATHSIG`); orphans become children of
        // this process.
        if matches!(self.guardian.try_wait(), Ok(None)) {
            let _ = self.guardian.kill();
            let _ = self.guardian.wait();
        }
        let end = Instant::now() + STOP;
        loop {
            let left = children();
            if left.is_empty() || Instant::now() >= end {
                break;
            }
            for pid in left {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
                let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            }
        }
    }
}

fn configuration(setting: Setting<'_>) -> String {
    let text = setting.isolation.configuration();
    if setting.fault == "signal-stop" && setting.isolation == Isolation::Thread {
        // It stops the supervisor, and who compares does not wait for the guardian's usual limit.
        let allow = "fault_injection: allow";
        return text.replacen(allow, &format!("{allow}, watchdog: {WATCHDOG}"), 1);
    }
    if !setting.contain {
        return text.to_owned();
    }
    let isolation = if setting.isolation == Isolation::Process {
        "isolation: process"
    } else {
        "isolation: thread"
    };
    text.replacen(isolation, &format!("{isolation}, on_panic: contain"), 1)
}

trait OwnName {
    fn arg0_is_ours(&mut self) -> &mut Self;
}

impl OwnName for Command {
    /// `ps` shows the program's name, not `/proc/self/exe`.
    fn arg0_is_ours(&mut self) -> &mut Self {
        use std::os::unix::process::CommandExt;
        self.arg0("supervisord-rs")
    }
}
