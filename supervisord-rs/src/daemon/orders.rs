//! Orders of clients: names become ids, the machine decides, the answer goes back.

mod fault;
mod goal;
mod outcomes;
mod scaling;
mod signal;
mod unanswered;
mod waiters;

use supervision::{Command, Event, Phase, Refusal, RequestId, WorkerId};

use goal::Goal;
use unanswered::Pending;
pub(super) use unanswered::Unanswered;
pub(super) use waiters::Waiters;
use waiters::{Wait, limit};

use super::Daemon;
use super::view::View;
use crate::control::protocol::{Done, Failure, WorkersRequest};
use crate::control::request::{Answer, Found, Order, Peer, Request, Show};
use crate::record::event::What;

impl Daemon {
    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Show(what) => {
                self.carry_out_all();
                self.show(what);
            }
            Request::Order(order, peer, answer) => self.on_order(order, peer, answer),
        }
    }

    fn on_order(&mut self, order: Order, peer: Peer, answer: Answer<Done>) {
        match order {
            Order::Start(request) => {
                let goal = |view: View<'_>, id| view.to_come_up(id);
                self.order_workers("start", &request, peer, answer, Command::Start, goal);
            }
            Order::Stop(request) => {
                let goal = |view: View<'_>, id| view.to_go_down(id);
                self.order_workers("stop", &request, peer, answer, Command::Stop, goal);
            }
            Order::Restart(request) => {
                let goal = |view: View<'_>, id| Goal::Renewed { after: view.generation(id) };
                self.order_workers("restart", &request, peer, answer, Command::Restart, goal);
            }
            Order::Await(request) => self.on_await(&request, answer),
            Order::Pause(request) => self.order_pause(&request, peer, answer),
            Order::Resume(request) => self.order_resume(&request, peer, answer),
            Order::Scale(request) => self.order_scale(&request, peer, answer),
            Order::Signal(request) => self.order_signal(&request, peer, answer),
            Order::Inject(request) => self.order_fault(&request, peer, answer),
            Order::Reexec(request) => self.on_reexec(request, peer, answer),
            Order::Shutdown(request) => {
                self.log_order("shutdown", "", peer);
                self.around.announce_stopping();
                let message = "shutting down".to_owned();
                let pending = Pending::accepted(answer, message, String::new());
                self.order(Command::Shutdown { now: request.now }, pending);
            }
        }
    }

    /// Answers requests that change nothing.
    pub(super) fn show(&self, what: Show) {
        // A client that went away is no error.
        match what {
            Show::Status(answer) => drop(answer.send(Ok(self.status()))),
            Show::Incidents(last, answer) => {
                let found = Found {
                    settled: self.observers.incidents.settled.newest(last),
                    open: self.open_incidents(),
                    path: std::sync::Arc::clone(self.observers.incidents.settled.path()),
                };
                drop(answer.send(Ok(found)));
            }
            Show::Events(answer) => drop(answer.send(Ok(self.observers.stream.subscribe()))),
        }
    }

    /// Takes no more requests, and answers those that wait in the queue.
    pub(super) fn turn_away(&mut self, error: &str, message: &str) {
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            request.refuse(Failure::new(error, message.into()));
        }
    }

    fn order_workers(
        &mut self,
        verb: &str,
        request: &WorkersRequest,
        peer: Peer,
        answer: Answer<Done>,
        command: impl Fn(Vec<WorkerId>) -> Command,
        goal: impl Fn(View<'_>, WorkerId) -> Goal,
    ) {
        let ids = match self.view().resolve(verb, &request.workers) {
            Ok(ids) => ids,
            Err(failure) => return drop(answer.send(Err(failure))),
        };
        let subject = request.workers.join(" ");
        self.log_order(verb, &subject, peer);
        let limit = limit(request.timeout_ms);
        let mut aims: Vec<(WorkerId, Goal)> =
            ids.iter().map(|&id| (id, goal(self.view(), id))).collect();
        let returns = verb != "stop";
        let aim = |id, was_live| {
            (id, Goal::Dependent { generation: self.view().generation(id), was_live, returns })
        };
        if verb != "start" {
            aims.extend(self.machine.leaning_on(&ids).into_iter().map(|id| aim(id, true)));
        }
        if returns {
            aims.extend(self.view().held_up_by(&ids).into_iter().map(|id| aim(id, false)));
        }
        let wait = request.wait.then_some(Wait { aims, limit });
        // A group's own colon is enough.
        let named = subject.strip_suffix(':').unwrap_or(&subject);
        let message = format!("{verb} {named}: {}", if request.wait { "done" } else { "ordered" });
        self.order(command(ids), Pending { answer, message, wait, subject, is_silent: false });
    }

    /// All or none. A refusal speaks of those because of whom it is one.
    fn order_pause(&mut self, request: &WorkersRequest, peer: Peer, answer: Answer<Done>) {
        let ids = match self.view().resolve("pause", &request.workers) {
            Ok(ids) => ids,
            Err(failure) => return drop(answer.send(Err(failure))),
        };
        let asked = request.workers.join(" ");
        self.log_order("pause", &asked, peer);
        let is_running =
            |id: WorkerId| self.machine.worker(id).is_some_and(|view| view.phase == Phase::Running);
        let can_be_paused = |id| self.machine.spec().capabilities(id).can_be_paused;
        let mut in_the_way: Vec<WorkerId> =
            ids.iter().copied().filter(|id| !can_be_paused(*id)).collect();
        if in_the_way.is_empty() {
            in_the_way = ids.iter().copied().filter(|id| !is_running(*id)).collect();
        }
        let names: Vec<&str> = in_the_way.iter().map(|id| self.names.worker(*id)).collect();
        let (subject, message) = (names.join(", "), format!("pause {asked}: ordered"));
        self.order(Command::Pause(ids), Pending::accepted(answer, message, subject));
    }

    /// The suspended ones among them, no matter who suspended them. Without any, there is nothing
    /// to do.
    fn order_resume(&mut self, request: &WorkersRequest, peer: Peer, answer: Answer<Done>) {
        let ids = match self.view().resolve("resume", &request.workers) {
            Ok(ids) => ids,
            Err(failure) => return drop(answer.send(Err(failure))),
        };
        let subject = request.workers.join(" ");
        self.log_order("resume", &subject, peer);
        let suspended: Vec<WorkerId> =
            ids.iter().copied().filter(|id| self.view().is_suspended(*id)).collect();
        let is_live =
            |id: &WorkerId| self.view().is_process(*id) && self.drivers.pid(*id).is_some();
        if suspended.is_empty() && ids.iter().any(is_live) {
            let message = match ids.as_slice() {
                [one] => format!("{} is not suspended", self.names.worker(*one)),
                _ => format!("no worker of `{subject}` is suspended"),
            };
            return drop(answer.send(Err(Failure::new("refused", message))));
        }
        let message = format!("resume {subject}: ordered");
        // Where none lives, the machine says why not.
        let ids = if suspended.is_empty() { ids } else { suspended };
        self.order(Command::Resume(ids), Pending::accepted(answer, message, subject));
    }

    pub(super) fn order(&mut self, command: Command, pending: Pending) {
        let request = self.unanswered.expect(pending);
        self.turn(Some(Event::Command { request, command }));
    }

    /// The machine has accepted or refused.
    pub(super) fn on_reply(&mut self, request: RequestId, result: Result<(), Refusal>) {
        // No client waits for orders that came by signal.
        let Some(pending) = self.unanswered.take(request) else { return };
        let Pending { answer, message, wait, subject, is_silent } = pending;
        match (result, wait) {
            (Err(refusal), _) => drop(answer.send(Err(explain(refusal, &subject)))),
            (Ok(()), None) => drop(answer.send(Ok(Done { message, is_silent, ..Done::default() }))),
            (Ok(()), Some(wait)) => self.waiters.add(wait, message, answer, self.now()),
        }
    }

    pub(super) fn log_order(&mut self, verb: &str, subject: &str, peer: Peer) {
        let Peer { pid, uid, gid: _ } = peer;
        self.emit(None, What::Command { verb, subject, uid, pid });
    }
}

