//! The second stage: this supervisor knows what a predecessor left, and has a black box of its own
//! that goes on with the predecessor's numbers and does not count yet.
//!
//! *Can fail:* a record of incidents that a first start cannot read; a black box for which there is
//! no room; the handlers of fatal signals. A predecessor's black box that cannot be read is a
//! warning: the supervisor starts as if there had been none.
//!
//! *A failure leaves* the predecessor's black box as it was, in its file and in the store: the next
//! supervisor recovers from it. The new one stays under its hidden name, where the next supervisor
//! overwrites it; a copy in the store says that it does not count.

use std::rc::Rc;

use workers::Registry;

use super::StartError;
use super::ground::settled;
use super::left::Left;
use super::locked::Locked;
use super::spare::spare;
use crate::config::settings::OnDeath;
use crate::config::{Launch, Scale, Settings, SupervisorSettings};
use crate::daemon::in_force::{self, Origin};
use crate::daemon::recovery;
use crate::isolation::launch::short_of_open_files;
use crate::record::black_box::BlackBox;
use crate::record::incidents::{Known, Names};
use crate::record::post_mortem::PostMortem;
use crate::record::settled::Settled;
use crate::service_manager::{self, BLACK_BOX, FdStore};

/// What a predecessor left, and where this supervisor writes its own.
pub(super) struct Recovered {
    /// With as many instances as the predecessor had.
    pub(super) locked: Locked,
    pub(super) left: Left,
    /// Where that is kept by which processes outlive this supervisor.
    pub(super) store: FdStore,
    pub(super) names: Names,
    pub(super) settled: Settled,
    pub(super) black_box: Rc<BlackBox>,
}

impl Locked {
    /// Reads what a predecessor left, and goes on with its numbers.
    pub(super) fn recover(mut self, registry: &Registry) -> Result<Recovered, StartError> {
        let runtime_dir = &self.settings.supervisor.runtime_dir;
        let mut left = Left::claim(&mut self.inherited, self.gate.is_some(), runtime_dir);
        let story = left.story.as_ref();
        self.settings = with_its_scale(self.settings, registry, story);
        let then = self.in_force_before(registry, story);
        if let Some(story) = &mut left.story {
            recovery::translate(story, then.as_ref(), &self.settings);
        }
        let story = left.story.as_ref();
        let store = of_processes(&self.settings.supervisor, &left.keeper);
        warn_of_open_files(&self.settings);

        let names = names(&self.settings);
        let whence = (self.origin, self.answers);
        let settled = settled(&self.settings.supervisor, whence, &mut self.troubles)?;
        let black_box = Rc::new(create_black_box(&self.settings, self.origin, story)?);
        if let Some(descriptor) = black_box.descriptor() {
            left.keeper.keep(&format!("{BLACK_BOX}{}", std::process::id()), &[descriptor]);
        }
        workers::runtime::crash::on_fatal(BlackBox::on_fatal);
        workers::runtime::crash::install()?;
        Ok(Recovered { locked: self, left, store, names, settled, black_box })
    }

    /// What a predecessor of another version was configured with, as this version reads it.
    fn in_force_before(&self, registry: &Registry, story: Option<&PostMortem>) -> Option<Settings> {
        let story = story.filter(|story| !story.is_same_binary)?;
        let source = in_force::of_predecessor(&self.inherited)?;
        let settings = source.settings(registry, &Scale::new()).ok()?;
        Some(with_its_scale(settings, registry, Some(story)))
    }
}

/// With as many instances as the predecessor had been told to have.
fn with_its_scale(settings: Settings, registry: &Registry, story: Option<&PostMortem>) -> Settings {
    let scale = story.map(|story| recovery::scale(&settings, story)).unwrap_or_default();
    if scale.is_empty() {
        return settings;
    }
    match settings.source.settings(registry, &scale) {
        Ok(scaled) => scaled,
        Err(problems) => {
            tracing::warn!(
                "the configuration cannot be read with as many instances as there were: {problems}"
            );
            settings
        }
    }
}

/// Where the processes of this configuration need more descriptors than the limit allows.
fn warn_of_open_files(settings: &Settings) {
    let is_process = |launch: &&Launch| launch.isolation.capabilities().has_own_process;
    let processes = settings.launches.iter().filter(is_process).count();
    if let Some(warning) = short_of_open_files(processes) {
        tracing::warn!("{warning}");
    }
}

/// Where that is kept by which processes outlive us, if they are to and there is such a place.
fn of_processes(supervisor: &SupervisorSettings, keeper: &FdStore) -> FdStore {
    let store = match supervisor.on_death {
        OnDeath::Kill => FdStore::none(),
        OnDeath::Keep => keeper.clone(),
    };
    if !store.is_there() && supervisor.on_death == OnDeath::Keep {
        let why = if service_manager::guardian_pid().is_some() {
            "its guardian has no room for its descriptors (raise the limit of open files: \
             `LimitNOFILE=`, `ulimit -n`)"
        } else {
            "no guardian or service manager keeps its descriptors (run it under its guardian, or \
             as a unit with FileDescriptorStoreMax=)"
        };
        tracing::info!("process workers end with this supervisor: {why}");
    }
    store
}

fn names(settings: &Settings) -> Names {
    Names {
        workers: settings.launches.iter().map(Known::from).collect(),
        domains: settings.spec.domains.iter().map(|domain| domain.name.clone()).collect(),
    }
}

fn create_black_box(
    settings: &Settings,
    origin: Origin,
    story: Option<&PostMortem>,
) -> Result<BlackBox, StartError> {
    let pages: Vec<&str> = settings.launches.iter().map(|launch| launch.name.as_str()).collect();
    let runtime_dir = &settings.supervisor.runtime_dir;
    let spare = spare(settings);
    let create = match origin {
        Origin::File => BlackBox::create,
        Origin::Predecessor => BlackBox::create_anywhere,
    };
    let black_box = create(runtime_dir, &pages, spare)
        .map_err(|source| StartError::BlackBox { path: runtime_dir.clone(), source })?;
    if let Some(story) = story.filter(|story| !story.is_clean) {
        black_box.carry_counts(story.counts);
    }
    // Progress goes on where it was: the units were done.
    for worker in story.iter().flat_map(|story| &story.workers) {
        if let Some(index) = settings.launches.iter().position(|launch| launch.name == worker.name)
        {
            black_box.carry_progress(index, worker.progress);
            black_box.carry_carried(index, worker.carried);
            if let Some((incident, work)) = worker.incident_work {
                black_box.note(index).set_incident_work(incident, work);
            }
            if let Some((incident, run)) = worker.blamed {
                black_box.note(index).set_blamed(incident, run);
            }
            if let Some((ending, words)) = worker.checkpoint.last_ending.zip(worker.ending.as_ref())
            {
                black_box.account(index).write(ending, words);
            }
            if story.is_some_and(|story| !story.is_clean) {
                black_box.carry_losses(index, worker.losses);
            }
        }
    }
    Ok(black_box)
}
