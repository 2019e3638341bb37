//! What is compared: a configuration, the worker that a fault strikes, and the workers that run
//! elsewhere in each trial. [`Subject::is_steady`] and [`Subject::file`] tell the built-in one
//! from a user's file.

use std::io;
use std::path::{Path, PathBuf};

use workers::Registry;

use super::addresses;
use super::setting::Setting;
use crate::config::settings::SecretSource;
use crate::config::{
    Adaptation, Compared, Diagnostics, Isolation, Kind, Launch, Program, Scale, Settings, Source,
    kinds,
};

/// The configuration without a file: four workers.
const BUILT_IN: &str = include_str!("built_in.yaml");
/// The worker of it that commits the fault.
const BUILT_IN_WORKER: &str = "b";
/// The guardian's limit for a supervisor that a fault stops: a comparison does not wait for 30 s.
pub(super) const WATCHDOG: &str = "3s";

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
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
pub struct Subject {
    source: Source,
    /// What it means as it is written.
    settings: Settings,
    /// The worker that the fault strikes.
    victim: usize,
    /// The entries of `workers:` that run elsewhere in each trial.
    moved: Vec<String>,
    is_built_in: bool,
}

impl Subject {
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
    /// See [`SubjectError`].
    pub fn of_file(file: &Path, worker: &str, registry: &Registry) -> Result<Self, SubjectError> {
        let source = Source::read(file).map_err(SubjectError::Invalid)?;
        let settings = source.settings(registry, &Scale::new()).map_err(SubjectError::Invalid)?;
        let is_it = |launch: &Launch| launch.name == worker || launch.base == worker;
        let Some(victim) = settings.launches.iter().position(is_it) else {
            let known: Vec<&str> =
                settings.launches.iter().map(|launch| launch.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let (name, file) = (worker.to_owned(), file.to_owned());
            return Err(SubjectError::NoSuchWorker { name, file, known });
        };
        let moved = vec![settings.launches[victim].base.clone()];
        let subject = Self { source, settings, victim, moved, is_built_in: false };
        subject.refuse_what_is_passed_once()?;
        Ok(subject)
    }

    /// The supervisor can read a descriptor once, and each trial is a supervisor.
    fn refuse_what_is_passed_once(&self) -> Result<(), SubjectError> {
        for launch in &self.settings.launches {
            for (name, secret) in &launch.execution.secrets {
                if let SecretSource::Descriptor(number) = secret {
                    return Err(SubjectError::Refused(format!(
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

    /// A trial of it: `segfault in b of a b c d, isolation thread`.
    #[must_use]
    pub(super) fn describe(&self, setting: &Setting) -> String {
        let contained = if setting.contain { ", contained" } else { "" };
        let whole =
            self.file().map_or_else(|| "a b c d".to_owned(), |file| file.display().to_string());
        let (fault, worker, isolation) = (&setting.fault, self.worker(), setting.isolation.name());
        format!("{fault} in {worker} of {whole}, isolation {isolation}{contained}")
    }

    /// Whether each worker makes progress all the time.
    #[must_use]
    pub const fn is_steady(&self) -> bool {
        self.is_built_in
    }

    /// The isolation that is written.
    #[must_use]
    pub fn written(&self) -> &'static Kind {
        self.launch().isolation.kind
    }

    /// Whether the worker is a `command:`, and no code that could commit a fault itself.
    #[must_use]
    pub fn is_command(&self) -> bool {
        matches!(self.launch().program, Program::Command(_))
    }

    /// Whether panics end the worker alone, as written.
    #[must_use]
    pub fn contains_panics(&self) -> bool {
        self.launch().on_panic == workers::runtime::run::OnPanic::Contain
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

    /// Why the worker cannot run there; `None`: it can.
    #[must_use]
    pub fn obstacle(&self, kind: &'static Kind, registry: &Registry) -> Option<String> {
        if self.is_command() {
            return (!kind.runs_commands)
                .then(|| format!("a `command:` can only be {}", places_of_commands()));
        }
        let adapted = self.source.clone().adapted(Adaptation {
            compared: Some(self.compared(kind)),
            ..self.adaptation(Path::new("/"))
        });
        let problems = adapted.settings(registry, &Scale::new()).err()?;
        let first = problems.problems().first()?;
        Some(format!("{} (`{}`)", first.message, first.path))
    }

    /// The configuration of a trial, whose files are in this directory.
    ///
    /// # Errors
    /// There is no port that is free.
    pub fn source(&self, setting: &Setting, directory: &Path) -> io::Result<Source> {
        Ok(self.source.clone().adapted(Adaptation {
            compared: Some(Compared {
                contain: setting.contain,
                ..self.compared(setting.isolation)
            }),
            watchdog: setting.stops_supervisor().then(|| WATCHDOG.to_owned()),
            addresses: addresses::private([&self.settings], directory)?,
            ..self.adaptation(directory)
        }))
    }

    /// Whether a second supervisor of this configuration finds its addresses free.
    ///
    /// # Errors
    /// It does not: see [`SubjectError`].
    pub fn check_addresses(&self, registry: &Registry) -> Result<(), SubjectError> {
        if self.is_built_in {
            return Ok(());
        }
        let directory = Path::new("/");
        let addresses = addresses::private([&self.settings], directory).map_err(|error| {
            SubjectError::Refused(format!("cannot choose addresses for a trial: {error}"))
        })?;
        let adaptation = Adaptation { addresses, ..self.adaptation(directory) };
        let adapted = self.source.clone().adapted(adaptation);
        let adapted = adapted.settings(registry, &Scale::new()).map_err(SubjectError::Invalid)?;
        addresses::check(&self.settings, &adapted).map_err(SubjectError::Refused)
    }

    /// What every trial in this directory changes: the worker runs as it is written.
    fn adaptation(&self, directory: &Path) -> Adaptation {
        Adaptation {
            directory: directory.to_owned(),
            compared: Some(self.compared(self.written())),
            watchdog: None,
            addresses: Vec::new(),
        }
    }

    fn compared(&self, kind: &'static Kind) -> Compared {
        let cell = kind.capabilities.is_shared().then(|| self.cell().to_owned());
        Compared { moved: self.moved.clone(), isolation: Isolation { kind, cell }, contain: false }
    }

    /// The cell that the file gives it, else the first one that it gives anyone, else its own.
    #[must_use]
    pub fn cell(&self) -> &str {
        let cells = [self.launch()].into_iter().chain(&self.settings.launches);
        let mut cells = cells.filter_map(|launch| launch.isolation.cell());
        cells.next().unwrap_or(&self.launch().base)
    }

    /// Whether it starts programs, which may write to the user's own files.
    #[must_use]
    pub fn has_commands(&self) -> bool {
        let mut launches = self.settings.launches.iter();
        launches.any(|launch| matches!(launch.program, Program::Command(_)))
    }

    pub(super) fn launch(&self) -> &Launch {
        &self.settings.launches[self.victim]
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The number of the worker that the fault strikes.
    pub(super) fn victim(&self) -> usize {
        self.victim
    }
}

/// What a `command:` can be.
fn places_of_commands() -> String {
    let those = kinds::ALL.into_iter().filter(|kind| kind.runs_commands);
    those.map(|kind| kind.capabilities.place).collect::<Vec<_>>().join(" or ")
}
