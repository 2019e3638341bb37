//! A descriptor for the child.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{TARGETS, copy_above, failure};
use crate::stages;

/// `/dev/null`, above the numbers that a child can be given, for children that cannot open it
/// themselves.
static NOTHING: OnceLock<OwnedFd> = OnceLock::new();

/// See above.
#[derive(Debug)]
pub(super) enum Given {
    /// Closed when the child has it.
    Own(OwnedFd),
    /// Opened by the child itself: what it does to it (`O_NONBLOCK`, a lock) is to reach no other.
    Nothing(&'static OwnedFd),
}

impl Given {
    pub(super) fn nothing() -> Result<Self, LaunchFailure> {
        if let Some(nothing) = NOTHING.get() {
            return Ok(Self::Nothing(nothing));
        }
        let opened = File::open("/dev/null").map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw);
            failure(stages::DESCRIPTORS, errno)
        })?;
        match copy_above(opened.as_fd(), TARGETS) {
            Ok(high) => Ok(Self::Nothing(NOTHING.get_or_init(|| high))),
            // Our limit is as low as that.
            Err(_) => Ok(Self::Own(opened.into())),
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(own) => own.as_fd(),
            Self::Nothing(nothing) => nothing.as_fd(),
        }
    }

    pub(super) fn number(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
