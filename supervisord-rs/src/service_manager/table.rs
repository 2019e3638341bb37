//! Descriptors that one supervisord-rs process passes to another by execve(2): each keeps its
//! number, and sealed memory lists the names of the numbers. So there are no copies, and no limit
//! to the names, unlike with one variable of the environment (sd_listen_fds(3)). Where a limit on
//! the size of files forbids that memory, a pipe has room for the names of some thousand.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::unistd::pipe2;

use super::names::{escape, unescape};
use crate::sealed::sealed;

/// The number of the table's descriptor, in the environment of its receiver (`LISTEN_PID`).
pub const TABLE: &str = "SUPERVISORD_RS_TABLE";

/// Writes a table.
///
/// # Errors
/// EMFILE, ENOMEM; EFBIG where neither memory nor a pipe takes it.
pub fn write<'a>(entries: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>) -> io::Result<OwnedFd> {
    let mut text = String::new();
    for (name, descriptor) in entries {
        writeln!(text, "{} {}", descriptor.as_raw_fd(), escape(name))
            .expect("a text takes everything");
    }
    match sealed(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => piped(text.as_bytes()),
        sealed => sealed,
    }
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

/// Reads a table; nothing from memory that another process could change, or that is not a table.
pub(super) fn read(table: OwnedFd) -> Vec<(RawFd, String)> {
    let seals = fcntl(&table, FcntlArg::F_GET_SEALS).unwrap_or(0);
    let is_sealed = SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE);
    let mut text = String::new();
    let mut file = File::from(table);
    let is_pipe = file.metadata().is_ok_and(|found| found.file_type().is_fifo());
    let begun = if is_sealed {
        file.rewind()
    } else if is_pipe {
        Ok(())
    } else {
        return Vec::new();
    };
    // One that another process can still write to has no end here, which is an error (EAGAIN).
    if begun.and_then(|()| file.read_to_string(&mut text)).is_err() {
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
        // What a pipe takes where memory has a limit.
        let text: String = (0..5000).map(|number| format!("{} name\n", number + 3)).collect();
        assert_eq!(read(piped(text.as_bytes()).unwrap()).len(), 5000);
        let (reader, _writer) = pipe2(OFlag::O_NONBLOCK).unwrap();
        assert_eq!(read(reader), [], "its end is not known");
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"5 worker-a/board\n").unwrap();
        assert_eq!(read(file.into()), []);
    }
}
