//! A descriptor that is kept for a client: where a worker's thread has taken all that the process
//! may have, the order to stop it still comes through.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

/// It is there, or a client has its place.
pub(super) struct Spare(Option<OwnedFd>);

impl Spare {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Takes a place, if there is one and none is kept: a copy of any descriptor does.
    pub(super) fn keep(&mut self, any: &impl AsFd) {
        if self.0.is_none() {
            self.0 = any.as_fd().try_clone_to_owned().ok();
        }
    }

    /// Gives the place up where one is missing. Returns whether to try again: no other thread of
    /// this process is kept from being faster.
    pub(super) fn give_up(&mut self, error: &io::Error) -> bool {
        let errno = error.raw_os_error().map(Errno::from_raw);
        matches!(errno, Some(Errno::EMFILE | Errno::ENFILE)) && self.0.take().is_some()
    }
}
