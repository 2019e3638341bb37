//! Whether a process may speak in the name of a process tree.

use super::census::Census;
use super::heirs::{heirs, is_of_ours};
use super::marks::Mark;
use super::relative::Relative;
use crate::isolation::child::Child;
use crate::process_table;

/// See above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) enum Standing {
    /// It may.
    Member,
    /// It may not.
    Stranger,
    /// It is being found out; the census rings then.
    NotKnownYet,
}

impl From<bool> for Standing {
    fn from(is_member: bool) -> Self {
        if is_member { Self::Member } else { Self::Stranger }
    }
}

/// Whether a process belongs to a process tree, told without a walk: by climbing from it. For one
/// that speaks in its name: any process may bear a mark, so an orphan also has to have the user of
/// its main process.
pub(in crate::isolation) fn speaks_for(
    census: &Census,
    main: &Child,
    mark: &Mark,
    pid: i32,
) -> Standing {
    let relative = Relative::of(main);
    let is_taken = process_table::stat(main.pid).is_some_and(|stat| relative.is_stranger(&stat));
    let user = if is_taken { None } else { process_table::user(main.pid) };
    let mut next = pid;
    for _ in 0..GENERATIONS {
        let Some(stat) = process_table::stat(next) else { return Standing::Stranger };
        let is_of_group = stat.session == main.pid || stat.group == main.pid;
        if !is_taken && (next == main.pid || is_of_group) {
            return Standing::Member;
        }
        if heirs().contains(&stat.parent) {
            let speaker = process_table::user(pid);
            let is_like_us = is_of_ours(next, stat.parent, user)
                && speaker.is_some_and(|speaker| speaker == 0 || user == Some(speaker));
            if !is_like_us {
                return Standing::Stranger;
            }
            let marks = census.marks(next, stat.start_time);
            return marks.map_or(Standing::NotKnownYet, |marks| marks.bear(mark).into());
        }
        next = stat.parent;
    }
    Standing::Stranger
}

/// How far up a process tree is climbed.
const GENERATIONS: usize = 1024;
