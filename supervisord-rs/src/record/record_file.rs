//! A file of records, one in a line: appended to, rotated when it is large, read from its end.
//!
//! `x.jsonl` becomes `x.jsonl.1`, that `x.jsonl.2`, and so on; the oldest goes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::append;
use crate::reach::Reached;

/// It is rotated before it becomes larger than this. Some ten thousand incidents, or some hundred
/// of a thousand workers.
pub(super) const SIZE_MAX: u64 = 8 * 1024 * 1024;
/// So many rotated ones are kept.
const KEPT: u32 = 3;
/// How much is read at once, from the end on.
const PIECE: u64 = 64 * 1024;

/// The writing side.
#[derive(Debug)]
pub(super) struct RecordFile {
    path: PathBuf,
    /// Opened again after an error: the directory may be back, the disk may have room again.
    open: Option<File>,
}

impl RecordFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into(), open: None }
    }

    /// Appends a line.
    ///
    /// # Errors
    /// It cannot be opened or written to. Part of the line may be there: the next one begins with a
    /// newline.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let written = self.try_append(line);
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn try_append(&mut self, line: &str) -> io::Result<()> {
        let length = self.opened()?.metadata()?.len();
        if length > 0 && length + line.len() as u64 >= SIZE_MAX {
            self.open = None;
            rotate(&self.path)?;
        }
        self.opened()?.write_all(format!("{line}\n").as_bytes())
    }

    fn opened(&mut self) -> io::Result<&mut File> {
        if self
            .open
            .as_ref()
            .is_some_and(|file| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0))
        {
            self.open = None;
        }
        if self.open.is_none() {
            let mut file = append::open(&self.path)?;
            if is_torn(&self.path)? {
                // A death or a full disk has cut its last record: the next one does not glue to it.
                file.write_all(b"\n")?;
            }
            self.open = Some(file);
        }
        self.open.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn is_torn(path: &Path) -> io::Result<bool> {
    let file = append::open_regular(path)?;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok(last != *b"\n")
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    path.with_added_extension(number.to_string())
}

fn rotate(path: &Path) -> io::Result<()> {
    let reached = Reached::of(path)?;
    let path = &reached.path();
    for number in (1..KEPT).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(path, numbered(path, 1))
}

/// Bytes of a line, at most: no record is that long, and a file of another program may have any.
const LINE_MAX: u64 = SIZE_MAX;
/// Bytes of all files that are read, at most: twice what rotation leaves.
pub const READ_MAX: u64 = 2 * (KEPT as u64 + 1) * SIZE_MAX;

/// The lines of all files, the newest first. Reads only what is asked for.
///
/// # Errors
/// A file is there and cannot be opened.
pub(super) fn newest_first(path: &Path) -> io::Result<Lines> {
    let mut inodes = Vec::new();
    let mut files = Vec::new();
    // The present one first: one that is rotated meanwhile is read twice, and none is missed.
    for number in 0..=KEPT {
        let name = if number == 0 { path.into() } else { numbered(path, number) };
        let file = match append::open_regular(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        if !inodes.contains(&inode) {
            inodes.push(inode);
            files.push(Backward::new(file));
        }
    }
    files.reverse();
    Ok(Lines { files, room: READ_MAX, left_out: LeftOut::default() })
}

/// What the files have, and a reader of their lines does not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Lines that are too long for a record.
    pub long_lines: u64,
    /// Whether the files have more than is read of them.
    pub older: bool,
}

/// The lines of all files, the newest first.
pub(super) struct Lines {
    /// The newest one last.
    files: Vec<Backward>,
    /// Bytes that may still be read.
    room: u64,
    left_out: LeftOut,
}

impl Lines {
    /// What was left out so far.
    pub(super) fn left_out(&self) -> LeftOut {
        self.left_out
    }
}

impl Iterator for Lines {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        while let Some(file) = self.files.last_mut() {
            if let Some(line) = file.next(&mut self.room, &mut self.left_out) {
                return Some(line);
            }
            self.files.pop();
        }
        None
    }
}

/// The lines of a file, the last first.
struct Backward {
    file: File,
    /// Where what was not read yet ends.
    rest: u64,
    /// What was read and is not given yet: it ends where a line ends, unless that is too long.
    read: Vec<u8>,
    /// Whether `read` ends in a line that is too long.
    is_in_long_line: bool,
}

