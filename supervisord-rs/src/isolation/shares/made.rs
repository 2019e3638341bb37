//! What a resource consists of, and how it is called in the store.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use workers::shared::{Blueprint, Error, Kind, Named, QueueSize, Segment};

use crate::config::settings::{Carrier, LOCK_READERS, QUEUE_USERS, Resource, ResourceKind};

/// Begins their names in the store: `resource/IDENTITY/NAME`.
pub(super) const KEPT: &str = "resource/";

/// What one consists of.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) segment: &'static Segment,
    /// Of a queue that the kernel carries: to take from, and to send to. What has a name of POSIX.
    pub(super) ends: Vec<OwnedFd>,
}

impl Made {
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.segment.fd()).chain(self.ends.iter().map(AsFd::as_fd))
    }

    /// How many bytes it is too short: a user has done that.
    pub(super) fn cut_off(&self, resource: &Resource) -> u64 {
        let (Some(named), Some(end)) = (resource.named(), self.ends.first()) else { return 0 };
        if named.is_whole(end) {
            return 0;
        }
        let left = fstat(end).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        let had = match named {
            Named::Memory { size } => size as u64,
            // Of the C library: its words.
            Named::Semaphore { .. } | Named::Queue { .. } => left + 1,
        };
        had - left
    }
}

/// In the store. By its identity, another one of this name is another resource.
pub(super) fn kept_name(resource: &Resource) -> String {
    format!("{KEPT}{:016x}/{}", resource.identity(), resource.name)
}

/// Those of its ends.
pub(super) fn kept_ends(resource: &Resource, name: &str) -> impl Iterator<Item = String> {
    resource.ends().iter().map(move |end| format!("{name}/{end}"))
}

pub(super) fn blueprint(resource: &Resource) -> Blueprint {
    match resource.kind {
        ResourceKind::Queue { capacity, message, by } => {
            // What the kernel carries has no messages in it.
            let capacity = if by == Carrier::Ring { capacity } else { 1 };
            Blueprint::Queue(QueueSize { capacity, message, users: QUEUE_USERS })
        }
        ResourceKind::Semaphore { permits, .. } => Blueprint::Semaphore { permits },
        ResourceKind::Region { size, .. } => Blueprint::Region { size },
        ResourceKind::Mutex { .. } => Blueprint::Mutex,
        ResourceKind::Condition { .. } => Blueprint::Condition,
        ResourceKind::RwLock { .. } => Blueprint::RwLock { readers: LOCK_READERS },
        ResourceKind::Topic { message } => Blueprint::Topic { message },
    }
}

pub(super) const fn kind(resource: &Resource) -> Kind {
    match resource.kind {
        ResourceKind::Queue { .. } => Kind::Queue,
        ResourceKind::Semaphore { .. } => Kind::Semaphore,
        ResourceKind::Region { .. } => Kind::Region,
        ResourceKind::Mutex { .. } => Kind::Mutex,
        ResourceKind::Condition { .. } => Kind::Condition,
        ResourceKind::RwLock { .. } => Kind::RwLock,
        ResourceKind::Topic { .. } => Kind::Topic,
    }
}

pub(super) fn errno_of(error: &Error) -> Errno {
    let Error::System { source, .. } = error else { return Errno::EINVAL };
    source.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
}
