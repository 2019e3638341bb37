//! One captured stream: the output from its pipe goes to its target, as bytes where no lines are
//! needed.

mod run;
mod writing;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{pipe2, read};
use workers::runtime::board::monotonic_ns;

use super::leftover::Leftover;
use super::line::{Form, Formatter};
use super::pipe::{other_end, waiting};
use super::staging_pipe::{CHUNK, StagingPipe};
use super::target::{Target, Targets};
use super::watched::Watched;
use super::{Notice, StreamPlan, lock};
use crate::record::black_box::Losses;
use crate::record::echo::Echo;
use crate::service_manager::FdStore;
use crate::stable_hash::stable_hash;
pub(super) use run::Run;
use run::{Recent, last_of};

/// Pieces before another stream gets its turn.
const ROUNDS: usize = 64;
/// How long more is waited for where much has come, in milliseconds.
const MOMENT_MS: u8 = 1;
/// Bytes of the end that are kept for incidents.
const RECENT: usize = 4096;
/// Bytes of the end of a file that has them with a form, and those of other streams between them.
const FORMED: usize = 16 * RECENT;
/// Last lines that an incident shows.
const LAST_LINES: usize = 10;

/// What a stream's target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    File,
    /// Whole lines, since others write there too.
    Terminal,
    Journal,
    Syslog,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) worker: String,
    /// It stands for the stream in the black box.
    number: u64,
    output: Output,
    target: Arc<Target>,
    ours: OwnedFd,
    theirs: OwnedFd,
    /// Bytes taken out of the pipe; locked for the taking itself, so that a count and the pipe
    /// agree.
    taken: Mutex<u64>,
    /// Where the present incarnation's part begins; it has no end yet.
    run: Mutex<Run>,
    /// Held by the thread that carries.
    carrier: Mutex<Carrier>,
    /// The last bytes that were taken. Beside the carrier, which a thread that hangs keeps locked.
    recent: Mutex<Recent>,
    watched: Mutex<Option<Watched>>,
    form: Form,
    changes_lines: bool,
    echo: Option<Echo>,
    /// When its output began to be carried, or to wait for its turn, in monotonic nanoseconds; 0:
    /// neither.
    pub(super) busy_since: AtomicU64,
    pub(super) said_stalled: AtomicBool,
    /// What was dropped.
    pub(super) losses: Losses,
}

/// What a predecessor had of a stream.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The reading end of its pipe.
    pub(super) pipe: Option<OwnedFd>,
    /// What it had taken out of it and not written.
    pub(super) leftovers: Vec<Leftover>,
}

/// What those who carry a stream do for it.
pub(super) trait Upkeep {
    /// All targets.
    fn targets(&self) -> &Targets;
    /// Where pipes are kept for a successor.
    fn store(&self) -> &FdStore;
    /// Something for the loop to learn.
    fn tell(&self, notice: Notice);
    /// So many bytes have gone into a file.
    fn wrote(&self, bytes: usize);
    /// A file was rotated: what that left to do.
    fn after_rotation(&self, target: &Arc<Target>);
}

/// What only the thread that carries knows.
#[derive(Debug)]
struct Carrier {
    format: Formatter,
    in_trouble: bool,
    lost_in_trouble: u64,
    /// What a predecessor had taken out of the pipe and not written.
    leftovers: Vec<Leftover>,
}

impl Stream {
    pub(super) fn new(
        plan: &StreamPlan,
        output: Output,
        target: Arc<Target>,
        echo: Option<Echo>,
        past: Past,
        losses: Losses,
    ) -> nix::Result<Self> {
        let Past { pipe, leftovers } = past;
        let (ours, theirs) = match pipe {
            Some(ours) => {
                let theirs = other_end(&ours)?;
                (ours, theirs)
            }
            None => pipe2(OFlag::O_CLOEXEC)?,
        };
        // Only our end: the two ends are separate open file descriptions, and the worker expects a
        // blocking one.
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let by_line = output != Output::File;
        let form = Form::new(&plan.worker, plan.stream, plan.line);
        if !leftovers.is_empty() {
            target.unfinished.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Self {
            worker: plan.worker.clone(),
            number: number(&plan.name),
            changes_lines: plan.line.changes_lines() || by_line,
            output,
            target,
            ours,
            theirs,
            taken: Mutex::new(0),
            run: Mutex::new(Run {
                before: losses.carried().load(Ordering::Relaxed),
                ..Run::default()
            }),
            carrier: Mutex::new(Carrier {
                format: Formatter::new(form.clone(), by_line),
                in_trouble: false,
                lost_in_trouble: 0,
                leftovers,
            }),
            recent: Mutex::default(),
            watched: Mutex::new(None),
            form,
            echo,
            busy_since: AtomicU64::new(0),
            said_stalled: AtomicBool::new(false),
            losses,
        })
    }

