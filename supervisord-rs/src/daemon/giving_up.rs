//! Reports what will never happen by itself, as soon as it is known: a worker that can never start,
//! a soft dependency that is not waited for, and why everything ends without an order.

use supervision::{Ending, GivingUp, Incarnation, WorkerId};

use super::Daemon;
use super::effects::exit_code;
use crate::record::event::What;
use crate::record::words;

impl Daemon {
    pub(super) fn on_in_vain(&mut self, worker: WorkerId, on: WorkerId) {
        let why = self.view().why_in_vain(on);
        let who = self.present(worker);
        let what = What::InVain { on: self.names.worker(on), why: &why };
        self.observers.tell(&self.names, who, what);
    }

    pub(super) fn on_start_without(&mut self, worker: WorkerId, on: WorkerId) {
        let why = self.view().why_absent(on);
        let who = self.present(worker);
        let what = What::StartsWithout { on: self.names.worker(on), why: &why };
        self.observers.tell(&self.names, who, what);
    }

    fn present(&self, worker: WorkerId) -> Option<Incarnation> {
        let generation = self.machine.worker(worker).map(|view| view.generation);
        generation.map(|generation| Incarnation { worker, generation })
    }

    pub(super) fn on_giving_up(&mut self, why: GivingUp) {
        let (text, ending) = match why {
            GivingUp::Critical { worker, ending } => {
                let how = self.how_ended(worker);
                let name = self.names.worker(worker);
                (format!("{name} is critical and has ended for good: {how}"), ending)
            }
            GivingUp::InVain { worker, on, ending } => {
                let (name, why) = (self.names.worker(worker), self.view().why_in_vain(on));
                (format!("{name} is critical and cannot start: {why}"), ending)
            }
            GivingUp::Group(group) => {
                let group = &self.machine.spec().groups[group.index()].name;
                (format!("group {group} has failed more often than its limit allows"), None)
            }
        };
        let is_orderly = ending.is_some_and(|ending: Ending| !ending.cause.is_failure());
        let exit_status = exit_code(is_orderly, ending);
        self.emit(None, What::GivingUp { why: &text, exit_status });
    }

    fn how_ended(&self, worker: WorkerId) -> String {
        let ending = self.histories.ending(worker);
        ending.map_or_else(|| "how is not known".to_owned(), words::how)
    }
}
