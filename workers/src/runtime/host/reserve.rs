//! Descriptors that a host keeps for its next order: whatever its workers open, enough are left to
//! be told of another one, and to say on its board why it is refused.

use std::os::fd::{BorrowedFd, OwnedFd};

/// What an order brings as a rule, and a few besides.
const SIZE: usize = 8;

/// See above. Empty at first.
#[derive(Debug, Default)]
pub(super) struct Reserve(Vec<OwnedFd>);

impl Reserve {
    /// Gives them up, for an order that has come.
    pub(super) fn spend(&mut self) {
        self.0.clear();
    }

    /// Has them again, as copies of any descriptor. False: there are not so many.
    pub(super) fn restore(&mut self, any: BorrowedFd<'_>) -> bool {
        while self.0.len() < SIZE {
            match any.try_clone_to_owned() {
                Ok(copy) => self.0.push(copy),
                Err(_) => return false,
            }
        }
        true
    }
}
