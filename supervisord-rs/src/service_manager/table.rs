//! What one supervisord-rs process hands to another by execve(2): each descriptor keeps its number,
//! and sealed memory lists the names of the numbers. So there are no copies, and no limit to the
//! names, unlike with one variable of the environment (sd_listen_fds(3)). Where a limit on the size
//! of files forbids that memory, a pipe has room for the names of some thousand.
//!
//! The first line says how many lines follow, so that one that was cut off is noticed; a release
//! that writes none is understood, and one that expects none skips it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::unistd::pipe2;
use thiserror::Error;
use workers::runtime::endowment::Named;

use super::names::{escape, unescape};
use crate::sealed::sealed;

/// The number of the table's descriptor, in the environment of its receiver (`LISTEN_PID`).
pub(super) const TABLE: &str = "SUPERVISORD_RS_TABLE";

/// Begins the first line.
const HEAD: &str = "descriptors";

/// Why a process does not take what it was handed: it was written by no supervisord-rs, or not to
/// its end.
#[derive(Debug, Error)]
pub enum TableError {
    /// Its number leads nowhere.
    #[error("{TABLE} is {0}, which is no inherited descriptor")]
    Nowhere(String),
    /// Another process could change it meanwhile.
    #[error("the table of descriptors is neither sealed memory nor a pipe")]
    Unsealed,
    /// It cannot be read to its end.
    #[error("cannot read the table of descriptors")]
    Unreadable(#[source] io::Error),
    /// There are fewer lines than it says, or more.
    #[error("the table of descriptors is cut off: it has {found} of {announced}")]
    Torn {
        /// The lines that are there.
        found: usize,
        /// The lines that there should be.
        announced: usize,
    },
    /// A line of it is no number with a name.
    #[error("line {line} of the table of descriptors is not a number and a name")]
    Invalid {
        /// Counted from 1.
        line: usize,
    },
    /// Two lines have the same number.
    #[error("the table of descriptors names descriptor {number} twice")]
    Twice {
        /// The number.
        number: RawFd,
    },
    /// What it names was not passed.
    #[error("the table of descriptors names descriptor {number} ({name}), which is not open")]
    Closed {
        /// The number.
        number: RawFd,
        /// The name.
        name: String,
    },
}

/// What a process is handed at its execve(2), with its table. It must live until then.
#[derive(Debug)]
pub struct Passed<'a> {
    given: Vec<Named<'a>>,
    table: OwnedFd,
}

impl<'a> Passed<'a> {
    /// Writes the table of these.
    ///
    /// # Errors
    /// EMFILE, ENOMEM; EFBIG where neither memory nor a pipe takes it.
    pub fn new(given: Vec<Named<'a>>) -> io::Result<Self> {
        let numbers = given.iter().map(|(name, descriptor)| (descriptor.as_raw_fd(), *name));
        let text = text(numbers, given.len());
        let table = match sealed(text.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => piped(text.as_bytes()),
            sealed => sealed,
        };
        Ok(Self { given, table: table? })
    }

    /// All that keep their numbers, for its launch.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let given = self.given.iter().map(|(_, descriptor)| *descriptor);
        given.chain([self.table.as_fd()]).collect()
    }

    /// What its environment tells of them; an empty one is left out. `LISTEN_PID` is for the child
    /// to write.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, OsString); 4] {
        [
            (TABLE, self.table.as_raw_fd().to_string().into()),
            ("LISTEN_PID", OsString::new()),
            ("LISTEN_FDS", OsString::new()),
            ("LISTEN_FDNAMES", OsString::new()),
        ]
    }
}

fn text<'a>(entries: impl Iterator<Item = (RawFd, &'a str)>, count: usize) -> String {
    let mut text = format!("{HEAD} {count}\n");
    for (number, name) in entries {
        writeln!(text, "{number} {}", escape(name)).expect("a text takes everything");
    }
    text
}

/// A pipe that all of it is in, without a writer.
fn piped(text: &[u8]) -> io::Result<OwnedFd> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let room = i32::try_from(text.len()).map_err(|_| Errno::EFBIG)?;
    if fcntl(&writer, FcntlArg::F_GETPIPE_SZ)? < room {
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(room)).map_err(|_| Errno::EFBIG)?;
    }
    File::from(writer).write_all(text)?;
    Ok(reader)
}

