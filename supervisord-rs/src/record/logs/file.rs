//! A file that is appended to, rotated by size and time, kept to a cap, reopened on demand, and may
//! be full or removed underneath, or written to by others. It is never cut, and nothing is written
//! but at its end.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::rotated::{end_of_newest, keep_to_cap, numbered, remove};
use crate::append;
use crate::config::settings::Rotate;
use crate::reach::Reached;
use crate::record::patient::{Patient, Unwritten};

/// A line longer than this does not delay the rotation of a file.
const LINE_MAX: u64 = 64 * 1024;
/// Before a file that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// The delay after a failed rotation.
const ASIDE_AGAIN: Duration = Duration::from_secs(10);
/// Most that is written at once.
const PIECE: u64 = super::staging_pipe::CHUNK as u64;
/// How much of the end of a rotated file is remembered.
const BEFORE_MAX: u64 = 4096;

/// What a file is, whatever its name: its device and its inode.
pub(super) type Identity = (u64, u64);

/// The file behind one or several streams.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotate: Rotate,
    cap: Option<u64>,
    open: Option<Open>,
    patient: Patient,
    /// When it could not be opened, and why not.
    failed: Option<(SystemTime, io::ErrorKind, String)>,
    /// It must be rotated as soon as a line ends: all files together exceed the cap.
    is_to_rotate: bool,
    /// The time of the last failed rotation.
    stuck_at: Option<SystemTime>,
    /// The end of the last rotated file: the last lines of a worker may be there.
    before: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    identity: Identity,
    /// Its own name, where it was opened by that of a link.
    real: PathBuf,
    /// How long it was when it was looked at last.
    length: u64,
    /// A regular file that the supervisor opened can be rotated; a FIFO, a terminal or standard
    /// output cannot.
    can_rotate: bool,
    is_standard: bool,
    is_claimed: bool,
    /// Which span of `rotate.every` it was begun in.
    span: u64,
}

impl LogFile {
    pub(super) fn new(path: &Path, rotate: Rotate, cap: Option<u64>) -> Self {
        Self {
            path: path.into(),
            rotate,
            cap,
            open: None,
            patient: Patient::default(),
            failed: None,
            is_to_rotate: false,
            stuck_at: None,
            before: Vec::new(),
        }
    }

    /// Our standard output or standard error, as it was given to us.
    pub(super) fn standard(descriptor: &impl AsFd, name: &str) -> Self {
        let never = Rotate { size: None, every: None, keep: 0, compress: false };
        let mut file = Self::new(Path::new(name), never, None);
        file.open =
            descriptor.as_fd().try_clone_to_owned().ok().and_then(|own| Open::standard(own.into()));
        file
    }

    /// What our standard output is. Nothing for a regular file: each name that is opened appends to
    /// it.
    pub(super) fn standard_identity(&self) -> Option<Identity> {
        let open = self.open.as_ref()?;
        open.file.metadata().is_ok_and(|metadata| !metadata.is_file()).then_some(open.identity)
    }

    /// Whether its name is still that of the file that is open.
    pub(super) fn has_its_name(&self) -> bool {
        let Some(open) = self.open.as_ref().filter(|open| !open.is_standard) else { return true };
        fs::metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == open.identity)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its own name, as far as it is known.
    pub(super) fn real(&self) -> &Path {
        self.open.as_ref().map_or(&self.path, |open| &open.real)
    }

    /// The next write opens it again under its name.
    pub(super) fn close(&mut self) {
        self.open = self.open.take().filter(|open| open.is_standard);
        self.failed = None;
    }

    /// Opens it. What it is, until it is known whose it is.
    pub(super) fn newly_opened(&mut self) -> Option<Identity> {
        let open = self.opened().ok()?;
        (!open.is_claimed).then_some(open.identity)
    }

