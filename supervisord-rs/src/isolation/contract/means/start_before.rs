//! `start_before:`: a command that runs to its end before each launch of a worker, with the
//! worker's execution environment and output, in its process tree. The loop does not wait for it:
//! it is one of the helpers, whose statuses the reaper of orphans leaves alone.
//!
//! What it leaves behind ends with it, in whatever session that is: its process tree is cleared
//! away like that of a worker (`remains`), and the launch goes on when nothing is left.

use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use supervision::{Incarnation, LaunchFailure, Status, WorkerId};
use tokio::sync::oneshot;

use super::launched::late;
use super::{Means, Process};
use crate::isolation::before::{Before, Reins, State};
use crate::isolation::contract::Progress;
use crate::isolation::helper::{self, Helper, NotLaunched, Summons};
use crate::isolation::launch::Child;
use crate::isolation::launch::failed::{Failed, Result};
use crate::record::words;
use crate::stages;
use crate::waiting::{Limit, within};

/// The machine limits a launch; this is only longer than any such limit.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// For one that was killed to die. One that is stuck in the kernel is not waited for.
const TO_DIE: Duration = Duration::from_secs(1);
/// As a shell has it for one that was killed (128 + SIGKILL).
const KILLED: i32 = 137;

/// A command that has begun, to be waited for in the background.
#[derive(Debug)]
pub struct StartBefore {
    incarnation: Incarnation,
    program: String,
    summons: Summons,
    cancelled: oneshot::Receiver<()>,
    asked: oneshot::Receiver<()>,
    /// What asks it to stop: its worker's stop signal.
    signal: i32,
}

/// What came of it.
#[derive(Debug)]
pub struct BeforeEnded {
    incarnation: Incarnation,
    result: Result<()>,
    /// The process; `None`: there was none.
    helper: Option<Helper>,
    /// Whether it was asked to stop.
    was_asked: bool,
}

impl StartBefore {
    /// Waits for its end, or until the launch is withdrawn, which kills it. Asks it to stop when
    /// the loop says so.
    pub async fn end(self) -> BeforeEnded {
        let Self { incarnation, program, summons, mut cancelled, mut asked, signal } = self;
        let mut was_asked = false;
        let mut for_ever = Limit::new(FOR_EVER);
        let arrived = tokio::select! {
            biased;
            _ = &mut cancelled => Err(hangs(&program)),
            arrived = summons.arrive(&mut for_ever) => arrived.map_err(not_launched),
        };
        let helper = match arrived {
            Ok(helper) => helper,
            Err(failed) => {
                return BeforeEnded { incarnation, result: Err(failed), helper: None, was_asked };
            }
        };
        let result = loop {
            tokio::select! {
                biased;
                _ = &mut cancelled => {
                    helper.kill();
                    let _ = within(&mut Limit::new(TO_DIE), helper.end()).await;
                    break Err(hangs(&program));
                }
                _ = &mut asked, if !was_asked => {
                    was_asked = true;
                    helper.signal(signal);
                }
                status = helper.end() => {
                    break judged(status.unwrap_or(Status::Unknown), &program);
                }
            }
        };
        BeforeEnded { incarnation, result, helper: Some(helper), was_asked }
    }
}

impl BeforeEnded {
    /// Of whom.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether it was asked to stop: however it ended, that is no failure.
    #[must_use]
    pub const fn was_asked(&self) -> bool {
        self.was_asked
    }

    /// Its worker was asked to stop meanwhile, and is not started however it ended.
    #[must_use]
    pub fn for_nothing(self) -> Self {
        let message = "not started: asked to stop while its `start_before:` command ran";
        Self { result: Err(failed(0, 0, true, message.to_owned())), ..self }
    }
}

fn judged(status: Status, program: &str) -> Result<()> {
    let code = match status {
        Status::Exited(0) => return Ok(()),
        Status::Exited(code) => code,
        Status::Signaled { signal, .. } => 128 + signal,
        Status::Returned
        | Status::Failed
        | Status::Panicked
        | Status::Abandoned
        | Status::NotLaunched(_)
        | Status::Unknown => 126,
    };
    let how = words::status(status);
    let message =
        format!("its `start_before:` command `{program}` ended with {how}; its last lines say why");
    Err(failed(code, 0, false, message))
}

fn not_launched(failure: NotLaunched) -> Failed {
    let NotLaunched { failure, message } = failure;
    let message = format!("its `start_before:` command could not be started: {message}");
    failed(words::exit_code(failure), failure.errno, failure.transient, message)
}

fn hangs(program: &str) -> Failed {
    let message = format!(
        "its `start_before:` command `{program}` had not ended in time and was killed; its time is \
         `ready: {{ timeout: }}`, and after an order to stop `stop: {{ timeout: }}`"
    );
    failed(KILLED, Errno::ETIMEDOUT as i32, false, message)
}

fn failed(code: i32, errno: i32, transient: bool, subject: String) -> Failed {
    let failure = LaunchFailure { stage: stages::START_BEFORE, errno, transient, code };
    Failed { failure, subject: Some(subject) }
}

