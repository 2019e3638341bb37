//! What people want. The last command wins; acceptance is answered at once, and says that the order
//! stands.

use alloc::vec::Vec;

use crate::capabilities::Capabilities;
use crate::dependencies::ids;
use crate::effect::Effect;
use crate::ending::Ending;
use crate::event::{Command, Event, Refusal};
use crate::id::{FaultId, RequestId, WorkerId};
use crate::incident::Outcome;
use crate::machine::{Machine, Shutdown};
use crate::table::Signal;
use crate::timers::{Due, Timer};
use crate::worker::{Phase, StopReason};

impl Machine {
    pub(crate) fn on_command(&mut self, request: RequestId, command: Command) {
        let result = self.carry_out(command);
        self.effects.push_back(Effect::Reply { request, result });
    }

    fn carry_out(&mut self, command: Command) -> Result<(), Refusal> {
        if let Command::Shutdown { now } = command {
            let again = self.shutdown.is_some();
            self.begin_shutdown(true, None);
            if now || again {
                self.force_shutdown();
            }
            return Ok(());
        }
        if self.shutdown.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        match command {
            Command::Start(workers) => {
                self.known(&workers)?;
                self.start(&workers);
            }
            Command::Stop(workers) => {
                self.known(&workers)?;
                self.stop(&workers);
            }
            Command::Restart(workers) => {
                self.known(&workers)?;
                self.restart(&workers);
            }
            Command::Signal { workers, signal } => {
                self.known(&workers)?;
                let can = |capabilities: &Capabilities| capabilities.has_own_process;
                for worker in self.up(&workers, can, Refusal::CannotSignal)? {
                    let incarnation = self.incarnation(worker);
                    self.effects.push_back(Effect::Signal { incarnation, signal });
                }
            }
            Command::Pause(workers) => {
                self.known(&workers)?;
                self.pause(&workers)?;
            }
            Command::Resume(workers) => {
                self.known(&workers)?;
                self.resume_any(&workers)?;
            }
            Command::Retire(workers) => {
                self.known(&workers)?;
                self.retire(&workers);
            }
            Command::Inject { worker, fault } => self.inject(worker, fault)?,
            Command::Shutdown { .. } => {}
        }
        Ok(())
    }

    fn known(&self, workers: &[WorkerId]) -> Result<(), Refusal> {
        let all_known = workers.iter().all(|worker| worker.index() < self.workers.len());
        if all_known { Ok(()) } else { Err(Refusal::UnknownWorker) }
    }

    /// These and what they wait for; counts and quarantine are cleared.
    fn start(&mut self, workers: &[WorkerId]) {
        let mut unmet = self.with_unmet(workers);
        unmet.retain(|worker| !workers.contains(worker));
        for &worker in workers {
            let state = &mut self.workers[worker.index()];
            state.stopped = false;
            state.wanted = true;
            state.retired = false;
            state.in_vain = None;
            state.failures.clear();
            state.attempt = 0;
            self.react(worker, Signal::Start);
            self.launches.insert(worker);
        }
        self.start_unmet(unmet);
        // A started worker must work: a suspended one is resumed.
        let is_paused = |worker: &WorkerId| self.workers[worker.index()].paused;
        let paused: Vec<WorkerId> = workers.iter().copied().filter(is_paused).collect();
        self.let_go_on(&paused);
    }

    /// These, after all that leans on them. What leaned on them comes back when they do.
    fn stop(&mut self, workers: &[WorkerId]) {
        for &worker in workers {
            let state = &mut self.workers[worker.index()];
            state.stopped = true;
            state.wanted = false;
        }
        self.take_down(workers);
    }

