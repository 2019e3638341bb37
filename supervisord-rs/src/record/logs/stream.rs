//! One captured stream: what comes out of its pipe goes to its sink, as bytes where nobody has to look at lines.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};
use workers::board::monotonic_ns;

use super::file::LogFile;
use super::hands::{CHUNK, Hands, Leftover};
use super::line::Formatter;
use super::pipe::{drain, other_end, waiting};
use super::pool::Pool;
use super::turn::Turn;
use super::watched::Watched;
use super::{Notice, StreamPlan, journal, lock, syslog};
use crate::record::black_box::Losses;
use crate::record::scribe::Echo;
use crate::record::stable_hash::stable_hash;

/// Pieces before another stream gets its turn.
const ROUNDS: usize = 64;
/// Bytes of the end that are kept for incidents, where they are in no file.
const RECENT: usize = 4096;
/// Last lines that an incident shows.
const LAST_LINES: usize = 10;

/// Where a stream goes.
#[derive(Clone, Debug)]
pub(super) enum Output {
    File(Arc<Mutex<LogFile>>),
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
    /// Held by the thread that carries, where others go to the same place.
    pub(super) turn: Arc<Turn>,
    ours: OwnedFd,
    theirs: OwnedFd,
    /// Bytes taken out of the pipe; locked for the taking itself, so that a count and the pipe agree.
    taken: Mutex<u64>,
    /// Held by the thread that carries.
    carrier: Mutex<Carrier>,
    watched: Mutex<Option<Watched>>,
    looks_at_lines: bool,
    echo: Option<Echo>,
    /// When its output began to be carried, or to wait for its turn, in monotonic nanoseconds; 0: neither.
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
    pub(super) leftover: Option<Leftover>,
}

/// What only the thread that carries knows.
#[derive(Debug)]
struct Carrier {
    format: Formatter,
    recent: Vec<u8>,
    in_trouble: bool,
    lost_in_trouble: u64,
    /// What a predecessor had taken out of the pipe and not written.
    leftover: Option<Leftover>,
}

