//! `signal`: to each process among those named; and the order to reload, which registered code gets
//! on its board.

use supervision::{Command, Incarnation, Phase, WorkerId};

use super::unanswered::Pending;
use crate::config::Program;
use crate::control::protocol::{Done, Failure, SignalName, SignalRequest};
use crate::control::request::{Answer, Peer};
use crate::daemon::Daemon;
use crate::daemon::view::View;
use crate::record::words;

/// Stands for each command's own `reload_signal:`, and for the order to registered code.
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
        if matches!(&request.signal, SignalName::Name(name) if name == RELOAD) {
            return self.order_reload(&names, peer, answer);
        }
        let found = self.view().resolve("signal", &names).and_then(|ids| {
            let signal = number(&request.signal)?;
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

    /// Has workers read their own configuration again.
    fn order_reload(&mut self, names: &[String], peer: Peer, answer: Answer<Done>) {
        let view = self.view();
        let found = view.resolve("signal", names).and_then(|ids| {
            let is_code = |id: &WorkerId| {
                matches!(view.drivers.launch_of(*id).program, Program::Worker { .. })
            };
            let (code, commands): (Vec<WorkerId>, Vec<WorkerId>) =
                ids.into_iter().partition(is_code);
            let needs_signal = code.is_empty() || !commands.is_empty();
            let signal = needs_signal.then(|| view.reload_signal(&commands)).transpose()?;
            Ok((code, commands, signal))
        });
        let (code, commands, signal) = match found {
            Ok(found) => found,
            Err(failure) => return drop(answer.send(Err(failure))),
        };
        let subject = names.join(" ");
        self.log_order("signal", &format!("{subject} {RELOAD}"), peer);
        let to_code = self.reload_code(&code);
        let Some(signal) = signal else {
            let done = to_code.map(|message| Done { message, ..Done::default() });
            return drop(answer.send(done));
        };
        let mut message = self.view().signalled(&words::signal(signal), &commands);
        if !code.is_empty() {
            let said = to_code.unwrap_or_else(|failure| failure.message);
            message.push_str(&format!("; {said}"));
        }
        let pending = Pending::accepted(answer, message, subject);
        self.order(Command::Signal { workers: commands, signal }, pending);
    }

    /// Orders registered code to reload; who has the order, and who has not.
    ///
    /// # Errors
    /// None of them has it.
    fn reload_code(&mut self, ids: &[WorkerId]) -> Result<String, Failure> {
        let (mut ordered, mut down, mut deaf) = (Vec::new(), Vec::new(), Vec::new());
        for &id in ids {
            let up = self
                .machine
                .worker(id)
                .filter(|view| matches!(view.phase, Phase::Starting | Phase::Running));
            let incarnation =
                up.map(|view| Incarnation { worker: id, generation: view.generation });
            let list = match incarnation.map(|incarnation| self.drivers.reload(incarnation)) {
                None => &mut down,
                Some(true) => &mut ordered,
                Some(false) => &mut deaf,
            };
            list.push(self.names.worker(id));
        }
        let mut parts = Vec::new();
        for (words, list) in [
            ("has the order to reload", &ordered),
            ("not running", &down),
            ("does not ask for orders to reload (`Context::reload_requested`)", &deaf),
        ] {
            if !list.is_empty() {
                parts.push(format!("{words}: {}", list.join(", ")));
            }
        }
        let message = parts.join("; ");
        match (ordered.is_empty(), deaf.is_empty()) {
            (false, _) => Ok(message),
            (true, true) => Err(Failure::new("not-running", message)),
            (true, false) => Err(Failure::new("refused", message)),
        }
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
