//! What is asked of the workers without changing anything: who is meant by a name, where each
//! stands, and how that reads. The answers are in the files of their subjects (`naming`,
//! `outcomes`, `report`, ...); none of them can reach anything else of the daemon.

use supervision::Machine;

use super::Daemon;
use super::histories::Histories;
use crate::config::Settings;
use crate::isolation::Drivers;
use crate::probing::Probing;
use crate::record::incidents::Names;

/// All that is known of the workers, to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) settings: &'a Settings,
    pub(super) machine: &'a Machine,
    pub(super) drivers: &'a Drivers,
    pub(super) names: &'a Names,
    pub(super) histories: &'a Histories,
    pub(super) probing: &'a Probing,
}

impl Daemon {
    pub(super) fn view(&self) -> View<'_> {
        View {
            settings: &self.settings,
            machine: &self.machine,
            drivers: &self.drivers,
            names: &self.names,
            histories: &self.histories,
            probing: &self.probing,
        }
    }
}
