//! Whether many holders live, in one look: of each number, a file is read once.
//!
//! The words come from shared memory, where any user may have put any number: who must not stall
//! limits how many files are read. What is not read is not known.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::holder::{Holder, Life, Stat};

/// What is known so far. For one look: what lives now may be dead later.
#[derive(Default)]
pub struct Lives {
    known: RefCell<HashMap<u32, Found>>,
    /// How many files may still be read; none: as many as there are.
    left: Option<Cell<usize>>,
    is_cut: Cell<bool>,
}

#[derive(Clone, Copy)]
enum Found {
    /// No thread has this number.
    Nothing,
    Stat(Stat),
    Hidden,
}

impl Lives {
    /// Reads this many files at most.
    #[must_use]
    pub fn at_most(files: usize) -> Self {
        Self { left: Some(Cell::new(files)), ..Self::default() }
    }

    /// Whether there were more to look at than was allowed.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.is_cut.get()
    }

    /// As [`Holder::life`].
    #[must_use]
    pub fn of(&self, holder: Holder) -> Life {
        if is_impossible(holder) {
            return Life::Dead;
        }
        if holder.is_elsewhere() {
            return Life::Unknown;
        }
        if !are_known() {
            // The files are of others. A number that no thread has still tells.
            return if is_missing(holder.id()) { Life::Dead } else { Life::Unknown };
        }
        match self.find(holder.id()) {
            Some(Found::Nothing) => Life::Dead,
            Some(Found::Stat(stat)) if stat.says_dead(holder) => Life::Dead,
            Some(Found::Stat(_)) => Life::Alive,
            Some(Found::Hidden) | None => Life::Unknown,
        }
    }

    /// None: it was not looked at.
    fn find(&self, id: u32) -> Option<Found> {
        if let Some(known) = self.known.borrow().get(&id) {
            return Some(*known);
        }
        let found = if is_missing(id) {
            Found::Nothing
        } else {
            if let Some(left) = &self.left {
                let Some(rest) = left.get().checked_sub(1) else {
                    self.is_cut.set(true);
                    return None;
                };
                left.set(rest);
            }
            Stat::read(id).map_or(Found::Hidden, Found::Stat)
        };
        self.known.borrow_mut().insert(id, found);
        Some(found)
    }
}

impl std::fmt::Debug for Lives {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lives").field("left", &self.left).finish_non_exhaustive()
    }
}

fn is_impossible(holder: Holder) -> bool {
    holder.id() == 0 || !holder.has_possible_start()
}

/// Whether it takes no more than one system call to see that a holder is dead: no thread has its
/// number, or no holder can have it.
pub(super) fn is_gone(holder: Holder) -> bool {
    is_impossible(holder) || !holder.is_elsewhere() && is_missing(holder.id())
}

fn is_missing(id: u32) -> bool {
    let Ok(id) = libc::pid_t::try_from(id) else { return true };
    // SAFETY: needed because nix takes numbers of processes only; getsid(2) takes those of threads,
    // from everybody, and touches no memory.
    let answer = unsafe { libc::getsid(id) };
    answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

/// Whether it can be read who lives: `/proc` is that of the namespace of PIDs of this process. In
/// one that was made without a `/proc` of its own (`unshare --pid --fork`), the numbers there are
/// others than the kernel takes here, and only a number that no thread has tells of a death. Makes one system call; reads a file the first time.
#[must_use]
pub fn are_known() -> bool {
    /// The PID of this process, and whether it is the one there: a child after fork(2) may be in
    /// another namespace.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    let known = KNOWN.load(Ordering::Relaxed);
    if known >> 1 == u64::from(pid) {
        return known & 1 != 0;
    }
    let shown = fs::read_link("/proc/self").ok();
    let is_own = is_number(shown.as_deref().and_then(std::path::Path::to_str), pid);
    KNOWN.store(u64::from(pid) << 1 | u64::from(is_own), Ordering::Relaxed);
    is_own
}

fn is_number(shown: Option<&str>, pid: u32) -> bool {
    shown.and_then(|shown| shown.parse().ok()) == Some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proc_of_another_namespace_is_known_by_its_number_of_this_process() {
        assert!(are_known());
        assert!(is_number(Some("71"), 71));
        assert!(!is_number(Some("4071"), 71) && !is_number(None, 71));
    }

    #[test]
    fn of_each_number_one_file_is_read_and_beyond_the_limit_nothing_is_known() {
        let own = Holder::this_thread().expect("/proc");
        let earlier = Holder::from_bits(own.to_bits() - 1).expect("not 0");
        let lives = Lives::at_most(1);
        for _ in 0..3 {
            assert_eq!((lives.of(own), lives.of(earlier)), (Life::Alive, Life::Dead));
        }
        assert!(!lives.is_cut_short());
        std::thread::scope(|scope| {
            let (ended, end) = std::sync::mpsc::channel::<()>();
            let (sender, holder) = std::sync::mpsc::channel();
            scope.spawn(move || {
                sender.send(Holder::this_thread().expect("/proc")).expect("received");
                let _ = end.recv();
            });
            let other = holder.recv().expect("sent");
            assert_eq!((lives.of(other), lives.is_cut_short()), (Life::Unknown, true));
            assert_eq!(other.life(), Life::Alive);
            drop(ended);
        });
    }
}
