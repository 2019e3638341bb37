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

use super::failure::TrialError;
use super::interrupt;
use super::scenario::Scenario;
use super::setting::Setting;
use crate::config::settings::INCIDENTS;
use crate::config::{Adaptation, SOCKET};
use crate::control::client::{Client, MANY_INCIDENTS};
use crate::control::protocol::IncidentRecord;
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
pub(super) const PREFIX: &str = "supervisord-rs-compare-";
/// Lines of the supervisor's own log that explain why a trial could not be finished.
const LOG_LINES: usize = 20;

/// A running trial.
pub(super) struct Bed {
    /// Absolute: the supervisor calls it by this name too.
    path: PathBuf,
    guardian: Child,
    pub(super) client: Client,
    /// See [`Scenario::shutdown_limit`].
    shutdown_limit: Duration,
}

impl Bed {
    pub(super) fn start(scenario: &Scenario, setting: &Setting) -> io::Result<Self> {
        // Processes that the guardian could not end become children of this one, which finds them.
        nix::sys::prctl::set_child_subreaper(true)?;
        let path = std::path::absolute(std::env::temp_dir())?;
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            // A worker may run as another user, which has to reach its sockets.
            .permissions(Permissions::from_mode(0o711))
            .tempdir_in(path)?;
        let path = directory.path().to_owned();
        let guardian = interrupt::begin(&path, || {
            let source = scenario.source(setting, &path)?;
            let file = path.join("configuration.json");
            // It may contain secrets.
            let mut options = File::options();
            let mut content = options.write(true).create_new(true).mode(0o600).open(&file)?;
            content.write_all(&serde_json::to_vec(&source)?)?;
            let log = File::create(path.join("supervisor.log"))?;
            let mut command = Command::new("/proc/self/exe");
            for name in NOT_FOR_CHILDREN {
                command.env_remove(name);
            }
            command
                // For `ps`.
                .arg0("supervisord-rs")
                .args(["run", "--trial"])
                .arg(&file)
                .args(["--trial-of", &std::process::id().to_string()])
                .env_remove("INVOCATION_ID")
                // Ctrl-C reaches this process alone, which then ends the trial.
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
        })?;
        // From here on, dropping the bed removes it.
        let _ = directory.keep();
        let socket = Adaptation::runtime_dir(&path).join(SOCKET);
        let client = Client::new(&socket).clone_with(Some(ANSWER));
        Ok(Self { path, guardian, client, shutdown_limit: scenario.shutdown_limit() })
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

    fn ended(&mut self) -> Option<ExitStatus> {
        self.guardian.try_wait().ok()?
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
    pub(super) fn stop(&mut self) -> Result<Vec<String>, TrialError> {
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
        let processes = children();
        let left = match processes.len() {
            0 => None,
            1 => Some("1 process".to_owned()),
            count => Some(format!("{count} processes")),
        };
        Ok(left.into_iter().collect())
    }

    /// The last lines of the supervisor's own log.
    fn log(&self) -> String {
        last_lines(&self.path.join("supervisor.log"), LOG_LINES).join("\n")
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
        interrupt::end(Some(&self.path));
    }
}
