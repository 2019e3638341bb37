//! A fault that is ordered in a worker: until its fate is clear.

use workers::fault::Moment;

use super::bed::Bed;
use super::failure::TrialError;
use super::limits::{COMMIT, Patience};
use super::setting::WrittenFault;
use crate::control::client::{ClientError, MANY_INCIDENTS};
use crate::control::protocol::WorkerStatus;

/// A fault, and in whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike<'a> {
    pub(super) patience: Patience<'a>,
    /// The number of the worker in the configuration.
    pub(super) number: usize,
    /// As it was just before.
    pub(super) victim: &'a WorkerStatus,
    pub(super) fault: &'a WrittenFault,
    /// Whether a fault that waits for a stop or a launch gets one.
    pub(super) brings_on: bool,
    /// The newest incident that was known before.
    pub(super) known: u64,
}

impl Strike<'_> {
    /// Orders the fault, and waits until its fate is clear: its incident is settled, the worker has
    /// ended well, or the fault, which nothing notices, is committed.
    ///
    /// # Errors
    /// The supervisor refuses, or nothing comes of the fault.
    pub(super) fn commit(self, bed: &mut Bed, takes_long: impl Fn(&str)) -> Result<(), TrialError> {
        let Self { victim, fault, known, .. } = self;
        let is_silent = match bed.client.inject(&victim.name, fault.text()) {
            Ok(done) => done.is_silent,
            // A fault that stops the whole process stops it before it has answered.
            Err(ClientError::TimedOut(_)) => false,
            Err(error) => return Err(TrialError::Refused(error.to_string())),
        };
        if is_silent {
            takes_long(&format!(
                "no incident comes of it now; waiting at most {} s for it to be committed, and {} for \
                 the end of {}",
                COMMIT.as_secs(),
                humantime::format_duration(self.patience.stop(self.number)),
                victim.name
            ));
            await_commit(bed, &victim.name)?;
            if !self.brings_on || fault.kind().moment() == Moment::Now {
                return Ok(());
            }
            // Its time comes with a stop and a launch. The supervisor may die of it before it
            // answers.
            let _ = bed.client.restart(std::slice::from_ref(&victim.name), false);
        }
        let limit = self.patience.recovery(self.number);
        let what = format!("an incident after {fault} in {}", victim.name);
        let mut is_open = false;
        let clear = bed.wait(&what, limit, |bed| {
            let incidents = bed.client.incidents_and_open(MANY_INCIDENTS).unwrap_or_default();
            if let Some(incident) = incidents.iter().find(|one| one.is_of(&victim.name, known)) {
                is_open = incident.open;
                return Ok((!incident.open).then_some(()));
            }
            let Ok(status) = bed.client.status() else { return Ok(None) };
            let now = status.workers.iter().find(|worker| worker.name == victim.name);
            Ok(now.is_some_and(|now| now.has_ended_well_since(victim)).then_some(()))
        });
        match clear {
            // Who was lost is known; who does not come back is part of the result.
            Err(TrialError::Timeout { .. }) if is_open => Ok(()),
            clear => clear,
        }
    }
}

/// No incident comes of the fault. A worker commits it at its next checkpoint: after two more units
/// it has. The trial waits [`COMMIT`] at most, since a worker may be idle.
fn await_commit(bed: &mut Bed, victim: &str) -> Result<(), TrialError> {
    let progress = |bed: &Bed| {
        let status = bed.client.status().ok()?;
        status.workers.into_iter().find(|worker| worker.name == victim)?.progress
    };
    let Some(ordered) = progress(bed) else { return Ok(()) };
    let committed = bed.wait("the fault to be committed", COMMIT, |bed| {
        Ok(progress(bed).filter(|now| *now >= ordered + 2).map(drop))
    });
    match committed {
        Err(TrialError::Timeout { .. }) => Ok(()),
        committed => committed,
    }
}
