//! A file that is rotated by size and time, kept to a cap, reopened on demand, and may be full or removed underneath.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{SpliceFFlags, splice};

use super::aside::{keep_to_cap, numbered, remove};
use crate::config::settings::Rotate;

/// A line longer than this does not keep a file from being put aside.
const LINE_MAX: u64 = 64 * 1024;
/// Before a file that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// Before a file that could not be put aside is tried again.
const ASIDE_AGAIN: Duration = Duration::from_secs(10);
/// Most that is written at once.
const PIECE: u64 = super::hands::CHUNK as u64;
/// How much of the end of a file that was put aside is remembered.
const BEFORE_MAX: u64 = 4096;

/// The file behind one or several streams.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotate: Rotate,
    cap: Option<u64>,
    open: Option<Open>,
    is_compressing: bool,
    failed_at: Option<SystemTime>,
    /// It shall be put aside as soon as a line ends: there is too much of all files together.
    is_wanted_aside: bool,
    /// When it could not be put aside.
    stuck_at: Option<SystemTime>,
    /// The end of what was put aside last: the last lines of a worker may be there.
    before: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Where the next byte goes; splice(2) refuses files opened for appending.
    length: u64,
    /// A file can be put aside; a FIFO or a terminal cannot.
    is_regular: bool,
    /// Which span of `rotate.every` it was begun in.
    span: u64,
}

/// What a rotation leaves to do.
#[derive(Debug)]
pub(super) struct Rotated {
    pub(super) to_compress: Option<PathBuf>,
}