impl View<'_> {
    /// Those that are wanted and wait for nothing else than these, and for each other.
    fn held_up_by(&self, ids: &[WorkerId]) -> Vec<WorkerId> {
        let waits: Vec<(WorkerId, Vec<WorkerId>)> = self
            .all_workers()
            .filter(|id| !ids.contains(id))
            .filter_map(|id| Some((id, self.machine.worker(id)?)))
            .filter(|(_, view)| view.phase == Phase::Idle && view.wanted)
            .map(|(id, view)| (id, view.waits_for))
            .filter(|(_, on)| !on.is_empty())
            .collect();
        let mut held: Vec<WorkerId> = Vec::new();
        loop {
            let is_next = |(id, on): &&(WorkerId, Vec<WorkerId>)| {
                !held.contains(id) && on.iter().all(|on| ids.contains(on) || held.contains(on))
            };
            let Some((next, _)) = waits.iter().find(is_next) else { return held };
            held.push(*next);
        }
    }

    pub(super) fn is_process(&self, id: WorkerId) -> bool {
        self.machine.spec().capabilities(id).has_own_process
    }

    /// Whether it, or anything that it has started, is suspended.
    fn is_suspended(&self, id: WorkerId) -> bool {
        self.machine.worker(id).is_some_and(|view| view.paused)
            || self.is_process(id)
                && self.drivers.tree_of(id).iter().any(|member| member.state == 'T')
    }

    fn generation(&self, id: WorkerId) -> u64 {
        self.machine.worker(id).map_or(0, |view| view.generation.0)
    }

    pub(super) fn to_go_down(self, id: WorkerId) -> Goal {
        let view = self.machine.worker(id);
        Goal::Down { was_live: view.is_some_and(|view| view.phase.is_live()) }
    }

    /// To run, or to end with success. The end of one that is on its way down does not count.
    pub(super) fn to_come_up(self, id: WorkerId) -> Goal {
        let generation = self.generation(id);
        let is_up = self.machine.worker(id).is_some_and(|view| {
            matches!(view.phase, Phase::Launching | Phase::Starting | Phase::Running)
        });
        Goal::Up { after: if is_up { generation.saturating_sub(1) } else { generation } }
    }
}

