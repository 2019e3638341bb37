//! Which part of a stream one incarnation wrote: its last lines are those of no other.

use super::{LAST_LINES, RECENT};

/// The part, in bytes of the stream that were taken before it and up to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::record::logs) struct Run {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Bytes of it that a predecessor took, which are not in our memory.
    pub(super) before: u64,
}

impl Run {
    /// How much of the end of its file is its own, where it has taken so many bytes: nothing when
    /// the next incarnation has written there.
    pub(super) fn in_file(self, taken: u64) -> Option<usize> {
        let own = self.before + self.to.saturating_sub(self.from);
        (self.before > 0 && taken <= self.to)
            .then(|| usize::try_from(own).unwrap_or(RECENT).min(RECENT))
    }
}

/// The last bytes that were taken.
#[derive(Debug, Default)]
pub(super) struct Recent {
    bytes: Vec<u8>,
    /// How many have been taken in all, up to the last of them.
    end: u64,
}

impl Recent {
    /// More of them. `start`: how many bytes came before.
    pub(super) fn add(&mut self, bytes: &[u8], start: u64, is_counted: bool) {
        if bytes.len() >= RECENT || start != self.end {
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(&bytes[bytes.len().saturating_sub(RECENT)..]);
        let excess = self.bytes.len().saturating_sub(RECENT);
        self.bytes.drain(..excess);
        self.end = if is_counted { start + bytes.len() as u64 } else { start };
    }

    /// Those of a run. What a predecessor left in its hands belongs to the first.
    pub(super) fn of(&self, run: Run) -> &[u8] {
        let back = |position: u64| {
            let distance = usize::try_from(self.end.saturating_sub(position));
            self.bytes.len().saturating_sub(distance.unwrap_or(usize::MAX))
        };
        let to = back(run.to);
        let from = if run.from == 0 { 0 } else { back(run.from) };
        &self.bytes[from.min(to)..to]
    }
}

/// The last lines of it.
pub(super) fn last_of(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_its_own_bytes_and_no_others() {
        let mut recent = Recent::default();
        recent.add(b"left ", 0, false);
        recent.add(b"one ", 0, true);
        recent.add(b"two", 4, true);
        let of = |recent: &Recent, from, to| recent.of(Run { from, to, before: 0 }).to_vec();
        assert_eq!(of(&recent, 0, 4), b"left one ");
        assert_eq!(of(&recent, 4, 7), b"two");
        assert_eq!(of(&recent, 7, 7), b"");
        // After a gap nothing is known of what came before it.
        recent.add(b"more", 20, true);
        assert_eq!(of(&recent, 4, 7), b"");
        assert_eq!(of(&recent, 20, 24), b"more");
        recent.add(&[b'x'; RECENT], 24, true);
        assert_eq!(of(&recent, 20, 24), b"");
        assert_eq!(of(&recent, 24, 24 + RECENT as u64).len(), RECENT);
    }

    #[test]
    fn the_file_ends_with_a_run_only_where_no_later_one_has_written() {
        let run = Run { from: 0, to: 10, before: 5 };
        assert_eq!(run.in_file(10), Some(15));
        assert_eq!(run.in_file(11), None);
        assert_eq!(Run { before: 0, ..run }.in_file(10), None, "memory has all of it");
    }
}
