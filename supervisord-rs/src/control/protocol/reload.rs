//! `reload` in the answer to `POST /v1/reexec` of the binary that runs.

use serde::{Deserialize, Serialize};

/// What a reload does to each worker. Each name is in one list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The file that was read.
    pub config: String,
    /// New in the file.
    pub started: Vec<String>,
    /// No longer in the file, and ran.
    pub stopped: Vec<String>,
    /// No longer in the file, and did not run.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub removed: Vec<String>,
    /// Their entry has changed in what they are launched with.
    pub restarted: Vec<String>,
    /// They depend on one that is restarted, and are restarted with it, whether their entry has
    /// changed or not.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub dependents: Vec<String>,
    /// Unchanged threads of the supervisor: they are restarted, since another process takes its
    /// place.
    pub threads: Vec<String>,
    /// Their entry has changed in what holds without a restart, or from their next start on.
    pub changed: Vec<String>,
    /// Not touched.
    pub kept: Vec<String>,
    /// Instances that the file has and `scale` has taken away: they stay away until `scale` brings
    /// them back.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub scaled_away: Vec<String>,
}

impl ReloadReport {
    /// The lists: what is done to the workers, their names, and why, where that is not obvious.
    pub fn lists(&self) -> [(&'static str, &[String], &'static str); 9] {
        let threads = "threads of the supervisor, whose process is replaced";
        [
            ("started", &self.started, ""),
            ("stopped", &self.stopped, ""),
            ("removed", &self.removed, ""),
            ("restarted", &self.restarted, ""),
            ("restarted", &self.dependents, "as dependents"),
            ("restarted", &self.threads, threads),
            ("changed", &self.changed, ""),
            ("kept", &self.kept, ""),
            ("not there", &self.scaled_away, "`scale` has taken them away, and brings them back"),
        ]
    }
}