    /// It is known whose it is.
    pub(super) fn claimed(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_claimed = true;
        }
    }

    /// Appends all of it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Unwritten> {
        let unwritten = |error| Unwritten { bytes: bytes.len(), error };
        let (cap, is_stuck) = (self.cap, self.is_stuck());
        let open = match self.there() {
            Ok(open) => open,
            Err(error) => return Err(unwritten(error)),
        };
        let grown = open.length.saturating_add(bytes.len() as u64);
        if open.can_rotate && is_stuck && cap.is_some_and(|cap| grown > cap) {
            return Err(unwritten(io::Error::other(
                "its cap is reached, and it cannot be rotated",
            )));
        }
        open.length = grown;
        // A disjoint borrow: `opened` borrows all of it.
        match &self.open {
            Some(open) => self.patient.write_all(&open.file, bytes),
            None => Err(unwritten(io::ErrorKind::NotFound.into())),
        }
    }

    /// Looks whether it is there still and how long it is, since others may have removed it or
    /// written to it. Once for each piece of output: what comes of that piece goes to what was
    /// seen.
    pub(super) fn look(&mut self) {
        let _ = self.opened();
    }

    /// How long it was when it was looked at, with what was written since; `None` for what is no
    /// regular file.
    pub(super) fn length(&mut self) -> io::Result<Option<u64>> {
        let open = self.there()?;
        Ok(open.can_rotate.then_some(open.length))
    }

    /// What stands behind this place, at most so much.
    pub(super) fn since(&mut self, place: u64, most: u64) -> io::Result<Vec<u8>> {
        let open = self.opened()?;
        let length = open.length.saturating_sub(place).min(most);
        if open.can_rotate { read_at(open, place, length) } else { Ok(Vec::new()) }
    }

    /// The last bytes, including those of the last rotated file.
    pub(super) fn end(&mut self, most: usize) -> Vec<u8> {
        let Some(open) = self.open.as_ref().filter(|open| open.can_rotate) else {
            return self.before.clone();
        };
        let start = open.length.saturating_sub(most as u64);
        let bytes = read_at(open, start, open.length - start).unwrap_or_default();
        let missing = most.saturating_sub(bytes.len());
        let before = if self.before.is_empty() {
            // A predecessor may have rotated it.
            end_of_newest(&open.real, missing).unwrap_or_default()
        } else {
            self.before[self.before.len().saturating_sub(missing)..].to_vec()
        };
        [before, bytes].concat()
    }

    /// Whether it was begun in an earlier span of time: what comes now belongs into the next one.
    pub(super) fn is_of_the_past(&self) -> bool {
        let open = self.open.as_ref().filter(|open| open.can_rotate && open.length > 0);
        open.is_some_and(|open| open.span != span(self.rotate.every, SystemTime::now()))
    }

    /// How many of the bytes that come next still belong into this file, for the next one to begin
    /// with a line; all of them where no rotation is due.
    pub(super) fn share(&self, bytes: &[u8]) -> usize {
        if !self.is_due_within(bytes.len()) {
            return bytes.len();
        }
        let length = self.open.as_ref().map_or(0, |open| open.length);
        // Up to the end of the first line that ends beyond the size.
        let missing = self.largest().map_or(0, |size| size.saturating_sub(length));
        let is_due_now = self.is_to_rotate || self.is_of_the_past();
        let missing =
            if is_due_now { 1 } else { usize::try_from(missing).unwrap_or(usize::MAX).max(1) };
        let from = (missing - 1).min(bytes.len());
        bytes[from..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(bytes.len(), |newline| from + newline + 1)
    }

    /// Whether it must be rotated once it has so many bytes more, and can be.
    pub(super) fn is_due_within(&self, more: usize) -> bool {
        let Some(open) = self.open.as_ref().filter(|open| open.can_rotate) else { return false };
        let length = open.length.saturating_add(more as u64);
        let is_due = length > 0
            && (self.largest().is_some_and(|size| length >= size)
                || self.is_to_rotate
                || self.is_of_the_past());
        let is_never = self.rotate.size.is_none() && self.rotate.every.is_none();
        is_due && !is_never && !self.is_stuck()
    }

    /// Whether a rotation failed a moment ago.
    fn is_stuck(&self) -> bool {
        let is_soon =
            |at| SystemTime::now().duration_since(at).is_ok_and(|since| since < ASIDE_AGAIN);
        self.stuck_at.is_some_and(is_soon)
    }

    /// How many rotated files are kept, where they are to be compressed.
    pub(super) fn compressed(&self) -> Option<u32> {
        Some(self.rotate.keep).filter(|keep| self.rotate.compress && *keep > 0)
    }

    /// How large the file may become: with a cap, so much less than half of it that the
    /// rotated one has room, with the piece by which it was too large.
    fn largest(&self) -> Option<u64> {
        let share = self.cap.map(|cap| (cap / 2).saturating_sub(PIECE).max(cap / 4).max(1));
        self.rotate.size.into_iter().chain(share).min()
    }

    /// Puts the file aside if it is large or old enough, at the end of a line: nothing is moved
    /// from one file to the other, so that a death at any instant leaves every byte in one place.
    /// Whether it did.
    ///
    /// # Errors
    /// It cannot be rotated. Logged once, and tried again later.
    pub(super) fn rotate_if_due(&mut self) -> io::Result<bool> {
        let Some(open) = self.open.as_ref().filter(|open| open.length > 0 && self.is_due_within(0))
        else {
            return Ok(false);
        };
        if !ends_with_newline(open)? && !ends_with_endless_line(open)? {
            return Ok(false);
        }
        let real = open.real.clone();
        match self.begin_again() {
            Ok(()) => {
                (self.stuck_at, self.is_to_rotate) = (None, false);
                if let Some(cap) = self.cap {
                    let own = self.largest().unwrap_or(0);
                    keep_to_cap(&[real], cap.saturating_sub(own));
                }
                Ok(true)
            }
            Err(error) => {
                let was_said = self.stuck_at.replace(SystemTime::now()).is_some();
                if was_said { Ok(false) } else { Err(error) }
            }
        }
    }

    /// The same at the end of the present line, whether it is due or not; nothing where the
    /// configuration says that it is never rotated.
    pub(super) fn rotate(&mut self) -> io::Result<bool> {
        self.is_to_rotate = true;
        self.rotate_if_due()
    }

    fn begin_again(&mut self) -> io::Result<()> {
        let Some(open) = self.open.as_ref() else { return Ok(()) };
        let start = open.length.saturating_sub(BEFORE_MAX);
        let before = read_at(open, start, open.length - start).unwrap_or_default();
        if self.rotate.keep == 0 {
            // What others have written since is dropped with it, as the configuration has it.
            open.file.set_len(0)?;
        } else {
            self.shift(&open.real)?;
        }
        self.before = before;
        self.open = None;
        Ok(())
    }

    /// `x.log.2` → `x.log.3`, ..., `x.log` → `x.log.1`; the oldest goes.
    fn shift(&self, real: &Path) -> io::Result<()> {
        let reached = Reached::of(real)?;
        let real = &reached.path();
        let is_there = |number: &u32| {
            [false, true]
                .iter()
                .any(|is_compressed| numbered(real, *number, *is_compressed).exists())
        };
        // Usually there are far fewer than may be kept.
        let there = (1..=self.rotate.keep).take_while(is_there).count();
        let last = u32::try_from(there).unwrap_or(u32::MAX);
        for is_compressed in [false, true] {
            if last == self.rotate.keep {
                remove(&numbered(real, last, is_compressed))?;
            }
            for number in (1..=last.min(self.rotate.keep - 1)).rev() {
                let from = numbered(real, number, is_compressed);
                match fs::rename(&from, numbered(real, number + 1, is_compressed)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        match fs::rename(real, numbered(real, 1, false)) {
            // It was removed: there is nothing to rotate.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let is_gone = self.open.as_mut().is_some_and(Open::is_gone);
        if is_gone {
            self.open = None;
        }
        self.there()
    }

    /// The same, without a look at one that is open.
    fn there(&mut self) -> io::Result<&mut Open> {
        if self.open.is_none() {
            let now = SystemTime::now();
            if let Some((at, kind, why)) = &self.failed
                && now.duration_since(*at).is_ok_and(|since| since < OPEN_AGAIN)
            {
                return Err(io::Error::new(*kind, why.clone()));
            }
            match Open::new(&self.path, self.rotate.every) {
                Ok(open) => (self.open, self.failed) = (Some(open), None),
                Err(error) => {
                    self.failed = Some((now, error.kind(), error.to_string()));
                    return Err(error);
                }
            }
        }
        self.open.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Open {
    fn new(path: &Path, every: Option<Duration>) -> io::Result<Self> {
        let file = append::open(path)?;
        let metadata = file.metadata()?;
        let can_rotate = metadata.is_file();
        let begun =
            metadata.modified().ok().filter(|_| metadata.len() > 0).unwrap_or_else(SystemTime::now);
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let real = fs::read_link(link).ok().filter(|real| can_rotate && real.is_absolute());
        Ok(Self {
            identity: (metadata.dev(), metadata.ino()),
            real: real.unwrap_or_else(|| path.into()),
            length: if can_rotate { metadata.len() } else { 0 },
            can_rotate,
            is_standard: false,
            is_claimed: false,
            span: span(every, begun),
            file,
        })
    }

    fn standard(file: File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        if metadata.is_file() {
            // A shell opens it for writing at an offset that all its heirs share, and that no other
            // process respects.
            let flags = fcntl(&file, FcntlArg::F_GETFL).map(OFlag::from_bits_truncate).ok()?;
            let _ = fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_APPEND));
        }
        Some(Self {
            identity: (metadata.dev(), metadata.ino()),
            real: PathBuf::new(),
            length: 0,
            can_rotate: false,
            is_standard: true,
            is_claimed: true,
            span: 0,
            file,
        })
    }

    /// Whether the file has been removed under us. How long it is now is noted: others may write to
    /// it too, or cut it.
    fn is_gone(&mut self) -> bool {
        if self.is_standard {
            return false;
        }
        let Ok(metadata) = self.file.metadata() else { return true };
        if self.can_rotate {
            self.length = metadata.len();
        }
        metadata.nlink() == 0
    }
}

fn span(every: Option<Duration>, at: SystemTime) -> u64 {
    let Some(every) = every else { return 0 };
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) / every.as_secs().max(1)
}

fn ends_with_newline(open: &Open) -> io::Result<bool> {
    Ok(read_at(open, open.length.saturating_sub(1), 1)? == b"\n")
}

/// A line longer than [`LINE_MAX`] is cut.
fn ends_with_endless_line(open: &Open) -> io::Result<bool> {
    let Some(start) = open.length.checked_sub(LINE_MAX) else { return Ok(false) };
    Ok(!read_at(open, start, LINE_MAX)?.contains(&b'\n'))
}

/// Our own descriptor is for writing only.
fn read_at(open: &Open, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let reader = File::open(format!("/proc/self/fd/{}", open.file.as_raw_fd()))
        .or_else(|_| append::open_regular(&open.real))?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    reader.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}
