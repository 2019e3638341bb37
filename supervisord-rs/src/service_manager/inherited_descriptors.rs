//! Descriptors that the service manager passes to a starting supervisor: those that its predecessor
//! had in the store, and sockets of socket units (sd_listen_fds(3)). Another process of
//! supervisord-rs passes a table of them instead.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::os::fd::{OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use workers::runtime::endowment::Endowment;

use super::names::unescape;
use super::table::{self, TABLE, TableError};

/// The first descriptor that is passed.
const FIRST: i32 = 3;

/// What was passed, and what came in another way since.
#[derive(Debug, Default)]
pub struct InheritedDescriptors {
    endowment: Endowment,
    /// The numbers that were passed.
    numbers: BTreeSet<RawFd>,
}

impl InheritedDescriptors {
    /// Takes the descriptors that were passed to this process; none when they were meant for
    /// another (`LISTEN_PID`). Call it once, before any descriptor is opened or closed.
    ///
    /// # Errors
    /// The table of them is forged or torn. Nothing is taken then.
    pub fn take() -> Result<Self, TableError> {
        let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
        let mut inherited = Self::default();
        if number("LISTEN_PID") != i32::try_from(std::process::id()).ok() {
            return Ok(inherited);
        }
        let tabled = std::env::var(TABLE).ok().map(from_table).transpose()?.unwrap_or_default();
        let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, highest().max(FIRST) + 1 - FIRST);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for descriptor in FIRST..FIRST + count {
            inherited.take_one(descriptor, names.next().map(unescape).unwrap_or_default());
        }
        for (descriptor, name) in tabled {
            inherited.take_one(descriptor, name);
        }
        Ok(inherited)
    }

    fn take_one(&mut self, number: RawFd, name: String) {
        if self.numbers.insert(number)
            && let Some(descriptor) = inherited(number)
        {
            self.add(name, descriptor);
        }
    }

    /// Whether a number belongs to a passed descriptor.
    #[must_use]
    pub fn covers(&self, number: i32) -> bool {
        self.numbers.contains(&number)
    }
}

impl Deref for InheritedDescriptors {
    type Target = Endowment;

    fn deref(&self) -> &Endowment {
        &self.endowment
    }
}

impl DerefMut for InheritedDescriptors {
    fn deref_mut(&mut self) -> &mut Endowment {
        &mut self.endowment
    }
}

/// What the table under this number names, all of which must be there.
fn from_table(number: String) -> Result<Vec<(RawFd, String)>, TableError> {
    let table = number.parse().ok().filter(|number| *number >= FIRST).and_then(inherited);
    let entries = table::read(table.ok_or(TableError::Nowhere(number))?)?;
    match entries.iter().find(|(number, _)| !is_open(*number)) {
        None => Ok(entries),
        Some((number, name)) => Err(TableError::Closed { number: *number, name: name.clone() }),
    }
}

/// The highest number that is open in this process (proc_pid_fd(5)); without procfs, one that most
/// limits allow.
fn highest() -> RawFd {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.max().unwrap_or(1 << 20)
}

#[expect(unsafe_code, reason = "inherited descriptors come as numbers")]
fn is_open(number: RawFd) -> bool {
    // SAFETY: needed because inheritance has no other form. The call has no memory effects, and
    // only asks.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// The inherited descriptor with a number.
fn inherited(number: RawFd) -> Option<OwnedFd> {
    if !is_open(number) {
        return None;
    }
    #[expect(unsafe_code, reason = "inherited descriptors come as numbers")]
    // SAFETY: needed because inheritance has no other form. The number was passed to this process
    // (LISTEN_PID), is open, nothing has been opened or closed since (the caller of `take` ensures
    // it), and the caller takes each once.
    let descriptor = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) };
    let _ = fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    Some(descriptor)
}
