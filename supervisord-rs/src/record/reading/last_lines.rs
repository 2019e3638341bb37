//! The last lines of a log, back through its rotated files, within a limit of bytes: who writes a
//! log chooses how long its lines are, and what a compressed file becomes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::log_tail::last;

/// Bytes of all logs together.
pub(super) const TOTAL_MAX: u64 = 64 << 20;
/// Bytes of one log, however many there are: rotation keeps a line of this length whole.
const SHARE_MIN: u64 = 64 << 10;
/// Bytes of a line, on average: what has fewer newlines is hardly text.
const LINE_MAX: u64 = 1 << 20;
/// Bytes that the compressed files of a log become, which takes seconds. How many they are, only
/// their end tells.
const UNPACKED_MAX: u64 = 1 << 30;
/// How much is read at once.
const PIECE: u64 = 64 << 10;

/// How much of a log is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    lines: usize,
    bytes: u64,
    unpacked: u64,
}

impl Room {
    /// Of each of so many logs, where all together have so many bytes.
    pub(super) fn within(bytes: u64, lines: usize, logs: usize) -> Self {
        let asked = LINE_MAX.saturating_mul(lines as u64);
        let share = bytes / logs.max(1) as u64;
        Self { lines, bytes: asked.min(share.max(SHARE_MIN)), unpacked: UNPACKED_MAX }
    }
}

/// What has been read, and how much room is left.
#[derive(Debug)]
pub(super) struct LastLines {
    given: Room,
    left: Room,
    bytes: Vec<u8>,
    is_cut: bool,
    notes: Vec<String>,
}

impl LastLines {
    pub(super) fn new(room: Room) -> Self {
        Self { given: room, left: room, bytes: Vec::new(), is_cut: false, notes: Vec::new() }
    }

    /// Whether no older file is needed, or fits.
    pub(super) fn is_complete(&self) -> bool {
        self.is_cut || self.left.lines == 0
    }

    /// The lines, and a sentence about each thing that is left out.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<String>) {
        (self.bytes, self.notes)
    }

    /// A file that is older than all before. Afterwards its position is its end.
    pub(super) fn add(&mut self, file: &mut File, path: &Path) {
        match backward(file, self.left) {
            Ok(end) => self.put_before(end, path),
            Err(error) => self.notes.push(format!("cannot read {}: {error}", path.display())),
        }
    }

    /// The same for a compressed one.
    pub(super) fn add_compressed(&mut self, file: File, path: &Path) {
        let shown = path.display();
        match unpacked(file, &mut self.left) {
            Ok(Some(end)) => self.put_before(end, path),
            Ok(None) => {
                self.is_cut = true;
                self.notes.push(format!(
                    "older lines are left out: `logs` decompresses {} of a log, and {shown} \
                     has more (see zcat)",
                    size(self.given.unpacked)
                ));
            }
            Err(error) => self.notes.push(format!("cannot decompress {shown}: {error}")),
        }
    }

    fn put_before(&mut self, end: End, path: &Path) {
        let is_enough = newlines_before_the_end(&end.bytes) >= self.left.lines;
        let mut older = last(end.bytes, self.left.lines);
        self.left.lines = self.left.lines.saturating_sub(count(&older));
        self.left.bytes = self.left.bytes.saturating_sub(older.len() as u64);
        if !end.is_whole && !is_enough {
            self.is_cut = true;
            self.notes.push(format!(
                "older lines are left out: {} of a log fit, and {} has more",
                size(self.given.bytes),
                path.display()
            ));
        }
        if !older.is_empty() && !older.ends_with(b"\n") && !self.bytes.is_empty() {
            older.push(b'\n');
        }
        older.append(&mut self.bytes);
        self.bytes = older;
    }
}

/// The end of a file.
#[derive(Debug, Default)]
struct End {
    bytes: Vec<u8>,
    /// Whether that is all of it.
    is_whole: bool,
}

/// As much of the file's end as the lines need, or the room allows.
fn backward(file: &mut File, room: Room) -> io::Result<End> {
    let mut start = file.seek(SeekFrom::End(0))?;
    let mut bytes = Vec::new();
    while start > 0 && newlines_before_the_end(&bytes) < room.lines {
        let length = bytes.len() as u64;
        // Each piece is as large as all before it, so that a long line is not copied often.
        let piece = PIECE.max(length).min(start).min(room.bytes - length);
        if piece == 0 {
            break;
        }
        let mut older = vec![0; usize::try_from(piece).unwrap_or(0)];
        file.read_exact_at(&mut older, start - piece)?;
        start -= piece;
        older.append(&mut bytes);
        bytes = older;
    }
    Ok(End { bytes, is_whole: start == 0 })
}

