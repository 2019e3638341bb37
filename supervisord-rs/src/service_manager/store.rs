//! The fd store, client side: descriptors that the service manager keeps while there is no
//! supervisor, and passes to the next one (sd_notify(3), `FDSTORE=1`). The guardian keeps them in
//! the same way.
//!
//! Descriptors in the store stay open when the supervisor dies: a pipe keeps its bytes and its
//! reader, a socket its queue, a board its memory.
//!
//! This file holds the wanted content of the store; `sender` brings the manager to the same state
//! and never blocks the caller. So `keep` is a promise: the manager has the descriptors now, or
//! gets them as soon as it has room. A launcher thread waits until the promise is fulfilled, before
//! it creates a process that would otherwise be lost with the supervisor. Once the manager has
//! accepted nothing for [`PATIENCE`](sender::PATIENCE), there are no promises: a process
//! that is launched then ends with the supervisor.

mod sender;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::names::{escape, unescape};
use sender::Line;

use super::{FDSTORE, FDSTORE_OF_UNIT, NOTIFY_SOCKET, guardian_pid};
use crate::afterwards;
use crate::waiting::until;

/// systemd passes all names together, with their separators, as one variable of the successor's
/// environment, which the kernel limits to 128 KiB (`MAX_ARG_STRLEN`, execve(2)). What does not fit
/// must not be kept: otherwise no successor could start. The guardian has no such limit: it passes
/// a table.
const NAMES_MAX: usize = 120 * 1024;
/// The interval between two checks whether everything has been sent.
const PAUSE: Duration = Duration::from_millis(1);

/// The client of the store. Copies share one client.
#[derive(Clone, Debug)]
pub struct FdStore(Option<Arc<Way>>);

/// The changes that were due at some moment: the name that is sent last of them.
#[derive(Debug)]
pub struct Due {
    /// The prefix of their names, as the store has them.
    prefix: String,
    /// The name that is sent last; none: all of it is sent.
    last: Option<String>,
}

impl Due {
    /// Whether nothing is due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }
}

/// The state that the loop, the threads that carry output and the sender share.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) line: Line,
    most: usize,
    names_max: usize,
    state: Mutex<State>,
    /// Something is due and could not be sent at once.
    pub(super) changed: Condvar,
}

/// The wanted content of the store, and what the manager has.
#[derive(Debug, Default)]
pub(super) struct State {
    /// By name in the store.
    pub(super) kept: BTreeMap<String, Kept>,
    /// How many descriptors that is, and how many bytes of names.
    count: usize,
    names: usize,
    /// The content that the manager has: by name, with the number of what is kept.
    pub(super) sent: BTreeMap<String, u64>,
    /// The names for which the two differ, each once, oldest first.
    pub(super) due: VecDeque<String>,
    pub(super) is_due: BTreeSet<String>,
    /// Nothing is sent before [`FdStore::release`]: the manager listens to another process.
    pub(super) is_held: bool,
    /// Whether the sender waits for room: then only the sender sends.
    pub(super) is_waiting: bool,
    /// Whether the manager has accepted nothing for so long that no launch relies on it.
    pub(super) is_silent: bool,
    next: u64,
}

/// When a change is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Before everything else that is due.
    First,
    /// After it.
    Next,
    /// So too, at the end of the turn.
    Afterwards,
}

/// Descriptors under one name.
#[derive(Debug)]
pub(super) struct Kept {
    /// Another number means other descriptors.
    pub(super) number: u64,
    /// Shared with a hand-over, which passes them on: near the limit there is no room for a copy.
    pub(super) descriptors: Vec<Arc<OwnedFd>>,
}

impl FdStore {
    /// None: nothing is kept.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// The store of the service manager, if it has one; `known`: its present content, by name.
    /// `is_held`: nothing is sent before [`release`](Self::release).
    #[must_use]
    pub fn from_env(known: BTreeMap<String, Vec<OwnedFd>>, is_held: bool) -> Self {
        let line = std::env::var_os(NOTIFY_SOCKET).and_then(|name| Line::to(&name));
        let names_max = if guardian_pid().is_some() { usize::MAX } else { NAMES_MAX };
        line.filter(|_| room() > 0)
            .map_or(Self(None), |line| Self::new(line, (room(), names_max), known, is_held))
    }

