//! From the predecessor's story to what the machine and the record go on with.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use supervision::{
    Command, Culprit, Event, Fate, Incarnation, Incident, IncidentId, Phase, Recovered,
    RecoveredDeath, RecoveredWorker, WorkerId,
};
use workers::runtime::board::monotonic_ns;

use super::Daemon;
use super::naming::every;
use super::turn::lapse;
use crate::config::{Launch, Program, Scale, Settings, kinds};
use crate::isolation::contract::means::adopting::{Adopted, Past};
use crate::record::culprit::{Outsider, Removed};
use crate::record::event::What;
use crate::record::evidence::Evidence;
use crate::record::post_mortem::{PastCulprit, PastWorker, PostMortem};
use crate::record::words;
use crate::service_manager;
use crate::stable_hash::stable_hash;

/// The instances that the predecessor had been told to have, where they are more than the file
/// says.
pub(super) fn scale(settings: &Settings, story: &PostMortem) -> Scale {
    let mut scale = Scale::new();
    for worker in
        story.workers.iter().filter(|worker| !story.is_clean && !worker.checkpoint.marks.retired)
    {
        let Some((base, number)) = worker.name.rsplit_once('.') else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        if settings.templates.contains_key(base) {
            let most = scale.entry(base.to_owned()).or_insert(0);
            *most = (*most).max(number);
        }
    }
    scale
}

/// What the predecessor knew of our workers.
pub(super) fn past<'a>(settings: &Settings, story: Option<&'a PostMortem>) -> Past<'a> {
    let by_name: BTreeMap<&str, &PastWorker> = story
        .iter()
        .flat_map(|story| &story.workers)
        .map(|worker| (worker.name.as_str(), worker))
        .collect();
    let ours = (0_u32..).zip(&settings.launches);
    ours.filter_map(|(id, launch)| Some((WorkerId(id), *by_name.get(launch.name.as_str())?)))
        .collect()
}

/// What the machine and the record take over.
pub(super) fn inherit(
    settings: &Settings,
    story: Option<&PostMortem>,
    seen: Option<service_manager::Predecessor>,
    past: &Past<'_>,
    Adopted { fates, born }: &Adopted,
    last_recorded: Option<u64>,
) -> (Recovered, Vec<(Incarnation, Evidence)>, Option<Outsider>) {
    let seen_at = monotonic_ns();
    let now = Duration::from_nanos(seen_at);
    let Some(story) = story else {
        let last_incident = last_recorded.map(IncidentId);
        let recovered = Recovered { now, last_incident, ..Recovered::default() };
        return (recovered, Vec::new(), None);
    };
    let incarnation = |worker: WorkerId, past: &PastWorker| Incarnation {
        worker,
        generation: past.checkpoint.generation,
    };
    let raised = raised(settings, story);
    let workers = past.iter().map(|(&worker, past)| {
        let fate = fates.get(&worker).copied().unwrap_or(Fate::Lost);
        let mut checkpoint = past.checkpoint.clone();
        if born.contains(&worker) {
            checkpoint.phase = Phase::Starting;
        }
        if past.was_running() {
            // Its predecessor may have died before it remembered more than the order.
            checkpoint.injected = checkpoint.injected.or_else(|| past.fault_ordered());
        }
        let is_raised = raised.contains(settings.launches[worker.index()].base.as_str());
        let blamed = past.blamed.map(|(incident, run)| (IncidentId(incident), run));
        goes_on(settings, story, RecoveredWorker { worker, checkpoint, fate, blamed }, is_raised)
    });
    let last_incident = last_recorded
        .into_iter()
        .chain(NonZeroU64::new(story.last_incident).map(NonZeroU64::get))
        .max();
    let id_of = |name: &str| past.iter().find(|(_, past)| past.name == name).map(|(id, _)| *id);
    let found = story.culprit(seen);
    let (culprit, outsider) = blame(found, id_of, seen_at);
    let death = (!story.is_clean && !story.gave_way).then(|| RecoveredDeath {
        culprit,
        ending: story.ending(seen),
        injected: found.filter(|it| !it.is_past).and_then(|it| it.worker.fault_ordered()),
    });
    let outsider = outsider.filter(|_| death.is_some());
    let evidence = past
        .iter()
        .filter(|(worker, _)| fates.get(worker) == Some(&Fate::Lost))
        .map(|(&worker, past)| (incarnation(worker, past), past.evidence(seen_at)))
        .collect();
    let last_incident = last_incident.map(IncidentId);
    // One that ended in order, or gave way, has heard what there was until then.
    let died_at = seen.map(|seen| seen.died_at_ns).or(story.died_at).filter(|_| death.is_some());
    let unheard = died_at.map_or(Duration::ZERO, |at| {
        lapse::granted(Duration::from_nanos(seen_at.saturating_sub(at)))
    });
    let workers = workers.collect();
    let stale_events = if story.is_clean { 0 } else { story.stale_events() };
    let inherited = Recovered { now, unheard, workers, death, last_incident, stale_events };
    (inherited, evidence, outsider)
}