/// The end of a compressed file, as far as there is room. `None` when it has more than may be
/// decompressed: its end is unknown.
fn unpacked(file: File, room: &mut Room) -> io::Result<Option<End>> {
    let most = usize::try_from(room.bytes).unwrap_or(usize::MAX);
    let mut decoder = GzDecoder::new(file);
    let mut end = End { bytes: Vec::new(), is_whole: true };
    loop {
        let count = Read::by_ref(&mut decoder).take(PIECE).read_to_end(&mut end.bytes)?;
        if count == 0 {
            break;
        }
        match room.unpacked.checked_sub(count as u64) {
            Some(left) => room.unpacked = left,
            None => return Ok(None),
        }
        // Cut now and then, so that what stays is not moved with each piece.
        if end.bytes.len() / 2 > most {
            keep_end(&mut end, most);
        }
    }
    keep_end(&mut end, most);
    Ok(Some(end))
}

fn keep_end(end: &mut End, most: usize) {
    if end.bytes.len() > most {
        end.bytes.drain(..end.bytes.len() - most);
        end.is_whole = false;
    }
}

fn count(bytes: &[u8]) -> usize {
    bytes.split_inclusive(|&byte| byte == b'\n').count()
}

/// So many lines are whole, besides the first.
fn newlines_before_the_end(bytes: &[u8]) -> usize {
    let end = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    end.iter().filter(|&&byte| byte == b'\n').count()
}

fn size(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// What is shown of a plain file and of a compressed one before it.
    fn shown(room: Room, older: &[u8], newer: &[u8]) -> (String, Vec<String>) {
        let directory = tempfile::tempdir().expect("a directory");
        let (plain, packed) = (directory.path().join("x"), directory.path().join("x.1.gz"));
        std::fs::write(&plain, newer).expect("written");
        let mut encoder =
            GzEncoder::new(File::create(&packed).expect("a file"), Compression::fast());
        encoder.write_all(older).expect("written");
        encoder.finish().expect("written");
        let mut lines = LastLines::new(room);
        lines.add(&mut File::open(&plain).expect("there"), &plain);
        if !lines.is_complete() {
            lines.add_compressed(File::open(&packed).expect("there"), &packed);
        }
        let (bytes, notes) = lines.finish();
        (String::from_utf8(bytes).expect("ASCII"), notes)
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_oldest_line_on_and_named() {
        let room = |lines, bytes, unpacked| Room { lines, bytes, unpacked };
        let (text, notes) = shown(room(9, 100, 100), b"1\n2\n", b"3\n4\n");
        assert_eq!((text.as_str(), notes.len()), ("1\n2\n3\n4\n", 0));
        let (text, notes) = shown(room(3, 100, 100), b"1\n2\n", b"3\n4\n");
        assert_eq!((text.as_str(), notes.len()), ("2\n3\n4\n", 0));
        // The room ends in the compressed file, and in the plain one.
        let (text, notes) = shown(room(9, 7, 100), b"0001\n0002\n", b"3\n4\n");
        assert_eq!(text, "02\n3\n4\n");
        assert!(notes[0].contains("x.1.gz has more"), "{notes:?}");
        let (text, notes) = shown(room(9, 3, 100), b"1\n2\n", b"0003\n");
        assert_eq!(text, "03\n");
        assert!(notes.len() == 1 && notes[0].ends_with("x has more"), "{notes:?}");
        // Where the end of the compressed file is unknown, nothing of it is shown.
        let (text, notes) = shown(room(9, 100, 3), b"1\n2\n", b"3\n4\n");
        assert_eq!(text, "3\n4\n");
        assert!(notes[0].contains("x.1.gz has more (see zcat)"), "{notes:?}");
    }

    #[test]
    fn one_endless_line_takes_the_room_of_the_lines_that_were_asked_for() {
        let line = vec![b'x'; 3 << 20];
        let (text, notes) = shown(Room::within(TOTAL_MAX, 1, 1), b"", &line);
        assert_eq!((text.len(), notes.len()), (1 << 20, 1));
        let (text, _) = shown(Room::within(TOTAL_MAX, 1, 10_000), b"", &line);
        assert_eq!(text.len(), 64 << 10);
        let (text, notes) = shown(Room::within(TOTAL_MAX, 1, 1), &line, b"");
        assert_eq!((text.len(), notes.len()), (1 << 20, 1));
    }

    #[test]
    fn a_broken_compressed_file_is_named_and_not_taken_for_an_empty_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.1.gz");
        std::fs::write(&path, "no gzip at all").expect("written");
        let mut lines = LastLines::new(Room::within(TOTAL_MAX, 9, 1));
        lines.add_compressed(File::open(&path).expect("there"), &path);
        let (bytes, notes) = lines.finish();
        assert!(bytes.is_empty() && notes[0].contains("cannot decompress"), "{notes:?}");
    }
}
