//! What came of a launch that a launcher thread has made; and launches that are withdrawn because
//! they hang.
//!
//! A launch that was withdrawn is answered at once and is not over before its thread says so. As
//! long as it is not, the next launch of its worker waits: what the kernel holds is one process of
//! a worker at most.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::errno::Errno;
use supervision::{DomainId, Incarnation, LaunchFailure, LaunchStage, WorkerId};
use workers::runtime::board::monotonic_ns;

use super::launching::death_signal;
use super::persist::{self, Pledge};
use super::{Means, Process, Resident, Yields};
use crate::isolation::domain::Expected;
use crate::isolation::exits::reaper;
use crate::isolation::host::Host;
use crate::isolation::launch::failed::{Failed, Result};
use crate::isolation::launch::{Attempt, Child, failure};
use crate::isolation::launcher::{Launchers, Queue};
use crate::isolation::live::{event_fd, hush, ring};
use crate::isolation::outfit::Outfit;
use crate::isolation::tree::process_tree::ProcessTree;
use crate::isolation::watch::{Says, Token};
use crate::stages;

/// A launch that was withdrawn and is not over.
#[derive(Debug)]
struct Withdrawn {
    domain: DomainId,
    attempt: Arc<Attempt>,
    process_tree: Rc<ProcessTree>,
}

/// Launches that are not over.
#[derive(Debug)]
pub(in crate::isolation) struct Underway {
    pub(in crate::isolation) launchers: Launchers,
    answers: Answers,
    /// Launches that were withdrawn and are not over.
    withdrawn: Vec<Withdrawn>,
    /// Whose launch waits until one that was withdrawn is over.
    deferred: Vec<Incarnation>,
}

impl Underway {
    /// None.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM from eventfd(2).
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            answers: Answers::new()?,
            launchers: Launchers::start()?,
            withdrawn: Vec::new(),
            deferred: Vec::new(),
        })
    }

    /// Readable when launcher threads have said something.
    pub(super) fn wakeup(&self) -> BorrowedFd<'_> {
        self.answers.wakeup()
    }

    /// Where a launcher thread answers.
    pub(super) fn answers(&self) -> Answering {
        let Answers { sender, wake, .. } = &self.answers;
        Answering { sender: sender.clone(), wake: Arc::clone(wake) }
    }

    /// A launch that goes on when what it waits for is over.
    pub(in crate::isolation) fn defer(&mut self, incarnation: Incarnation) {
        self.deferred.push(incarnation);
    }
}

/// What launcher threads say.
#[derive(Debug)]
struct Answers {
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
    wake: Arc<OwnedFd>,
}

#[derive(Debug)]
enum Answer {
    Launched(Launched),
    /// The sockets of registered code are open.
    Opened(Incarnation, Result<()>),
}

#[derive(Debug)]
struct Launched {
    domain: DomainId,
    attempt: Arc<Attempt>,
    result: Result<Child>,
    /// Whether it outlives us.
    is_kept: bool,
}

/// For a launcher thread: where it answers.
#[derive(Clone, Debug)]
pub(super) struct Answering {
    sender: Sender<Answer>,
    wake: Arc<OwnedFd>,
}

impl Answering {
    /// The sockets of registered code are open, or not.
    pub(super) fn opened(&self, incarnation: Incarnation, opened: Result<()>) {
        self.answer(Answer::Opened(incarnation, opened));
    }

    fn answer(&self, answer: Answer) {
        let _ = self.sender.send(answer);
        ring(self.wake.as_fd());
    }
}

impl Answers {
    fn new() -> std::io::Result<Self> {
        let wake =
            event_fd().map_err(|failure| std::io::Error::from_raw_os_error(failure.errno))?;
        let (sender, receiver) = channel();
        Ok(Self { sender, receiver, wake: Arc::new(wake) })
    }

