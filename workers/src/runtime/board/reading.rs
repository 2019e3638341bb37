//! A copy of a board, validated: what is there is hostile input.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::life::{State, generation_of};
use super::words::run_of;
use super::{Board, LastWords, Sign, monotonic_ns};

impl Board {
    /// Reads everything, validated: whatever a hostile worker wrote, the result is well-formed.
    /// `None` when this is no board of our version.
    #[must_use]
    pub fn read(&self) -> Option<Reading> {
        if !self.is_known() {
            return None;
        }
        let last_words = LastWords::of(self.last_words.load(Ordering::Acquire));
        let life = self.life.load(Ordering::Acquire);
        let state = State::of(life)?;
        let [heartbeat_at, fault_at, last_words_at] =
            [&self.heartbeat_at, &self.fault_at, &self.last_words_at]
                .map(|time| time.load(Ordering::Acquire));
        let signs: Vec<Sign> = self
            .threads
            .iter()
            .map(|word| word.load(Ordering::Acquire))
            .filter(|word| *word != 0)
            .map(Sign::decode)
            .collect();
        let is_first_there = self.threads[0].load(Ordering::Acquire) != 0;
        // After all that is judged by it: a worker writes while it is read, and a sign that is
        // younger than this clock would look like one from the future, which is invalid.
        let now = monotonic_ns();
        let past = |at: u64| Some(at).filter(|&at| at != 0 && at <= now);
        let oldest = |is_waiting| {
            let signs = signs.iter().filter(|sign| sign.is_waiting == is_waiting);
            signs.map(|sign| past(sign.at).unwrap_or(0)).min()
        };
        Some(Reading {
            name: load_text(&self.name, &self.name_length),
            state,
            generation: generation_of(life),
            pid: self.pid.load(Ordering::Relaxed),
            tid: self.tid.load(Ordering::Relaxed),
            heartbeats: self.heartbeats.load(Ordering::Relaxed),
            heartbeat_at: past(heartbeat_at),
            progress: self.progress.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            working: oldest(false),
            waiting: oldest(true),
            silent: silent(&signs, is_first_there),
            breadcrumb: self.breadcrumb.load(Ordering::Relaxed),
            fault_pending: self.fault.load(Ordering::Relaxed) != 0,
            fault_at: past(fault_at),
            changed_signals: self.changed_signals.load(Ordering::Relaxed),
            last_words,
            signal: self.signal.load(Ordering::Relaxed),
            code: self.code.load(Ordering::Relaxed),
            address: self.address.load(Ordering::Relaxed),
            signal_tid: self.signal_tid.load(Ordering::Relaxed),
            last_words_at: past(last_words_at),
            text: load_text(&self.text, &self.text_length),
            left_by: run_of(self.left_by.load(Ordering::Acquire), generation_of(life)),
            status: load_text(&self.talk.status, &self.talk.status_length),
            is_reloading: self.talk.is_reloading(),
            heeds_reloads: self.talk.heeds_reloads(),
            extended_until: self.talk.extended_until(),
        })
    }
}

/// A context of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    /// That of the thread that runs it.
    First,
    /// Another: of a further thread, or a task.
    Other,
}

/// Which of several has been silent for the longest time: of those that work, if there are any;
/// those that wait answer when they are asked.
fn silent(signs: &[Sign], is_first_there: bool) -> Option<Silent> {
    let numbered = || signs.iter().enumerate();
    let oldest = |is_waiting| {
        let some = numbered().filter(|(_, sign)| sign.is_waiting == is_waiting);
        some.min_by_key(|(_, sign)| sign.at)
    };
    let (index, _) = oldest(false).or_else(|| oldest(true)).filter(|_| signs.len() > 1)?;
    Some(if index == 0 && is_first_there { Silent::First } else { Silent::Other })
}

/// A validated copy of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Who.
    pub name: String,
    /// See [`State`].
    pub state: State,
    /// Which run.
    pub generation: u64,
    /// As the worker claims.
    pub pid: i32,
    /// As the worker claims.
    pub tid: i32,
    /// Signs of life.
    pub heartbeats: u64,
    /// The last of them; `None` when it claims to be in the future.
    pub heartbeat_at: Option<u64>,
    /// Units of work done.
    pub progress: u64,
    /// Units of work begun and not done.
    pub in_flight: u64,
    /// Units of work that failed while the worker went on.
    pub failed: u64,
    /// The oldest last sign of life among its threads that work; `None`: there is none.
    pub working: Option<u64>,
    /// The same among those that answer when they are asked.
    pub waiting: Option<u64>,
    /// Where several contexts are watched: which of them gave its last sign of life first.
    pub silent: Option<Silent>,
    /// The last operation begun.
    pub breadcrumb: u32,
    /// Whether an injection was ordered and not begun.
    pub fault_pending: bool,
    /// When it was about to commit an injected fault.
    pub fault_at: Option<u64>,
    /// Signals of which its process has changed what they do, as bits from the lowest.
    pub changed_signals: u32,
    /// See [`LastWords`].
    pub last_words: LastWords,
    /// The fatal signal.
    pub signal: i32,
    /// Its `si_code`.
    pub code: i32,
    /// Its `si_addr`.
    pub address: u64,
    /// The thread that it hit.
    pub signal_tid: i32,
    /// When.
    pub last_words_at: Option<u64>,
    /// A panic message or an error.
    pub text: String,
    /// The last words, and the text, are those of a thread that this run left behind; it is the one
    /// that has the board if that is over, else an earlier one. `None`: they are of the run.
    pub left_by: Option<u64>,
    /// What it says of itself; empty: nothing.
    pub status: String,
    /// Whether it says that it is reloading.
    pub is_reloading: bool,
    /// Whether it asks for orders to reload.
    pub heeds_reloads: bool,
    /// Until when it asks for patience, in monotonic nanoseconds; 0: it does not.
    pub extended_until: u64,
}

impl Reading {
    /// Without what a thread has said that another run left behind.
    #[must_use]
    pub fn of_its_run(self) -> Self {
        if self.left_by.is_none() {
            return self;
        }
        Self { last_words: LastWords::None, signal: 0, text: String::new(), left_by: None, ..self }
    }
}

fn load_text(words: &[AtomicU64], length: &AtomicU32) -> String {
    let length = (length.load(Ordering::Acquire) as usize).min(words.len() * 8);
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}
