//! The end of a file that a worker writes to, or of whatever it has put in the place of that file.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::reach::Reached;

/// How much of a file's end [`tail`] searches for last lines, and how much new output a reader
/// takes at once: a longer line comes in pieces.
pub(crate) const PIECE_MAX: u64 = 4 * 1024 * 1024;

/// One file, whatever names it has: the supervisor rotates it under its own name. Root follows no
/// link of another user, see [`reach`](crate::reach): a worker would choose what root reads.
pub(crate) fn own_name(target: &str) -> PathBuf {
    let own = if geteuid().is_root() {
        Reached::following(Path::new(target)).and_then(|reached| reached.real())
    } else {
        std::fs::canonicalize(target)
    };
    own.unwrap_or_else(|_| target.into())
}

/// Opens a file of output for reading. A worker may have put anything in its place: the reader does
/// not wait for a FIFO without a writer, and leaves data that can be read only once to its own
/// reader.
///
/// # Errors
/// Those of open(2); InvalidInput for a file that is not regular; for root PermissionDenied for a
/// link of another user.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let regular = |metadata: Metadata| {
        let why = "no regular file but a FIFO, a socket or a device: what was written to it cannot \
                   be read again";
        metadata
            .is_file()
            .then_some(())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, why))
    };
    // Checked before the open too: a writer of the FIFO would take this process for its reader.
    let reached = geteuid().is_root().then(|| Reached::following(path)).transpose()?;
    let (path, no_follow) = match &reached {
        Some(reached) => (reached.path(), libc::O_NOFOLLOW),
        None => (path.to_owned(), 0),
    };
    std::fs::metadata(&path).and_then(regular)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | no_follow;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    file.metadata().and_then(regular)?;
    Ok(file)
}

/// The last lines; reads the file up to its end.
pub(crate) fn tail(file: &mut File, lines: usize) -> io::Result<Vec<u8>> {
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(PIECE_MAX)))?;
    let mut bytes = Vec::new();
    file.take(PIECE_MAX).read_to_end(&mut bytes)?;
    Ok(last(bytes, lines))
}

/// The last so many lines of a text.
pub(crate) fn last(mut bytes: Vec<u8>, lines: usize) -> Vec<u8> {
    let newlines =
        bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index);
    let skipped = usize::from(bytes.ends_with(b"\n"));
    let start = newlines.skip(skipped).nth(lines.saturating_sub(1)).map_or(0, |index| index + 1);
    if lines == 0 { Vec::new() } else { bytes.split_off(start) }
}