    pub(super) fn new(
        line: Line,
        (most, names_max): (usize, usize),
        known: BTreeMap<String, Vec<OwnedFd>>,
        is_held: bool,
    ) -> Self {
        let mut state = State { is_held, ..State::default() };
        for (name, descriptors) in known {
            let name = escape(&name);
            let number = state.insert(&name, descriptors);
            state.sent.insert(name, number);
        }
        let way = Way { line, most, names_max, state: Mutex::new(state), changed: Condvar::new() };
        let way = Arc::new(way);
        sender::start(&way);
        Self(Some(way))
    }

    /// Whether anything can be kept.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps descriptors under a name. One name means the same descriptors as long as it is kept: a
    /// second call does nothing. False when no launch may rely on it: there is no store, it is
    /// full, or the manager accepts nothing.
    ///
    /// Never waits.
    pub fn keep(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
        self.keep_in(name, descriptors, When::Next)
    }

    /// The same; the manager hears of it at the end of the turn.
    pub fn keep_afterwards(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
        self.keep_in(name, descriptors, When::Afterwards)
    }

    /// The same, before everything else that is due; waits until it is sent, for a while. Not for
    /// the loop.
    pub fn keep_at_once(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
        self.keep_in(name, descriptors, When::First) && self.is_sent(&self.due(name))
    }

    fn keep_in(&self, name: &str, descriptors: &[BorrowedFd<'_>], when: When) -> bool {
        let Some(way) = &self.0 else { return false };
        let name = escape(name);
        let mut state = way.state();
        if !state.kept.contains_key(&name) {
            let length = (name.len() + 1) * descriptors.len();
            let is_room = state.count + descriptors.len() <= way.most
                && state.names + length <= way.names_max;
            let copies: Option<Vec<OwnedFd>> =
                Some(descriptors).filter(|_| is_room).and_then(|all| {
                    all.iter().map(|descriptor| descriptor.try_clone_to_owned().ok()).collect()
                });
            let Some(copies) = copies else { return false };
            state.insert(&name, copies);
            state.make_due(&name, when);
            if when != When::Afterwards {
                way.say_all(&mut state);
            }
        }
        let is_promised = state.sent.contains_key(&name) || !state.is_silent;
        drop(state);
        if when == When::Afterwards {
            way.say_afterwards();
        }
        is_promised
    }

    /// What is to be kept under names with this prefix and was not sent yet, for
    /// [`is_sent`](Self::is_sent).
    #[must_use]
    pub fn due(&self, prefix: &str) -> Due {
        let prefix = escape(prefix);
        let last = |way: &Arc<Way>| {
            let state = way.state();
            let is_wanted =
                |name: &&String| name.starts_with(&prefix) && state.kept.contains_key(*name);
            state.due.iter().rev().find(is_wanted).cloned()
        };
        let last = self.0.as_ref().and_then(last);
        Due { prefix, last }
    }

    /// Waits until all of that is sent, before other changes, at most half a second, and not for a
    /// manager that accepts nothing. False: it is not sent. Not for the loop.
    #[must_use]
    pub fn is_sent(&self, due: &Due) -> bool {
        let (Some(way), Some(last)) = (&self.0, &due.last) else { return true };
        // A launch waits for this; the changes of a hundred other workers must not delay it.
        way.state().hasten(&due.prefix);
        let is_sent = || {
            let state = way.state();
            let is_due = state.is_due.contains(last);
            (!is_due || state.is_silent).then_some(!is_due)
        };
        until(sender::PATIENCE, PAUSE, is_sent).unwrap_or(false)
    }

    /// Removes all descriptors under a name; the manager hears of it at the end of the turn. Never
    /// waits.
    pub fn forget(&self, name: &str) {
        let Some(way) = &self.0 else { return };
        let name = escape(name);
        let mut state = way.state();
        if state.remove(&name) {
            state.make_due(&name, When::Afterwards);
            drop(state);
            way.say_afterwards();
        }
    }

    /// Sends what was held back: from now on the manager listens to this process.
    pub fn release(&self) {
        let Some(way) = &self.0 else { return };
        let mut state = way.state();
        state.is_held = false;
        way.say_all(&mut state);
    }

    /// Sends nothing from now on: the manager must listen to another process. False: not everything
    /// has been sent.
    #[must_use]
    pub fn hold(&self) -> bool {
        let Some(way) = &self.0 else { return true };
        let mut state = way.state();
        way.say_all(&mut state);
        state.is_held = state.due.is_empty();
        state.is_held
    }

    /// Waits until everything is sent, at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let Some(way) = &self.0 else { return };
        way.say_all(&mut way.state());
        let _ = until(limit, PAUSE, || way.state().due.is_empty().then_some(()));
    }

