//! Who ends in order. A datagram says so too (`STOPPING=1`), but a guardian that does not run takes
//! none, and a full queue loses it: then an end that was wanted would count as a death. So it also
//! stands in a page that the guardian shares with its supervisors, which has room at any time.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// The name of the page among what the supervisor inherits.
pub const ORDERLY_END: &str = "orderly-end";
/// The bytes of a PID.
const LENGTH: usize = 4;

/// The guardian's page: the PID of the supervisor that ends in order, or 0.
#[derive(Debug)]
pub(super) struct OrderlyEnd(File);

impl OrderlyEnd {
    pub(super) fn new() -> io::Result<Self> {
        let page = File::from(memfd_create(c"orderly-end", MFdFlags::MFD_CLOEXEC)?);
        // Memory that is there cannot be refused later.
        page.write_all_at(&[0; LENGTH], 0)?;
        Ok(Self(page))
    }

    pub(super) fn page(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Another supervisor is started: it may have the PID of an earlier one. Where a limit on the
    /// size of files forbids the write, that is so unlikely that the guardian goes on.
    pub(super) fn reset(&self) {
        let _ = self.0.write_all_at(&[0; LENGTH], 0);
    }

    /// Whether this supervisor has said that it ends in order.
    pub(super) fn is_of(&self, pid: i32) -> bool {
        let mut bytes = [0; LENGTH];
        self.0.read_exact_at(&mut bytes, 0).is_ok() && i32::from_ne_bytes(bytes) == pid
    }
}

/// Says in the guardian's page that this process ends in order. Never waits.
///
/// # Errors
/// What pwrite(2) says.
pub fn announce(page: &File) -> io::Result<()> {
    page.write_all_at(&std::process::id().to_ne_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ends_in_order_is_known_until_another_supervisor_is_started() {
        let end = OrderlyEnd::new().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!end.is_of(own));
        announce(&end.0).unwrap();
        assert!(end.is_of(own) && !end.is_of(own + 1));
        end.reset();
        assert!(!end.is_of(own));
    }
}
