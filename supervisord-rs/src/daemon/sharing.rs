//! What workers share, for `status`: who has it, who waits for it.

use std::collections::BTreeSet;

use workers::shared::Holder;

use super::view::View;
use crate::config::settings::{Carrier, Declared, ResourceKind};
use crate::control::protocol::{HolderReport, MessagesReport, ResourceStatus};
use crate::isolation::Looked;

/// How many of each are named.
const NAMED_MAX: usize = 32;

impl View<'_> {
    /// All of it, in the order of the file.
    pub(super) fn resources(&self) -> Vec<ResourceStatus> {
        self.drivers.shared().map(|(declared, looked)| self.resource(declared, looked)).collect()
    }

    fn resource(&self, declared: &Declared, looked: Option<Looked>) -> ResourceStatus {
        let resource = &declared.resource;
        let uses = |worker: &supervision::WorkerId| {
            let launch = self.drivers.launch_of(*worker);
            launch.uses.iter().any(|used| used.name == resource.name)
        };
        let users = self.all_workers().filter(uses);
        let path =
            looked.as_ref().map(|one| format!("/proc/{}/fd/{}", std::process::id(), one.number));
        let posix_name = looked.as_ref().and_then(|one| one.posix.clone());
        let seen = looked.map(|one| one.seen).unwrap_or_default();
        let capacity = match resource.kind {
            ResourceKind::Queue { by: Carrier::Ring, capacity, .. } => Some(capacity as u64),
            // What the kernel carries is counted by none.
            ResourceKind::Queue { .. } => None,
            ResourceKind::Semaphore { .. }
            | ResourceKind::Region { .. }
            | ResourceKind::Mutex { .. }
            | ResourceKind::Condition { .. }
            | ResourceKind::RwLock { .. }
            | ResourceKind::Topic { .. } => None,
        };
        let messages = seen.messages.zip(capacity).map(|(census, capacity)| MessagesReport {
            ready: census.ready as u64,
            taken: census.taken as u64,
            capacity,
        });
        let mut known = BTreeSet::new();
        let waiters = seen.waiters.iter().filter(|waiter| known.insert(waiter.to_bits()));
        ResourceStatus {
            name: resource.name.clone(),
            kind: resource.word().to_owned(),
            by: resource.by().map(str::to_owned),
            scope: declared.scope.to_string(),
            users: users.map(|worker| self.names.worker(worker).to_owned()).collect(),
            made: path.is_some(),
            path,
            posix_name,
            holders: seen.holders.iter().take(NAMED_MAX).map(|one| self.holder(*one)).collect(),
            held_ms: seen.held_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            waiters: waiters.take(NAMED_MAX).map(|one| self.holder(*one)).collect(),
            messages,
            lost_permits: Some(seen.lost_permits).filter(|count| *count > 0),
            poisoned: seen.is_poisoned,
        }
    }

    /// Whose thread that is: of the worker that runs on it, or has its process for itself.
    fn holder(&self, holder: Holder) -> HolderReport {
        let (tid, pid) = (holder.id(), holder.pid());
        let runs_there = |worker: &supervision::WorkerId| {
            let is_own = self.drivers.launch_of(*worker).isolation.capabilities().has_own_process;
            let is_thread = self
                .drivers
                .reading(*worker)
                .is_some_and(|reading| u32::try_from(reading.tid) == Ok(tid));
            let process = self.drivers.pid(*worker).and_then(|pid| u32::try_from(pid).ok());
            pid.is_some() && process == pid && (is_own || is_thread)
        };
        let worker = self.all_workers().find(runs_there);
        let worker = worker.map(|worker| self.names.worker(worker).to_owned());
        HolderReport { worker, pid, tid }
    }
}
