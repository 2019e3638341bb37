//! One supervisor to a runtime directory: a lock in it, and one beside it in the state directory,
//! which is held also where the runtime directory is deleted and made again.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::append;
use crate::isolation::tree::cgroup;
use crate::process_table;
use crate::stable_hash::stable_hash;
use crate::waiting::Limit;

/// Why the runtime directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "another supervisor (pid {pid}) runs with the runtime directory {}; stop it, or set \
         another `supervisor.runtime_dir:`", path.display())]
    Held {
        /// As it wrote down; `?` when it has not yet.
        pid: String,
        /// The directory.
        path: PathBuf,
    },
    /// The lock file cannot be made.
    #[error("cannot lock the runtime directory {} by {}: {source}", path.display(), file.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The lock file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Its name in the runtime directory.
const FILE: &str = "supervisor.lock";

/// For a process to execute its program or end that a supervisor was just launching when it died:
/// until then it has all of its descriptors, this lock too.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);
/// After so many pauses, and again after as many: it does not get there by itself where its cgroup
/// is frozen.
const LOOKS: u64 = 100;
/// More than is ever read of a lock file.
const TEXT_MAX: u64 = 64;

/// Where a lock of a runtime directory lies.
#[derive(Debug, Clone)]
pub struct Place {
    file: PathBuf,
    runtime_dir: PathBuf,
    /// What stands there for people behind the number of the process.
    text: Vec<u8>,
}

impl Place {
    /// In the runtime directory.
    #[must_use]
    pub fn within(runtime_dir: &Path) -> Self {
        Self { file: runtime_dir.join(FILE), runtime_dir: runtime_dir.into(), text: Vec::new() }
    }

    /// In a state directory, which several runtime directories may share.
    #[must_use]
    pub fn background(state_dir: &Path, runtime_dir: &Path) -> Self {
        // The path, not the directory itself: a directory that is made again has the same one.
        // Collected, it has no doubled slashes.
        let path: PathBuf = std::path::absolute(runtime_dir)
            .unwrap_or_else(|_| runtime_dir.into())
            .components()
            .collect();
        let path = path.as_os_str().as_encoded_bytes();
        let file = state_dir.join(format!("lock-{:016x}", stable_hash(path.iter().copied())));
        Self { file, runtime_dir: runtime_dir.into(), text: [path, b"\n"].concat() }
    }

    /// Opens it, and creates it where it is not there. What is no file in its place is refused: a
    /// lock on it says nothing.
    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let open = options.custom_flags(flags).open(&self.file)?;
        if !open.metadata()?.is_file() {
            let name = self.file.file_name().unwrap_or_default().display();
            return Err(io::Error::other(format!("{name} there is not a regular file: remove it")));
        }
        Ok(open)
    }

    /// The process that has the lock, as it wrote down.
    fn holder(&self) -> Option<i32> {
        let file = append::open_regular(&self.file).ok()?;
        let mut text = Vec::new();
        file.take(TEXT_MAX).read_to_end(&mut text).ok()?;
        String::from_utf8_lossy(&text).lines().next()?.trim().parse().ok()
    }

    /// Whether the supervisor that had the lock is no more. Its zombie holds nothing.
    fn is_of_the_dead(&self) -> bool {
        self.holder().is_some_and(|pid| !process_table::is_alive(pid))
    }

    /// The error for one that cannot be made.
    pub fn trouble(&self, source: io::Error) -> LockError {
        LockError::Io { path: self.runtime_dir.clone(), file: self.file.clone(), source }
    }

    /// Whether this is the file that lies there.
    #[must_use]
    pub fn has(&self, file: &File) -> bool {
        let there = std::fs::symlink_metadata(&self.file).ok();
        let same = |there: Metadata| {
            file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        there.is_some_and(same)
    }
}

/// The proof that this is the only supervisor of a runtime directory. The kernel releases it after
/// any death.
#[derive(Debug)]
pub struct RuntimeLock(Flock<File>);

impl RuntimeLock {
    /// Takes the lock; one that a predecessor passes on is held by both (flock(2)). Waits only for
    /// what a dead supervisor has left: at most ten seconds.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(place: &Place, inherited: Option<OwnedFd>) -> Result<Self, LockError> {
        let Some(inherited) = inherited.map(File::from) else { return Self::make(place) };
        if !place.has(&inherited) {
            // The file was deleted, or the configuration names another place: that one counts, if
            // it can be had.
            match Self::make(place) {
                Ok(lock) => return Ok(lock),
                Err(error) => tracing::warn!(
                    "{error}; the supervisor keeps the lock that it has from its predecessor"
                ),
            }
        }
        Self::lock(place, inherited)
    }

    fn make(place: &Place) -> Result<Self, LockError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let lock = Self::lock(place, place.open().map_err(|error| place.trouble(error))?)?;
            // Between the two it may have been deleted, and another one made.
            if lock.is_at(place) || Instant::now() > end {
                return Ok(lock);
            }
        }
    }

    fn lock(place: &Place, mut open: File) -> Result<Self, LockError> {
        let mut limit = Limit::new(PATIENCE);
        let mut looks = 0_u64;
        let locked = loop {
            match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
                Err((again, Errno::EWOULDBLOCK)) if place.is_of_the_dead() && !limit.is_over() => {
                    open = again;
                    limit.sleep(PAUSE);
                    looks += 1;
                    if looks.is_multiple_of(LOOKS) {
                        cgroup::end_holders(&place.runtime_dir, &place.file);
                    }
                }
                other => break other,
            }
        };
        match locked {
            Ok(lock) => {
                // In place, and padded to a fixed length: a full disk has no room for anything new.
                // The process that passed the lock on shares the position. The text is for people
                // and for `holder`; the lock works without it.
                let mut own = format!("{:<10}\n", std::process::id()).into_bytes();
                own.extend_from_slice(&place.text);
                if let Err(error) = lock.write_all_at(&own, 0) {
                    let path = place.file.display();
                    tracing::warn!(%error, %path,
                        "the lock is held, but the PID cannot be written to it");
                }
                Ok(Self(lock))
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let pid = place.holder().map_or_else(|| "?".to_owned(), |pid| pid.to_string());
                Err(LockError::Held { pid, path: place.runtime_dir.clone() })
            }
            Err((_, errno)) => Err(place.trouble(errno.into())),
        }
    }

    /// The same lock, to be passed on.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Its file, for others to compare; it does not keep the lock any longer than both are open.
    ///
    /// # Errors
    /// EMFILE.
    pub fn file(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    /// Whether it is still the file that lies there.
    #[must_use]
    pub fn is_at(&self, place: &Place) -> bool {
        place.has(&self.0)
    }
}
