//! From bytes that were taken to their target: as they are or as lines, in pieces where a file
//! ends, marked where something was lost, counted where it cannot be written.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Carrier, Output, Stream, Upkeep};
use crate::record::logs::file::LogFile;
use crate::record::logs::staging_pipe::StagingPipe;
use crate::record::logs::target::Target;
use crate::record::logs::{Notice, journal, lock, syslog};
use crate::record::patient::Unwritten;

/// The bytes that a piece of output is made of, as far as they are in the hands still.
#[derive(Clone, Copy)]
struct Held {
    /// All that is in the hands.
    all: usize,
    /// What this piece is made of.
    covered: usize,
}

impl Stream {
    /// Writes bytes as they are, or the lines that they make. `held`: how many bytes are in the
    /// hands, if these are.
    pub(super) fn put(
        &self,
        carrier: &mut Carrier,
        target: &Arc<Target>,
        bytes: &[u8],
        held: Option<usize>,
        staging: &mut StagingPipe,
        upkeep: &dyn Upkeep,
    ) {
        if !self.changes_lines {
            return self.append_as_it_is(carrier, target, bytes, held, staging, upkeep);
        }
        let text = carrier.format.feed(bytes);
        let held = held.map(|all| Held { all, covered: bytes.len() });
        if text.is_empty() {
            // It waits for the end of its line.
            held.into_iter().for_each(|held| staging.empty(held.covered));
            return;
        }
        match self.output {
            // All of it into one file, so that a successor finds it there.
            Output::File => {
                if let Some(file) = &target.file {
                    drop(self.present(file, target, upkeep));
                }
                self.append(carrier, target, &text, held, Some(staging), upkeep);
            }
            Output::Terminal | Output::Journal | Output::Syslog => {
                self.say(carrier, target, &text, upkeep);
                held.into_iter().for_each(|held| staging.empty(held.covered));
            }
        }
    }

