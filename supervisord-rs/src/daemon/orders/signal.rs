//! `signal`: to each process among those named.

use supervision::{Command, Phase, WorkerId};

use super::unanswered::Pending;
use crate::control::protocol::{Done, Failure, SignalName, SignalRequest};
use crate::control::request::{Answer, Peer};
use crate::daemon::Daemon;
use crate::daemon::view::View;
use crate::record::words;

/// Stands for each worker's own `reload_signal:`.
const RELOAD: &str = "reload";

impl Daemon {
    pub(in crate::daemon) fn order_signal(
        &mut self,
        request: &SignalRequest,
        peer: Peer,
        answer: Answer<Done>,
    ) {
        let names: Vec<String> =
            request.workers.iter().chain(request.worker.as_ref()).cloned().collect();
        let found = self.view().resolve("signal", &names).and_then(|ids| {
            let signal = match &request.signal {
                SignalName::Name(name) if name == RELOAD => self.view().reload_signal(&ids)?,
                signal => number(signal)?,
            };
            Ok((ids, signal))
        });
        let (ids, signal) = match found {
            Ok(found) => found,
            Err(failure) => return drop(answer.send(Err(failure))),
        };
        let (name, subject) = (words::signal(signal), names.join(" "));
        self.log_order("signal", &format!("{subject} {name}"), peer);
        let message = self.view().signalled(&name, &ids);
        let pending = Pending::accepted(answer, message, subject);
        self.order(Command::Signal { workers: ids, signal }, pending);
    }
}

impl View<'_> {
    /// What has these read their own configuration again; one signal for all of them.
    fn reload_signal(&self, ids: &[WorkerId]) -> Result<i32, Failure> {
        let refused = |message: String| Failure::new("refused", message);
        let mut common = None;
        for id in ids {
            let name = self.names.worker(*id);
            let Some(signal) = self.drivers.launch_of(*id).reload_signal else {
                let advice = "write `reload_signal: HUP` in its configuration, or name the signal";
                return Err(refused(format!("{name} has no `reload_signal:`; {advice}")));
            };
            if *common.get_or_insert(signal) != signal {
                let advice = "name workers with the same one";
                return Err(refused(format!("{name} has another `reload_signal:`; {advice}")));
            }
        }
        common.ok_or_else(|| refused("there is no worker to reload".to_owned()))
    }

    /// Who gets it, and who does not.
    fn signalled(&self, signal: &str, ids: &[WorkerId]) -> String {
        let list = |chosen: &dyn Fn(WorkerId) -> bool| {
            let those = ids.iter().copied().filter(|id| chosen(*id));
            those.map(|id| self.names.worker(id)).collect::<Vec<_>>().join(", ")
        };
        let is_up = |id: WorkerId| {
            self.machine.worker(id).is_some_and(|view| {
                matches!(view.phase, Phase::Starting | Phase::Running | Phase::Stopping)
            })
        };
        let mut text = format!("{signal} sent to {}", list(&|id| self.is_process(id) && is_up(id)));
        let down = list(&|id| self.is_process(id) && !is_up(id));
        if !down.is_empty() {
            text.push_str(&format!("; not running: {down}"));
        }
        let threads = list(&|id| !self.is_process(id));
        if !threads.is_empty() {
            text.push_str(&format!("; no process of their own: {threads}"));
        }
        text
    }
}

fn number(signal: &SignalName) -> Result<i32, Failure> {
    let known = match signal {
        SignalName::Number(number) => Some(*number).filter(|number| (1..=64).contains(number)),
        SignalName::Name(name) => words::signal_number(name),
    };
    known.ok_or_else(|| {
        let given = match signal {
            SignalName::Number(number) => number.to_string(),
            SignalName::Name(name) => name.clone(),
        };
        let message = format!(
            "`{given}` is not the name of a signal: use a name such as HUP, or a number \
                from 1 to 64"
        );
        Failure::new("invalid", message)
    })
}
