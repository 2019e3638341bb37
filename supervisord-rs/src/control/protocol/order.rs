//! The bodies of the requests that change something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `POST /v1/start`, `/v1/stop`, `/v1/restart`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkersRequest {
    /// Names; `all` alone means every worker; a group's name with a colon (`payments:`) means its
    /// workers.
    pub workers: Vec<String>,
    /// Whether to answer only when the order is carried out, has failed, or is superseded by a
    /// later one.
    #[serde(default)]
    pub wait: bool,
    /// How long to wait at most, in milliseconds; 300 000 when it is left out. The order stands all
    /// the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/await`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitRequest {
    /// Workers, and for each the generation after which its outcome counts.
    pub after: BTreeMap<String, u64>,
    /// See [`WorkersRequest::timeout_ms`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/scale`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// A worker with `instances:`.
    pub worker: String,
    /// How many there shall be.
    pub instances: u32,
    /// Whether to answer only when they are.
    #[serde(default)]
    pub wait: bool,
    /// See [`WorkersRequest::timeout_ms`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/signal`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// To whom: names, groups and instances as in [`WorkersRequest::workers`].
    #[serde(default)]
    pub workers: Vec<String>,
    /// The same for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker: Option<String>,
    /// The signal's name (`HUP`, `SIGHUP`) or its number.
    pub signal: SignalName,
}

/// A signal by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignalName {
    /// By number.
    Number(i32),
    /// By name, with or without `SIG`.
    Name(String),
}

/// `POST /v1/inject`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InjectRequest {
    /// In whom.
    pub worker: String,
    /// The fault as written: `segfault`, `exit:3`, `leak:64MiB`.
    pub fault: String,
}

/// `POST /v1/reexec`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReexecRequest {
    /// The binary of the next supervisor, an absolute path; the one that this was started from when
    /// it is left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub binary: Option<std::path::PathBuf>,
    /// For it to be ready, in milliseconds; 30 000 when it is left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/shutdown`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Kill instead of asking.
    #[serde(default)]
    pub now: bool,
}