    pub(super) fn pipe(&self) -> &OwnedFd {
        &self.ours
    }

    pub(super) fn writer(&self) -> io::Result<OwnedFd> {
        self.theirs.try_clone()
    }

    /// Where it goes now.
    pub(super) fn target(&self) -> Arc<Target> {
        self.target.resolved()
    }

    pub(super) fn target_name(&self) -> String {
        match self.output {
            Output::File => self.target().path().display().to_string(),
            Output::Terminal => "the terminal".into(),
            Output::Journal => "journald".into(),
            Output::Syslog => "syslog".into(),
        }
    }

    pub(super) fn watch_for(&self, pattern: regex::bytes::Regex, token: u64) {
        let taken = lock(&self.taken);
        let from = *taken + waiting(&self.ours);
        *lock(&self.watched) = Some(Watched::new(pattern, token, from));
    }

    /// Another incarnation writes to it from now on.
    pub(super) fn begin_run(&self) {
        let taken = lock(&self.taken);
        let from = *taken + waiting(&self.ours);
        *lock(&self.run) = Run { from, ..Run::default() };
        self.losses.carried().store(0, Ordering::Relaxed);
    }

    /// What the present incarnation has written up to now.
    pub(super) fn run(&self) -> Run {
        let taken = lock(&self.taken);
        Run { to: *taken + waiting(&self.ours), ..*lock(&self.run) }
    }

