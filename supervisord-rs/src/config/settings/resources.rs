//! What workers share, as the file defines it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use workers::shared::Named;
pub use workers::shared::{Carrier, OnOwnerDeath};

use workers::runtime::endowment::{OBJECT, POSIX};

use crate::stable_hash::stable_hash;

/// The most users of a queue at a time: each thread that has asked for it is one.
pub const QUEUE_USERS: usize = 1024;
/// The most readers of a lock at a time; further ones wait.
pub const LOCK_READERS: usize = 256;

/// An entry of `resources:`, as those that use it have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ResourceKind,
}

/// What a semaphore or a region is made by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mechanism {
    /// This product: `tracked`, `memfd`.
    #[default]
    Own,
    /// POSIX, under a name.
    Posix,
}

/// The kinds, each with what it is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// Messages, at least once in a ring, else at most once.
    Queue {
        /// Messages.
        capacity: usize,
        /// Bytes of the longest one.
        message: usize,
        /// What carries them.
        by: Carrier,
    },
    /// So many at a time.
    Semaphore {
        /// How many.
        permits: usize,
        /// What has them.
        by: Mechanism,
    },
    /// Memory.
    Region {
        /// Bytes.
        size: usize,
        /// The mutex or lock that its users agree on.
        guarded_by: Option<String>,
        /// What has the bytes.
        by: Mechanism,
    },
    /// One at a time.
    Mutex {
        /// What follows if that one dies.
        on_owner_death: OnOwnerDeath,
    },
    /// To wait for a change.
    Condition {
        /// Under which the change is made.
        mutex: String,
    },
    /// Many that read, or one that writes.
    RwLock {
        /// What follows if that one dies.
        on_owner_death: OnOwnerDeath,
    },
    /// The latest value.
    Topic {
        /// Bytes of the longest one.
        message: usize,
    },
}