/// Reads a table.
///
/// # Errors
/// Any but [`TableError::Nowhere`] and [`TableError::Closed`], which are for the caller to find.
pub(super) fn read(table: OwnedFd) -> Result<Vec<(RawFd, String)>, TableError> {
    let seals = fcntl(&table, FcntlArg::F_GET_SEALS).unwrap_or(0);
    let is_sealed = SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE);
    let mut file = File::from(table);
    let is_pipe = file.metadata().is_ok_and(|found| found.file_type().is_fifo());
    let begun = match (is_sealed, is_pipe) {
        (true, _) => file.rewind(),
        // One that another process can still write to has no end here, which is an error (EAGAIN).
        (false, true) => {
            fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop).map_err(Into::into)
        }
        (false, false) => return Err(TableError::Unsealed),
    };
    let mut text = String::new();
    begun.and_then(|()| file.read_to_string(&mut text)).map_err(TableError::Unreadable)?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<(RawFd, String)>, TableError> {
    let mut lines = text.split_terminator('\n').zip(1..).peekable();
    let head = |line: &str| line.strip_prefix(HEAD)?.strip_prefix(' ')?.parse().ok();
    let announced: Option<usize> = lines.peek().and_then(|(line, _)| head(line));
    if announced.is_some() {
        lines.next();
    }
    let (mut found, mut numbers) = (Vec::new(), BTreeSet::new());
    for (line, at) in lines {
        let entry =
            line.split_once(' ').and_then(|(number, name)| Some((number.parse().ok()?, name)));
        let is_standard = |number: &RawFd| *number <= 2;
        let (number, name) = entry
            .filter(|(number, _)| !is_standard(number))
            .ok_or(TableError::Invalid { line: at })?;
        if !numbers.insert(number) {
            return Err(TableError::Twice { number });
        }
        found.push((number, unescape(name)));
    }
    match announced {
        Some(announced) if announced != found.len() || !text.ends_with('\n') => {
            Err(TableError::Torn { found: found.len(), announced })
        }
        Some(_) | None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| File::open("/dev/null").unwrap().into()).collect()
    }

    #[test]
    fn a_table_reads_back_with_any_names() {
        let files = files(3);
        let names = ["worker-a/board", "with space\nand line", "worker-a/board"];
        let given = names.iter().zip(&files).map(|(name, file)| (*name, file.as_fd())).collect();
        let passed = Passed::new(given).unwrap();
        assert_eq!(passed.descriptors().len(), 4);
        let expected: Vec<_> =
            files.iter().map(AsRawFd::as_raw_fd).zip(names.map(str::to_owned)).collect();
        assert_eq!(read(passed.table).unwrap(), expected);
    }

    #[test]
    fn five_thousand_names_come_back_from_memory_and_from_a_pipe() {
        let names: Vec<String> = (0..5000)
            .map(|number| format!("worker-a-long-name.{number}/stdout/{number}"))
            .collect();
        let all = || (3..).zip(names.iter().map(String::as_str));
        let text = text(all(), names.len());
        let expected: Vec<_> = all().map(|(number, name)| (number, name.to_owned())).collect();
        assert_eq!(read(sealed(text.as_bytes()).unwrap()).unwrap(), expected);
        assert_eq!(read(piped(text.as_bytes()).unwrap()).unwrap(), expected);
    }

    #[test]
    fn the_table_of_a_release_without_a_first_line_is_understood() {
        assert_eq!(parse("5 gate\n7 secret/3\n").unwrap().len(), 2);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn one_that_is_torn_or_forged_is_refused_and_says_why() {
        for (text, why) in [
            ("descriptors 2\n5 a\n", "it has 1 of 2"),
            ("descriptors 1\n5 a\n6 b\n", "it has 2 of 1"),
            ("descriptors 1\n5 worker-a/bo", "is cut off"),
            ("descriptors 1\n2 a\n", "line 2 of"),
            ("descriptors 1\nfive a\n", "line 2 of"),
            ("5 a\n\n", "line 2 of"),
            ("descriptors x\n5 a\n", "line 1 of"),
            ("descriptors 2\n5 a\n5 b\n", "descriptor 5 twice"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        let (reader, _writer) = pipe2(OFlag::empty()).unwrap();
        assert!(matches!(read(reader), Err(TableError::Unreadable(_))), "its end is not known");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"descriptors 1\n5 worker-a/board\n").unwrap();
        assert!(matches!(read(file.into()), Err(TableError::Unsealed)));
    }
}
