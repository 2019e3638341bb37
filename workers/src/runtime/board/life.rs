//! The word that says whose board it is, and what has become of that one: the generation, and its
//! state in the lowest byte. It is changed by compare-exchange alone, so that a thread that was
//! left behind changes nothing of its successor, and no late word hides an end.

/// The state of the worker, as far as the host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// No incarnation has used this board yet.
    Empty = 0,
    /// The host has begun to run the worker.
    Launched = 1,
    /// The worker has reported that it is ready.
    Ready = 2,
    /// It returned `Ok`.
    Returned = 3,
    /// It returned an error; the text says which.
    Failed = 4,
    /// It panicked, and the panic was contained; the text is the message.
    Panicked = 5,
    /// The host does not know this worker, or could not read its `args`; the text says what.
    Unregistered = 6,
    /// The host could not create the thread, or set what it is scheduled by; the text says why.
    NotStarted = 7,
    /// It returned an error that no restart mends; the text says which.
    FailedForGood = 8,
}

/// The state takes the lowest byte.
const STATE_BITS: u32 = 8;

impl State {
    /// Of a word that anything may have written. `None`: there is no such state.
    pub(super) const fn of(life: u64) -> Option<Self> {
        Some(match life & ((1 << STATE_BITS) - 1) {
            0 => Self::Empty,
            1 => Self::Launched,
            2 => Self::Ready,
            3 => Self::Returned,
            4 => Self::Failed,
            5 => Self::Panicked,
            6 => Self::Unregistered,
            7 => Self::NotStarted,
            8 => Self::FailedForGood,
            _ => return None,
        })
    }

    /// Whether its run is over.
    pub(super) const fn is_end(self) -> bool {
        self.stage() == 3
    }

    /// How far it has come.
    const fn stage(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Launched => 1,
            Self::Ready => 2,
            Self::Returned
            | Self::Failed
            | Self::FailedForGood
            | Self::Panicked
            | Self::Unregistered
            | Self::NotStarted => 3,
        }
    }
}

pub(super) const fn life(generation: u64, state: State) -> u64 {
    generation << STATE_BITS | state as u64
}

pub(super) const fn generation_of(life: u64) -> u64 {
    life >> STATE_BITS
}

/// The word after this generation has come so far. `None`: it is not its board, or it has come as
/// far or further already; the first end is the end. Garbage gives way to anything.
pub(super) const fn advanced(now: u64, generation: u64, state: State) -> Option<u64> {
    let is_later = match State::of(now) {
        Some(earlier) => earlier.stage() < state.stage(),
        None => true,
    };
    if generation_of(now) == generation && is_later { Some(life(generation, state)) } else { None }
}
