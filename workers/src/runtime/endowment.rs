//! What one process hands to another: descriptors with names, any number of them. A receiver asks
//! for what it knows by name, so that one more disturbs no other.
//!
//! They come in one of two ways. By execve(2) each keeps its number, and a table has the names of
//! the numbers. Over a socket (`SCM_RIGHTS`, unix(7)) they come in pieces, since the kernel limits
//! what one message has.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

/// One to hand over: its name, and what its giver keeps.
pub type Named<'a> = (&'a str, BorrowedFd<'a>);

/// Before the names of the listening sockets of a worker.
pub const SOCKET: &str = "socket/";
/// Before the names of the resources that a worker shares with others.
pub const SHARED: &str = "shared/";
/// Before those of the ends of a queue that the kernel carries, and of what has a name of POSIX.
pub const CHANNEL: &str = "channel/";
/// What has a name of POSIX: `channel/posix/NAME/object`.
pub const POSIX: &str = "posix";
/// See [`POSIX`].
pub const OBJECT: &str = "object";

/// Descriptors in one message; the kernel allows 253 (`SCM_MAX_FD`).
pub const PIECE_MAX: usize = 250;

/// The first of them that one message takes, and the rest. `room`: for their names, of each of
/// which `length` is asked. At least one, whatever its length.
#[must_use]
pub fn piece<'b, 'a>(
    all: &'b [Named<'a>],
    room: usize,
    length: impl Fn(&str) -> usize,
) -> (&'b [Named<'a>], &'b [Named<'a>]) {
    let mut used = 0;
    let fits = |(name, _): &&Named<'_>| {
        used += length(name);
        used <= room
    };
    let count = all.iter().take(PIECE_MAX).take_while(fits).count();
    all.split_at(count.max(1).min(all.len()))
}

/// What has come, by name; a name may stand for several. Dropping this closes those that were not
/// claimed.
#[derive(Debug, Default)]
pub struct Endowment {
    descriptors: BTreeMap<String, Vec<OwnedFd>>,
}

impl Endowment {
    /// One more has come.
    pub fn add(&mut self, name: String, descriptor: OwnedFd) {
        self.descriptors.entry(name).or_default().push(descriptor);
    }

    /// The one with this name: the last that came.
    pub fn claim(&mut self, name: &str) -> Option<OwnedFd> {
        let list = self.descriptors.get_mut(name)?;
        let claimed = list.pop();
        if list.is_empty() {
            self.descriptors.remove(name);
        }
        claimed
    }

    /// The one with this name, which stays here.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<&OwnedFd> {
        self.descriptors.get(name)?.last()
    }

    /// All whose names begin with this, each with the rest of its name.
    pub fn claim_all(&mut self, prefix: &str) -> Vec<(String, OwnedFd)> {
        let mut claimed = Vec::new();
        for name in self.names(|name| name.starts_with(prefix)) {
            let list = self.descriptors.remove(&name).unwrap_or_default();
            claimed.extend(list.into_iter().map(|one| (name[prefix.len()..].to_owned(), one)));
        }
        claimed
    }

    /// One for each name that begins with this and for which that is true.
    pub fn claim_some(
        &mut self,
        prefix: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<(String, OwnedFd)> {
        let names = self.names(|name| name.starts_with(prefix) && wanted(name));
        names.into_iter().filter_map(|name| Some((name.clone(), self.claim(&name)?))).collect()
    }

    /// The names of unclaimed descriptors, each once.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<String> {
        self.descriptors.keys().cloned().collect()
    }

    /// Those that begin with this, each without that.
    pub(crate) fn unclaimed_of(&self, prefix: &str) -> Vec<&str> {
        self.descriptors.keys().filter_map(|name| name.strip_prefix(prefix)).collect()
    }

    /// Copies of all descriptors, by name.
    #[must_use]
    pub fn copies(&self) -> BTreeMap<String, Vec<OwnedFd>> {
        let copies =
            |list: &Vec<OwnedFd>| list.iter().filter_map(|one| one.try_clone().ok()).collect();
        self.descriptors.iter().map(|(name, list)| (name.clone(), copies(list))).collect()
    }

    fn names(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.descriptors.keys().filter(|name| wanted(name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_piece_has_what_a_message_takes_and_never_nothing() {
        let file = File::open("/dev/null").unwrap();
        let names: Vec<String> = (0..600).map(|number| format!("n{number:03}")).collect();
        let all: Vec<Named<'_>> = names.iter().map(|name| (name.as_str(), file.as_fd())).collect();
        let sizes = |room| {
            let mut rest = &all[..];
            let mut sizes = Vec::new();
            while !rest.is_empty() {
                let (piece, others) = super::piece(rest, room, str::len);
                sizes.push(piece.len());
                rest = others;
            }
            sizes
        };
        assert_eq!(sizes(usize::MAX), [250, 250, 100]);
        assert_eq!(sizes(800), [200, 200, 200]);
        assert_eq!(sizes(0).len(), 600);
        assert!(super::piece(&[], 10, str::len).0.is_empty());
    }

    #[test]
    fn a_name_may_stand_for_several_and_what_is_not_claimed_is_named() {
        let any = || OwnedFd::from(File::open("/dev/null").unwrap());
        let mut endowment = Endowment::default();
        for name in ["a/1", "a/1", "a/2", "b"] {
            endowment.add(name.into(), any());
        }
        assert!(endowment.claim("c").is_none() && endowment.peek("a/2").is_some());
        assert_eq!(endowment.claim_some("a/", |name| name.ends_with('1')).len(), 1);
        let rest = endowment.claim_all("a/").into_iter().map(|(name, _)| name);
        assert_eq!(rest.collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(endowment.unclaimed(), ["b"]);
    }
}