impl Backward {
    fn new(file: File) -> Self {
        let rest = file.metadata().map_or(0, |metadata| metadata.len());
        Self { file, rest, read: Vec::new(), is_in_long_line: false }
    }

    fn next(&mut self, room: &mut u64, left_out: &mut LeftOut) -> Option<Vec<u8>> {
        loop {
            if let Some(newline) = self.read.iter().rposition(|&byte| byte == b'\n') {
                let line = self.read.split_off(newline + 1);
                self.read.pop();
                if std::mem::take(&mut self.is_in_long_line) || line.is_empty() {
                    continue;
                }
                return Some(line);
            }
            if self.read.len() as u64 > LINE_MAX {
                left_out.long_lines += u64::from(!self.is_in_long_line);
                self.is_in_long_line = true;
            }
            if self.is_in_long_line {
                self.read.clear();
            }
            if self.rest == 0 {
                return Some(std::mem::take(&mut self.read)).filter(|line| !line.is_empty());
            }
            if !self.read_piece(room) {
                left_out.older |= *room == 0;
                self.rest = 0;
                return None;
            }
        }
    }

    /// False where that is not possible, or no room is left.
    fn read_piece(&mut self, room: &mut u64) -> bool {
        // Larger pieces for longer lines, so that a line is not copied again and again.
        let piece = self.rest.min(PIECE.max(self.read.len() as u64)).min(*room);
        let mut bytes = vec![0; usize::try_from(piece).unwrap_or(0)];
        if piece == 0 || self.file.read_exact_at(&mut bytes, self.rest - piece).is_err() {
            return false;
        }
        *room -= piece;
        self.rest -= piece;
        bytes.append(&mut self.read);
        self.read = bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_torn_record_costs_itself_and_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.jsonl");
        fs::write(&path, "one\ntw").expect("written");
        RecordFile::new(&path).append("three").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "one\ntw\nthree\n");
    }

    #[test]
    fn files_are_put_aside_in_time_and_read_from_the_newest_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.jsonl");
        let mut file = RecordFile::new(&path);
        let filler = "x".repeat(1024 * 1024);
        for number in 0..60 {
            file.append(&format!("{number} {filler}")).expect("written");
        }
        let sizes: Vec<u64> = fs::read_dir(directory.path())
            .expect("ours")
            .flatten()
            .map(|entry| entry.metadata().expect("there").len())
            .collect();
        assert_eq!(sizes.len(), 1 + KEPT as usize);
        assert!(sizes.iter().all(|size| *size <= SIZE_MAX), "{sizes:?}");
        assert_eq!(
            fs::metadata(&path).expect("there").permissions().mode() & 0o137,
            0,
            "for its group at most"
        );
        let numbers: Vec<String> = newest_first(&path)
            .expect("readable")
            .map(|line| {
                String::from_utf8(line)
                    .expect("ASCII")
                    .split(' ')
                    .next()
                    .expect("a number")
                    .to_owned()
            })
            .collect();
        assert!(numbers.len() > 20, "{numbers:?}");
        let expected: Vec<String> =
            (0..60).rev().take(numbers.len()).map(|number| number.to_string()).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn what_is_no_record_by_its_length_is_left_out_and_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.jsonl");
        let long = vec![b'x'; 3 * usize::try_from(LINE_MAX).expect("it fits")];
        let content = [b"one\n", long.as_slice(), b"\ntwo\n", long.as_slice()].concat();
        fs::write(&path, content).expect("written");
        let mut lines = newest_first(&path).expect("readable");
        let found: Vec<Vec<u8>> = lines.by_ref().collect();
        assert_eq!(found, [b"two".to_vec(), b"one".to_vec()]);
        assert_eq!(lines.left_out(), LeftOut { long_lines: 2, older: false });
    }

    #[test]
    fn a_file_without_an_end_is_read_up_to_a_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.jsonl");
        // Sparse: it takes no room.
        let file = File::create(&path).expect("a file");
        file.set_len(1 << 40).expect("a length");
        file.write_all_at(b"\none\n", (1 << 40) - 5).expect("written");
        let mut lines = newest_first(&path).expect("readable");
        assert_eq!(lines.by_ref().collect::<Vec<_>>(), [b"one".to_vec()]);
        assert_eq!(lines.left_out(), LeftOut { long_lines: 1, older: true });
    }
}
