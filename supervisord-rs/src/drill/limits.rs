//! How long a trial waits, as its configuration allows.

use std::time::Duration;

use supervision::spec::{Readiness, WorkerSpec};

use super::scenario::Scenario;

/// A deadline gets this beside what the configuration allows, for a loaded machine.
const SLACK: Duration = Duration::from_secs(20);
/// Longest deadline, whatever the configuration allows.
const LONGEST: Duration = Duration::from_secs(120);

impl Scenario {
    /// The deadline for all workers to be up.
    #[must_use]
    pub fn start_limit(&self) -> Duration {
        let all = self.settings().spec.workers.iter().map(start_limit);
        all.fold(SLACK, Duration::saturating_add).min(LONGEST)
    }

    /// How long the worker that the fault strikes may take to stop.
    #[must_use]
    pub fn stop_limit(&self) -> Duration {
        self.settings().spec.workers[self.victim()].stop.timeout
    }

    /// The deadline from the order to shut down to the end of the last process: that after which
    /// the supervisor kills by itself, and a while beside it.
    #[must_use]
    pub fn shutdown_limit(&self) -> Duration {
        self.settings().spec.shutdown_timeout.saturating_add(SLACK)
    }

    /// The deadline from the fault to its settled incident.
    #[must_use]
    pub fn recovery_limit(&self) -> Duration {
        let spec = &self.settings().spec.workers[self.victim()];
        let liveness = self.launch().health.liveness.as_ref().map_or(Duration::ZERO, |probe| {
            let rounds = probe.failures.unwrap_or(1).saturating_add(1);
            probe.every.saturating_add(probe.timeout).saturating_mul(rounds)
        });
        let heartbeat = spec.heartbeat.unwrap_or_default();
        let restarts = self.settings().spec.workers.iter().map(|spec| {
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
    use super::*;

    #[test]
    fn a_trial_ends_no_sooner_than_its_supervisor_would_end_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("app.yaml");
        let limit_of = |supervisor: &str| {
            let text = format!("version: 1\n{supervisor}workers: {{ a: {{ worker: ticker }} }}\n");
            std::fs::write(&file, text).unwrap();
            let registry = workers::builtin::registry();
            Scenario::of_file(&file, "a", &registry).unwrap().shutdown_limit()
        };
        assert!(limit_of("") > Duration::from_secs(30), "the default of `shutdown_timeout:`");
        let minutes = "supervisor: { shutdown_timeout: 3m }\n";
        assert!(limit_of(minutes) > Duration::from_secs(180));
    }
}
