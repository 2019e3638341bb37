//! What is compared: a configuration, the worker that a fault strikes, and the workers that run
//! elsewhere in each trial. The built-in one and a user's file differ in nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use supervision::spec::{Readiness, WorkerSpec};
use workers::Registry;
use workers::fault::{Fault, Injection};

use super::addresses;
use crate::config::settings::SecretSource;
use crate::config::{self, Adaptation, Diagnostics, Launch, Program, Scale, Settings, Source};

/// The configuration without a file: four workers.
const BUILT_IN: &str = include_str!("built_in.yaml");
/// The worker of it that commits the fault.
const BUILT_IN_WORKER: &str = "b";
/// The guardian's limit for a supervisor that a fault stops: a comparison does not wait for 30 s.
pub(super) const WATCHDOG: &str = "3s";
/// A deadline gets this beside what the configuration allows, for a loaded machine.
const SLACK: Duration = Duration::from_secs(20);
/// Longest deadline, whatever the configuration allows.
const LONGEST: Duration = Duration::from_secs(120);

/// A fault in an isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The fault, as given.
    pub fault: &'a str,
    /// The isolation of the worker that it strikes.
    pub isolation: Isolation,
    /// Whether panics are contained, whatever the configuration says.
    pub contain: bool,
}

/// Where a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A thread of the supervisor.
    Thread,
    /// A thread of a child process.
    Cell,
    /// A process of its own.
    Process,
}

impl Isolation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Thread, Self::Cell, Self::Process];

    /// Its name on the command line and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Cell => "cell",
            Self::Process => "process",
        }
    }

    /// The isolation with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isolation| isolation.name() == name)
    }
}

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file is not valid.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// It has no such worker.
    #[error("no worker `{name}` in {}: it has {known}", file.display())]
    NoSuchWorker {
        /// As given.
        name: String,
        /// The file.
        file: PathBuf,
        /// The workers that there are.
        known: String,
    },
    /// A second supervisor of this file would disturb the first, or cannot have what it needs.
    #[error("{0}")]
    Refused(String),
}

/// What is compared.
#[derive(Debug)]
pub struct Scenario {
    source: Source,
    /// What it means as it is written.
    settings: Settings,
    /// The worker that the fault strikes.
    victim: usize,
    /// The entries of `workers:` that run elsewhere in each trial.
    moved: Vec<String>,
    is_built_in: bool,
}

impl Scenario {
    /// Four workers, of which all change their isolation.
    ///
    /// # Panics
    /// When the registry lacks the built-in workers.
    #[must_use]
    pub fn built_in() -> Self {
        let source = Source::of(Path::new("the built-in configuration"), BUILT_IN.to_owned());
        let settings = source
            .settings(&workers::builtin::registry(), &Scale::new())
            .expect("a test compares with it");
        let moved = settings.launches.iter().map(|launch| launch.name.clone()).collect();
        let is_it = |launch: &Launch| launch.name == BUILT_IN_WORKER;
        let victim = settings.launches.iter().position(is_it).expect("it is one of the four");
        Self { source, settings, victim, moved, is_built_in: true }
    }

    /// A user's file, of which one worker changes its isolation. Of a worker with `instances:` all
    /// change, and the fault strikes the first, or the one that is named.
    ///
    /// # Errors
    /// See [`ScenarioError`].
    pub fn of_file(file: &Path, worker: &str, registry: &Registry) -> Result<Self, ScenarioError> {
        let source = Source::read(file).map_err(ScenarioError::Invalid)?;
        let settings = source.settings(registry, &Scale::new()).map_err(ScenarioError::Invalid)?;
        let is_it = |launch: &Launch| launch.name == worker || launch.base == worker;
        let Some(victim) = settings.launches.iter().position(is_it) else {
            let known: Vec<&str> =
                settings.launches.iter().map(|launch| launch.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let (name, file) = (worker.to_owned(), file.to_owned());
            return Err(ScenarioError::NoSuchWorker { name, file, known });
        };
        let moved = vec![settings.launches[victim].base.clone()];
        let scenario = Self { source, settings, victim, moved, is_built_in: false };
        scenario.refuse_what_is_passed_once()?;
        Ok(scenario)
    }

    /// A descriptor is read once, and each trial would need it.
    fn refuse_what_is_passed_once(&self) -> Result<(), ScenarioError> {
        for launch in &self.settings.launches {
            for (name, secret) in &launch.surroundings.secrets {
                if let SecretSource::Descriptor(number) = secret {
                    return Err(ScenarioError::Refused(format!(
                        "`secrets: {{ {name}: \"fd:{number}\" }}` of {} can be read once, and \
                            each trial needs it: name a file in a copy of {}",
                        launch.name,
                        self.source.file.display()
                    )));
                }
            }
        }
        Ok(())
    }

    /// The user's file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        (!self.is_built_in).then_some(self.source.file.as_path())
    }

