//! `ending` of a worker in `GET /v1/status`, of an incident and of an outcome.

use serde::{Deserialize, Serialize};

/// How an incarnation ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndingReport {
    /// `exited`, `signal`, `returned`, `failed`, `panicked`, `abandoned`, `not-launched` or
    /// `unknown`.
    pub status: String,
    /// Why: `segfault`, `panic`, `hang`, `requested`, ...
    pub cause: String,
    /// For `exited`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// For `signal`: its name (`SIGSEGV`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<String>,
    /// Whether a core was dumped.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub core_dumped: bool,
    /// `si_code` by name, where a handler saw it (`SEGV_MAPERR`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// `si_addr`, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// For `not-launched`: the step that failed (`exec`, `directory`, `user`, ...).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<String>,
    /// For `not-launched`: the error of that step by name (`ENOENT`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errno: Option<String>,
    /// A panic message, an error, or what to do about a launch that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

impl EndingReport {
    /// Whether its launch was dropped before it began: no step of it failed.
    #[must_use]
    pub fn is_not_begun(&self) -> bool {
        self.stage.as_deref() == Some("clone") && self.errno.is_none()
    }

    /// Whether a program ran whose last lines may say why it ended.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.status != "not-launched" || self.stage.as_deref() == Some("start-before")
    }
}