impl LogFile {
    pub(super) fn new(path: &Path, rotate: Rotate, cap: Option<u64>) -> Self {
        Self {
            path: path.into(),
            rotate,
            cap,
            open: None,
            is_compressing: false,
            failed_at: None,
            is_wanted_aside: false,
            stuck_at: None,
            before: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next write opens it anew under its name.
    pub(super) fn close(&mut self) {
        self.open = None;
        self.failed_at = None;
    }

    /// A rotated file has been compressed: the next rotation may move it.
    pub(super) fn compressed(&mut self) {
        self.is_compressing = false;
    }

    /// Appends all of it, or fails.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let open = self.opened()?;
        if !open.is_regular {
            return (&open.file).write_all(bytes);
        }
        let start = open.length;
        let result = open.file.write_all_at(bytes, start);
        match result {
            Ok(()) => open.length += bytes.len() as u64,
            // What was written of it is taken back: a line is there or it is not.
            Err(_) => drop(open.file.set_len(start)),
        }
        result
    }

    /// Takes `count` bytes out of a pipe. How many it took; an error after some counts as those.
    pub(super) fn splice(&mut self, pipe: &OwnedFd, count: usize) -> io::Result<usize> {
        let open = self.opened()?;
        let mut done = 0;
        while done < count {
            let mut offset = i64::try_from(open.length).unwrap_or(i64::MAX);
            let place = open.is_regular.then_some(&mut offset);
            match splice(pipe, None, &open.file, place, count - done, SpliceFFlags::SPLICE_F_MOVE) {
                Ok(0) => break,
                Ok(written) => {
                    done += written;
                    open.length += written as u64;
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) if done == 0 => return Err(errno.into()),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Where the next byte goes; `None` for what is no regular file.
    pub(super) fn length(&mut self) -> io::Result<Option<u64>> {
        let open = self.opened()?;
        Ok(open.is_regular.then_some(open.length))
    }

    /// Takes back what was written after this place.
    pub(super) fn cut(&mut self, place: u64) -> io::Result<()> {
        let open = self.opened()?;
        if open.is_regular && open.length > place {
            open.file.set_len(place)?;
            open.length = place;
        }
        Ok(())
    }

    /// The last bytes, those of the file that was put aside last included.
    pub(super) fn end(&mut self, most: usize) -> Vec<u8> {
        let Some(open) = self.open.as_ref().filter(|open| open.is_regular) else {
            return self.before.clone();
        };
        let start = open.length.saturating_sub(most as u64);
        let mut bytes = read_at(&open.file, &self.path, start, open.length - start).unwrap_or_default();
        let missing = most.saturating_sub(bytes.len()).min(self.before.len());
        bytes.splice(..0, self.before[self.before.len() - missing..].iter().copied());
        bytes
    }

    /// Whether it was begun in an earlier span of time: what comes now belongs into the next one.
    pub(super) fn is_of_the_past(&self) -> bool {
        let open = self.open.as_ref().filter(|open| open.is_regular && open.length > 0);
        open.is_some_and(|open| open.span != span(self.rotate.every, SystemTime::now()))
    }

    /// How many of the bytes that come next still belong into this file, for the next one to begin with a line; all of
    /// them where it is not to be put aside yet.
    pub(super) fn share(&self, bytes: &[u8]) -> usize {
        if !self.is_due_within(bytes.len()) {
            return bytes.len();
        }
        let length = self.open.as_ref().map_or(0, |open| open.length);
        // Up to the end of the first line that ends beyond the size.
        let missing = self.largest().map_or(0, |size| size.saturating_sub(length));
        let is_due_now = self.is_wanted_aside || self.is_of_the_past();
        let missing = if is_due_now { 1 } else { usize::try_from(missing).unwrap_or(usize::MAX).max(1) };
        let from = (missing - 1).min(bytes.len());
        bytes[from..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |newline| from + newline + 1)
    }

    /// Whether it is to be put aside by the time that it has so many bytes more, and can be.
    pub(super) fn is_due_within(&self, more: usize) -> bool {
        let Some(open) = self.open.as_ref().filter(|open| open.is_regular) else { return false };
        let length = open.length.saturating_add(more as u64);
        let is_due = length > 0
            && (self.largest().is_some_and(|size| length >= size)
                || self.is_wanted_aside
                || self.is_of_the_past());
        let is_never = self.rotate.size.is_none() && self.rotate.every.is_none();
        let is_stuck = self
            .stuck_at
            .is_some_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since < ASIDE_AGAIN));
        // The one before is still being read: it keeps its name until then.
        is_due && !is_never && !is_stuck && !self.is_compressing
    }

    /// How large the file may become: with a cap, so much less than half of it that one put aside has room, with the piece
    /// by which it was too large.
    fn largest(&self) -> Option<u64> {
        let share = self.cap.map(|cap| (cap / 2).saturating_sub(PIECE).max(cap / 4).max(1));
        self.rotate.size.into_iter().chain(share).min()
    }

    /// Puts the file aside if it is large or old enough, at the end of a line: nothing is moved from one file to the
    /// other, so that a death at any instant leaves every byte in one place.
    ///
    /// # Errors
    /// It cannot be put aside. Said once; it is tried again after a while.
    pub(super) fn rotate_if_due(&mut self) -> io::Result<Option<Rotated>> {
        let Some(open) = self.open.as_ref().filter(|open| open.length > 0 && self.is_due_within(0)) else {
            return Ok(None);
        };
        if !ends_with_newline(open, &self.path)? && !ends_with_endless_line(open, &self.path)? {
            return Ok(None);
        }
        match self.begin_anew() {
            Ok(()) => {
                (self.stuck_at, self.is_wanted_aside) = (None, false);
                if let Some(cap) = self.cap {
                    let own = self.largest().unwrap_or(0);
                    keep_to_cap(std::slice::from_ref(&self.path), cap.saturating_sub(own));
                }
                let first = numbered(&self.path, 1, false);
                self.is_compressing = self.rotate.compress && self.rotate.keep > 0;
                Ok(Some(Rotated { to_compress: self.is_compressing.then_some(first) }))
            }
            Err(error) => {
                let was_said = self.stuck_at.replace(SystemTime::now()).is_some();
                if was_said { Ok(None) } else { Err(error) }
            }
        }
    }

    /// The same at the end of the present line, whether it is due or not; nothing where the configuration says that it is
    /// never rotated.
    pub(super) fn put_aside(&mut self) -> io::Result<Option<Rotated>> {
        self.is_wanted_aside = true;
        self.rotate_if_due()
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        let Some(open) = self.open.as_ref() else { return Ok(()) };
        let start = open.length.saturating_sub(BEFORE_MAX);
        let before = read_at(&open.file, &self.path, start, open.length - start).unwrap_or_default();
        if self.rotate.keep == 0 {
            open.file.set_len(0)?;
        } else {
            self.shift()?;
        }
        self.before = before;
        self.open = None;
        Ok(())
    }

    /// `x.log.2` → `x.log.3`, ..., `x.log` → `x.log.1`; the oldest goes.
    fn shift(&self) -> io::Result<()> {
        let is_there = |number: &u32| {
            [false, true].iter().any(|is_compressed| numbered(&self.path, *number, *is_compressed).exists())
        };
        // Of those that may be kept only few are there, as a rule.
        let there = (1..=self.rotate.keep).take_while(is_there).count();
        let last = u32::try_from(there).unwrap_or(u32::MAX);
        for is_compressed in [false, true] {
            if last == self.rotate.keep {
                remove(&numbered(&self.path, last, is_compressed))?;
            }
            for number in (1..=last.min(self.rotate.keep - 1)).rev() {
                let from = numbered(&self.path, number, is_compressed);
                match fs::rename(&from, numbered(&self.path, number + 1, is_compressed)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        match fs::rename(&self.path, numbered(&self.path, 1, false)) {
            // Somebody removed it: there is nothing to put aside.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let is_gone = self.open.as_mut().is_some_and(Open::is_gone);
        if is_gone {
            self.open = None;
        }
        if self.open.is_none() {
            let now = SystemTime::now();
            let is_soon =
                self.failed_at.is_some_and(|at| now.duration_since(at).is_ok_and(|since| since < OPEN_AGAIN));
            if is_soon {
                return Err(io::Error::other("it could not be opened a moment ago"));
            }
            match Open::new(&self.path, self.rotate.every) {
                Ok(open) => (self.open, self.failed_at) = (Some(open), None),
                Err(error) => {
                    self.failed_at = Some(now);
                    return Err(error);
                }
            }
        }
        self.open.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Open {
    fn new(path: &Path, every: Option<Duration>) -> io::Result<Self> {
        let is_fifo = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
        let mut options = OpenOptions::new();
        // A FIFO opened for both never waits for its reader, and outlives it (fifo(7)).
        options.write(true).create(true).truncate(false).mode(0o640).read(is_fifo);
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The directory has vanished.
                fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
                options.open(path)?
            }
            other => other?,
        };
        let metadata = file.metadata()?;
        let is_regular = metadata.is_file();
        let begun = metadata.modified().ok().filter(|_| metadata.len() > 0).unwrap_or_else(SystemTime::now);
        Ok(Self {
            length: if is_regular { metadata.len() } else { 0 },
            is_regular,
            span: span(every, begun),
            file,
        })
    }

    /// Whether the file has been removed, or cut short, under us.
    fn is_gone(&mut self) -> bool {
        let Ok(metadata) = self.file.metadata() else { return true };
        if self.is_regular && metadata.len() < self.length {
            self.length = metadata.len();
        }
        metadata.nlink() == 0
    }
}

fn span(every: Option<Duration>, at: SystemTime) -> u64 {
    let Some(every) = every else { return 0 };
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) / every.as_secs().max(1)
}

fn ends_with_newline(open: &Open, path: &Path) -> io::Result<bool> {
    Ok(read_at(&open.file, path, open.length.saturating_sub(1), 1)? == b"\n")
}

/// A line longer than [`LINE_MAX`] is cut.
fn ends_with_endless_line(open: &Open, path: &Path) -> io::Result<bool> {
    let Some(start) = open.length.checked_sub(LINE_MAX) else { return Ok(false) };
    Ok(!read_at(&open.file, path, start, LINE_MAX)?.contains(&b'\n'))
}

/// Our own descriptor is for writing only.
fn read_at(file: &File, path: &Path, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let reader = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))
        .or_else(|_| File::open(path))?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    reader.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}