    /// Another thread has its target now.
    pub(super) fn begin_to_wait(&self) {
        let _ = self.busy_since.compare_exchange(
            0,
            monotonic_ns().max(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Whether it has something of a predecessor that comes before everything else in its file.
    pub(super) fn is_unfinished(&self) -> bool {
        self.carrier.try_lock().is_ok_and(|carrier| !carrier.leftovers.is_empty())
    }

    /// Carries what is there, at most so much that others get their turn. The caller has the
    /// target's turn. How many bytes; 0 where more are left than that.
    pub(super) fn carry(
        &self,
        target: &Arc<Target>,
        upkeep: &dyn Upkeep,
        staging: &mut StagingPipe,
    ) -> usize {
        let mut carrier = lock(&self.carrier);
        self.busy_since.store(monotonic_ns().max(1), Ordering::Relaxed);
        let (mut carried, mut is_empty) = (0, false);
        // Reads nothing before its target is known.
        if upkeep.targets().settle(target) {
            if !carrier.leftovers.is_empty() {
                self.carry_leftovers(&mut carrier, target, staging, upkeep);
            }
            for _ in 0..ROUNDS {
                let count = self.carry_piece(&self.ours, &mut carrier, target, staging, upkeep);
                if count == 0 {
                    is_empty = true;
                    break;
                }
                carried += count;
            }
        }
        self.busy_since.store(0, Ordering::Relaxed);
        self.said_stalled.store(false, Ordering::Relaxed);
        if is_empty { carried } else { 0 }
    }

    /// Whether more comes within a moment.
    pub(super) fn has_more_soon(&self) -> bool {
        let mut polled = [PollFd::new(self.ours.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, MOMENT_MS).is_ok_and(|ready| ready > 0)
    }

    /// What a predecessor had taken and not written, or not wholly. First of all: it was written
    /// first.
    fn carry_leftovers(
        &self,
        carrier: &mut Carrier,
        target: &Arc<Target>,
        staging: &mut StagingPipe,
        upkeep: &dyn Upkeep,
    ) {
        for mut leftover in std::mem::take(&mut carrier.leftovers) {
            if let Some(file) = target.file.as_ref().filter(|_| self.output == Output::File) {
                let completed = leftover.complete(&mut lock(file));
                if let Err((lost, error)) = completed {
                    self.account(carrier, lost, Some(error), upkeep);
                }
            }
            // It reads the rest as it would have from the worker's pipe.
            while waiting(&leftover.pipe) > 0
                && self.carry_piece(&leftover.pipe, carrier, target, staging, upkeep) > 0
            {
            }
            leftover.forget(upkeep.store());
        }
        self.target.unfinished.fetch_sub(1, Ordering::SeqCst);
    }

    /// Takes what is in a pipe, and writes it. How many bytes; 0: there is nothing.
    fn carry_piece(
        &self,
        from: &OwnedFd,
        carrier: &mut Carrier,
        target: &Arc<Target>,
        staging: &mut StagingPipe,
        upkeep: &dyn Upkeep,
    ) -> usize {
        let mut taken = lock(&self.taken);
        let mut start = *taken;
        // What a predecessor had taken is not counted again.
        let is_own = std::ptr::eq(from, &self.ours);
        let count = if staging.can_hold() {
            staging.take(from, self.number)
        } else {
            read(from, &mut staging.buffer).unwrap_or(0)
        };
        if is_own {
            *taken += count as u64;
            let run = *lock(&self.run);
            let carried = run.before + taken.saturating_sub(run.from);
            self.losses.carried().store(carried, Ordering::Relaxed);
        }
        drop(taken);
        let mut rest = count;
        while rest > 0 {
            let (seen, is_held) =
                if staging.can_hold() { staging.look(rest) } else { (count, false) };
            if seen == 0 {
                break;
            }
            // The buffer is put back below: what is written from it is written by these very hands.
            let buffer = std::mem::take(&mut staging.buffer);
            self.show(&buffer[..seen], start, is_own, upkeep);
            self.put(carrier, target, &buffer[..seen], is_held.then_some(rest), staging, upkeep);
            staging.buffer = buffer;
            rest -= seen;
            start += if is_own { seen as u64 } else { 0 };
        }
        count
    }

    /// To those who look at the output. `start`: how many bytes came before.
    fn show(&self, bytes: &[u8], start: u64, is_own: bool, upkeep: &dyn Upkeep) {
        let mut watched = lock(&self.watched);
        if let Some(token) = watched.as_mut().and_then(|watch| watch.look(bytes, start)) {
            *watched = None;
            upkeep.tell(Notice::Matched(token));
        }
        drop(watched);
        if let Some(echo) = &self.echo {
            echo.show(&self.worker, bytes);
        }
        lock(&self.recent).add(bytes, start, is_own);
    }

    /// Drops what is in the pipe, since its target hangs. How many bytes.
    pub(super) fn discard(&self) -> u64 {
        let Ok(mut taken) = self.taken.try_lock() else { return 0 };
        let mut buffer = vec![0; CHUNK];
        let mut dropped = 0;
        while let Ok(count) = read(&self.ours, &mut buffer) {
            if count == 0 {
                break;
            }
            dropped += count as u64;
        }
        *taken += dropped;
        self.losses.lost().fetch_add(dropped, Ordering::Relaxed);
        self.losses.unmarked().fetch_add(dropped, Ordering::Relaxed);
        dropped
    }

    /// The last lines that a run wrote, as text. `target`: the file may be looked at, since the
    /// caller has its turn.
    pub(super) fn last_lines(&self, run: Run, target: Option<&Target>) -> Vec<String> {
        let taken = *lock(&self.taken);
        let lines = last_of(lock(&self.recent).of(run));
        let file =
            target.and_then(|target| target.file.as_ref()).filter(|_| self.output == Output::File);
        match (file, run.in_file(taken)) {
            // A predecessor took what is in none of our memory.
            (Some(file), Some(own)) if lines.len() < LAST_LINES => {
                // Lines with a form are longer there.
                let most = if self.changes_lines { FORMED } else { own };
                last_of(&self.form.written(&lock(file).end(most), own))
            }
            _ => lines,
        }
    }
}

/// A number that stands for a stream, by its name: never 0.
pub(super) fn number(name: &str) -> u64 {
    stable_hash(name.bytes())
}
