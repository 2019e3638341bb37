//! Listening sockets of registered code. A process of a command gets its own at its `execve`;
//! registered code is ordered by the loop, which never waits: a launcher thread opens what is not
//! open yet, and the launch goes on after that.

use std::sync::Arc;

use supervision::{Incarnation, LaunchStage, WorkerId};
use workers::runtime::endowment::SOCKET;

use super::Means;
use super::launched::late;
use crate::config::Program;
use crate::isolation::launch::Attempt;
use crate::isolation::launch::failed::{Failed, Result};
use crate::isolation::launcher::Queue;
use crate::stages;

impl Means {
    /// Makes copies of its sockets for an incarnation of registered code. False: they are being
    /// opened, and the launch waits for that.
    pub(super) fn pass_sockets(&mut self, incarnation: Incarnation) -> Result<bool> {
        let worker = incarnation.worker;
        let launch = Arc::clone(&self.registry[worker].launch);
        let is_sdk = matches!(launch.program, Program::Worker { .. });
        if !is_sdk || launch.sockets.is_empty() {
            return Ok(true);
        }
        self.take_failed(incarnation)?;
        if let Some(copies) = self.sockets.copies(&launch.sockets) {
            let names = launch.sockets.iter().map(|spec| format!("{SOCKET}{}", spec.name));
            self.registry[worker].passed.sockets = names.zip(copies?).collect();
            return Ok(true);
        }
        let (sockets, opens) = (self.sockets.clone(), self.sockets.to_open(&launch.sockets));
        self.make_ready(incarnation, stages::SOCKET, opens, move |attempt| {
            sockets.open(&launch.sockets, attempt).map(drop)
        });
        Ok(false)
    }

    /// # Errors
    /// What this incarnation is to be handed could not be made ready.
    pub(super) fn take_failed(&mut self, incarnation: Incarnation) -> Result<()> {
        let failed = self.registry[incarnation.worker].passed.failed.take();
        let failed = failed.filter(|(of, _)| *of == incarnation);
        failed.map_or(Ok(()), |(_, failed)| Err(failed))
    }

    /// Has a launcher thread make ready what an incarnation is handed, which takes so many
    /// descriptors; the launch waits for that, at this stage.
    pub(super) fn make_ready(
        &mut self,
        incarnation: Incarnation,
        stage: LaunchStage,
        opens: usize,
        make: impl FnOnce(&Attempt) -> Result<()> + Send + 'static,
    ) {
        self.registry[incarnation.worker].passed.opening = Some(stage);
        let answers = self.underway.answers();
        let _attempt = self.underway.launchers.submit(Queue::First, opens, move |attempt| {
            answers.opened(incarnation, make(attempt));
        });
        self.underway.defer(incarnation);
    }

    /// A launcher thread has opened them, or not.
    pub(super) fn take_opened(&mut self, incarnation: Incarnation, opened: Result<()>) {
        let slot = &mut self.registry[incarnation.worker];
        slot.passed.opening = None;
        slot.passed.failed = opened.err().map(|failed| (incarnation, failed));
        let domain = slot.domain;
        self.launch_deferred(domain);
    }

    /// Why a launch waits whose sockets are being opened, or what it shares made.
    pub(super) fn opening(&self, worker: WorkerId) -> Option<Failed> {
        let stage = self.registry[worker].passed.opening?;
        Some(Failed { failure: late(stage), subject: self.subject(worker, stage) })
    }
}
