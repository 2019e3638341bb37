//! One incarnation on a thread.

/// What a panic of a worker's thread ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPanic {
    /// Its whole fault domain: a panic leaves shared state in doubt.
    #[default]
    Abort,
    /// Only this worker: the panic is caught, what it held is poisoned or recovered.
    Contain,
}