/// Why the supervisor accepts no order any more.
pub(super) fn shutting_down() -> Failure {
    Failure::new("shutting-down", "the supervisor is shutting down".to_owned())
}

fn explain(refusal: Refusal, subject: &str) -> Failure {
    let (error, message) = match refusal {
        Refusal::ShuttingDown => return shutting_down(),
        Refusal::InjectionDenied => (
            "refused",
            "crash injection is off: set `supervisor: { fault_injection: allow }` and run again"
                .to_owned(),
        ),
        Refusal::CannotPause => (
            "refused",
            format!(
                "{subject}: a thread cannot be suspended without its process; use `isolation: \
                 process`"
            ),
        ),
        Refusal::Paused => (
            "refused",
            format!(
                "{subject} is suspended, and a fault would strike when it goes on: `resume` it \
                 first"
            ),
        ),
        Refusal::CannotSignal => (
            "refused",
            format!(
                "{subject}: a thread cannot get a signal without its process, which others live \
                 in; use `isolation: process`, or `inject` a fault"
            ),
        ),
        Refusal::NotRunning if subject.contains(", ") => {
            ("not-running", format!("{subject} are not running: start them first"))
        }
        Refusal::NotRunning => ("not-running", format!("{subject} is not running: start it first")),
        Refusal::UnknownWorker => ("unknown-worker", format!("no worker is called {subject}")),
    };
    Failure::new(error, message)
}
