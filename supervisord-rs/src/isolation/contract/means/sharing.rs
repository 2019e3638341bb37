//! What a worker shares with others is made before its launch: on a launcher thread where it is not
//! there yet, since the kernel may take long to find memory for it.

use std::sync::Arc;

use supervision::{Incarnation, WorkerId};

use super::Means;
use crate::config::Launch;
use crate::config::settings::{OnOwnerDeath, Resource};
use crate::isolation::launch::failed::Result;
use crate::isolation::shares::Doubtful;
use crate::stages;

impl Means {
    /// Has all ready that an incarnation uses. False: it is being made, and the launch waits for
    /// that.
    pub(super) fn pass_shared(&mut self, incarnation: Incarnation) -> Result<bool> {
        let worker = incarnation.worker;
        let launch = Arc::clone(&self.registry[worker].launch);
        if launch.uses.is_empty() {
            return Ok(true);
        }
        self.take_failed(incarnation)?;
        let renewed = self.to_renew(worker, &launch);
        if renewed.is_empty()
            && let Some(handed) = self.shares.ready(&launch.uses)
        {
            if self.registry.home(worker).capabilities.is_of_supervisor() {
                self.shares.note_used_here(&launch.uses);
            }
            self.registry[worker].shared = handed;
            return Ok(true);
        }
        let (shares, opens) = (self.shares.clone(), self.shares.to_open(&launch.uses));
        self.make_ready(incarnation, stages::RESOURCE, opens, move |_| {
            shares.renew(&renewed).and_then(|()| shares.make(&launch.uses))
        });
        Ok(false)
    }

    /// What is to be other memory before a worker is launched: locks with `on_owner_death:
    /// restart-users` that the dead have left in doubt, once no run of their users lives; and with
    /// each what it guards. Threads that runs have left behind keep what they had.
    fn to_renew(&self, worker: WorkerId, launch: &Launch) -> Vec<Doubtful> {
        let restarts_users =
            |one: &&Arc<Resource>| one.on_owner_death() == Some(OnOwnerDeath::RestartUsers);
        let locks: Vec<&Arc<Resource>> = launch.uses.iter().filter(restarts_users).collect();
        if locks.is_empty() {
            return Vec::new();
        }
        let lives = |one: &&&Arc<Resource>| {
            let mut others = self.registry.workers().filter(|other| *other != worker);
            !others.any(|other| {
                let slot = &self.registry[other];
                slot.live.is_some() && slot.launch.uses.iter().any(|used| used.name == one.name)
            })
        };
        let unused: Vec<&Arc<Resource>> = locks.iter().filter(lives).copied().collect();
        let doubtful = self.shares.in_doubt(unused.into_iter());
        let all = self.declared.iter().map(|declared| &declared.resource);
        let goes_along = |one: &&Arc<Resource>| {
            let is_of = |lock: &&Arc<Resource>| {
                lock.name == one.name || one.needs() == Some(lock.name.as_str())
            };
            doubtful.iter().any(is_of)
        };
        let renewed: Vec<Doubtful> =
            all.filter(goes_along).map(|one| self.shares.doubtful(one)).collect();
        for Doubtful { resource: one, .. } in &renewed {
            tracing::warn!(
                resource = one.name,
                "a user died with the lock of this resource: it is made again, and all its users \
                 restart"
            );
        }
        renewed
    }
}
