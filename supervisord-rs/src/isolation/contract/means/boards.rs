//! Boards of workers, and what tells that they have changed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use supervision::{DomainId, Incarnation, LaunchFailure};
use workers::runtime::mapping::Mapping;

use super::Means;
use crate::isolation::launch::{failure, from_io};
use crate::isolation::live::{Live, Page, Sdk, event_fd};
use crate::isolation::watch::{Says, Token, Watched};
use crate::stages;

type Result<T> = std::result::Result<T, LaunchFailure>;

impl Means {
    /// A board in memory that is the worker's own, and outlives its incarnations.
    pub(in crate::isolation) fn own_board(
        &mut self,
        incarnation: Incarnation,
        name: &str,
    ) -> Result<Sdk> {
        let page = match &self.registry[incarnation.worker].page {
            Some(page) => page.clone(),
            None => {
                let mapping =
                    Mapping::sealed(name).map_err(|error| from_io(stages::BOARD, &error))?;
                Page { mapping: Arc::new(mapping), number: 0 }
            }
        };
        self.board(incarnation, name, page)
    }

    /// A board in the black box, where nothing has to be copied for the post-mortem.
    pub(in crate::isolation) fn board_in_box(
        &mut self,
        incarnation: Incarnation,
        name: &str,
    ) -> Result<Sdk> {
        let number = self.black_box.page(incarnation.worker.index());
        let page = Page { mapping: self.black_box.mapping(), number };
        self.board(incarnation, name, page)
    }

    fn board(&mut self, incarnation: Incarnation, name: &str, page: Page) -> Result<Sdk> {
        let slot = &mut self.registry[incarnation.worker];
        slot.page = Some(page.clone());
        let sdk = Sdk::new(page, name, incarnation)?;
        sdk.board().talk.set_heartbeat(slot.launch.watchdog);
        if let Some((_, fault)) = slot.at_launch.take_if(|(whose, _)| *whose == incarnation) {
            sdk.order_fault(fault.code, fault.parameter);
        }
        Ok(sdk)
    }

    /// Has the black box hold a copy of an own board.
    pub(in crate::isolation) fn mirror(&self, incarnation: Incarnation, sdk: &Sdk) {
        self.black_box.mirror(incarnation.worker.index(), Some(sdk.board()));
    }

    /// Writes down which SDK code lives now.
    pub(in crate::isolation) fn settle(&mut self, incarnation: Incarnation, sdk: Sdk) {
        let domain = self.registry[incarnation.worker].domain;
        self.registry[incarnation.worker].live = Some(Live::new(incarnation, domain, Some(sdk)));
    }

    /// What the workers of a domain write to when they want their boards looked at.
    pub(in crate::isolation) fn poke(&mut self, domain: DomainId) -> Result<Arc<OwnedFd>> {
        if let Some(poke) = &self.registry[domain].poke {
            return Ok(Arc::clone(poke));
        }
        let poke = Arc::new(event_fd()?);
        self.registry[domain].poke = Some(
            self.watch_poke(Arc::clone(&poke), domain)
                .map_err(|errno| failure(stages::BOARD, errno))?,
        );
        Ok(poke)
    }

    /// Never read: its workers share its flags and what it has counted, and a read could wait for
    /// ever.
    pub(in crate::isolation) fn watch_poke(
        &self,
        poke: Arc<OwnedFd>,
        domain: DomainId,
    ) -> nix::Result<Watched<Arc<OwnedFd>>> {
        self.watch
            .add(poke, Token::Poke { domain: domain.0 }, Says::Once)
            .map_err(|(_, errno)| errno)
    }
}
