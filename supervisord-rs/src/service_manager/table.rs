//! Descriptors that one supervisord-rs process passes to another by execve(2): each keeps its
//! number, and sealed memory lists the names of the numbers. So there are no copies, and no limit
//! to the names, unlike with one variable of the environment (sd_listen_fds(3)).

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use super::names::{escape, unescape};
use crate::isolation::surroundings::sealed;

/// The number of the table's descriptor, in the environment of its receiver (`LISTEN_PID`).
pub const TABLE: &str = "SUPERVISORD_RS_TABLE";

/// Writes a table.
///
/// # Errors
/// EMFILE, ENOMEM.
pub fn write<'a>(entries: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>) -> io::Result<OwnedFd> {
    let mut text = String::new();
    for (name, descriptor) in entries {
        writeln!(text, "{} {}", descriptor.as_raw_fd(), escape(name))
            .expect("a text takes everything");
    }
    sealed(text.as_bytes())
}

/// Reads a table; nothing from memory that another process could change, or that is not a table.
pub(super) fn read(table: OwnedFd) -> Vec<(RawFd, String)> {
    let seals = fcntl(&table, FcntlArg::F_GET_SEALS).unwrap_or(0);
    let mut text = String::new();
    let mut file = File::from(table);
    if !SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE)
        || file.rewind().and_then(|()| file.read_to_string(&mut text)).is_err()
    {
        return Vec::new();
    }
    let entry = |line: &str| {
        let (number, name) = line.split_once(' ')?;
        Some((number.parse().ok().filter(|number| *number > 2)?, unescape(name)))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_table_reads_back_and_a_file_is_none() {
        let files: Vec<OwnedFd> = (0..3).map(|_| File::open("/dev/null").unwrap().into()).collect();
        let names = ["worker-a/board", "with space\nand line", "worker-a/board"];
        let entries = names.iter().zip(&files).map(|(name, file)| (*name, file.as_fd()));
        let read_back = read(write(entries).unwrap());
        let expected: Vec<_> =
            files.iter().map(AsRawFd::as_raw_fd).zip(names.map(str::to_owned)).collect();
        assert_eq!(read_back, expected);
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"5 worker-a/board\n").unwrap();
        assert_eq!(read(file.into()), []);
    }
}