    /// Readable when there are any.
    fn wakeup(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Means {
    /// Has a launcher thread start the process of a domain; with a pledge, where it is to outlive
    /// us.
    pub(in crate::isolation) fn submit(
        &mut self,
        domain: DomainId,
        mut outfit: Outfit,
        pledge: Option<Pledge>,
        (queue, opens): (Queue, usize),
    ) -> Arc<Attempt> {
        let answers = self.underway.answers();
        self.underway.launchers.submit(queue, opens, move |attempt| {
            let pledge = pledge.filter(Pledge::is_sent);
            outfit.parent_death_signal = death_signal(pledge.is_some());
            let mut plan = outfit.plan(attempt);
            let result = match &mut plan {
                Ok(plan) => plan.launch_as(attempt).map_err(Failed::from),
                Err(failed) => Err(failed.clone()),
            };
            if let (Some(pledge), Ok(child)) = (&pledge, &result) {
                pledge.keep(child);
            }
            // No process is left at the end.
            let is_kept = pledge.is_some();
            let attempt = Arc::clone(attempt);
            answers.answer(Answer::Launched(Launched { domain, attempt, result, is_kept }));
            // Our copies of what the child has; no answer waits for that.
            drop(plan);
        })
    }

    /// Takes what launcher threads have said.
    pub(in crate::isolation) fn take_launched(&mut self) {
        self.take_launched_until(u64::MAX);
    }

    /// The same until `end`, in monotonic nanoseconds; the rest rings again.
    pub(in crate::isolation) fn take_launched_until(&mut self, end: u64) {
        hush(self.underway.answers.wake.as_fd());
        while let Ok(answer) = self.underway.answers.receiver.try_recv() {
            self.take_answer(answer);
            if monotonic_ns() > end {
                return ring(self.underway.answers.wake.as_fd());
            }
        }
    }

    fn take_answer(&mut self, answer: Answer) {
        let Launched { domain, attempt, result, is_kept } = match answer {
            Answer::Launched(launched) => launched,
            Answer::Opened(incarnation, opened) => return self.take_opened(incarnation, opened),
        };
        let slot = &mut self.registry[domain].expected;
        match slot.take_if(|expected| Arc::ptr_eq(&expected.attempt, &attempt)) {
            Some(expected) => self.settle_launch(domain, expected, result, is_kept),
            None => self.forget_withdrawn(&attempt, result),
        }
    }

    fn settle_launch(
        &mut self,
        domain: DomainId,
        expected: Expected,
        result: Result<Child>,
        is_kept: bool,
    ) {
        let Expected { process_tree, way, members, has_spoken, .. } = expected;
        if let Some(yields @ Yields::Until(_)) = &mut self.registry[domain].yields {
            *yields = Yields::until_proven();
        }
        if has_spoken {
            self.listen(domain);
        }
        let housed = result.and_then(|child| {
            let process = match way {
                Some(way) => Process::Host(Host::new(child, way)),
                None => Process::Command(child),
            };
            self.give_process(domain, process, process_tree)
        });
        for incarnation in members {
            let begun = match &housed {
                Err(failed) => Err(failed.clone()),
                Ok(()) => self.driver(domain).begin(self, incarnation, is_kept),
            };
            match begun {
                Ok(()) => self.say_launched(incarnation),
                Err(failed) if self.is_lost_with_cell(domain, &failed) => {
                    self.defer_until_gone(domain, incarnation);
                }
                Err(failed) => self.fail_launch(incarnation, failed),
            }
        }
    }

    /// Gives a domain its process, and watches it. A process that cannot be watched is ended at
    /// once.
    pub(in crate::isolation) fn give_process(
        &mut self,
        domain: DomainId,
        process: Process,
        process_tree: Rc<ProcessTree>,
    ) -> Result<()> {
        let watched = self.watch.add(process, Token::Exit { domain: domain.0 }, Says::WhileReady);
        let process = match watched {
            Ok(process) => process,
            Err((process, errno)) => {
                persist::forget(&self.store, &self.domain_name(domain), process.child().pid);
                // What it may have started already is found when its process tree is looked at
                // next.
                let _ = process_tree.kill(process.child());
                reaper::discard(&process.child().pidfd);
                return Err(failure(stages::DESCRIPTORS, errno).into());
            }
        };
        let resident = Resident::new(process, process_tree);
        self.registry[domain].resident = Some(resident);
        Ok(())
    }

    /// Lets go of a launch that takes too long. Answered at once, by `Launched` if it has come
    /// through meanwhile.
    pub(in crate::isolation) fn withdraw(&mut self, incarnation: Incarnation) {
        self.take_launched();
        if self.withdraw_before(incarnation) {
            return;
        }
        if let Some(position) =
            self.underway.deferred.iter().position(|deferred| *deferred == incarnation)
        {
            self.underway.deferred.swap_remove(position);
            let failed = self.failed_before(incarnation);
            let failed = failed.or_else(|| self.hanging(incarnation.worker));
            let failed = failed.unwrap_or_else(|| late(stages::CLONE).into());
            self.fail_launch(incarnation, failed);
            return;
        }
        let domain = self.registry[incarnation.worker].domain;
        let slot = &mut self.registry[domain].expected;
        let Some(expected) =
            slot.as_mut().filter(|expected| expected.members.contains(&incarnation))
        else {
            return;
        };
        expected.members.retain(|member| *member != incarnation);
        let stage = expected.attempt.stage();
        // It was frozen after the launch had looked.
        let frozen = expected.process_tree.frozen().filter(|_| stage == stages::CLONE);
        if expected.members.is_empty()
            && let Some(Expected { attempt, process_tree, has_spoken, .. }) = slot.take()
        {
            attempt.withdraw();
            self.underway.withdrawn.push(Withdrawn { domain, attempt, process_tree });
            if has_spoken {
                self.listen(domain);
            }
        }
        // One that waited in line says nothing about its worker.
        let transient = stage == stages::CLONE;
        let failure = LaunchFailure { transient, ..late(stage) };
        let subject = self.subject(incarnation.worker, stage);
        self.fail_launch(incarnation, frozen.unwrap_or(Failed { failure, subject }));
    }

    /// What a stage that hangs is about, where that is not the program.
    pub(super) fn subject(&self, worker: WorkerId, stage: LaunchStage) -> Option<String> {
        let execution = &self.registry[worker].launch.execution;
        let files: Vec<String> = match stage {
            stages::ENV_FILE => {
                execution.env_files.iter().map(|path| path.display().to_string()).collect()
            }
            stages::SOCKET => {
                let sockets = self.registry[worker].launch.sockets.iter();
                sockets.map(|socket| socket.listen.clone()).collect()
            }
            stages::RESOURCE => {
                let uses = self.registry[worker].launch.uses.iter();
                uses.map(|resource| resource.name.clone()).collect()
            }
            stages::SECRET => execution.secrets.keys().cloned().collect(),
            _ => return None,
        };
        Some(files.join(", "))
    }

    /// Lets go of every launch: for the end, and before another takes over.
    pub(in crate::isolation) fn withdraw_all(&mut self) {
        self.take_launched();
        let expected = self.registry.domains().filter_map(|domain| domain.expected.as_ref());
        let expected = expected.flat_map(|expected| expected.members.iter().copied());
        let members =
            expected.chain(self.underway.deferred.iter().copied()).chain(self.running_before());
        let members: Vec<Incarnation> = members.collect();
        for incarnation in members {
            self.withdraw(incarnation);
        }
    }

    /// Whether the last launch of a domain was withdrawn and still hangs: where.
    pub(in crate::isolation) fn hanging(&self, worker: WorkerId) -> Option<Failed> {
        let domain = self.registry[worker].domain;
        if let Some(opening) = self.opening(worker) {
            return Some(opening);
        }
        let withdrawn =
            self.underway.withdrawn.iter().find(|withdrawn| withdrawn.domain == domain)?;
        let stage = withdrawn.attempt.stage();
        let frozen = withdrawn.process_tree.frozen().filter(|_| stage == stages::CLONE);
        let subject = || self.subject(worker, stage);
        Some(frozen.unwrap_or_else(|| Failed { failure: late(stage), subject: subject() }))
    }

    /// A launch that was withdrawn is over. What came of it all the same is killed, and reaped with
    /// the orphans.
    fn forget_withdrawn(&mut self, attempt: &Arc<Attempt>, result: Result<Child>) {
        let position =
            self.underway.withdrawn.iter().position(|known| Arc::ptr_eq(&known.attempt, attempt));
        let Some(Withdrawn { domain, process_tree, .. }) =
            position.map(|position| self.underway.withdrawn.swap_remove(position))
        else {
            return;
        };
        if let Ok(child) = &result {
            persist::forget(&self.store, &self.domain_name(domain), child.pid);
            // What it may have started already is found when its process tree is looked at next.
            let _ = process_tree.kill(child);
            // Otherwise its exit would be reported when the machine no longer expects it.
            if reaper::has_exited(&child.pidfd) {
                reaper::discard(&child.pidfd);
            }
        }
        self.launch_deferred(domain);
    }

    /// What a launch into a domain waited for is over.
    pub(in crate::isolation) fn launch_deferred(&mut self, domain: DomainId) {
        let registry = &self.registry;
        let due = self
            .underway
            .deferred
            .extract_if(.., |deferred| registry[deferred.worker].domain == domain);
        for incarnation in due.collect::<Vec<_>>() {
            let is_again = self.registry[incarnation.worker].is_failing;
            self.launch(incarnation, is_again);
        }
    }

    /// Whether a launch has failed because its cell has ended meanwhile, which was not noticed yet:
    /// that is no failure of the worker.
    pub(in crate::isolation) fn is_lost_with_cell(
        &self,
        domain: DomainId,
        failed: &Failed,
    ) -> bool {
        let gone = [Errno::EPIPE, Errno::ECONNRESET].map(|errno| errno as i32);
        self.registry[domain].capabilities.is_shared()
            && failed.failure.stage == stages::CELL
            && gone.contains(&failed.failure.errno)
    }

    /// Launches it once what is left of its cell is gone.
    pub(in crate::isolation) fn defer_until_gone(
        &mut self,
        domain: DomainId,
        incarnation: Incarnation,
    ) {
        self.underway.defer(incarnation);
        self.looks.soon(domain);
    }

    /// Whether a domain's process is being launched, and its notify socket, which has a
    /// message, has to wait.
    pub(in crate::isolation) fn defer_words(&mut self, domain: DomainId) -> bool {
        let Some(expected) = &mut self.registry[domain].expected else { return false };
        expected.has_spoken = true;
        true
    }
}

/// A launch that takes too long. That is counted once: as long as it hangs, further attempts are
/// not the worker's failure.
pub(in crate::isolation) const fn late(stage: LaunchStage) -> LaunchFailure {
    LaunchFailure { stage, errno: Errno::ETIMEDOUT as i32, transient: true, code: 0 }
}
