//! The fd store, server side: descriptors that the supervisor wants kept for its successor, in the
//! datagrams of sd_notify(3). The guardian does not look at them: it keeps them, and hands them
//! over.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::isolation::closer;
use crate::service_manager;

/// Most descriptors. So many are usually within a system's limit of open files; see
/// `raise_limits`.
const MOST: usize = 65_536;
/// Descriptors that are not for the store.
const OWN: usize = 64;

/// How many descriptors are kept: what our limit of open files leaves.
pub(super) fn most() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(MOST).saturating_sub(OWN).min(MOST)
}

/// What is kept, by name.
#[derive(Debug, Default)]
pub(super) struct Store {
    entries: BTreeMap<String, Vec<OwnedFd>>,
    count: usize,
}

impl Store {
    /// Keeps a descriptor. One too many is closed.
    pub(super) fn keep(&mut self, name: &str, descriptor: OwnedFd) {
        if self.count < most() {
            self.entries.entry(name.to_owned()).or_default().push(descriptor);
            self.count += 1;
        }
    }

    /// Lets go of all with this name. What strangers have sent to a socket among them is closed
    /// with it, and that can wait for as long as they chose.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some(gone) = self.entries.remove(name) {
            self.count -= gone.len();
            closer::run(move || drop(gone));
        }
    }

    /// Whether there is anything of processes: they are meant to outlive their supervisor then.
    pub(super) fn keeps_processes(&self) -> bool {
        self.entries.iter().any(|(name, _)| !service_manager::is_of_supervisor(name))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        self.entries.iter().flat_map(|(name, list)| list.iter().map(|kept| (name.as_str(), kept)))
    }
}

/// What one datagram asks of the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) keep: bool,
    pub(super) forget: bool,
    pub(super) name: &'a str,
}

impl<'a> Request<'a> {
    /// Reads it; names without a meaning are none of the store's business.
    pub(super) fn parse(datagram: &'a [u8]) -> Self {
        let mut request = Self { name: "stored", ..Self::default() };
        for line in datagram.split(|&byte| byte == b'\n') {
            match line {
                b"FDSTORE=1" => request.keep = true,
                b"FDSTOREREMOVE=1" => request.forget = true,
                _ => {
                    let name = line
                        .strip_prefix(b"FDNAME=")
                        .and_then(|name| std::str::from_utf8(name).ok());
                    request.name = name.unwrap_or(request.name);
                }
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_kept_by_name_and_let_go_by_name() {
        let mut store = Store::default();
        let any = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        for name in ["a", "b", "a"] {
            store.keep(name, any());
        }
        store.forget("a");
        store.forget("unknown");
        assert_eq!(store.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn requests_are_read_from_datagrams() {
        let keep = Request::parse(b"FDSTORE=1\nFDNAME=worker-a/board\nFDPOLL=0");
        assert_eq!(keep, Request { keep: true, forget: false, name: "worker-a/board" });
        let forget = Request::parse(b"FDSTOREREMOVE=1\nFDNAME=x");
        assert_eq!(forget, Request { keep: false, forget: true, name: "x" });
        assert_eq!(Request::parse(b"FDSTORE=1").name, "stored", "as systemd calls it");
        assert_eq!(
            Request::parse(b"READY=1\n\xff"),
            Request { name: "stored", ..Request::default() }
        );
    }
}
