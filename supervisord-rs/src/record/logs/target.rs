//! Where output goes: each thing that can hang is one target, with one turn, however many streams
//! go there and under how many names. What a file is, is known by its device and inode as soon as
//! it is open.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::file::{Identity, LogFile};
use super::lock;
use super::rotated::Packed;
use super::turn::Turn;
use crate::config::settings::Rotate;

/// Names of our own standard output: it is written to as it was given to us, and not opened a
/// second time.
const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
/// Names of our own standard error.
const STDERR: [&str; 3] = ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"];

/// How often a file is opened again that is rotated in that moment.
const OPENINGS_MAX: u32 = 16;
/// Names that stand for one another.
const NAMES_MAX: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Target {
    /// Held by the thread that carries.
    pub(super) turn: Turn,
    /// None: a collector's socket.
    pub(super) file: Option<Mutex<LogFile>>,
    /// Another target that turned out to be the same file: everything goes there, until all files
    /// are opened again.
    same: Mutex<Option<Arc<Target>>>,
    /// The next write opens it under its name. Beside the file, which a thread that hangs keeps
    /// locked.
    pub(super) shall_reopen: AtomicBool,
    /// Held while rotated files get names: the writing thread renames them, and the compressing one
    /// replaces them.
    pub(super) naming: Mutex<()>,
    /// A thread compresses rotated files.
    pub(super) is_compressing: AtomicBool,
    /// A file was rotated since it looked.
    pub(super) has_plain: AtomicBool,
    /// It has been said that compression is behind.
    said_behind: AtomicBool,
    /// How many rotated files are kept, where they are to be compressed.
    compressed: Option<u32>,
    /// Its own name, as far as it is known.
    real: Mutex<PathBuf>,
    /// How many streams have something of a predecessor that comes first.
    pub(super) unfinished: AtomicU32,
}

impl Target {
    fn of(file: LogFile) -> Self {
        Self {
            real: Mutex::new(file.path().into()),
            compressed: file.compressed(),
            file: Some(Mutex::new(file)),
            ..Self::default()
        }
    }

    /// Its own name, as far as it is known.
    pub(super) fn path(&self) -> PathBuf {
        lock(&self.real).clone()
    }

    /// How many rotated files are kept, where they are to be compressed.
    pub(super) fn compressed(&self) -> Option<u32> {
        self.compressed
    }

    /// Says once that compression is behind, until it has caught up: more than `most` files wait,
    /// or one was removed before it was compressed, as happens where few are kept.
    pub(super) fn note_behind(&self, packed: Packed, most: usize, workers: impl Fn() -> String) {
        let Packed { left, is_kept } = packed;
        if is_kept && left == 0 {
            self.said_behind.store(false, Ordering::Relaxed);
        } else if (left > most || !is_kept) && !self.said_behind.swap(true, Ordering::Relaxed) {
            let path = self.path();
            let workers = workers();
            tracing::warn!(
                workers,
                path = %path.display(),
                files = left,
                "compression is slower than the output of {workers}: rotated files stay \
                 uncompressed for now"
            );
        }
    }

    /// The one that stands for it.
    pub(super) fn resolved(self: &Arc<Self>) -> Arc<Self> {
        let mut found = Arc::clone(self);
        for _ in 0..NAMES_MAX {
            let Some(other) = found.another() else { break };
            found = other;
        }
        found
    }

    fn another(&self) -> Option<Arc<Self>> {
        lock(&self.same).clone()
    }
}

/// Which files are open.
#[derive(Debug, Default)]
struct Known {
    files: HashMap<Identity, Weak<Target>>,
    /// Their own names, which stay theirs during a rotation: a thread that opens the next file in
    /// that moment joins them.
    names: HashMap<PathBuf, Weak<Target>>,
    /// How often that has changed.
    changes: u64,
}

/// Whose a file is.
enum Claim {
    Own,
    Of(Arc<Target>),
    /// It was rotated while it was opened.
    Moved,
}

/// All targets with a file.
#[derive(Debug)]
pub(super) struct Targets {
    named: Mutex<HashMap<PathBuf, Arc<Target>>>,
    /// By device and inode, as soon as they are open.
    known: Mutex<Known>,
    /// Our standard output and standard error, each one however many write to it.
    standard: [Arc<Target>; 2],
}

