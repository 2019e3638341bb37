//! Reports what will never happen by itself, as soon as it is known: a worker that can never start,
//! a soft dependency that is not waited for, and why everything ends without an order.

use serde_json::json;
use supervision::{Ending, GivingUp, WorkerId};

use super::Daemon;
use super::effects::exit_code;
use crate::record::words;

impl Daemon {
    pub(super) fn on_in_vain(&mut self, worker: WorkerId, on: WorkerId) {
        let why = self.why_in_vain(on);
        let name = self.names.worker(worker);
        tracing::error!(worker = name, "{name} cannot start: {why}");
        self.publish_waiting("in-vain", worker, on, &why);
    }

    pub(super) fn on_start_without(&mut self, worker: WorkerId, on: WorkerId) {
        let why = self.why_absent(on);
        let (name, missing) = (self.names.worker(worker), self.names.worker(on));
        tracing::warn!(worker = name, "{name} starts without {missing} (soft dependency): {why}");
        self.publish_waiting("starts-without", worker, on, &why);
    }

    fn publish_waiting(&mut self, what: &'static str, worker: WorkerId, on: WorkerId, why: &str) {
        let generation = self.machine.worker(worker).map(|view| view.generation);
        let who = generation.map(|generation| supervision::Incarnation { worker, generation });
        self.publish(what, who, json!({ "on": self.names.worker(on), "why": why }));
    }

    pub(super) fn on_giving_up(&mut self, why: GivingUp) {
        let (text, ending) = match why {
            GivingUp::Critical { worker, ending } => {
                let how = self.how_ended(worker);
                let name = self.names.worker(worker);
                (format!("{name} is critical and has ended for good: {how}"), ending)
            }
            GivingUp::InVain { worker, on, ending } => {
                let (name, why) = (self.names.worker(worker), self.why_in_vain(on));
                (format!("{name} is critical and cannot start: {why}"), ending)
            }
            GivingUp::Group(group) => {
                let group = &self.machine.spec().groups[group.index()].name;
                (format!("group {group} has failed more often than its limit allows"), None)
            }
        };
        let is_orderly = ending.is_some_and(|ending: Ending| !ending.cause.is_failure());
        let code = exit_code(is_orderly, ending);
        tracing::error!("stopping everything, to end with exit status {code}: {text}");
        self.publish("giving-up", None, json!({ "why": text, "exit_status": code }));
    }

    fn how_ended(&self, worker: WorkerId) -> String {
        let ending = self.endings[worker.index()].as_ref();
        ending.map_or_else(|| "how is not known".to_owned(), words::how)
    }
}