    /// These, and what they wait for, as `start` does: but for what is stopped and comes back with
    /// them.
    fn restart(&mut self, workers: &[WorkerId]) {
        let with_them = self.with_leaning(workers);
        let mut unmet = self.with_unmet(workers);
        unmet.retain(|worker| !with_them.contains(worker));
        for &worker in workers {
            let state = &mut self.workers[worker.index()];
            state.stopped = false;
            state.wanted = true;
            state.failures.clear();
            state.attempt = 0;
        }
        self.take_down(workers);
        for &worker in workers {
            if !self.workers[worker.index()].phase.is_live() {
                self.react(worker, Signal::Start);
            }
        }
        self.start_unmet(unmet);
    }

    /// Dependencies that the order does not name: one that has finished has done its work.
    fn start_unmet(&mut self, unmet: impl IntoIterator<Item = WorkerId>) {
        for worker in unmet {
            let state = &mut self.workers[worker.index()];
            if state.phase == Phase::Finished {
                continue;
            }
            state.stopped = false;
            state.wanted = true;
            state.retired = false;
            if matches!(state.phase, Phase::Backoff | Phase::Quarantined) {
                state.failures.clear();
                state.attempt = 0;
            }
            self.react(worker, Signal::Start);
            self.launches.insert(worker);
        }
    }

    fn take_down(&mut self, workers: &[WorkerId]) {
        for worker in self.with_leaning(workers) {
            // One that leans and is down waits as it did, or stays as it is.
            let is_named = workers.contains(&worker);
            if is_named || self.workers[worker.index()].phase.is_live() {
                self.react(worker, Signal::Stop);
            }
            let state = &mut self.workers[worker.index()];
            if matches!(state.phase, Phase::Stopping | Phase::Killing) && state.order.is_none() {
                state.order = Some(StopReason::Requested);
            }
            if is_named {
                // One that was to come and will not is waited for no longer.
                self.wake_dependents(worker);
            }
            if is_named
                && !self.workers[worker.index()].wanted
                && !self.workers[worker.index()].phase.is_live()
            {
                self.settle_loss(worker, Outcome::Down);
            }
        }
    }

    /// All or none: one among them that cannot be suspended has the command refused.
    fn pause(&mut self, workers: &[WorkerId]) -> Result<(), Refusal> {
        if workers.iter().any(|worker| !self.spec.capabilities(*worker).can_be_paused) {
            return Err(Refusal::CannotPause);
        }
        if workers.iter().any(|worker| self.workers[worker.index()].phase != Phase::Running) {
            return Err(Refusal::NotRunning);
        }
        for &worker in workers {
            self.workers[worker.index()].paused = true;
            let incarnation = self.incarnation(worker);
            self.effects.push_back(Effect::Pause { incarnation });
        }
        Ok(())
    }

    /// The named workers that can be suspended and are up, no matter who suspended them. Refused
    /// where there are none.
    fn resume_any(&mut self, workers: &[WorkerId]) -> Result<(), Refusal> {
        let can = |capabilities: &Capabilities| capabilities.can_be_paused;
        let up = self.up(workers, can, Refusal::CannotPause)?;
        self.let_go_on(&up);
        Ok(())
    }

    /// Those that the command can reach alone and that are up. `none_can`: the refusal where there
    /// is none that it can.
    fn up(
        &self,
        workers: &[WorkerId],
        can: fn(&Capabilities) -> bool,
        none_can: Refusal,
    ) -> Result<Vec<WorkerId>, Refusal> {
        let mut reached = workers
            .iter()
            .copied()
            .filter(|worker| can(self.spec.capabilities(*worker)))
            .peekable();
        if reached.peek().is_none() {
            return Err(none_can);
        }
        let up: Vec<WorkerId> = reached
            .filter(|worker| {
                let phase = self.workers[worker.index()].phase;
                matches!(phase, Phase::Starting | Phase::Running | Phase::Stopping)
            })
            .collect();
        if up.is_empty() { Err(Refusal::NotRunning) } else { Ok(up) }
    }

