//! A reader of one file of captured output: its last lines, and new ones, through every rotation.
//!
//! `x.log` becomes `x.log.1`, that `x.log.2`, or `x.log.2.gz`: the inode identifies a file,
//! whatever its name is now.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::Access;
use super::last_lines::{LastLines, Room};
use crate::control::protocol::LogPosition;
use crate::log_tail::PIECE_MAX;
use crate::stable_hash::stable_hash;

/// The number of looks, a millisecond apart, at files that are just being renamed. After that a
/// missing number counts as the end.
const SHIFTING: u32 = 200;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    access: Access,
    file: Option<File>,
    inode: u64,
}

/// The successor of the open file.
enum Found {
    /// There is none: it is the present file.
    Same,
    /// This one; already opened, because its name can belong to another file a moment later.
    Next(File),
    /// A number is missing before the search found it.
    Gap,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, access: Access) -> Self {
        Self { path, access, file: None, inode: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The time of its last write, in the format of lines; nothing when there is none.
    pub(super) fn modified(&self) -> String {
        let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified());
        modified.map(crate::record::wall_time::wall).unwrap_or_default()
    }

    /// The last lines, from rotated files too where the present one has fewer, and a sentence about
    /// each thing that is left out. [`news`](Self::news) returns later ones.
    pub(super) fn last_lines(&mut self, room: Room) -> (Vec<u8>, Vec<String>) {
        // A worker that has not written yet has no file; one whose file was just rotated has the
        // rotated one.
        let mut name = self.path.clone();
        if !self.open(&name) {
            name = numbered(&self.path, 1);
            self.open(&name);
        }
        let mut lines = LastLines::new(room);
        if let Some(file) = &mut self.file {
            lines.add(file, &name);
        }
        let mut seen = vec![self.inode];
        for number in 1.. {
            if lines.is_complete() {
                break;
            }
            let (plain, packed) = (numbered(&self.path, number), compressed(&self.path, number));
            match self.access.open(&plain) {
                // A rotation has renamed it meanwhile.
                Ok(file) if seen.contains(&inode(&file)) => {}
                Ok(mut file) => {
                    seen.push(inode(&file));
                    lines.add(&mut file, &plain);
                }
                Err(_) => match self.access.open(&packed) {
                    Ok(file) => lines.add_compressed(file, &packed),
                    // During each rotation one number is missing for a moment.
                    Err(_) if is_there(&self.path, number + 1) => {}
                    Err(_) => break,
                },
            }
        }
        lines.finish()
    }

    /// Goes on where an earlier reading has come to in this file, wherever it lies now. One that
    /// was not there then is read from its start. What to say of lines that are lost to it.
    pub(super) fn resume(&mut self, from: &[LogPosition]) -> Option<String> {
        let own = self.id();
        let position = from.iter().find(|position| position.file == own)?;
        for number in 0.. {
            let name = match number {
                0 => self.path.clone(),
                number => numbered(&self.path, number),
            };
            match self.access.open(&name) {
                Ok(mut file) if inode(&file) == position.inode => {
                    // A shorter one was truncated, and is read from its start.
                    let _ = file.seek(SeekFrom::Start(position.offset));
                    self.inode = position.inode;
                    self.file = Some(file);
                    return None;
                }
                Ok(_) => {}
                // During each rotation one number is missing for a moment.
                Err(_) if number == 0 || is_there(&self.path, number) => {}
                Err(_) if is_there(&self.path, number + 1) => {}
                // It was removed, or compressed: only the present one is left to read.
                Err(_) => {
                    return Some(format!(
                        "{}: the file that was read before has been removed or compressed since; \
                         what came after that place in it is not shown",
                        self.path.display()
                    ));
                }
            }
        }
        None
    }

    /// Where the reading has come to.
    pub(super) fn position(&mut self) -> Option<LogPosition> {
        let offset = self.file.as_mut()?.stream_position().ok()?;
        Some(LogPosition { file: self.id(), inode: self.inode, offset })
    }

    /// What positions call it.
    fn id(&self) -> String {
        let path = self.path.as_os_str().as_encoded_bytes();
        format!("{:016x}", stable_hash(path.iter().copied()))
    }

    /// Whether there is unread output.
    pub(super) fn has_news(&mut self) -> bool {
        let has_more = self.file.as_mut().is_some_and(|file| {
            let position = file.stream_position().unwrap_or(0);
            // A shorter file was truncated: read it from its start.
            file.metadata().is_ok_and(|metadata| metadata.len() != position)
                && has_line(file, position)
        });
        has_more || self.next_file().is_some()
    }

    /// New output; whole lines only, unless a line will never be completed.
    pub(super) fn news(&mut self) -> Vec<u8> {
        let mut bytes = self.file.as_mut().and_then(|file| news(file).ok()).unwrap_or_default();
        // Files that were created and rotated meanwhile follow one after the other.
        while (bytes.len() as u64) < PIECE_MAX
            && let Some(next) = self.next_file()
        {
            if let Some(file) = &mut self.file {
                let _ = file.read_to_end(&mut bytes);
            }
            self.inode = inode(&next);
            self.file = Some(next);
            bytes.extend(self.file.as_mut().and_then(|file| news(file).ok()).unwrap_or_default());
        }
        bytes
    }

    /// Opens a file at its start. False when there is none.
    fn open(&mut self, path: &Path) -> bool {
        self.file = self.access.open(path).ok();
        self.inode = self.file.as_ref().map_or(0, inode);
        self.file.is_some()
    }

    /// The successor of the open file, if there is one.
    fn next_file(&self) -> Option<File> {
        for _ in 0..SHIFTING {
            match self.successor() {
                Found::Same => return None,
                Found::Next(file) => return Some(file),
                // A rotation is just renaming files, one after the other.
                Found::Gap if self.is_linked() => std::thread::sleep(Duration::from_millis(1)),
                Found::Gap => break,
            }
        }
        // It was removed, or compressed: only the present one is left to read.
        self.access.open(&self.path).ok()
    }

    /// Searches from the present file on, towards greater numbers. Numbers only grow, and that of
    /// the open file grows first: the file found one number before it is its direct successor.
    fn successor(&self) -> Found {
        let mut newer = match self.access.open(&self.path) {
            Ok(file) if inode(&file) != self.inode => file,
            Ok(_) | Err(_) => return Found::Same,
        };
        for number in 1.. {
            match self.access.open(&numbered(&self.path, number)) {
                Ok(file) if inode(&file) == self.inode => return Found::Next(newer),
                Ok(file) => newer = file,
                Err(_) if compressed(&self.path, number).exists() => {}
                Err(_) => return Found::Gap,
            }
        }
        Found::Gap
    }

    /// Whether the open file still has a name.
    fn is_linked(&self) -> bool {
        self.file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .is_some_and(|metadata| metadata.nlink() > 0)
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.ino())
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn compressed(path: &Path, number: u32) -> PathBuf {
    let mut name = numbered(path, number).into_os_string();
    name.push(".gz");
    name.into()
}

fn is_there(path: &Path, number: u32) -> bool {
    numbered(path, number).exists() || compressed(path, number).exists()
}

/// Whether something to show follows, or the file was truncated. Keeps the position.
fn has_line(file: &mut File, position: u64) -> bool {
    if file.metadata().is_ok_and(|metadata| metadata.len() < position) {
        return true;
    }
    let is_there = next_lines(file).is_ok_and(|bytes| !bytes.is_empty());
    let _ = file.seek(SeekFrom::Start(position));
    is_there
}

/// New output. Reads a truncated file from its start.
fn news(file: &mut File) -> io::Result<Vec<u8>> {
    let position = file.stream_position()?;
    if file.metadata()?.len() < position {
        file.rewind()?;
    }
    let position = file.stream_position()?;
    let bytes = next_lines(file)?;
    file.seek(SeekFrom::Start(position + bytes.len() as u64))?;
    Ok(bytes)
}

/// Whole lines from the position on, or a piece of one that is longer.
fn next_lines(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Read::by_ref(file).take(PIECE_MAX).read_to_end(&mut bytes)?;
    match bytes.iter().rposition(|&byte| byte == b'\n') {
        Some(newline) => bytes.truncate(newline + 1),
        None if (bytes.len() as u64) < PIECE_MAX => bytes.clear(),
        None => {}
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::last_lines::TOTAL_MAX;
    use super::*;

    #[test]
    fn last_lines_are_taken_from_rotated_and_compressed_files_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.log");
        let mut encoder = GzEncoder::new(
            File::create(compressed(&path, 2)).expect("a file"),
            Compression::default(),
        );
        encoder.write_all(b"1\n2\n").expect("written");
        encoder.finish().expect("written");
        std::fs::write(numbered(&path, 1), "3\n4\n").expect("written");
        std::fs::write(&path, "5\n").expect("written");
        for (lines, expected) in
            [(1, "5\n"), (2, "4\n5\n"), (4, "2\n3\n4\n5\n"), (9, "1\n2\n3\n4\n5\n"), (0, "")]
        {
            let (bytes, left_out) = LogFile::new(path.clone(), Access::Own)
                .last_lines(Room::within(TOTAL_MAX, lines, 1));
            assert_eq!((bytes.as_slice(), left_out.len()), (expected.as_bytes(), 0));
        }
    }

    #[test]
    fn what_comes_is_followed_through_several_rotations_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.log");
        std::fs::write(&path, "1\n").expect("written");
        let mut file = LogFile::new(path.clone(), Access::Own);
        assert_eq!(file.last_lines(Room::within(TOTAL_MAX, 10, 1)).0, b"1\n");
        assert!(!file.has_news());
        let append = |path: &Path, text: &str| {
            let mut file = File::options().append(true).create(true).open(path).expect("a file");
            file.write_all(text.as_bytes()).expect("written");
        };
        append(&path, "2\n");
        for text in ["3\n4\n", "5\n", "6\n7"] {
            for number in (1..5).rev() {
                let _ = std::fs::rename(numbered(&path, number), numbered(&path, number + 1));
            }
            std::fs::rename(&path, numbered(&path, 1)).expect("rotated");
            append(&path, text);
        }
        assert!(file.has_news());
        assert_eq!(file.news(), b"2\n3\n4\n5\n6\n");
        assert!(!file.has_news(), "half a line is none");
        append(&path, "\n");
        assert_eq!(file.news(), b"7\n");
        std::fs::write(&path, "8\n").expect("cut");
        assert_eq!(file.news(), b"8\n");
        // One that is longer than what is read at once comes in pieces.
        append(&path, &"x".repeat(5 << 20));
        assert!(file.has_news());
        assert_eq!(file.news().len(), 4 << 20);
        assert!(!file.has_news(), "its end is still to come");
        append(&path, "\n9\n");
        assert_eq!(file.news().len(), (1 << 20) + 3);
    }

    #[test]
    fn the_file_that_was_found_is_read_though_its_name_has_become_anothers() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.log");
        let rotate = |next: &str| {
            for number in (1..5).rev() {
                let _ = std::fs::rename(numbered(&path, number), numbered(&path, number + 1));
            }
            std::fs::rename(&path, numbered(&path, 1)).expect("rotated");
            std::fs::write(&path, next).expect("written");
        };
        std::fs::write(&path, "1\n").expect("written");
        let mut file = LogFile::new(path.clone(), Access::Own);
        file.last_lines(Room::within(TOTAL_MAX, 1, 1));
        rotate("2\n");
        rotate("3\n");
        let mut found = file.next_file().expect("a next one");
        rotate("4\n");
        assert_eq!(news(&mut found).expect("readable"), b"2\n");
    }
}
