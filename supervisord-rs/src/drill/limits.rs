//! How long a trial waits, as its configuration allows.

use std::time::Duration;

use supervision::spec::{Readiness, WorkerSpec};

use crate::config::Settings;

/// A deadline gets this beside what the configuration allows, for a loaded machine.
const SLACK: Duration = Duration::from_secs(20);
/// The deadline for a fault that nothing notices to be committed: a worker commits it at its next
/// checkpoint, and may be idle.
pub(super) const COMMIT: Duration = Duration::from_secs(3);
/// Longest deadline, whatever the configuration allows.
const LONGEST: Duration = Duration::from_secs(120);

/// How long is waited for a supervisor of this configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience<'a>(pub(super) &'a Settings);

impl Patience<'_> {
    /// The deadline for all workers to be up.
    pub(super) fn start(self) -> Duration {
        let all = self.0.spec.workers.iter().map(start_limit);
        all.fold(SLACK, Duration::saturating_add).min(LONGEST)
    }

    /// How long this worker may take to stop.
    pub(super) fn stop(self, worker: usize) -> Duration {
        self.0.spec.workers[worker].stop.timeout
    }

    /// The deadline from the order to shut down to the end of the last process: that after which
    /// the supervisor kills by itself, and a while beside it.
    pub(super) fn shutdown(self) -> Duration {
        self.0.spec.shutdown_timeout.saturating_add(SLACK)
    }

    /// The deadline of a whole trial with a fault in this worker, of its two waits for a recovery
    /// and of what an end by force takes.
    pub(super) fn whole(self, worker: usize) -> Duration {
        let recovery = self.recovery(worker).saturating_mul(2);
        let parts = [self.start(), COMMIT, self.stop(worker), recovery, self.shutdown(), LONGEST];
        parts.into_iter().fold(Duration::ZERO, Duration::saturating_add)
    }

    /// The deadline from a fault in this worker to its settled incident.
    pub(super) fn recovery(self, worker: usize) -> Duration {
        let liveness = self.0.launches[worker].health.liveness.as_ref();
        let liveness = liveness.map_or(Duration::ZERO, |probe| {
            let rounds = probe.failures.unwrap_or(1).saturating_add(1);
            probe.every.saturating_add(probe.timeout).saturating_mul(rounds)
        });
        let heartbeat = self.0.spec.workers[worker].heartbeat.unwrap_or_default();
        let restarts = self.0.spec.workers.iter().map(|spec| {
            let backoff = spec.restart.backoff.initial;
            spec.stop.timeout.saturating_add(backoff).saturating_add(start_limit(spec))
        });
        let detection = liveness.max(heartbeat);
        let limit = SLACK.saturating_add(detection);
        limit.saturating_add(restarts.max().unwrap_or_default()).min(LONGEST)
    }
}

fn start_limit(spec: &WorkerSpec) -> Duration {
    match spec.readiness {
        Readiness::After(after) => after,
        Readiness::Notified { timeout } => timeout,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    #[test]
    fn a_trial_ends_no_sooner_than_its_supervisor_would_end_it() {
        let limit_of = |supervisor: &str| {
            let text = format!("version: 1\n{supervisor}workers: {{ a: {{ worker: ticker }} }}\n");
            let registry = workers::builtin::registry();
            Patience(&parse(&text, Path::new("app.yaml"), &registry).unwrap()).shutdown()
        };
        assert!(limit_of("") > Duration::from_secs(30), "the default of `shutdown_timeout:`");
        let minutes = "supervisor: { shutdown_timeout: 3m }\n";
        assert!(limit_of(minutes) > Duration::from_secs(180));
    }
}
