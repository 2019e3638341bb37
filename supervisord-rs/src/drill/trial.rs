//! One trial: a real supervisor with its guardian in a directory of its own, four workers, one
//! fault.

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

/// The worker that is broken.
const VICTIM: &str = "b";
/// Until four workers make progress. Generous: a loaded machine is no failed trial.
const START: Duration = Duration::from_secs(20);
/// From the order to the settled incident, the restart of the supervisor included.
const RECOVERY: Duration = Duration::from_secs(20);
/// For an answer: a supervisor that was stopped gives none.
const ANSWER: Duration = Duration::from_secs(5);
/// From the order to shut down to the end of the last process.
const STOP: Duration = Duration::from_secs(15);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The fault, as written.
    pub fault: &'a str,
    /// Where the four workers live.
    pub isolation: Isolation,
    /// Whether panics are contained.
    pub contain: bool,
}

/// Where all four workers live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Threads of the supervisor.
    Thread,
    /// Threads of one child process.
    Cell,
    /// A process each.
    Process,
}

impl Isolation {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Cell => "cell",
            Self::Process => "process",
        }
    }

    /// The configuration that a reader finds in `config/`: the three differ in one line.
    const fn configuration(self) -> &'static str {
        match self {
            Self::Thread => include_str!("thread.yaml"),
            Self::Cell => include_str!("cell.yaml"),
            Self::Process => include_str!("process.yaml"),
        }
    }
}

/// What a trial showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The fault.
    pub fault: String,
    /// Where the four workers lived.
    pub isolation: Isolation,
    /// `abort` or `contain`.
    pub on_panic: String,
    /// Who was running.
    pub running: Vec<String>,
    /// Whose incarnation ended, seen from outside: another generation or another process than
    /// before.
    pub lost: Vec<String>,
    /// Who has the same generation and process as before, and went on making progress.
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
    /// Whether the incident says what was seen from outside.
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
    /// Something that should have come did not.
    #[error("{what} did not happen within {} s; the supervisor said:\n{log}", limit.as_secs())]
    Timeout {
        /// What.
        what: &'static str,
        /// Within which time.
        limit: Duration,
        /// The supervisor's own log.
        log: String,
    },
    /// The supervisor refused.
    #[error("the supervisor refused: {0}")]
    Refused(String),
}

/// Runs one trial, from an empty directory to an empty directory.
///
/// # Errors
/// When it could not be finished; nothing of it is left running then either.
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
    match bed.client.inject(VICTIM, setting.fault) {
        // What stops the whole process stops it before it has answered.
        Ok(_) | Err(ClientError::TimedOut(_)) => {}
        Err(error) => return Err(TrialError::Refused(error.to_string())),
    }
    let incident = bed.wait("the incident", RECOVERY, |bed| {
        bed.client.incidents(1).ok()?.into_iter().rfind(|record| record.id > known)
    })?;
    let after = bed.wait("progress of all workers after the fault", RECOVERY, |bed| {
        let status = bed.client.status().ok()?;
        status.workers.iter().all(|worker| went_on(&before, worker)).then_some(status)
    })?;
    let leftovers = bed.stop(&after)?;
    Ok(conclude(setting, &before, &after, &incident, leftovers))
}

/// Running, with more progress than before: a survivor went on, a lost one is back at work.
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
    incident: &IncidentRecord,
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
        incident_agrees: incident.lost == lost
            && incident.survived == survived
            && incident.supervisor_died == supervisor_died,
        lost,
        survived,
        supervisor_died,
        seen_after_us: incident.detected_us,
        back_after_us: incident.recovered_us,
        work_lost: incident.work.in_flight_lost,
        leftovers,
        sentence: incident.sentence.clone(),
    }
}

/// A supervisor of our own, in a directory of its own. Ended with all its processes when dropped.
struct Bed {
    directory: TempDir,
    client: Client,
    guardian: Child,
}

impl Bed {
    fn start(setting: Setting<'_>) -> io::Result<Self> {
        // What the guardian could not end becomes our child, so that we see it.
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

    /// Waits for a condition; the supervisor's log tells why it did not come.
    fn wait<T>(
        &self,
        what: &'static str,
        limit: Duration,
        condition: impl Fn(&Self) -> Option<T>,
    ) -> Result<T, TrialError> {
        until(limit, PAUSE, || condition(self)).ok_or_else(|| self.timeout(what, limit))
    }

    /// Stops everything in order, and tells what was left behind.
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
        // After an orderly end there is nothing to do. Else the guardian's death takes the
        // supervisor along, and that takes the workers (`PR_SET_PDEATHSIG`); what is orphaned comes
        // to us.
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