    /// The name of the worker that the fault strikes.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.launch().name
    }

    /// How many workers it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.settings.launches.len()
    }

    /// Whether each worker makes progress all the time.
    #[must_use]
    pub const fn is_steady(&self) -> bool {
        self.is_built_in
    }

    /// The isolation that is written.
    #[must_use]
    pub fn written(&self) -> Isolation {
        match self.launch().isolation {
            config::Isolation::Thread => Isolation::Thread,
            config::Isolation::Cell(_) => Isolation::Cell,
            config::Isolation::Process => Isolation::Process,
        }
    }

    /// Whether the worker is a `command:`, and no code that could commit a fault itself.
    #[must_use]
    pub fn is_command(&self) -> bool {
        matches!(self.launch().program, Program::Command(_))
    }

    /// Whether panics end the worker alone, as written.
    #[must_use]
    pub fn contains_panics(&self) -> bool {
        self.launch().on_panic == workers::run::OnPanic::Contain
    }

    /// What runs for real in each trial besides the workers.
    #[must_use]
    pub fn side_effects(&self) -> Vec<&'static str> {
        let launches = &self.settings.launches;
        let has_hooks = !self.settings.hooks.is_empty()
            || launches.iter().any(|launch| !launch.hooks.is_empty());
        let has_preparations = launches.iter().any(|launch| launch.start_before.is_some());
        [(has_hooks, "`hooks:`"), (has_preparations, "`start_before:`")]
            .into_iter()
            .filter_map(|(has, what)| has.then_some(what))
            .collect()
    }

    /// Why the worker cannot be struck by this fault there; `None`: it can.
    #[must_use]
    pub fn obstacle(&self, isolation: Isolation, registry: &Registry) -> Option<String> {
        if self.is_command() {
            return (isolation != Isolation::Process)
                .then(|| "a `command:` can only be a process".to_owned());
        }
        let anywhere = Setting { fault: "panic", isolation, contain: false };
        let adapted = self.adapted(&anywhere, Path::new("/tmp/trial"), Vec::new());
        let problems = adapted.settings(registry, &Scale::new()).err()?;
        let first = problems.problems().first()?;
        Some(format!("{} (`{}`)", first.message, first.path))
    }

    /// The configuration of a trial, whose files are in this directory.
    ///
    /// # Errors
    /// There is no port that is free.
    pub fn source(&self, setting: &Setting<'_>, directory: &Path) -> io::Result<Source> {
        Ok(self.adapted(setting, directory, addresses::private(&self.settings, directory)?))
    }

    /// Whether a second supervisor of this configuration finds its addresses free.
    ///
    /// # Errors
    /// It does not: see [`ScenarioError`].
    pub fn check_addresses(&self, registry: &Registry) -> Result<(), ScenarioError> {
        if self.is_built_in {
            return Ok(());
        }
        let setting = Setting { fault: "panic", isolation: self.written(), contain: false };
        let private = tempfile::tempdir()
            .and_then(|directory| self.source(&setting, directory.path()))
            .map_err(|error| {
                ScenarioError::Refused(format!("cannot choose addresses for a trial: {error}"))
            })?;
        let adapted = private.settings(registry, &Scale::new()).map_err(ScenarioError::Invalid)?;
        addresses::check(&self.settings, &adapted).map_err(ScenarioError::Refused)
    }

    fn adapted(
        &self,
        setting: &Setting<'_>,
        directory: &Path,
        addresses: Vec<config::PrivateAddress>,
    ) -> Source {
        let stops_supervisor = setting.isolation == Isolation::Thread
            && setting.fault.parse::<Injection>().is_ok_and(|it| it.fault == Fault::SignalStop);
        self.source.clone().adapted(Adaptation {
            directory: directory.to_owned(),
            moved: self.moved.clone(),
            isolation: match setting.isolation {
                Isolation::Thread => config::Isolation::Thread,
                Isolation::Cell => config::Isolation::Cell(self.cell().to_owned()),
                Isolation::Process => config::Isolation::Process,
            },
            contain: setting.contain,
            watchdog: stops_supervisor.then(|| WATCHDOG.to_owned()),
            addresses,
        })
    }

    /// The cell that the file gives it, else the first one that it gives anyone, else its own.
    #[must_use]
    pub fn cell(&self) -> &str {
        let cells = [self.launch()].into_iter().chain(&self.settings.launches);
        let mut cells = cells.filter_map(|launch| match &launch.isolation {
            config::Isolation::Cell(cell) => Some(cell.as_str()),
            config::Isolation::Thread | config::Isolation::Process => None,
        });
        cells.next().unwrap_or(&self.launch().base)
    }

    /// The deadline for all workers to be up.
    #[must_use]
    pub fn start_limit(&self) -> Duration {
        let all = self.settings.spec.workers.iter().map(start_limit);
        all.fold(SLACK, Duration::saturating_add).min(LONGEST)
    }

    /// How long the worker that the fault strikes may take to stop.
    #[must_use]
    pub fn stop_limit(&self) -> Duration {
        self.settings.spec.workers[self.victim].stop.timeout
    }

    /// The deadline from the order to shut down to the end of the last process: that after which
    /// the supervisor kills by itself, and a while beside it.
    #[must_use]
    pub fn shutdown_limit(&self) -> Duration {
        self.settings.spec.shutdown_timeout.saturating_add(SLACK)
    }

    /// The deadline from the fault to its settled incident.
    #[must_use]
    pub fn recovery_limit(&self) -> Duration {
        let spec = &self.settings.spec.workers[self.victim];
        let liveness = self.launch().health.liveness.as_ref().map_or(Duration::ZERO, |probe| {
            let rounds = probe.failures.unwrap_or(1).saturating_add(1);
            probe.every.saturating_add(probe.timeout).saturating_mul(rounds)
        });
        let heartbeat = spec.heartbeat.unwrap_or_default();
        let restarts = self.settings.spec.workers.iter().map(|spec| {
            let backoff = spec.restart.backoff.initial;
            spec.stop.timeout.saturating_add(backoff).saturating_add(start_limit(spec))
        });
        let detection = liveness.max(heartbeat);
        let limit = SLACK.saturating_add(detection);
        limit.saturating_add(restarts.max().unwrap_or_default()).min(LONGEST)
    }

    /// Whether it starts programs, which may write to the user's own files.
    #[must_use]
    pub fn has_commands(&self) -> bool {
        let mut launches = self.settings.launches.iter();
        launches.any(|launch| matches!(launch.program, Program::Command(_)))
    }

    fn launch(&self) -> &Launch {
        &self.settings.launches[self.victim]
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
