//! What follows when one dies that has a mutex, or writes under a lock.

use serde::{Deserialize, Serialize};

/// What follows when the owner of a [`Mutex`](super::Mutex) or the writer of a
/// [`RwLock`](super::RwLock) dies, or unwinds within a change: `on_owner_death:` of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOwnerDeath {
    /// The next one learns of it, by [`Locked::OwnerDied`](super::Locked::OwnerDied), and mends the
    /// data.
    #[default]
    Repair,
    /// All get [`Error::Poisoned`](super::Error::Poisoned) from then on.
    Poison,
    /// The next one gets it as if nothing had been: for data that any state is right for.
    Continue,
    /// All get [`Error::UsersRestart`](super::Error::UsersRestart), and the supervisor restarts
    /// every worker that uses it.
    RestartUsers,
}

impl OnOwnerDeath {
    /// As the header of a segment has it, and `supervisord_rs.h`.
    pub(super) const fn word(self) -> u64 {
        match self {
            Self::Repair => 0,
            Self::Poison => 1,
            Self::Continue => 2,
            Self::RestartUsers => 3,
        }
    }

    /// Of one that was written over: the users are told.
    pub(super) const fn of_word(word: u64) -> Self {
        match word {
            1 => Self::Poison,
            2 => Self::Continue,
            3 => Self::RestartUsers,
            _ => Self::Repair,
        }
    }
}