impl Stream {
    pub(super) fn new(
        plan: &StreamPlan,
        output: Output,
        turn: Arc<Turn>,
        echo: Option<Echo>,
        past: Past,
        losses: Losses,
    ) -> nix::Result<Self> {
        let Past { pipe, leftover } = past;
        let (ours, theirs) = match pipe {
            Some(ours) => {
                let theirs = other_end(&ours)?;
                (ours, theirs)
            }
            None => pipe2(OFlag::O_CLOEXEC)?,
        };
        // Only our end: the two ends are separate open file descriptions, and the worker expects a blocking one.
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let is_file = matches!(output, Output::File(_));
        Ok(Self {
            worker: plan.worker.clone(),
            number: number(&plan.name),
            looks_at_lines: plan.line.changes_lines() || !is_file || echo.is_some(),
            output,
            turn,
            ours,
            theirs,
            taken: Mutex::new(0),
            carrier: Mutex::new(Carrier {
                format: Formatter::new(&plan.worker, plan.stream, plan.line, !is_file),
                recent: Vec::new(),
                in_trouble: false,
                lost_in_trouble: 0,
                leftover,
            }),
            watched: Mutex::new(None),
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

    pub(super) fn target(&self) -> String {
        match &self.output {
            Output::File(file) => match file.try_lock() {
                Ok(file) => file.path().display().to_string(),
                Err(_) => "its file".into(),
            },
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

    /// Its target is somebody else's now.
    pub(super) fn begin_to_wait(&self) {
        let _ =
            self.busy_since.compare_exchange(0, monotonic_ns().max(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Carries what is there, at most so much that others get their turn. The caller has the stream's turn.
    pub(super) fn carry(&self, pool: &Arc<Pool>, hands: &mut Hands) {
        let mut carrier = lock(&self.carrier);
        self.busy_since.store(monotonic_ns().max(1), Ordering::Relaxed);
        if let Some(leftover) = carrier.leftover.take() {
            self.carry_leftover(&mut carrier, &leftover, pool);
        }
        for _ in 0..ROUNDS {
            let looks = self.looks_at_lines || lock(&self.watched).is_some();
            let carried = match &self.output {
                Output::File(file) if !looks && hands.can_hold() => {
                    self.splice(&mut carrier, file, hands, pool)
                }
                Output::File(_) | Output::Terminal | Output::Journal | Output::Syslog => {
                    self.copy(&mut carrier, hands, pool)
                }
            };
            if carried == 0 {
                break;
            }
        }
        self.busy_since.store(0, Ordering::Relaxed);
        self.said_stalled.store(false, Ordering::Relaxed);
    }

    /// What a predecessor had taken and not written, or not wholly. First of all: it was written first.
    fn carry_leftover(&self, carrier: &mut Carrier, leftover: &Leftover, pool: &Arc<Pool>) {
        if let (Output::File(file), Some((place, length))) = (&self.output, leftover.place) {
            let mut held = lock(file);
            if matches!(held.length(), Ok(Some(now)) if now >= place.saturating_add(length)) {
                pool.store().forget(&leftover.name);
                return;
            }
            let _ = held.cut(place);
        }
        if let (Output::File(file), false) = (&self.output, self.looks_at_lines) {
            // As it is, and each byte either there or here.
            let mut held = lock(file);
            while let count @ 1.. = usize::try_from(waiting(&leftover.pipe)).unwrap_or(0) {
                if !matches!(held.splice(&leftover.pipe, count), Ok(1..)) {
                    break;
                }
            }
        }
        let Ok(bytes) = drain(&leftover.pipe) else { return };
        let text = carrier.format.feed(&bytes);
        self.put(carrier, &text, None, pool);
        pool.store().forget(&leftover.name);
    }

    /// From pipe to file without passing through our memory. How many bytes; 0: there is nothing.
    fn splice(
        &self,
        carrier: &mut Carrier,
        file: &Arc<Mutex<LogFile>>,
        hands: &mut Hands,
        pool: &Arc<Pool>,
    ) -> usize {
        let mut taken = lock(&self.taken);
        let count = hands.take(&self.ours, self.number);
        *taken += count as u64;
        drop(taken);
        if count == 0 {
            return 0;
        }
        let mut held = self.present(file, pool);
        let mut rest = count;
        let mut failed = self.mark(&mut held).err();
        while rest > 0 && failed.is_none() {
            match self.move_piece(&mut held, hands, rest) {
                Ok(0) => break,
                Ok(done) => rest -= done,
                Err(error) => failed = Some(error),
            }
            self.rotate(file, &mut held, pool);
        }
        pool.wrote(count - rest);
        // What the file did not take is dropped: the hands must be empty for the next.
        hands.empty(rest);
        self.account(carrier, rest, failed, pool);
        count
    }

    /// Moves as much of `rest` bytes as belongs into this file. It is looked at only where a file ends.
    fn move_piece(&self, file: &mut LogFile, hands: &mut Hands, rest: usize) -> io::Result<usize> {
        // Opens it, so that it is known how long it is.
        file.length()?;
        let is_due = file.is_due_within(rest);
        if !is_due {
            let moved = hands.held().map_or(Ok(0), |held| file.splice(held, rest));
            if !moved.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
                return moved;
            }
            // Not everything takes bytes from a pipe (splice(2)): some devices want them from memory.
        }
        let (seen, is_held) = hands.look(rest);
        if is_due && is_held {
            let share = file.share(&hands.buffer[..seen]);
            return hands.held().map_or(Ok(0), |held| file.splice(held, share));
        }
        let written = file.write(&hands.buffer[..seen]);
        if is_held && written.is_ok() {
            hands.empty(seen);
        }
        written.map(|()| seen)
    }

    /// Through our memory, since lines are looked at. How many bytes; 0: there is nothing.
    fn copy(&self, carrier: &mut Carrier, hands: &mut Hands, pool: &Arc<Pool>) -> usize {
        let mut taken = lock(&self.taken);
        let mut start = *taken;
        let count = if hands.can_hold() {
            hands.take(&self.ours, self.number)
        } else {
            read(&self.ours, &mut hands.buffer).unwrap_or(0)
        };
        *taken += count as u64;
        drop(taken);
        if !hands.can_hold() {
            self.take_in(carrier, hands, count, start, false, pool);
            return count;
        }
        let mut rest = count;
        while rest > 0 {
            let (seen, is_held) = hands.look(rest);
            if seen == 0 {
                break;
            }
            self.take_in(carrier, hands, seen, start, is_held, pool);
            rest -= seen;
            start += seen as u64;
        }
        count
    }

    /// What is in the buffer: looked at, made to lines, and written. `start`: how many bytes came before.
    fn take_in(
        &self,
        carrier: &mut Carrier,
        hands: &Hands,
        count: usize,
        start: u64,
        is_held: bool,
        pool: &Arc<Pool>,
    ) {
        let bytes = &hands.buffer[..count];
        if bytes.is_empty() {
            return;
        }
        let mut watched = lock(&self.watched);
        if let Some(token) = watched.as_mut().and_then(|watch| watch.look(bytes, start)) {
            *watched = None;
            pool.tell(Notice::Matched(token));
        }
        drop(watched);
        if let Some(echo) = &self.echo {
            echo.show(&self.worker, bytes);
        }
        if !matches!(self.output, Output::File(_)) {
            carrier.recent.extend_from_slice(bytes);
            let excess = carrier.recent.len().saturating_sub(RECENT);
            carrier.recent.drain(..excess);
        }
        let text = carrier.format.feed(bytes);
        self.put(carrier, &text, is_held.then_some((hands, count)), pool);
    }

    /// The line that was not finished is written as it is: nobody will finish it.
    pub(super) fn finish(&self, pool: &Arc<Pool>) {
        let mut carrier = lock(&self.carrier);
        let text = carrier.format.finish();
        self.put(&mut carrier, &text, None, pool);
    }

    /// Writes text that was made of what is `held`, which is dropped when the text is written.
    fn put(&self, carrier: &mut Carrier, text: &[u8], held: Option<(&Hands, usize)>, pool: &Arc<Pool>) {
        let let_go = || {
            if let Some((hands, count)) = held {
                hands.empty(count);
            }
        };
        if text.is_empty() {
            let_go();
            return;
        }
        match &self.output {
            Output::File(file) => {
                let mut file_held = self.present(file, pool);
                // All of it into one file: its length tells a successor whether this was done.
                let written = self.mark(&mut file_held).and_then(|()| {
                    if let (Some((hands, _)), Some(place)) = (held, file_held.length()?) {
                        hands.begin_write(place, text.len() as u64);
                    }
                    file_held.write(text)
                });
                // Before anybody else writes to the file.
                let_go();
                let lost = if written.is_ok() { 0 } else { text.len() };
                pool.wrote(text.len() - lost);
                self.account(carrier, lost, written.err(), pool);
                self.rotate(file, &mut file_held, pool);
            }
            Output::Terminal => {
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(text).and_then(|()| stdout.flush());
                let_go();
                let lost = if written.is_ok() { 0 } else { text.len() };
                self.account(carrier, lost, written.err(), pool);
            }
            Output::Journal | Output::Syslog => {
                let send = if matches!(self.output, Output::Journal) { journal::send } else { syslog::send };
                let mut lost = 0;
                let mut failed = None;
                for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                    if let Err(error) = send(&self.worker, line) {
                        lost += line.len() + 1;
                        failed = Some(error);
                    }
                }
                let_go();
                self.account(carrier, lost, failed, pool);
            }
        }
    }

    /// Where something was dropped, the file says so.
    fn mark(&self, file: &mut LogFile) -> io::Result<()> {
        let lost = self.losses.unmarked().load(Ordering::Relaxed);
        if lost == 0 {
            return Ok(());
        }
        file.write(format!("\n[supervisord-rs: {lost} bytes of {} lost here]\n", self.worker).as_bytes())?;
        self.losses.unmarked().fetch_sub(lost, Ordering::Relaxed);
        Ok(())
    }

    fn account(&self, carrier: &mut Carrier, lost: usize, error: Option<io::Error>, pool: &Arc<Pool>) {
        let lost = lost as u64;
        self.losses.lost().fetch_add(lost, Ordering::Relaxed);
        self.losses.unmarked().fetch_add(lost, Ordering::Relaxed);
        carrier.lost_in_trouble += lost;
        let worker = self.worker.clone();
        match error {
            Some(error) if !carrier.in_trouble => {
                carrier.in_trouble = true;
                let target = self.target();
                pool.tell(Notice::Trouble { worker, target, error: error.to_string() });
            }
            None if carrier.in_trouble => {
                carrier.in_trouble = false;
                let lost = std::mem::take(&mut carrier.lost_in_trouble);
                pool.tell(Notice::Recovered { worker, target: self.target(), lost });
            }
            Some(_) | None => {}
        }
    }

    /// The file that what comes now belongs into: yesterday's is put aside before it gets today's first line.
    fn present<'a>(&self, file: &'a Arc<Mutex<LogFile>>, pool: &Arc<Pool>) -> MutexGuard<'a, LogFile> {
        let mut held = lock(file);
        if held.is_of_the_past() {
            self.rotate(file, &mut held, pool);
        }
        held
    }

    fn rotate(&self, file: &Arc<Mutex<LogFile>>, held: &mut LogFile, pool: &Arc<Pool>) {
        match held.rotate_if_due() {
            Ok(None) => {}
            Ok(Some(rotated)) => pool.after_rotation(file, rotated.to_compress),
            Err(error) => {
                let target = held.path().display().to_string();
                let error = format!("cannot rotate: {error}");
                pool.tell(Notice::Trouble { worker: self.worker.clone(), target, error });
            }
        }
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

    /// The last lines that were written, as text.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let bytes = match &self.output {
            Output::File(file) => lock(file).end(RECENT),
            Output::Terminal | Output::Journal | Output::Syslog => lock(&self.carrier).recent.clone(),
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

/// A number that stands for a stream, by its name: never 0.
pub(super) fn number(name: &str) -> u64 {
    stable_hash(name.bytes())
}