/// Whose doing the death of the predecessor was: a run of a worker that is configured, or of one
/// that is not any more.
fn blame(
    found: Option<PastCulprit<'_>>,
    id_of: impl Fn(&str) -> Option<WorkerId>,
    seen_at: u64,
) -> (Culprit, Option<Outsider>) {
    let Some(found) = found else { return (Culprit::Unknown, None) };
    let Some(worker) = id_of(&found.worker.name) else {
        let removed = Removed {
            name: found.worker.name.clone(),
            generation: found.generation.0,
            isolation: kinds::THREAD.capabilities.label,
            is_past: found.is_past,
            evidence: found.evidence(seen_at),
        };
        return (Culprit::Outsider, Some(Outsider::Removed(Box::new(removed))));
    };
    let run = Incarnation { worker, generation: found.generation };
    let past = || Outsider::Past(run, Box::new(found.evidence(seen_at)));
    (Culprit::Run(run), found.is_past.then(past))
}

/// How a worker goes on, by its checkpoint and by what the supervisor is started for. `is_raised`:
/// the file has more instances of it than there ever were.
fn goes_on(
    settings: &Settings,
    story: &PostMortem,
    RecoveredWorker { worker, mut checkpoint, fate, blamed }: RecoveredWorker,
    is_raised: bool,
) -> RecoveredWorker {
    let fate = if story.is_clean { Fate::Closed } else { fate };
    let autostart = settings.spec.workers[worker.index()].autostart;
    // An order to stop holds as long as there is a supervisor, and a new run starts what the file
    // says.
    checkpoint.marks.stopped &= !story.is_clean || settings.launches[worker.index()].remembers_stop;
    if story.was_stopping && !service_manager::is_to_shut_down() {
        checkpoint.marks.wanted = autostart && !checkpoint.marks.stopped;
    }
    if checkpoint.marks.retired && is_raised {
        checkpoint.marks.retired = false;
        checkpoint.marks.stopped = false;
        checkpoint.marks.wanted = autostart;
    }
    if service_manager::is_to_shut_down() {
        // That launches no worker.
        checkpoint.marks.wanted &= fate == Fate::Resumed && checkpoint.phase.is_live();
    }
    RecoveredWorker { worker, checkpoint, fate, blamed }
}

/// Workers of which the file now has more instances than there ever were: their scaled number no
/// longer counts. Otherwise it holds across successors.
fn raised<'a>(settings: &'a Settings, story: &PostMortem) -> BTreeSet<&'a str> {
    let known: BTreeSet<&str> = story.workers.iter().map(|worker| worker.name.as_str()).collect();
    let is_known = |base: &str| {
        let prefix = format!("{base}.");
        story.workers.iter().any(|worker| worker.name.starts_with(&prefix))
    };
    let instances = settings.launches.iter().filter(|launch| launch.instance.is_some());
    let new =
        instances.filter(|launch| !known.contains(launch.name.as_str()) && is_known(&launch.base));
    new.map(|launch| launch.base.as_str()).collect()
}

/// Workers that run as an earlier configuration says.
#[derive(Debug, Default)]
pub(super) struct Changed {
    workers: Vec<WorkerId>,
    /// Whether this is a reload; otherwise the supervisor died, without any request.
    is_wanted: bool,
}

/// How a worker is launched, as a number: the same for the same configuration and the same binary.
pub(super) fn fingerprint(launch: &Launch) -> u64 {
    // What holds at the start of a run, or depends on other entries, says nothing of how it is
    // launched.
    let mut launch = Launch { remembers_stop: false, group: String::new(), ..launch.clone() };
    launch.logs.line.whole = false;
    launch.reload_signal = None;
    if let Program::Worker { .. } = launch.program {
        launch.watchdog = None;
    }
    launch.start_before = None;
    stable_hash(format!("{launch:?}").bytes())
}