impl Resource {
    /// Its kind, as it is written.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self.kind {
            ResourceKind::Queue { .. } => "queue",
            ResourceKind::Semaphore { .. } => "semaphore",
            ResourceKind::Region { .. } => "region",
            ResourceKind::Mutex { .. } => "mutex",
            ResourceKind::Condition { .. } => "condition",
            ResourceKind::RwLock { .. } => "rw-lock",
            ResourceKind::Topic { .. } => "topic",
        }
    }

    /// Whether and as what the kernel or the C library has it, and not the memory that this product
    /// lays out: as it is written.
    #[must_use]
    pub const fn by(&self) -> Option<&'static str> {
        match self.kind {
            ResourceKind::Queue { by: Carrier::Ring, .. } => None,
            ResourceKind::Queue { by, .. } => Some(by.word()),
            ResourceKind::Semaphore { by: Mechanism::Posix, .. }
            | ResourceKind::Region { by: Mechanism::Posix, .. } => Some(POSIX),
            ResourceKind::Semaphore { .. }
            | ResourceKind::Region { .. }
            | ResourceKind::Mutex { .. }
            | ResourceKind::Condition { .. }
            | ResourceKind::RwLock { .. }
            | ResourceKind::Topic { .. } => None,
        }
    }

    /// The names of its descriptors beside the first one.
    #[must_use]
    pub const fn ends(&self) -> &'static [&'static str] {
        match self.kind {
            ResourceKind::Queue { by: Carrier::Ring, .. } => &[],
            ResourceKind::Queue { .. } => &["take", "send"],
            ResourceKind::Semaphore { by: Mechanism::Posix, .. }
            | ResourceKind::Region { by: Mechanism::Posix, .. } => &[OBJECT],
            ResourceKind::Semaphore { .. }
            | ResourceKind::Region { .. }
            | ResourceKind::Mutex { .. }
            | ResourceKind::Condition { .. }
            | ResourceKind::RwLock { .. }
            | ResourceKind::Topic { .. } => &[],
        }
    }

    /// What of it has a name of POSIX.
    #[must_use]
    pub const fn named(&self) -> Option<Named> {
        match self.kind {
            ResourceKind::Queue { by: Carrier::Mqueue, capacity, message } => {
                Some(Named::Queue { capacity, message })
            }
            ResourceKind::Semaphore { by: Mechanism::Posix, permits } => {
                Some(Named::Semaphore { permits })
            }
            ResourceKind::Region { by: Mechanism::Posix, size, .. } => Some(Named::Memory { size }),
            ResourceKind::Queue { .. }
            | ResourceKind::Semaphore { .. }
            | ResourceKind::Region { .. }
            | ResourceKind::Mutex { .. }
            | ResourceKind::Condition { .. }
            | ResourceKind::RwLock { .. }
            | ResourceKind::Topic { .. } => None,
        }
    }

    /// What follows if one dies that has it alone; none for what has no such owner.
    #[must_use]
    pub const fn on_owner_death(&self) -> Option<OnOwnerDeath> {
        match self.kind {
            ResourceKind::Mutex { on_owner_death } | ResourceKind::RwLock { on_owner_death } => {
                Some(on_owner_death)
            }
            ResourceKind::Queue { .. }
            | ResourceKind::Semaphore { .. }
            | ResourceKind::Region { .. }
            | ResourceKind::Condition { .. }
            | ResourceKind::Topic { .. } => None,
        }
    }

    /// The other one that each of its users needs too.
    #[must_use]
    pub fn needs(&self) -> Option<&str> {
        match &self.kind {
            ResourceKind::Region { guarded_by, .. } => guarded_by.as_deref(),
            ResourceKind::Condition { mutex } => Some(mutex),
            ResourceKind::Queue { .. }
            | ResourceKind::Semaphore { .. }
            | ResourceKind::Mutex { .. }
            | ResourceKind::RwLock { .. }
            | ResourceKind::Topic { .. } => None,
        }
    }

    /// A number of its own for all memory that is made like it: one that is made otherwise is
    /// another resource, whatever its name. The store keeps it by this, so that each release knows
    /// those of the others.
    #[must_use]
    pub fn identity(&self) -> u64 {
        let numbers = match self.kind {
            ResourceKind::Queue { capacity, message, .. } => [capacity, message],
            ResourceKind::Semaphore { permits, .. } => [permits, 0],
            ResourceKind::Region { size, .. } => [size, 0],
            ResourceKind::Topic { message } => [message, 0],
            ResourceKind::Mutex { .. }
            | ResourceKind::Condition { .. }
            | ResourceKind::RwLock { .. } => [0, 0],
        };
        let [first, second] = numbers;
        let by = self.by().map(|by| format!(" {by}")).unwrap_or_default();
        stable_hash(format!("{} {first} {second}{by}", self.word()).bytes())
    }

    /// Bytes of memory that it may come to take, about.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match self.kind {
            ResourceKind::Queue { by: Carrier::Ring, capacity, message } => {
                capacity as u64 * (message as u64 + 64)
            }
            // The kernel bounds it.
            ResourceKind::Queue { .. } => 0,
            ResourceKind::Region { size, .. } => size as u64,
            ResourceKind::Topic { message } => 4 * message as u64,
            ResourceKind::Semaphore { .. }
            | ResourceKind::Mutex { .. }
            | ResourceKind::Condition { .. }
            | ResourceKind::RwLock { .. } => 0,
        }
    }
}

/// All of them; `None`: there is one, and something is wrong with it.
pub(in crate::config) type ResourcesByName = BTreeMap<String, Option<Arc<Resource>>>;

/// How far its users may be apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In one fault domain: one process.
    Process,
    /// On this machine.
    Machine,
}

impl fmt::Display for Scope {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Machine => "machine",
        })
    }
}

/// One of the file.
#[derive(Clone, Debug)]
pub struct Declared {
    /// What it is.
    pub resource: Arc<Resource>,
    /// As written, else the narrowest one that holds all its users.
    pub scope: Scope,
    /// Whether it is written, and binds those who move its users.
    pub is_scope_written: bool,
}
