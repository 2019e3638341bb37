//! Each descriptor under its number in the child, and none besides.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::isolation::launch::given::Given;
use crate::isolation::launch::{TARGETS, copy_above, failure, window};
use crate::stages;

const ABOUT: [About; 1] = [About { stage: stages::DESCRIPTORS, words }];

fn words(errno: Errno, _: &str) -> Words {
    let remedy = match errno {
        Errno::EBADF => ": its limit of open files is lower than the numbers that it gets",
        _ => "",
    };
    Words::Step("cannot hand over its file descriptors".into(), remedy.into())
}

/// See above.
#[derive(Debug, Default)]
pub(in crate::isolation::launch) struct Descriptors {
    /// By the numbers that they get, below [`TARGETS`].
    given: Vec<(Given, RawFd)>,
    /// What it keeps under its number, ascending, and above those. They stay open until then.
    passed: Vec<RawFd>,
    /// From our number to the child's, ascending by the child's.
    copies: Vec<(RawFd, RawFd)>,
    /// By bit: the child's numbers that are a `/dev/null` of its own.
    nothing: u64,
    /// Held as long as the child may want its copies.
    shown: Option<window::Shown>,
}

impl Descriptors {
    /// Gives the child one as its `target`.
    ///
    /// # Errors
    /// EINVAL when the number is too high or taken.
    pub(in crate::isolation::launch) fn give(
        &mut self,
        given: Given,
        target: RawFd,
    ) -> Result<(), LaunchFailure> {
        if target >= TARGETS || self.given.iter().any(|(_, taken)| *taken == target) {
            return Err(failure(stages::DESCRIPTORS, Errno::EINVAL));
        }
        self.given.push((given, target));
        Ok(())
    }

    /// The first number that is free in the child.
    pub(in crate::isolation::launch) fn next(&self) -> RawFd {
        (0..).find(|number| !self.given.iter().any(|(_, taken)| taken == number)).unwrap_or(0)
    }

    /// Leaves these to the child, under the numbers that they have here.
    pub(in crate::isolation::launch) fn pass(&mut self, descriptors: &[BorrowedFd<'_>]) {
        self.passed = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        self.passed.sort_unstable();
    }

    /// Puts them where the child finds them. The number up to which it takes a copy of our table;
    /// -1: it gets a copy of the whole.
    ///
    /// # Errors
    /// EMFILE or ENFILE.
    pub(in crate::isolation::launch) fn place(&mut self) -> Result<RawFd, LaunchFailure> {
        self.clear_targets()?;
        let numbers = self.given.iter().map(|(source, target)| (source.number(), *target));
        self.copies = numbers.collect();
        self.copies.sort_unstable_by_key(|(_, target)| *target);
        let nothing = self.given.iter().filter(|(given, _)| matches!(given, Given::Nothing(_)));
        self.nothing = nothing.fold(0, |bits, (_, target)| bits | 1 << target);
        self.shown = if self.passed.is_empty() { window::show(&mut self.copies)? } else { None };
        Ok(self.shown.as_ref().map_or(-1, |shown| shown.end))
    }

    /// Takes its copies away.
    pub(in crate::isolation::launch) fn unplace(&mut self) {
        self.shown = None;
    }

    /// Moves what we hold out of the way of the numbers that the child gets, so that none is
    /// overwritten before it is copied.
    fn clear_targets(&mut self) -> Result<(), LaunchFailure> {
        let above =
            self.given.iter().map(|(_, target)| target.saturating_add(1)).max().unwrap_or(0);
        for (source, _) in &mut self.given {
            if source.number() < above {
                *source = Given::Own(copy_above(source.as_fd(), above)?);
            }
        }
        Ok(())
    }
}

impl From<OwnedFd> for Given {
    fn from(own: OwnedFd) -> Self {
        Self::Own(own)
    }
}

impl Step for Descriptors {
    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        let mut next = 0;
        for &(source, target) in &self.copies {
            close(next, target - 1);
            next = target + 1;
            if self.nothing & 1 << target != 0 && open_nothing(target) {
                continue;
            }
            // SAFETY: dup2 is listed in signal-safety(7); the child's table of descriptors is its
            // own.
            check(stages::DESCRIPTORS, unsafe { libc::dup2(source, target) })?;
        }
        for &passed in &self.passed {
            close(next, passed - 1);
            // SAFETY: as above, for fcntl.
            check(stages::DESCRIPTORS, unsafe { libc::fcntl(passed, libc::F_SETFD, 0) })?;
            next = passed + 1;
        }
        close(next, c_int::MAX);
        Ok(())
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}

/// Opens `/dev/null` as this number, below which all is as it is to be. False: it is not as it
/// usually is, or out of reach of this user.
fn open_nothing(target: c_int) -> bool {
    let path = c"/dev/null".as_ptr();
    // SAFETY: stat, open, dup2 and close are listed in signal-safety(7); the path is a literal, the
    // pointer is to a local.
    unsafe {
        // Anything else may hold up who opens it.
        let mut found: libc::stat = std::mem::zeroed();
        let is_it = libc::stat(path, &raw mut found) == 0
            && found.st_mode & libc::S_IFMT == libc::S_IFCHR
            && found.st_rdev == libc::makedev(1, 3);
        if !is_it {
            return false;
        }
        // The lowest that is free is at most the one that is free now (open(2)).
        close(target, target);
        let opened = libc::open(path, libc::O_RDONLY);
        if opened < 0 || opened == target {
            return opened == target;
        }
        let is_there = libc::dup2(opened, target) == target;
        libc::close(opened);
        is_there
    }
}

/// Closes what is not the child's: copies of all that is open in us, and whatever a library opened
/// without close-on-exec. Fails before Linux 5.9: then they end at the exec, by our own discipline.
fn close(first: c_int, last: c_int) {
    if first <= last {
        // SAFETY: a bare system call; the child's table of descriptors is its own.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}