    /// What is kept under the names that come after this one, about `most` descriptors and their
    /// names; empty when there are no more. Takes no descriptor, so it works at the limit of open
    /// files.
    #[must_use]
    pub fn kept_after(&self, last: Option<&str>, most: usize) -> Vec<(String, Arc<OwnedFd>)> {
        let Some(way) = &self.0 else { return Vec::new() };
        let state = way.state();
        let from = last.map_or(Bound::Unbounded, |last| Bound::Excluded(escape(last)));
        let mut piece = Vec::new();
        for (name, kept) in state.kept.range((from, Bound::Unbounded)) {
            if !piece.is_empty() && piece.len() + kept.descriptors.len() > most {
                break;
            }
            piece.extend(kept.descriptors.iter().map(|one| (unescape(name), Arc::clone(one))));
        }
        piece
    }

    /// Removes everything whose name is stale by `is_stale`; names in their original form.
    pub fn forget_all(&self, is_stale: impl Fn(&str) -> bool) {
        let Some(way) = &self.0 else { return };
        let names: Vec<String> = way.state().kept.keys().map(|name| unescape(name)).collect();
        names.iter().filter(|name| is_stale(name)).for_each(|name| self.forget(name));
    }
}

/// Whether a service manager listens and says that it keeps descriptors.
pub(super) fn is_offered() -> bool {
    room() > 0 && std::env::var_os(NOTIFY_SOCKET).is_some_and(|name| Line::to(&name).is_some())
}

/// How many descriptors the service manager says that it keeps.
fn room() -> usize {
    let number = |name: &str| std::env::var(name).ok()?.trim().parse::<usize>().ok();
    number(FDSTORE).or_else(|| number(FDSTORE_OF_UNIT)).unwrap_or(0)
}

impl Way {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is due then at the end of the turn, or at once where none is under way: the
    /// caller does not hold the state.
    fn say_afterwards(self: &Arc<Self>) {
        let way = Arc::clone(self);
        afterwards::ring(move || way.say_all(&mut way.state()));
    }

    /// Sends what there is room for; the sender does the rest.
    fn say_all(&self, state: &mut State) {
        if state.is_held || state.is_waiting || state.due.is_empty() {
            return;
        }
        if sender::say_due(&self.line, state).is_err() {
            self.changed.notify_one();
        }
    }
}

impl State {
    /// A name that is due already is sent with its state at its turn: what was replaced or removed
    /// before is never sent.
    fn make_due(&mut self, name: &str, when: When) {
        if self.is_due.insert(name.to_owned()) {
            match when {
                When::First => self.due.push_front(name.to_owned()),
                When::Next | When::Afterwards => self.due.push_back(name.to_owned()),
            }
        }
    }

    /// Moves changes that are due under names with this prefix to the front, in their order.
    fn hasten(&mut self, prefix: &str) {
        let (first, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.due).into_iter().partition(|name| name.starts_with(prefix));
        self.due = first.into_iter().chain(rest).collect();
    }

    fn insert(&mut self, name: &str, descriptors: Vec<OwnedFd>) -> u64 {
        self.next += 1;
        self.count += descriptors.len();
        self.names += (name.len() + 1) * descriptors.len();
        let descriptors = descriptors.into_iter().map(Arc::new).collect();
        self.kept.insert(name.to_owned(), Kept { number: self.next, descriptors });
        self.next
    }

    fn remove(&mut self, name: &str) -> bool {
        let Some(gone) = self.kept.remove(name) else { return false };
        self.count -= gone.descriptors.len();
        self.names -= (name.len() + 1) * gone.descriptors.len();
        true
    }
}
