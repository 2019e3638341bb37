//! Which processors there are for the measurements, and who is on which.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors that this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

impl Cpus {
    /// Those of the calling thread, ascending.
    ///
    /// # Errors
    /// sched_getaffinity(2) fails.
    pub fn of_this_process() -> Result<Self, String> {
        let set = sched_getaffinity(SELF)
            .map_err(|error| format!("which processors there are: {}", error.desc()))?;
        Ok(Self((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect()))
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len().max(1)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[usize] {
        &self.0
    }

    /// The first one.
    pub(crate) fn first(&self) -> Vec<usize> {
        self.0.iter().take(1).copied().collect()
    }

    /// The one beside the first, for what runs at the same time.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn second(&self) -> Result<Vec<usize>, String> {
        match self.0.get(1) {
            Some(&cpu) => Ok(vec![cpu]),
            None => Err(ONE_CPU.to_owned()),
        }
    }

    /// Lets the calling thread use all of them again.
    pub(crate) fn release(&self) {
        let _ = pin(&self.0);
    }
}

/// Why there is no figure for two.
pub(crate) const ONE_CPU: &str = "this process may use one CPU only";

/// The calling thread runs on these processors only; none: on those that it already may.
///
/// # Errors
/// sched_setaffinity(2) fails: a processor has gone.
pub(crate) fn pin(cpus: &[usize]) -> Result<(), String> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &cpu in cpus {
        let _ = set.set(cpu);
    }
    sched_setaffinity(SELF, &set)
        .map_err(|error| format!("cannot stay on CPU {cpus:?}: {}", error.desc()))
}