    fn let_go_on(&mut self, workers: &[WorkerId]) {
        for &worker in workers {
            self.workers[worker.index()].paused = false;
            let incarnation = self.incarnation(worker);
            self.effects.push_back(Effect::Resume { incarnation });
            let is_running = self.workers[worker.index()].phase == Phase::Running;
            if let Some(heartbeat) = self.heartbeat(worker).filter(|_| is_running) {
                self.set_timer(
                    Timer::Worker(worker, Due::Heartbeat),
                    self.now.saturating_add(heartbeat),
                );
            }
        }
    }

    fn inject(&mut self, worker: WorkerId, fault: FaultId) -> Result<(), Refusal> {
        if !self.spec.fault_injection {
            return Err(Refusal::InjectionDenied);
        }
        self.known(&[worker])?;
        if !matches!(self.workers[worker.index()].phase, Phase::Starting | Phase::Running) {
            return Err(Refusal::NotRunning);
        }
        if self.workers[worker.index()].paused {
            return Err(Refusal::Paused);
        }
        self.commit(worker, fault);
        Ok(())
    }

    /// Everything is to end: dependents before what they lean on, later ones of the file first.
    pub(crate) fn begin_shutdown(&mut self, orderly: bool, critical: Option<Ending>) {
        if self.shutdown.is_some() {
            return;
        }
        self.shutdown = Some(Shutdown { orderly, critical, forced: false, is_over: false });
        self.launches.clear();
        self.admission.forget_waiting();
        let all: Vec<WorkerId> = ids(self.workers.len()).collect();
        for &worker in &all {
            self.workers[worker.index()].wanted = false;
        }
        for &worker in all.iter().rev() {
            self.react(worker, Signal::Stop);
            self.settle_if_down(worker);
        }
        if self.spec.shutdown_timeout.is_zero() {
            self.force_shutdown();
        } else {
            self.set_timer(Timer::Shutdown, self.now.saturating_add(self.spec.shutdown_timeout));
        }
    }

    fn settle_if_down(&mut self, worker: WorkerId) {
        if !self.workers[worker.index()].phase.is_live() {
            self.settle_loss(worker, Outcome::Down);
        }
    }

    /// The time to stop is over: whatever lives is killed, whatever thread lives is abandoned.
    pub(crate) fn force_shutdown(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        shutdown.forced = true;
        for worker in ids(self.workers.len()).rev() {
            match self.workers[worker.index()].phase {
                Phase::Starting | Phase::Running | Phase::Stopping => {
                    self.workers[worker.index()].order = Some(StopReason::Requested);
                    self.force(worker);
                }
                // Its launch is answered first.
                Phase::Launching => {
                    self.workers[worker.index()].order = Some(StopReason::Requested);
                    self.stops.insert(worker);
                    self.limit_launch(worker);
                }
                Phase::Idle
                | Phase::Killing
                | Phase::Backoff
                | Phase::Quarantined
                | Phase::Finished => {}
            }
        }
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.shutdown.is_some_and(|shutdown| shutdown.forced)
    }

    /// After the last effect commands are still answered; everything else is stale.
    pub(crate) fn refuse_after_the_end(&mut self, event: &Event) {
        match event {
            Event::Command { request, .. } => {
                let result = Err(Refusal::ShuttingDown);
                self.effects.push_back(Effect::Reply { request: *request, result });
            }
            Event::Deadline | Event::Recorded { .. } | Event::TimeLost { .. } => {}
            Event::Launched { .. }
            | Event::LaunchFailed { .. }
            | Event::NotBegun { .. }
            | Event::Ready { .. }
            | Event::Confirmed { .. }
            | Event::Ended { .. }
            | Event::DomainEnded { .. }
            | Event::Exited { .. }
            | Event::Readiness { .. }
            | Event::Unhealthy { .. }
            | Event::Extended { .. }
            | Event::Extend(_)
            | Event::Heartbeat { .. }
            | Event::Suspended { .. } => self.stale += 1,
        }
    }
}
