//! Descriptors that the service manager passes to a starting supervisor: those that its predecessor
//! had in the store, and sockets of socket units (sd_listen_fds(3)).

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::names::unescape;
use super::table::{self, TABLE};

/// The first descriptor that is passed.
const FIRST: i32 = 3;

/// Descriptors by name. Dropping this closes those that were not claimed.
#[derive(Debug, Default)]
pub struct Heritage {
    descriptors: BTreeMap<String, Vec<OwnedFd>>,
    /// The numbers that were passed.
    numbers: BTreeSet<RawFd>,
}

impl Heritage {
    /// Takes the descriptors that were passed to this process; none when they were meant for
    /// another (`LISTEN_PID`). Call it once, before any descriptor is opened or closed.
    #[must_use]
    pub fn take() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
        let mut heritage = Self::default();
        if number("LISTEN_PID") != i32::try_from(std::process::id()).ok() {
            return heritage;
        }
        let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, i32::MAX - FIRST);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for descriptor in FIRST..FIRST + count {
            heritage.take_one(descriptor, names.next().map(unescape).unwrap_or_default());
        }
        // Another process of supervisord-rs passes a table instead, which has room for any number
        // of names.
        if let Some(table) = number(TABLE).filter(|table| *table > 2)
            && let Some(table) = inherited(table)
        {
            for (descriptor, name) in table::read(table) {
                heritage.take_one(descriptor, name);
            }
        }
        heritage
    }

    fn take_one(&mut self, number: RawFd, name: String) {
        if self.numbers.insert(number)
            && let Some(descriptor) = inherited(number)
        {
            self.add(name, descriptor);
        }
    }

    /// Adds descriptors that came in another way.
    pub fn add(&mut self, name: String, descriptor: OwnedFd) {
        self.descriptors.entry(name).or_default().push(descriptor);
    }

    /// Whether a number belongs to a passed descriptor.
    #[must_use]
    pub fn covers(&self, number: i32) -> bool {
        self.numbers.contains(&number)
    }

    /// Copies of all descriptors, by name: the content of the store.
    #[must_use]
    pub fn copies(&self) -> BTreeMap<String, Vec<OwnedFd>> {
        let copies =
            |list: &Vec<OwnedFd>| list.iter().filter_map(|one| one.try_clone().ok()).collect();
        self.descriptors.iter().map(|(name, list)| (name.clone(), copies(list))).collect()
    }

    /// The one with this name, which stays here.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<&OwnedFd> {
        self.descriptors.get(name)?.last()
    }

    /// The one with this name.
    pub fn claim(&mut self, name: &str) -> Option<OwnedFd> {
        let list = self.descriptors.get_mut(name)?;
        let claimed = list.pop();
        if list.is_empty() {
            self.descriptors.remove(name);
        }
        claimed
    }

    /// All whose names begin with this, each with the rest of its name.
    pub fn claim_all(&mut self, prefix: &str) -> Vec<(String, OwnedFd)> {
        let names: Vec<String> =
            self.descriptors.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        let mut claimed = Vec::new();
        for name in names {
            let list = self.descriptors.remove(&name).unwrap_or_default();
            claimed.extend(
                list.into_iter().map(|descriptor| (name[prefix.len()..].to_owned(), descriptor)),
            );
        }
        claimed
    }

    /// One for each name that begins with this and for which that is true.
    pub fn claim_some(
        &mut self,
        prefix: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<(String, OwnedFd)> {
        let is_wanted = |name: &&String| name.starts_with(prefix) && wanted(name);
        let names: Vec<String> = self.descriptors.keys().filter(is_wanted).cloned().collect();
        names.into_iter().filter_map(|name| Some((name.clone(), self.claim(&name)?))).collect()
    }

    /// The names of unclaimed descriptors.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<String> {
        self.descriptors.keys().cloned().collect()
    }
}

/// The inherited descriptor with a number.
fn inherited(number: RawFd) -> Option<OwnedFd> {
    #[expect(unsafe_code, reason = "inherited descriptors come as numbers")]
    // SAFETY: needed because inheritance has no other form. The number was passed to this process
    // (LISTEN_PID), nothing has been opened or closed since (the caller of `take` ensures it), and
    // the caller takes each once.
    let descriptor = unsafe {
        if libc::fcntl(number, libc::F_GETFD) < 0 {
            return None;
        }
        <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number)
    };
    let _ = fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    Some(descriptor)
}
