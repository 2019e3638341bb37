//! Whether a successor can go on with what the file says: by the check of its own binary, and by
//! what runs here.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;
use workers::Registry;

use super::refused;
use crate::config::{Diagnostics, Scale, Settings, Source};
use crate::control::protocol::{Failure, INVALID_CONFIGURATION};
use crate::daemon::in_force;
use crate::daemon::view::View;
use crate::isolation::helper::Summons;
use crate::record::words;
use crate::threads;
use crate::waiting::{Limit, within};

/// What the binary's own check of our configuration says.
pub(super) async fn checked(
    summons: Summons,
    limit: &mut Limit,
    file: &Path,
) -> Result<(), String> {
    let helper = summons.arrive(limit).await.map_err(|failed| failed.message)?;
    match helper.wait(limit).await {
        Some(supervision::Status::Exited(0)) => Ok(()),
        Some(supervision::Status::Exited(code)) => Err(format!(
            "its `check {}` ends with exit status {code}; run it to see why",
            file.display()
        )),
        Some(status) => {
            Err(format!("`check` of the configuration ends with {}", words::status(status)))
        }
        None => {
            Err(format!("`check` of the configuration has not ended after {:.1?}", limit.whole()))
        }
    }
}

/// The configuration as we read it ourselves, by a thread: its disk may hang.
///
/// # Errors
/// Nothing came of it in time.
pub(super) async fn read(
    source: Arc<Source>,
    registry: Registry,
    limit: &mut Limit,
) -> Result<Result<Box<Settings>, Box<Diagnostics>>, Failure> {
    let (sender, settings) = oneshot::channel();
    let reader = std::thread::Builder::new().name("configuration".into());
    let name = source.file.display().to_string();
    let spawned = threads::spawn(reader, move || {
        let read = source.again().and_then(|again| again.settings(&registry, &Scale::new()));
        let read = read.map(Box::new).map_err(Box::new);
        let _ = sender.send(read);
    });
    spawned.map_err(|error| refused(format!("no thread to read {name}: {error}")))?;
    match within(limit, settings).await {
        Some(Ok(settings)) => Ok(settings),
        _ => Err(refused(format!("{name} could not be read within {:.1?}", limit.whole()))),
    }
}

/// The answer to the reload of a file that is not valid: what `check` prints.
pub(super) fn invalid(problems: &Diagnostics) -> Failure {
    Failure {
        check: Some(Box::new(problems.into())),
        ..Failure::new(
            INVALID_CONFIGURATION,
            format!("{problems}\nnothing has changed: the old configuration stays in force"),
        )
    }
}

impl View<'_> {
    /// Why no successor can go on with what the file says.
    pub(super) fn objection(&self, settings: Option<&Settings>) -> Option<String> {
        if self.machine.is_shutting_down() {
            return Some("the supervisor is shutting down".into());
        }
        let (file, settings) = (self.settings.source.file.display(), settings?);
        let fixed = in_force::fixed(&self.settings.supervisor, &settings.supervisor);
        if !fixed.is_empty() {
            return Some(format!(
                "{file} changes settings that a reload cannot change: {}; nothing was changed; \
                 undo these changes, or end the supervisor and start it again (`supervisord-rs \
                 shutdown`)",
                fixed.join(", ")
            ));
        }
        let orphaned = self.orphaned(settings);
        (!orphaned.is_empty()).then(|| {
            let names = orphaned.join(" ");
            format!(
                "these workers are running, but {file} does not have them any more: {names}; \
                 nothing was changed; stop them first (`supervisord-rs stop {names}`)"
            )
        })
    }

    /// Workers with processes that the file does not name any more: a successor would have to kill
    /// them.
    fn orphaned(&self, settings: &Settings) -> Vec<String> {
        let is_named = |name: &str, base: &str| {
            settings.templates.contains_key(base)
                || settings.launches.iter().any(|launch| launch.name == name)
        };
        let ours = self.every_worker().filter(|worker| {
            let view = self.machine.worker(*worker);
            let launch = self.drivers.launch_of(*worker);
            view.is_some_and(|view| view.phase.is_live())
                && launch.isolation.capabilities().outlives_supervisor
                && !is_named(&launch.name, &launch.base)
        });
        ours.map(|worker| self.names.worker(worker).to_owned()).collect()
    }
}
