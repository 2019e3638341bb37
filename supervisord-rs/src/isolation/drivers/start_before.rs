//! `start_before:`: a command that runs to its end before each launch of a worker, with the
//! worker's surroundings and output, in its family. The loop does not wait for it: it is one of the
//! helpers, whose statuses the reaper of orphans leaves alone.

use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use supervision::{Incarnation, LaunchFailure, LaunchStage, Status};
use tokio::sync::oneshot;

use super::Drivers;
use super::launched::late;
use super::launching::Progress;
use crate::isolation::helper::{self, NotLaunched, Summons};
use crate::isolation::launch::exit_code;
use crate::isolation::surroundings::{Failed, Result};
use crate::record::words;

/// The machine limits a launch; this is only longer than any such limit.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// As a shell has it for one that was killed (128 + SIGKILL).
const KILLED: i32 = 137;

/// How far the command of an incarnation is.
#[derive(Debug)]
pub(super) struct Before {
    incarnation: Incarnation,
    /// Dropping it ends the command; `None`: it has ended well.
    runs: Option<oneshot::Sender<()>>,
}

/// A command that has begun, to be waited for beside the loop.
#[derive(Debug)]
pub struct StartBefore {
    incarnation: Incarnation,
    program: String,
    summons: Summons,
    cancelled: oneshot::Receiver<()>,
}

/// What came of it.
#[derive(Debug)]
pub struct BeforeEnded {
    incarnation: Incarnation,
    result: Result<()>,
}

impl StartBefore {
    /// Waits for its end, or until the launch is withdrawn, which kills it.
    pub async fn end(self) -> BeforeEnded {
        let Self { incarnation, program, summons, cancelled } = self;
        let result = tokio::select! {
            biased;
            _ = cancelled => Err(hangs(&program)),
            result = run(summons, &program) => result,
        };
        BeforeEnded { incarnation, result }
    }
}

impl BeforeEnded {
    /// Of whom.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Its worker was asked to stop meanwhile, and is not started however it ended.
    #[must_use]
    pub fn for_nothing(self) -> Self {
        let message = "not started: asked to stop while its `start_before:` command ran";
        let result = self.result.and_then(|()| Err(failed(0, 0, true, message.to_owned())));
        Self { result, ..self }
    }
}

async fn run(summons: Summons, program: &str) -> Result<()> {
    let helper = summons.arrive(FOR_EVER).await.map_err(not_launched)?;
    let status = helper.wait(FOR_EVER).await.unwrap_or(Status::Unknown);
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
    failed(exit_code(failure), failure.errno, failure.transient, message)
}

fn hangs(program: &str) -> Failed {
    let message = format!(
        "its `start_before:` command `{program}` had not ended in time and was killed; its time is \
         `ready: {{ timeout: }}`, and after an order to stop `stop: {{ timeout: }}`"
    );
    failed(KILLED, Errno::ETIMEDOUT as i32, false, message)
}

fn failed(code: i32, errno: i32, transient: bool, subject: String) -> Failed {
    let failure = LaunchFailure { stage: LaunchStage::StartBefore { code }, errno, transient };
    Failed { failure, subject: Some(subject) }
}

impl Drivers {
    /// Starts the command of an incarnation that is to be launched. `None`: it has none, or its
    /// command has ended well.
    pub(super) fn begin_before(&mut self, incarnation: Incarnation) -> Result<Option<Progress>> {
        let worker = incarnation.worker;
        let launch = Arc::clone(&self.launches[worker.index()]);
        let Some(argv) = &launch.start_before else { return Ok(None) };
        let known = self.before.remove(&worker).filter(|known| known.incarnation == incarnation);
        if known.is_some_and(|known| known.runs.is_none()) {
            return Ok(None);
        }
        // What the kernel holds is one process of a worker at most.
        if helper::stuck(Some(worker)) > 0 {
            return Err(late(LaunchStage::StartBefore { code: KILLED }).into());
        }
        let outputs = self.outputs(worker, &launch)?;
        let program = argv.first().cloned().unwrap_or_default();
        let begun = self.helper_outfit(worker, argv, &[]).and_then(|mut outfit| {
            outfit.descriptors.clear();
            outfit.take_outputs(&launch, outputs)?;
            Ok(outfit)
        });
        let summons = self.summon(worker, program.clone(), begun).map_err(not_launched)?;
        let (runs, cancelled) = oneshot::channel();
        self.before.insert(worker, Before { incarnation, runs: Some(runs) });
        self.starts_before.push_back(StartBefore { incarnation, program, summons, cancelled });
        Ok(Some(Progress::OnItsWay))
    }

    /// A command that has begun; then [`go_on_after`](Self::go_on_after).
    pub fn next_start_before(&mut self) -> Option<StartBefore> {
        self.starts_before.pop_front()
    }

    /// The command has ended: the launch goes on, or has failed.
    pub fn go_on_after(&mut self, ended: BeforeEnded) {
        let BeforeEnded { incarnation, result } = ended;
        let worker = incarnation.worker;
        // One that was withdrawn is answered already.
        let Some(before) =
            self.before.get_mut(&worker).filter(|before| before.runs_of(incarnation))
        else {
            return;
        };
        before.runs = None;
        match result {
            Ok(()) => self.launch(incarnation, self.failing.contains(&worker)),
            Err(failed) => {
                self.before.remove(&worker);
                self.fail_launch(incarnation, failed);
            }
        }
    }

    /// Ends the command of an incarnation whose launch is withdrawn. False: none runs.
    pub(super) fn withdraw_before(&mut self, incarnation: Incarnation) -> bool {
        let worker = incarnation.worker;
        if !self.before.get(&worker).is_some_and(|before| before.runs_of(incarnation)) {
            return false;
        }
        self.before.remove(&worker);
        let argv = self.launches[worker.index()].start_before.as_ref();
        let program = argv.and_then(|argv| argv.first()).map_or("", String::as_str);
        let failed = hangs(program);
        self.fail_launch(incarnation, failed);
        true
    }

    /// Those whose command runs.
    pub(super) fn running_before(&self) -> impl Iterator<Item = Incarnation> {
        let running = self.before.values().filter(|before| before.runs.is_some());
        running.map(|before| before.incarnation)
    }
}

impl Before {
    fn runs_of(&self, incarnation: Incarnation) -> bool {
        self.incarnation == incarnation && self.runs.is_some()
    }
}