impl Targets {
    pub(super) fn new() -> Self {
        let standard = [
            LogFile::standard(&std::io::stdout(), STDOUT[0]),
            LogFile::standard(&std::io::stderr(), STDERR[0]),
        ]
        .map(|file| Arc::new(Target::of(file)));
        let targets = Self { named: Mutex::default(), known: Mutex::default(), standard };
        // The first wins: both are one where they are the same terminal.
        for target in targets.standard.iter().rev() {
            let identity = target.file.as_ref().and_then(|file| lock(file).standard_identity());
            if let Some(identity) = identity {
                lock(&targets.known).files.insert(identity, Arc::downgrade(target));
            }
        }
        targets
    }

    /// Our standard output.
    pub(super) fn terminal(&self) -> Arc<Target> {
        Arc::clone(&self.standard[0])
    }

    /// The one with this name. Nothing is opened.
    pub(super) fn at(&self, path: &Path, rotate: Rotate, cap: Option<u64>) -> Arc<Target> {
        let is_among = |names: [&str; 3]| names.iter().any(|name| Path::new(name) == path);
        if is_among(STDOUT) {
            return self.terminal();
        }
        if is_among(STDERR) {
            return Arc::clone(&self.standard[1]);
        }
        let mut named = lock(&self.named);
        let target = named
            .entry(path.into())
            .or_insert_with(|| Arc::new(Target::of(LogFile::new(path, rotate, cap))));
        Arc::clone(target)
    }

    /// Opens its file where it is not open. False: it is another's, and everything goes there from
    /// now on.
    pub(super) fn settle(&self, target: &Arc<Target>) -> bool {
        let Some(file) = &target.file else { return true };
        let mut file = lock(file);
        if target.shall_reopen.swap(false, Ordering::SeqCst) {
            file.close();
        }
        match self.open(target, &mut file) {
            Some(other) if !Arc::ptr_eq(&other.resolved(), target) => {
                file.close();
                *lock(&target.same) = Some(other);
                false
            }
            Some(_) | None => true,
        }
    }

    /// The same in the middle of a write, since it was rotated: a target that has opened the new
    /// one meanwhile follows.
    pub(super) fn settle_rotated(&self, target: &Arc<Target>, file: &mut LogFile) {
        if let Some(other) = self.open(target, file) {
            *lock(&other.same) = Some(Arc::clone(target));
        }
    }

    /// Opens it. Whose it is already.
    fn open(&self, target: &Arc<Target>, file: &mut LogFile) -> Option<Arc<Target>> {
        for _ in 0..OPENINGS_MAX {
            match self.claim(target, file.newly_opened()?, file) {
                Claim::Own => {
                    file.claimed();
                    *lock(&target.real) = file.real().into();
                    return None;
                }
                Claim::Of(other) => return Some(other),
                Claim::Moved => file.close(),
            }
        }
        None
    }

    /// Whose a file is that has just been opened. Nothing is asked of a file system under the lock:
    /// it may hang.
    fn claim(&self, target: &Arc<Target>, identity: Identity, file: &LogFile) -> Claim {
        loop {
            let changes = {
                let known = lock(&self.known);
                let owners = [known.files.get(&identity), known.names.get(file.real())];
                let mut others = owners.into_iter().flatten().filter_map(Weak::upgrade);
                if let Some(other) = others.find(|other| !Arc::ptr_eq(other, target)) {
                    return Claim::Of(other);
                }
                known.changes
            };
            if !file.has_its_name() {
                return Claim::Moved;
            }
            let mut known = lock(&self.known);
            // Its holder has rotated it, and has another one now: then it has lost its name.
            if known.changes == changes {
                let own = Arc::downgrade(target);
                known.files.retain(|_, other| other.strong_count() > 0 && !other.ptr_eq(&own));
                known.files.insert(identity, own.clone());
                known.names.retain(|_, other| other.strong_count() > 0 && !other.ptr_eq(&own));
                known.names.insert(file.real().into(), own);
                known.changes += 1;
                return Claim::Own;
            }
        }
    }

    /// Every file is opened again under its name; a name may stand for another file now.
    pub(super) fn reopen(&self) {
        lock(&self.known).names.clear();
        for target in lock(&self.named).values() {
            *lock(&target.same) = None;
            target.shall_reopen.store(true, Ordering::SeqCst);
        }
    }

    /// How many files nothing has opened yet; at most two too many, which are our standard output
    /// and standard error.
    pub(super) fn to_open(&self) -> usize {
        let wanted = lock(&self.named).len() + self.standard.len();
        wanted.saturating_sub(lock(&self.known).files.len())
    }

    /// All files, each once.
    pub(super) fn files(&self) -> Vec<Arc<Target>> {
        let named = lock(&self.named);
        named.values().filter(|target| Arc::ptr_eq(&target.resolved(), target)).cloned().collect()
    }
}
