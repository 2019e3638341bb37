//! A few low numbers of descriptors, reserved for what the next child of a thread gets.
//!
//! A child begins with a copy of our table of descriptors, and closes what it must not have: with
//! thousands of workers that was a quarter of all work. So the child shares our table at first
//! (`CLONE_FILES`, clone(2)), and then takes a copy of its low end alone (`CLOSE_RANGE_UNSHARE`,
//! close_range(2), Linux 5.9). What it gets has copies there.
#![expect(unsafe_code, reason = "nix owns the descriptor that dup3(2) replaces")]

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use supervision::LaunchFailure;

use super::{TARGETS, copy_above, failure};
use crate::stages;

/// Most workers get three descriptors, or five.
const SLOTS: usize = 12;
/// With fewer descriptors none are reserved.
const PLENTY: u64 = 1024;

/// Whether the kernel cannot do that, or a sandbox forbids it.
static IS_REFUSED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static WINDOW: RefCell<Option<Window>> = const { RefCell::new(None) };
}

/// The numbers that one thread has.
#[derive(Debug)]
pub(in crate::isolation) struct Window {
    /// Stands where nothing else does.
    nothing: OwnedFd,
    slots: Vec<OwnedFd>,
}

impl Window {
    /// Above the numbers that a child can be given. `None`: there are too few.
    pub(in crate::isolation) fn reserve(nothing: BorrowedFd<'_>) -> Option<Self> {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        if soft < PLENTY {
            return None;
        }
        let copy = || copy_above(nothing, TARGETS).ok();
        let slots: Option<Vec<OwnedFd>> = std::iter::repeat_with(copy).take(SLOTS).collect();
        Some(Self { nothing: copy()?, slots: slots? })
    }

    /// For the launches of this thread from now on.
    pub(in crate::isolation) fn install(self) {
        WINDOW.set(Some(self));
    }

    fn end(&self) -> RawFd {
        self.slots.iter().map(AsRawFd::as_raw_fd).max().unwrap_or(0) + 1
    }
}

/// Copies in the window of this thread, as long as the child may want them.
#[derive(Debug)]
pub(super) struct Shown {
    count: usize,
    /// The first number that the child does not want.
    pub(super) end: RawFd,
}

/// Has copies of these at low numbers, which stand in their places then. `None`: this thread has no
/// window, or it is too small, and the child gets a copy of the whole table.
///
/// # Errors
/// `Descriptors`, with what dup3(2) says.
pub(super) fn show(descriptors: &mut [(RawFd, RawFd)]) -> Result<Option<Shown>, LaunchFailure> {
    if IS_REFUSED.load(Ordering::Relaxed) {
        return Ok(None);
    }
    WINDOW.with_borrow(|window| {
        let Some(window) = window.as_ref().filter(|window| descriptors.len() <= window.slots.len())
        else {
            return Ok(None);
        };
        // Dropped on a failure.
        let mut shown = Shown { count: 0, end: window.end() };
        for ((source, _), slot) in descriptors.iter_mut().zip(&window.slots) {
            replace(slot, *source).map_err(|errno| failure(stages::DESCRIPTORS, errno))?;
            shown.count += 1;
            *source = slot.as_raw_fd();
        }
        Ok(Some(shown))
    })
}

/// From now on children get a copy of the whole table.
pub(super) fn refuse() {
    IS_REFUSED.store(true, Ordering::Relaxed);
}

impl Drop for Shown {
    fn drop(&mut self) {
        WINDOW.with_borrow(|window| {
            let Some(window) = window else { return };
            for slot in &window.slots[..self.count] {
                let _ = replace(slot, window.nothing.as_raw_fd());
            }
        });
    }
}

fn replace(slot: &OwnedFd, by: RawFd) -> nix::Result<()> {
    // SAFETY: `slot` stays an open descriptor that its owner alone closes; what it meant before has
    // no user any more. A number that is not open is refused.
    let result = unsafe { libc::dup3(by, slot.as_fd().as_raw_fd(), libc::O_CLOEXEC) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;
    use std::fs::{self, File};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::isolation::exits::reaper;
    use crate::isolation::launch::{Child, Plan};
    use crate::waiting::until;

    const PAUSE: Duration = Duration::from_millis(1);

    fn open_in(process: &str) -> BTreeSet<RawFd> {
        let entries = fs::read_dir(format!("/proc/{process}/fd")).expect("procfs");
        entries.flatten().filter_map(|one| one.file_name().to_str()?.parse().ok()).collect()
    }

    fn launch(extra: RawFd) -> Child {
        let null = || OwnedFd::from(File::open("/dev/null").expect("it is there"));
        let plan = Plan::new(OsStr::new("sleep"), &["sleep", "60"], OsStr::new("/bin:/usr/bin"));
        let plan = [0, 1, extra]
            .into_iter()
            .try_fold(plan.expect("plain words"), |plan, number| plan.give(null(), number));
        plan.and_then(Plan::launch).expect("it executes")
    }

    #[test]
    fn a_child_has_what_it_is_given_and_our_table_stays_as_it_is() {
        let work = || {
            let nothing = File::open("/dev/null").expect("it is there");
            // Far above the window.
            let _high = copy_above(nothing.as_fd(), 500).expect("there are so many");
            for has_window in [false, true] {
                if has_window {
                    Window::reserve(nothing.as_fd()).expect("there are so many").install();
                }
                for extra in [2, 7, TARGETS - 1] {
                    let child = launch(extra);
                    // While it loads its libraries it has one more.
                    let wanted = BTreeSet::from([0, 1, extra]);
                    let has = || (open_in(&child.pid.to_string()) == wanted).then_some(());
                    let is_exact = until(Duration::from_secs(60), PAUSE, has).is_some();
                    reaper::signal(&child, libc::SIGKILL).expect("it lives");
                    reaper::discard(&child.pidfd);
                    assert!(is_exact, "with a window: {has_window}, {wanted:?}");
                }
            }
            WINDOW.with_borrow(|window| {
                let window = window.as_ref().expect("installed");
                for slot in &window.slots {
                    let link = format!("/proc/self/fd/{}", slot.as_raw_fd());
                    assert_eq!(fs::read_link(link).expect("open").to_str(), Some("/dev/null"));
                }
            });
        };
        // A thread that stays until its children have ended.
        thread::spawn(work).join().expect("no assertion failed");
        assert!(!IS_REFUSED.load(Ordering::Relaxed), "the kernel can do it");
    }
}
