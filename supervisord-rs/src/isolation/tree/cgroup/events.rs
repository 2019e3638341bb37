//! What the kernel tells of a cgroup in one small read (cgroups(7), `cgroup.events`).

use crate::kernel_file;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Events {
    /// A process lives in it, or below it.
    pub(super) populated: bool,
    /// Nothing in it runs: it was frozen, or one above it, and its processes have stopped.
    pub(super) frozen: bool,
}

impl Events {
    /// No process, and one that comes runs.
    pub(super) const EMPTY: Self = Self { populated: false, frozen: false };

    /// Of one that is not there: [`EMPTY`](Self::EMPTY).
    pub(super) fn of(cgroup: &Path) -> Self {
        let events = kernel_file::read_text(cgroup.join("cgroup.events")).unwrap_or_default();
        let says = |wanted: &str| events.lines().any(|line| line == wanted);
        Self { populated: says("populated 1"), frozen: says("frozen 1") }
    }
}
