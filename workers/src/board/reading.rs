//! A copy of a board, validated: what is there is hostile input.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::life::{State, generation_of};
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
            working: oldest(false),
            waiting: oldest(true),
            breadcrumb: self.breadcrumb.load(Ordering::Relaxed),
            fault_pending: self.fault.load(Ordering::Relaxed) != 0,
            fault_at: past(fault_at),
            last_words,
            signal: self.signal.load(Ordering::Relaxed),
            code: self.code.load(Ordering::Relaxed),
            address: self.address.load(Ordering::Relaxed),
            signal_tid: self.signal_tid.load(Ordering::Relaxed),
            last_words_at: past(last_words_at),
            text: load_text(&self.text, &self.text_length),
        })
    }
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
    /// The oldest last sign of life among its threads that work; `None`: there is none.
    pub working: Option<u64>,
    /// The same among those that wait inside the SDK.
    pub waiting: Option<u64>,
    /// The last operation begun.
    pub breadcrumb: u32,
    /// Whether an injection was ordered and not begun.
    pub fault_pending: bool,
    /// When it was about to commit an injected fault.
    pub fault_at: Option<u64>,
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
}

fn load_text(words: &[AtomicU64], length: &AtomicU32) -> String {
    let length = (length.load(Ordering::Acquire) as usize).min(words.len() * 8);
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}