impl Means {
    /// Starts the command of an incarnation that is to be launched. `None`: it has none, or its
    /// command has ended well.
    pub(in crate::isolation) fn begin_before(
        &mut self,
        incarnation: Incarnation,
    ) -> Result<Option<Progress>> {
        let worker = incarnation.worker;
        let launch = Arc::clone(&self.registry[worker].launch);
        let Some(argv) = &launch.start_before else { return Ok(None) };
        let known = self.registry[worker].before.take_if(|known| known.incarnation == incarnation);
        if let Some(Before { state: State::Ended(result), .. }) = known {
            return result.map(|()| None);
        }
        // What the kernel holds is one process of a worker at most.
        if helper::stuck(Some(worker)) > 0 {
            return Err(LaunchFailure { code: KILLED, ..late(stages::START_BEFORE) }.into());
        }
        let outputs = self.outputs(worker, &launch)?;
        let program = argv.first().cloned().unwrap_or_default();
        let begun = self.helper_outfit(worker, argv, &[]).and_then(|mut outfit| {
            outfit.descriptors.clear();
            outfit.take_outputs(&launch, outputs)?;
            Ok(outfit)
        });
        let summons = self.summon(worker, None, program.clone(), begun).map_err(not_launched)?;
        let ((kill, cancelled), (ask, asked)) = (oneshot::channel(), oneshot::channel());
        let state = State::Runs(Reins { ask: Some(ask), kill });
        self.registry[worker].before = Some(Before { incarnation, state });
        let signal = launch.stop.signal;
        let begun = StartBefore { incarnation, program, summons, cancelled, asked, signal };
        self.news.starts_before.push_back(begun);
        Ok(Some(Progress::OnItsWay))
    }

    /// The command has ended: the launch goes on, or has failed, as soon as nothing is left of it.
    pub(in crate::isolation) fn go_on_after(&mut self, ended: BeforeEnded) {
        let BeforeEnded { incarnation, result, helper, .. } = ended;
        let worker = incarnation.worker;
        let known = self.registry[worker].before.as_mut();
        if let Some(before) = known.filter(|before| before.incarnation == incarnation) {
            if before.runs() {
                before.state = State::Ended(result);
                self.underway.defer(incarnation);
            } else {
                // One that was withdrawn is answered already.
                self.registry[worker].before = None;
            }
        }
        self.clear_away(worker, helper.and_then(Helper::let_go));
    }

    /// Ends what a command that has ended left behind; then the launch that waits for that goes on.
    fn clear_away(&mut self, worker: WorkerId, command: Option<Child>) {
        let domain = self.registry[worker].domain;
        let process_tree = self.registry[domain].process_tree.clone();
        if let Some((command, process_tree)) = command.zip(process_tree)
            && self.give_process(domain, Process::Command(command), process_tree).is_ok()
            && let Some(resident) = &mut self.registry[domain].resident
        {
            resident.is_killed = true;
            self.reap(domain);
        } else {
            self.launch_deferred(domain);
        }
    }

    /// Whether a command of a worker, or what that has left behind, has not ended yet: the next
    /// launch waits.
    pub(in crate::isolation) fn is_being_cleared(&self, worker: WorkerId) -> bool {
        let domain = &self.registry.home(worker);
        let capabilities = domain.capabilities;
        let ends = |before: &Before| matches!(before.state, State::Ends);
        self.registry[worker].before.as_ref().is_some_and(ends)
            || (capabilities.is_alone() && domain.resident.is_some())
            // Whatever is launched in there would be killed with it.
            || (capabilities.is_shared() && self.is_dying(self.registry[worker].domain))
    }

    /// Asks the command of an incarnation to stop; a second time, nothing happens.
    pub(in crate::isolation) fn ask_before(&mut self, incarnation: Incarnation) {
        if let Some(Before { state: State::Runs(reins), .. }) = self.registry[incarnation.worker]
            .before
            .as_mut()
            .filter(|known| known.runs_of(incarnation))
            && let Some(ask) = reins.ask.take()
        {
            // One that has ended meanwhile needs no order.
            let _ = ask.send(());
        }
    }

    /// Ends the command of an incarnation whose launch is withdrawn. False: none runs.
    pub(in crate::isolation) fn withdraw_before(&mut self, incarnation: Incarnation) -> bool {
        let worker = incarnation.worker;
        let known = self.registry[worker].before.as_mut();
        let Some(before) = known.filter(|before| before.runs_of(incarnation)) else {
            return false;
        };
        before.state = State::Ends;
        let argv = self.registry[worker].launch.start_before.as_ref();
        let program = argv.and_then(|argv| argv.first()).map_or("", String::as_str);
        let failed = hangs(program);
        self.fail_launch(incarnation, failed);
        true
    }

    /// Why the command of an incarnation failed whose launch is withdrawn before it could be told.
    pub(in crate::isolation) fn failed_before(
        &mut self,
        incarnation: Incarnation,
    ) -> Option<Failed> {
        let known = self.registry[incarnation.worker].before.as_ref()?;
        match &known.state {
            State::Ended(result) if known.incarnation == incarnation => result.clone().err(),
            State::Ended(_) | State::Runs(_) | State::Ends => None,
        }
    }

    /// Those whose command runs.
    pub(in crate::isolation) fn running_before(&self) -> impl Iterator<Item = Incarnation> {
        let running = self
            .registry
            .slots()
            .filter_map(|slot| slot.before.as_ref())
            .filter(|before| before.runs());
        running.map(|before| before.incarnation)
    }
}
