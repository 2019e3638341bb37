//! The supervisor of a trial with its guardian, in a directory of its own. Dropping it ends all its
//! processes and removes the directory.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::failure::TrialError;
use super::interrupt;
use crate::config::settings::INCIDENTS;
use crate::config::{Adaptation, SOCKET, Source};
use crate::control::client::{Client, MANY_INCIDENTS};
use crate::control::protocol::IncidentRecord;
use crate::isolation::exits::orphans;
use crate::log_tail::{open_regular, tail};
use crate::process_table::children;
use crate::record::settled::read_others;
use crate::service_manager::NOT_FOR_CHILDREN;
use crate::waiting::until;

/// The deadline for an answer: a stopped supervisor gives none.
const ANSWER: Duration = Duration::from_secs(5);
/// The deadline for the end of the last process after the order to kill all.
const KILL: Duration = Duration::from_secs(15);
/// The interval between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(5);
/// How the names of trials' directories begin.
pub(super) const PREFIX: &str = "supervisord-rs-trial-";
/// The log of the supervisor of a trial.
const LOG: &str = "supervisor.log";
/// Names the directory of the trial to its workers: what they write there goes with it.
pub(super) const DIRECTORY: &str = "SUPERVISORD_RS_TRIAL";
/// Lines of the supervisor's own log that explain why a trial could not be finished.
const LOG_LINES: usize = 20;

/// A running trial.
pub(super) struct Bed {
    /// Absolute: the supervisor calls it by this name too.
    path: PathBuf,
    guardian: Child,
    /// Whether [`Bed::kill_guardian`] has ended it.
    guardian_killed: bool,
    pub(super) client: Client,
    shutdown_limit: Duration,
    /// Whether its supervisors are killed on purpose, so that the guardian never gives up.
    is_storm: bool,
    is_kept: bool,
}

impl Bed {
    /// Starts it. `shutdown_limit`: see [`Patience::shutdown`](super::limits::Patience::shutdown);
    /// `is_storm`: whether each death of a supervisor is followed by another start at once, however
    /// many there are; `configuration`: what it runs in its directory.
    pub(super) fn start(
        shutdown_limit: Duration,
        is_storm: bool,
        configuration: impl FnOnce(&Path) -> io::Result<Source>,
    ) -> io::Result<Self> {
        // Processes that the guardian could not end become children of this one, which finds them.
        nix::sys::prctl::set_child_subreaper(true)?;
        let mut directory = None;
        let make = || {
            let made = tempfile::Builder::new()
                .prefix(PREFIX)
                // A worker may run as another user, which has to reach its sockets.
                .permissions(Permissions::from_mode(0o711))
                .tempdir_in(std::path::absolute(std::env::temp_dir())?)?;
            Ok(directory.insert(made).path().to_owned())
        };
        let (path, guardian) = interrupt::begin(make, |path| {
            let file = Adaptation::configuration(path);
            write(&file, &configuration(path)?)?;
            guardian(path, is_storm)
        })?;
        // From here on, dropping the bed removes it.
        let _ = directory.map(TempDir::keep);
        let socket = Adaptation::runtime_dir(&path).join(SOCKET);
        let client = Client::new(&socket).clone_with(Some(ANSWER));
        let is_kept = false;
        let guardian_killed = false;
        Ok(Self { path, guardian, guardian_killed, client, shutdown_limit, is_storm, is_kept })
    }

    /// Starts another guardian after [`Bed::kill_guardian`], once everything has ended.
    ///
    /// # Errors
    /// Those of starting a process.
    pub(super) fn start_again(&mut self) -> io::Result<()> {
        let same = || Ok(self.path.clone());
        (_, self.guardian) = interrupt::begin(same, |path| guardian(path, self.is_storm))?;
        self.guardian_killed = false;
        Ok(())
    }

    /// Its directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps its directory.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// What the next supervisor reads, or this one when it is ordered to reload.
    ///
    /// # Errors
    /// Those of writing a file.
    pub(super) fn configure(&self, source: &Source) -> io::Result<()> {
        let next = self.path.join("configuration.next");
        write(&next, source)?;
        std::fs::rename(next, Adaptation::configuration(&self.path))
    }

