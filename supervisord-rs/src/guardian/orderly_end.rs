//! Who ends in order, and when the supervisor last gave a sign of life. Datagrams report both too
//! (`STOPPING=1`, `WATCHDOG=1`), but a guardian that does not run takes none, and a full queue
//! loses them: then an orderly end would count as a death, and a healthy supervisor would be ended.
//! So both also stand in a page that the guardian shares with its supervisors: it always has room.
//!
//! | bytes | content |
//! |---|---|
//! | 0 to 3 | the PID of the supervisor that ends in order, or 0 |
//! | 4 | 1: the guardian's terminal has closed, unseen by a supervisor in its own session |
//! | 8 to 15 | the last sign of life: the PID above its time in milliseconds, or 0 |
//!
//! An earlier release has a page of the first four bytes alone: its guardian ignores the rest, and
//! its supervisor leaves the sign at 0.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// The name of the page among what the supervisor inherits.
pub const ORDERLY_END: &str = "orderly-end";
/// The bytes of a PID.
const LENGTH: usize = 4;
/// Where the byte is that tells of the closed terminal.
const CLOSED: u64 = 4;
/// Where the sign of life stands.
const SIGN: u64 = 8;
/// The bytes of the page.
const PAGE: usize = 16;
/// The bits of its time; those of a PID (`PID_MAX_LIMIT`, at most 22) are above. One word has both,
/// so that the sign of a predecessor cannot count for its successor.
const TIME_BITS: u32 = 42;
/// How far ahead a sign may hold.
const AHEAD: Duration = Duration::from_secs(60);

/// The guardian's page.
#[derive(Debug)]
pub(super) struct OrderlyEnd(File);

impl OrderlyEnd {
    pub(super) fn new() -> io::Result<Self> {
        let page = File::from(memfd_create(c"orderly-end", MFdFlags::MFD_CLOEXEC)?);
        // Memory that is there cannot be refused later.
        page.write_all_at(&[0; PAGE], 0)?;
        Ok(Self(page))
    }

    pub(super) fn page(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Another supervisor is started: it may have the PID of an earlier one. Where a limit on the
    /// size of files forbids the write, that is so unlikely that the guardian goes on.
    pub(super) fn reset(&self) {
        let _ = self.0.write_all_at(&[0; LENGTH], 0);
        let _ = self.0.write_all_at(&[0; 8], SIGN);
    }

    /// Says that the order to end which follows comes from a terminal that has closed. Where a
    /// limit on the size of files forbids the write, only a line of the log is less exact.
    pub(super) fn say_terminal_has_closed(&self) {
        let _ = self.0.write_all_at(&[1], CLOSED);
    }

    /// Whether this supervisor has said that it ends in order.
    pub(super) fn is_of(&self, pid: i32) -> bool {
        let mut bytes = [0; LENGTH];
        self.0.read_exact_at(&mut bytes, 0).is_ok() && i32::from_ne_bytes(bytes) == pid
    }

    /// When this supervisor last gave a sign of life, by `CLOCK_MONOTONIC`; ahead of `now` where
    /// its last steps may take until then.
    pub(super) fn last_sign(&self, pid: i32, now: Duration) -> Option<Duration> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, SIGN).ok()?;
        let word = u64::from_ne_bytes(bytes);
        let at = Duration::from_millis(word & ((1 << TIME_BITS) - 1));
        let is_its = u64::try_from(pid).is_ok_and(|pid| word >> TIME_BITS == pid);
        (is_its && at <= now.saturating_add(AHEAD)).then_some(at)
    }
}

/// Says in the guardian's page that this process ends in order. Never waits.
///
/// # Errors
/// What pwrite(2) says.
pub fn announce(page: &File) -> io::Result<()> {
    page.write_all_at(&std::process::id().to_ne_bytes(), 0)
}

/// Writes a sign of life of this process into the guardian's page, which holds at `at`
/// (`CLOCK_MONOTONIC`). Never waits.
///
/// # Errors
/// What pwrite(2) says.
pub fn give_sign(page: &File, at: Duration) -> io::Result<()> {
    let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX) & ((1 << TIME_BITS) - 1);
    let word = u64::from(std::process::id()) << TIME_BITS | millis;
    page.write_all_at(&word.to_ne_bytes(), SIGN)
}

/// Whether the guardian's terminal has closed.
#[must_use]
pub fn has_terminal_closed(page: &File) -> bool {
    let mut byte = [0];
    page.read_exact_at(&mut byte, CLOSED).is_ok() && byte == [1]
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
        assert!(!has_terminal_closed(&end.0));
        end.say_terminal_has_closed();
        assert!(end.is_of(own) && has_terminal_closed(&end.0));
        end.reset();
        assert!(!end.is_of(own));
    }

    #[test]
    fn a_sign_of_life_is_its_givers_and_none_is_far_ahead() {
        let page = OrderlyEnd::new().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let at = Duration::from_millis(86_400_123);
        assert_eq!(page.last_sign(own, at), None);
        give_sign(&page.0, at).unwrap();
        assert_eq!(page.last_sign(own, at), Some(at));
        assert_eq!(page.last_sign(own + 1, at), None);
        assert_eq!(page.last_sign(own, at - AHEAD), Some(at));
        assert_eq!(page.last_sign(own, Duration::ZERO), None);
        assert!(!page.is_of(own));
    }

    #[test]
    fn a_page_of_an_earlier_release_has_no_sign_and_takes_one() {
        let page = OrderlyEnd::new().unwrap();
        page.0.set_len(4).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(page.last_sign(own, Duration::MAX), None);
        give_sign(&page.0, Duration::from_secs(1)).unwrap();
        assert_eq!(page.last_sign(own, Duration::MAX), Some(Duration::from_secs(1)));
        assert!(!page.is_of(own));
    }
}
