//! Who lives where: a slot for each worker, and the fault domains that workers live in. Nothing
//! else has a list by worker or by domain, so that no two lists can disagree.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use supervision::spec::DomainSpec;
use supervision::{DomainId, FaultId, Incarnation, WorkerId};
use workers::runtime::briefing::PreviousEnding;

use super::before::Before;
use super::domain::{Domain, Resident};
use super::host::Order;
use super::launch::Child;
use super::live::{Live, Page};
use super::notify::Notify;
use super::resources::Handed;
use super::shares;
use super::sockets::Passed;
use super::watch::Watched;
use crate::config::Launch;
use crate::config::settings::Limits;
use crate::record::evidence::Evidence;
use crate::record::logs::StreamId;

/// What there is of one worker, whether it runs or not.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) launch: Arc<Launch>,
    pub(super) domain: DomainId,
    /// Its present incarnation.
    pub(super) live: Option<Live>,
    /// The memory of its board, kept from one incarnation to the next so that progress goes on.
    pub(super) page: Option<Page>,
    /// What it is handed besides, kept likewise.
    pub(super) handed: Handed,
    /// The listening sockets that its next incarnation is handed.
    pub(super) passed: Passed,
    /// What it shares with others, as its next incarnation is handed it.
    pub(super) shared: shares::Handed,
    /// Its captured streams, kept likewise.
    pub(super) streams: Option<Vec<StreamId>>,
    /// Its notify socket, made when first needed.
    pub(super) notify: Option<Watched<Notify>>,
    /// What is known of its last incarnation that ended.
    pub(super) evidence: Option<(Incarnation, Evidence)>,
    /// How the incarnation before the next one ended.
    pub(super) previous_ending: Option<PreviousEnding>,
    /// The fault that an incarnation is to have when it is launched.
    pub(super) at_launch: Option<(Incarnation, FaultId)>,
    /// The command that runs before its launch.
    pub(super) before: Option<Before>,
    /// Whether it has failed since it was last stable: its launches let others pass.
    pub(super) is_failing: bool,
}

/// All slots and all domains.
#[derive(Debug, Default)]
pub(super) struct Registry {
    slots: Vec<Slot>,
    domains: Vec<Domain>,
}

impl Registry {
    /// More workers, each with its domain, and more domains; those of workers are among them, or
    /// were there before.
    pub(super) fn extend<'a>(
        &mut self,
        workers: impl IntoIterator<Item = (DomainId, &'a Launch)>,
        domains: &[DomainSpec],
    ) {
        self.domains.extend(domains.iter().map(Domain::new));
        for (domain, launch) in workers {
            let worker = WorkerId(id(self.slots.len()));
            self[domain].workers.push(worker);
            self.slots.push(Slot::new(domain, launch));
        }
    }

    /// What shared domains may use, by their names.
    pub(super) fn limit(&mut self, limits: &BTreeMap<String, Limits>) {
        for domain in self.domains.iter_mut().filter(|domain| domain.capabilities.is_shared()) {
            domain.limits = limits.get(&domain.name).cloned();
        }
    }

    /// All workers, in the order of the file.
    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..id(self.slots.len())).map(WorkerId)
    }

    /// All domains.
    pub(super) fn domain_ids(&self) -> impl Iterator<Item = DomainId> + use<> {
        (0..id(self.domains.len())).map(DomainId)
    }

    /// How many domains there are: the number of the next one.
    pub(super) fn domain_count(&self) -> u32 {
        id(self.domains.len())
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut()
    }

    pub(super) fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domains.iter()
    }

    pub(super) fn domains_mut(&mut self) -> impl Iterator<Item = &mut Domain> {
        self.domains.iter_mut()
    }

    /// An incarnation, if it is the present one and has not ended.
    pub(super) fn live(&self, incarnation: Incarnation) -> Option<&Live> {
        self.present(incarnation.worker).filter(|live| live.incarnation == incarnation)
    }

    pub(super) fn live_mut(&mut self, incarnation: Incarnation) -> Option<&mut Live> {
        let slot = self.slots.get_mut(incarnation.worker.index())?;
        slot.live.as_mut().filter(|live| live.incarnation == incarnation)
    }

    /// The present incarnation of a worker, which may be one that we do not have.
    pub(super) fn present(&self, worker: WorkerId) -> Option<&Live> {
        self.slots.get(worker.index())?.live.as_ref()
    }

    /// All that live.
    pub(super) fn lives(&self) -> impl Iterator<Item = &Live> {
        self.slots.iter().filter_map(|slot| slot.live.as_ref())
    }

    /// All that live in a domain.
    pub(super) fn lives_in(&self, domain: DomainId) -> impl Iterator<Item = &Live> {
        self[domain].workers.iter().filter_map(|worker| self[*worker].live.as_ref())
    }

    /// The boards of all that ever lived in a domain.
    pub(super) fn pages_in(&self, domain: DomainId) -> impl Iterator<Item = &Page> {
        self[domain].workers.iter().filter_map(|worker| self[*worker].page.as_ref())
    }

    /// The first one of them.
    pub(super) fn first_in(&mut self, domain: DomainId) -> Option<&mut Live> {
        let here = &self[domain].workers;
        let first = here.iter().copied().find(|worker| self[*worker].live.is_some())?;
        self[first].live.as_mut()
    }

    /// The domain that a worker lives in.
    pub(super) fn home(&self, worker: WorkerId) -> &Domain {
        &self[self[worker].domain]
    }

    pub(super) fn resident(&self, domain: DomainId) -> Option<&Resident> {
        self[domain].resident.as_ref()
    }

    /// The main process of a domain.
    pub(super) fn child(&self, domain: DomainId) -> Option<&Child> {
        self.resident(domain).map(|resident| resident.process.child())
    }
}

impl Slot {
    fn new(domain: DomainId, launch: &Launch) -> Self {
        Self {
            launch: Arc::new(launch.clone()),
            domain,
            live: None,
            page: None,
            handed: Handed::default(),
            passed: Passed::default(),
            shared: shares::Handed::default(),
            streams: None,
            notify: None,
            at_launch: None,
            evidence: None,
            previous_ending: None,
            before: None,
            is_failing: false,
        }
    }

    /// What an incarnation is to run, and is handed.
    ///
    /// # Panics
    /// It is a command.
    pub(super) fn order(&self, incarnation: Incarnation) -> Order<'_> {
        let handed = self.handed.named().into_iter().chain(self.passed.named());
        let handed = handed.chain(self.shared.named());
        let previous = self.previous_ending.clone();
        Order::of(&self.launch, incarnation, previous, handed.collect())
    }

    /// Its captured streams.
    pub(super) fn streams(&self) -> impl Iterator<Item = &StreamId> {
        self.streams.iter().flatten()
    }
}

impl Index<WorkerId> for Registry {
    type Output = Slot;

    fn index(&self, worker: WorkerId) -> &Slot {
        &self.slots[worker.index()]
    }
}

impl IndexMut<WorkerId> for Registry {
    fn index_mut(&mut self, worker: WorkerId) -> &mut Slot {
        &mut self.slots[worker.index()]
    }
}

impl Index<DomainId> for Registry {
    type Output = Domain;

    fn index(&self, domain: DomainId) -> &Domain {
        &self.domains[domain.index()]
    }
}

impl IndexMut<DomainId> for Registry {
    fn index_mut(&mut self, domain: DomainId) -> &mut Domain {
        &mut self.domains[domain.index()]
    }
}

/// A specification is read from a file of bounded size: it has far less than 2^32 workers.
fn id(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