    /// Kills the guardian; the supervisor becomes a child of this process.
    ///
    /// # Errors
    /// Those of kill(2) and wait(2).
    pub(super) fn kill_guardian(&mut self) -> io::Result<()> {
        self.guardian_killed = true;
        self.guardian.kill()?;
        self.guardian.wait().map(drop)
    }

    /// Waits for a condition.
    ///
    /// # Errors
    /// It does not come in time, or the supervisor has ended for good.
    pub(super) fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&mut Self) -> Result<Option<T>, TrialError>,
    ) -> Result<T, TrialError> {
        let met = until(limit, PAUSE, || match condition(self).transpose() {
            Some(met) => Some(met),
            None => Some(Err(TrialError::Ended { status: self.ended()?, log: self.log() })),
        });
        met.unwrap_or_else(|| {
            Err(TrialError::Timeout { what: what.to_owned(), limit, log: self.log() })
        })
    }

    /// How it has ended for good, if it has: the guardian, and with a killed guardian all that it
    /// has left.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.guardian.try_wait().ok()??;
        if self.guardian_killed {
            orphans::reap(|_| false, |_| {}, None);
        }
        (!self.guardian_killed || !orphans::has_any()).then_some(status)
    }

    /// Incidents that a supervisor which has ended has recorded.
    pub(super) fn recorded_incidents(&self) -> Vec<IncidentRecord> {
        let file = Adaptation::state_dir(&self.path).join(INCIDENTS);
        read_others(&file, &BTreeSet::new(), MANY_INCIDENTS).unwrap_or_default()
    }

    /// Stops everything in order, kills what does not stop in time, and returns what was left
    /// behind.
    ///
    /// # Errors
    /// The supervisor does not end.
    pub(super) fn stop(&mut self) -> Result<Option<String>, TrialError> {
        // One that has ended, or hangs, does not answer.
        let _ = self.client.shutdown(false);
        let limit = self.shutdown_limit;
        if until(limit, PAUSE, || self.ended()).is_none() {
            let _ = self.client.shutdown(true);
            if until(KILL, PAUSE, || self.ended()).is_none() {
                let what = "the end of the supervisor".to_owned();
                let limit = limit.saturating_add(KILL);
                return Err(TrialError::Timeout { what, limit, log: self.log() });
            }
        }
        Ok(match children().len() {
            0 => None,
            1 => Some("1 process".to_owned()),
            count => Some(format!("{count} processes")),
        })
    }

    /// The last lines of the supervisor's own log.
    pub(super) fn log(&self) -> String {
        last_lines(&self.path.join(LOG), LOG_LINES).join("\n")
    }
}

/// The last lines of a file; none where it cannot be read.
pub(super) fn last_lines(file: &Path, count: usize) -> Vec<String> {
    let bytes = open_regular(file).and_then(|mut file| tail(&mut file, count));
    let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
    text.lines().map(str::to_owned).collect()
}

impl Drop for Bed {
    fn drop(&mut self) {
        // After an orderly end there is nothing to kill. Otherwise the guardian's death ends the
        // supervisor, and workers that outlive that become children of this process.
        interrupt::hold_if_interrupted();
        if matches!(self.guardian.try_wait(), Ok(None)) {
            let _ = self.guardian.kill();
            let _ = self.guardian.wait();
        }
        interrupt::end(Some(&self.path), self.is_kept);
    }
}

/// Starts the guardian of a trial.
fn guardian(path: &Path, is_storm: bool) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(path.join(LOG))?;
    let mut command = Command::new("/proc/self/exe");
    for name in NOT_FOR_CHILDREN {
        command.env_remove(name);
    }
    command
        // For `ps`.
        .arg0("supervisord-rs")
        .args(["run", "--trial"])
        .arg(Adaptation::configuration(path))
        .args(["--trial-of", &std::process::id().to_string()])
        .args(is_storm.then_some("--storm"))
        .env_remove("INVOCATION_ID")
        .env(DIRECTORY, path)
        // Ctrl-C reaches this process alone, which then ends the trial.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// Writes a configuration, which may contain secrets.
fn write(file: &Path, source: &Source) -> io::Result<()> {
    let mut options = File::options();
    let mut content = options.write(true).create_new(true).mode(0o600).open(file)?;
    content.write_all(&serde_json::to_vec(source)?)
}
