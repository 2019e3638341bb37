//! Boards of workers that the configuration does not have any more, whose threads go on in a cell
//! that does: what such a thread last says is on its worker's board. Each is kept, and handed on to
//! a successor, as long as the process of its cell lives.

use std::sync::Arc;

use supervision::DomainId;
use workers::runtime::board::Reading;
use workers::runtime::mapping::Mapping;

use super::Means;
use crate::isolation::live::Page;
use crate::service_manager::InheritedDescriptors;

/// One of them.
#[derive(Debug)]
pub(in crate::isolation) struct Stray {
    pub(super) name: String,
    pub(super) page: Page,
    pub(super) domain: DomainId,
}

impl Stray {
    pub(super) fn reading(&self) -> Option<Reading> {
        self.page.board().read()
    }

    /// What it is kept by.
    fn entry(&self) -> String {
        format!("worker-{}/board", self.name)
    }
}

impl Means {
    /// Keeps the boards that no worker has claimed and that threads have, of cells that go on.
    pub(super) fn adopt_strays(&mut self, inherited: &mut InheritedDescriptors) {
        for entry in inherited.unclaimed() {
            let name = entry.strip_prefix("worker-").and_then(|rest| rest.strip_suffix("/board"));
            let Some(name) = name else { continue };
            let copy = inherited.peek(&entry).and_then(|board| board.try_clone().ok());
            let Some(mapping) = copy.and_then(|board| Mapping::adopted(board).ok()) else {
                continue;
            };
            let page = Page { mapping: Arc::new(mapping), number: 0 };
            let Some(pid) = page.board().read().map(|reading| reading.pid) else { continue };
            let is_home = |domain: &DomainId| {
                let is_shared = self.registry[*domain].capabilities.is_shared();
                is_shared && self.registry.child(*domain).is_some_and(|child| child.pid == pid)
            };
            let home = self.registry.domain_ids().find(is_home);
            if let Some(domain) = home.filter(|_| page.board().left_behind(true) > 0) {
                inherited.claim(&entry);
                self.strays.push(Stray { name: name.to_owned(), page, domain });
            }
        }
    }

    /// Whether this entry of the store is one of them.
    pub(super) fn is_stray(&self, entry: &str) -> bool {
        self.strays.iter().any(|stray| stray.entry() == entry)
    }

    /// Their process is gone.
    pub(super) fn forget_strays(&mut self, domain: DomainId) {
        let (gone, left) = self.strays.drain(..).partition(|stray| stray.domain == domain);
        self.strays = left;
        let gone: Vec<Stray> = gone;
        gone.iter().for_each(|stray| self.store.forget(&stray.entry()));
    }

    /// How many threads of such workers there are.
    pub(in crate::isolation) fn stray_threads(&self) -> u32 {
        self.strays.iter().map(|stray| stray.page.board().left_behind(true)).sum()
    }
}
