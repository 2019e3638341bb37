//! What a task does exactly as any worker does: none of it waits.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::AsyncContext;
use crate::PreviousEnding;
use crate::context::InFlight;

impl AsyncContext {
    /// Whether the worker should return soon, see
    /// [`Context::stop_requested`](crate::Context::stop_requested).
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        self.context().stop_requested()
    }

    /// The worker's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        self.context().name()
    }

    /// Which run of the worker this is, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.context().generation()
    }

    /// Reports that the worker is ready, see [`Context::ready`](crate::Context::ready).
    pub fn ready(&self) {
        self.context().ready();
    }

    /// A sign of life, for a task that computes for long; one that waits needs none.
    pub fn tick(&self) {
        self.context().tick();
    }

    /// Counts units of work done, see [`Context::progress`](crate::Context::progress).
    pub fn progress(&self, units: u64) {
        self.context().progress(units);
    }

    /// Counts units of work begun, see [`Context::begin`](crate::Context::begin). A task that
    /// panics, or is dropped, loses its units.
    pub fn begin(&self, units: u64) -> InFlight {
        self.context().begin(units)
    }

    /// Writes a line to the worker's captured output, see
    /// [`Context::log_line`](crate::Context::log_line), which blocks while the pipe is full.
    pub fn log_line(&self, line: impl AsRef<str>) {
        self.context().log_line(line);
    }

    /// A listening socket that the configuration hands to this worker, see
    /// [`Context::socket`](crate::Context::socket).
    #[must_use]
    pub fn socket(&self, name: &str) -> Option<OwnedFd> {
        self.context().socket(name)
    }

    /// A listener that the configuration hands to this worker, for `from_std` of tokio's listener.
    ///
    /// # Errors
    /// As [`Context::listener`](crate::Context::listener).
    pub fn listener(&self, name: &str) -> io::Result<TcpListener> {
        self.context().listener(name)
    }

    /// Says that the worker is reloading, by its own decision, see
    /// [`Context::reloading`](crate::Context::reloading).
    pub fn reloading(&self) {
        self.context().reloading();
    }

    /// Says that the worker has reloaded, see [`Context::reloaded`](crate::Context::reloaded).
    pub fn reloaded(&self) {
        self.context().reloaded();
    }

    /// What the worker is at, in a line for people, see
    /// [`Context::status`](crate::Context::status).
    pub fn status(&self, text: impl AsRef<str>) {
        self.context().status(text);
    }

    /// Needs more time to start or to stop, see
    /// [`Context::extend_timeout`](crate::Context::extend_timeout).
    pub fn extend_timeout(&self, by: Duration) {
        self.context().extend_timeout(by);
    }

    /// Leaves a breadcrumb, see [`Context::breadcrumb`](crate::Context::breadcrumb).
    pub fn breadcrumb(&self, operation: u32) {
        self.context().breadcrumb(operation);
    }

    /// How often a sign of life is due, see
    /// [`Context::heartbeat_interval`](crate::Context::heartbeat_interval).
    #[must_use]
    pub fn heartbeat_interval(&self) -> Option<Duration> {
        self.context().heartbeat_interval()
    }

    /// When the supervisor's patience ends, see
    /// [`Context::stop_deadline`](crate::Context::stop_deadline).
    #[must_use]
    pub fn stop_deadline(&self) -> Option<Instant> {
        self.context().stop_deadline()
    }

    /// How the incarnation before ended, see
    /// [`Context::previous_ending`](crate::Context::previous_ending).
    #[must_use]
    pub fn previous_ending(&self) -> Option<&PreviousEnding> {
        self.context().previous_ending()
    }
}