    /// In pieces where a file ends, so that the next one begins with a line.
    fn append_as_it_is(
        &self,
        carrier: &mut Carrier,
        target: &Arc<Target>,
        bytes: &[u8],
        held: Option<usize>,
        staging: &mut StagingPipe,
        upkeep: &dyn Upkeep,
    ) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let share = |file| self.present(file, target, upkeep).share(rest).max(1);
            let share = target.file.as_ref().map_or(rest.len(), share);
            let done = bytes.len() - rest.len();
            let held = held.map(|all| Held { all: all - done, covered: share });
            self.append(carrier, target, &rest[..share], held, Some(staging), upkeep);
            rest = &rest[share..];
        }
    }

    /// The file for new output: yesterday's is rotated before it gets today's first line.
    fn present<'a>(
        &self,
        file: &'a Mutex<LogFile>,
        target: &Arc<Target>,
        upkeep: &dyn Upkeep,
    ) -> MutexGuard<'a, LogFile> {
        let mut held = lock(file);
        held.look();
        if held.is_of_the_past() {
            self.rotate(target, &mut held, upkeep);
            held.look();
        }
        held
    }

    /// Appends a text to the file. What it is made of is dropped from the hands then: it is
    /// written, or cannot be.
    fn append(
        &self,
        carrier: &mut Carrier,
        target: &Arc<Target>,
        text: &[u8],
        held: Option<Held>,
        mut staging: Option<&mut StagingPipe>,
        upkeep: &dyn Upkeep,
    ) {
        let Some(file) = &target.file else { return };
        let mut file = lock(file);
        let written = self
            .mark(&mut file)
            .map_err(|error| Unwritten { bytes: text.len(), error })
            .and_then(|()| {
                if let (Some(staging), Some(held), Ok(Some(place))) =
                    (&mut staging, held, file.length())
                {
                    let made = Some(text).filter(|_| self.changes_lines);
                    staging.begin_write(place, held.all, held.covered, made);
                }
                file.write(text)
            });
        if let (Some(staging), Some(held)) = (staging, held) {
            staging.empty(held.covered);
        }
        let (lost, error) = written.err().map_or((0, None), |it| (it.bytes, Some(it.error)));
        upkeep.wrote(text.len() - lost);
        self.account(carrier, lost as u64, error, upkeep);
        self.rotate(target, &mut file, upkeep);
    }

    /// Whole lines to those who collect them.
    fn say(&self, carrier: &mut Carrier, target: &Arc<Target>, text: &[u8], upkeep: &dyn Upkeep) {
        if let Some(file) = &target.file {
            let mut file = lock(file);
            file.look();
            let written = file.write(text);
            drop(file);
            let (lost, error) = written.err().map_or((0, None), |it| (it.bytes, Some(it.error)));
            return self.account(carrier, lost as u64, error, upkeep);
        }
        let send = if self.output == Output::Journal { journal::send } else { syslog::send };
        let mut lost = 0;
        let mut failed = None;
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            if let Err(error) = send(&self.worker, line) {
                lost += line.len() as u64 + 1;
                failed = Some(error);
            }
        }
        self.account(carrier, lost, failed, upkeep);
    }

    /// Writes the unfinished line as it is, since it will not be finished. The caller has the
    /// target's turn.
    pub(in crate::record::logs) fn finish(&self, target: &Arc<Target>, upkeep: &dyn Upkeep) {
        let mut carrier = lock(&self.carrier);
        let text = carrier.format.finish();
        if text.is_empty() {
            return;
        }
        match self.output {
            Output::File => {
                if let Some(file) = &target.file {
                    drop(self.present(file, target, upkeep));
                }
                self.append(&mut carrier, target, &text, None, None, upkeep);
            }
            Output::Terminal | Output::Journal | Output::Syslog => {
                self.say(&mut carrier, target, &text, upkeep)
            }
        }
    }

    /// Where something was dropped, the file says so.
    fn mark(&self, file: &mut LogFile) -> io::Result<()> {
        let lost = self.losses.unmarked().load(Ordering::Relaxed);
        if lost == 0 {
            return Ok(());
        }
        let mark = format!("\n[supervisord-rs: {lost} bytes of {} lost here]\n", self.worker);
        file.write(mark.as_bytes()).map_err(|unwritten| unwritten.error)?;
        self.losses.unmarked().fetch_sub(lost, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn account(
        &self,
        carrier: &mut Carrier,
        lost: u64,
        error: Option<io::Error>,
        upkeep: &dyn Upkeep,
    ) {
        self.losses.lost().fetch_add(lost, Ordering::Relaxed);
        self.losses.unmarked().fetch_add(lost, Ordering::Relaxed);
        carrier.lost_in_trouble += lost;
        let worker = self.worker.clone();
        match error {
            Some(error) if !carrier.in_trouble => {
                carrier.in_trouble = true;
                let target = self.target_name();
                upkeep.tell(Notice::Trouble { worker, target, error: error.to_string() });
            }
            None if carrier.in_trouble => {
                carrier.in_trouble = false;
                let lost = std::mem::take(&mut carrier.lost_in_trouble);
                upkeep.tell(Notice::Recovered { worker, target: self.target_name(), lost });
            }
            Some(_) | None => {}
        }
    }

    fn rotate(&self, target: &Arc<Target>, held: &mut LogFile, upkeep: &dyn Upkeep) {
        if !held.is_due_within(0) {
            return;
        }
        let named = lock(&target.naming);
        let result = held.rotate_if_due();
        drop(named);
        match result {
            Ok(false) => {}
            Ok(true) => {
                upkeep.targets().settle_rotated(target, held);
                upkeep.after_rotation(target);
            }
            Err(error) => {
                let target = held.path().display().to_string();
                let error = format!("cannot rotate: {error}");
                upkeep.tell(Notice::Trouble { worker: self.worker.clone(), target, error });
            }
        }
    }
}