/// Another binary writes the same configuration differently, so its fingerprints are replaced by
/// ours, of the configuration that was in force `then`. Where that cannot be known, workers count
/// as launched as they are configured now.
pub(super) fn translate(story: &mut PostMortem, then: Option<&Settings>, now: &Settings) {
    if story.is_same_binary {
        return;
    }
    let known: BTreeMap<&str, &Launch> =
        then.unwrap_or(now).launches.iter().map(|launch| (launch.name.as_str(), launch)).collect();
    for worker in story.workers.iter_mut().filter(|worker| worker.fingerprint != 0) {
        worker.fingerprint =
            known.get(worker.name.as_str()).map_or(0, |launch| fingerprint(launch));
    }
    if then.is_none() && !story.is_clean {
        tracing::warn!(
            "the configuration of the version before cannot be read: workers that the file has \
             changed since go on as they were launched; restart them"
        );
    }
}

/// Workers whose configuration has changed since their launch.
pub(super) fn changed(settings: &Settings, story: Option<&PostMortem>, past: &Past<'_>) -> Changed {
    let Some(story) = story.filter(|story| !story.is_clean) else {
        return Changed::default();
    };
    let is_other = |(worker, past): (&WorkerId, &&PastWorker)| {
        let fingerprint = fingerprint(&settings.launches[worker.index()]);
        (past.was_running() && past.fingerprint != 0 && past.fingerprint != fingerprint)
            .then_some(*worker)
    };
    Changed { workers: past.iter().filter_map(is_other).collect(), is_wanted: story.gave_way }
}

impl Daemon {
    /// Restarts workers whose configuration a reload has changed; names in the log those that go
    /// on with an earlier one.
    pub(super) fn apply_changes(&mut self) {
        let Changed { workers, is_wanted } = self.predecessor.take_changed();
        let is_up = |worker: &WorkerId| {
            self.machine.worker(*worker).is_some_and(|view| view.phase.is_live())
        };
        let workers: Vec<WorkerId> = workers.into_iter().filter(is_up).collect();
        if workers.is_empty() {
            return;
        }
        let names: Vec<&str> = workers.iter().map(|worker| self.names.worker(*worker)).collect();
        if is_wanted {
            tracing::info!(workers = ?names, "their configuration has changed: they are restarted");
            let request = self.unanswered.number();
            self.turn(Some(Event::Command { request, command: Command::Restart(workers) }));
        } else {
            tracing::warn!(workers = ?names,
                "their configuration has changed since they were launched: restart them to apply \
                 it");
        }
    }

    /// Goes on with what the predecessor had opened and not settled, with what is known of its end,
    /// and the last lines, where no other incarnation has written since.
    fn resume_incidents(&mut self) {
        let open: Vec<Incident> = self.machine.open_incidents().cloned().collect();
        open.iter().for_each(|incident| self.resume_incident(incident));
    }

    /// The same for one of them, if nothing is known of it yet: one that the death of its
    /// supervisor has settled is open no more.
    pub(super) fn resume_incident(&mut self, incident: &Incident) {
        if self.incidents.opened(incident.id).is_some() {
            return;
        }
        let account = |who: Incarnation| self.black_box.account(who.worker.index());
        let known = incident.culprit.and_then(|culprit| account(culprit).read(incident.ending));
        let is_last = |who: &Incarnation| {
            let view = self.machine.worker(who.worker);
            view.is_some_and(|view| view.generation == who.generation)
        };
        let tail = incident.culprit.filter(is_last).and_then(|who| self.drivers.tail(who.worker));
        let work = incident.begins_with().and_then(|who| {
            let (id, work) = self.black_box.note(who.worker.index()).incident_work()?;
            (id == incident.id.0).then_some(work)
        });
        self.incidents.resume(incident, known, work, tail);
    }

    /// Goes on with those who were taken over as if they had been ours from the beginning.
    pub(super) fn resume_adopted(&mut self) {
        self.resume_incidents();
        let now = self.now();
        let wall = SystemTime::now();
        for worker in every(&self.names) {
            let Some(view) = self.machine.worker(worker) else { continue };
            let since = wall.checked_sub(now.saturating_sub(view.since)).unwrap_or(wall);
            self.histories.enter(worker, since);
            let ending = view.last_ending.map(|ending| {
                let known = self.black_box.account(worker.index()).read(ending);
                known.unwrap_or_else(|| words::ending(ending, None, None))
            });
            self.histories.end(worker, ending);
            let incarnation = Incarnation { worker, generation: view.generation };
            if !self.drivers.is_live(incarnation) {
                continue;
            }
            let launch = self.drivers.launch_of(worker);
            let (ready, health) = (launch.ready.clone(), launch.health.clone());
            self.probing.on_phase(incarnation, view.phase, &ready, &health, now);
            let pid = self.drivers.pid(worker);
            self.emit(Some(incarnation), What::Adopted { pid, phase: view.phase });
        }
    }
}
