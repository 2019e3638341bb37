//! How a worker's last incarnation ended, in the words of its record: its message and all else that
//! two numbers in its checkpoint cannot hold. The accounts of all workers follow their pages.
#![expect(unsafe_code, reason = "a mapped page has no type")]

use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use supervision::Ending;
use workers::runtime::board::SIZE;

use super::bytes;
use crate::control::protocol::EndingReport;
use crate::record::checkpoint;

/// Bytes of one.
const ACCOUNT: usize = 1024;
/// So many in a page.
const EACH_PAGE: usize = SIZE / ACCOUNT;
/// Most bytes of its text.
const TEXT_MAX: usize = ACCOUNT - 24;

const _: () = assert!(size_of::<Account>() == ACCOUNT && SIZE.is_multiple_of(ACCOUNT));

/// The words, and the ending that they are about. A death while they are written leaves none.
#[repr(C)]
pub struct Account {
    /// Stored last; 0: there are none.
    length: AtomicU32,
    _padding: AtomicU32,
    /// The ending, as the checkpoint has it.
    about: [AtomicU64; 2],
    text: [AtomicU64; TEXT_MAX / 8],
}

impl Account {
    /// Writes down how it ended. A message is cut where there is no room for all of it.
    pub fn write(&self, ending: Ending, report: &EndingReport) {
        self.length.store(0, Ordering::SeqCst);
        let Some(text) = fitting(report) else { return };
        let (kind, value) = checkpoint::ending(ending);
        self.about[0].store(kind, Ordering::Relaxed);
        self.about[1].store(value, Ordering::Relaxed);
        let length = bytes::store(&self.text, &text);
        self.length.store(u32::try_from(length).unwrap_or(0), Ordering::SeqCst);
    }

    /// The words about this ending; `None` where there are none, or they make no sense.
    #[must_use]
    pub fn read(&self, ending: Ending) -> Option<EndingReport> {
        let length = usize::try_from(self.length.load(Ordering::SeqCst)).ok()?;
        let about = (self.about[0].load(Ordering::Relaxed), self.about[1].load(Ordering::Relaxed));
        if length == 0 || length > TEXT_MAX || about != checkpoint::ending(ending) {
            return None;
        }
        serde_json::from_slice(&bytes::load(&self.text, length)).ok()
    }
}

/// As JSON that has room.
fn fitting(report: &EndingReport) -> Option<Vec<u8>> {
    let mut report = report.clone();
    loop {
        let text = serde_json::to_vec(&report).ok()?;
        if text.len() <= TEXT_MAX {
            return Some(text);
        }
        // A character may take several bytes, and an escape six.
        let message = report.message.as_mut()?;
        let keep = message.chars().count().checked_sub((text.len() - TEXT_MAX).div_ceil(6))?;
        message.truncate(message.char_indices().nth(keep).map_or(0, |(at, _)| at));
    }
}

/// Pages for the accounts of so many workers.
pub(super) const fn pages(workers: usize) -> usize {
    workers.div_ceil(EACH_PAGE)
}

/// In which page after the first of the accounts that of a worker is.
pub(in crate::record) const fn page_of(worker: usize) -> usize {
    worker / EACH_PAGE
}

/// The account of a worker in its page.
pub(in crate::record) fn in_page<T>(page: &T, worker: usize) -> &Account {
    const { assert!(size_of::<T>() == SIZE && align_of::<T>() >= align_of::<Account>()) };
    let offset = worker % EACH_PAGE * ACCOUNT;
    // SAFETY: needed because a page has no type. The account lies within the page, its offset is a
    // multiple of its alignment, and every bit pattern is valid for atomics.
    unsafe { &*ptr::from_ref(page).byte_add(offset).cast::<Account>() }
}

#[cfg(test)]
mod tests {
    use supervision::{Cause, Status};

    use super::*;

    fn empty() -> Account {
        Account {
            length: AtomicU32::new(0),
            _padding: AtomicU32::new(0),
            about: [const { AtomicU64::new(0) }; 2],
            text: [const { AtomicU64::new(0) }; TEXT_MAX / 8],
        }
    }

    #[test]
    fn words_come_back_for_the_ending_that_they_are_about_and_no_other() {
        let account = empty();
        let exited = |code| Ending { status: Status::Exited(code), cause: Cause::Error };
        assert_eq!(account.read(exited(0)), None);
        for message in ["no room".to_owned(), "ä\u{1b}".repeat(400)] {
            let report = EndingReport {
                status: "exited".into(),
                message: Some(message.clone()),
                ..EndingReport::default()
            };
            account.write(exited(3), &report);
            let read = account.read(exited(3)).expect("it was written");
            assert_eq!(read.status, "exited");
            let kept = read.message.expect("some of it");
            assert!(message.starts_with(&kept) && kept.len() >= message.len().min(60), "{kept}");
            assert_eq!(account.read(exited(4)), None);
        }
    }
}
