//! One supervisor to a runtime directory.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::append;
use crate::process_table;

/// Why the runtime directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("another supervisor (pid {pid}) runs with the runtime directory {}; stop it, or set another `supervisor.runtime_dir:`", path.display())]
    Held {
        /// As it wrote down; `?` when it has not yet.
        pid: String,
        /// The directory.
        path: PathBuf,
    },
    /// The lock file cannot be made.
    #[error("cannot lock the runtime directory {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Its name.
const FILE: &str = "supervisor.lock";

/// For a process to execute its program or end that a supervisor was just launching when it died: until then it has all
/// of its descriptors, this lock too.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// What stands in it.
fn written(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    append::open_regular(file)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Opens it, and creates it where it is not there. What is no file in its place is refused: a lock on it says nothing.
fn open(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let open = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file)?;
    if !open.metadata()?.is_file() {
        return Err(io::Error::other(format!("{FILE} there is no regular file: remove it")));
    }
    Ok(open)
}

/// Whether the supervisor that had the lock is no more.
fn is_of_the_dead(file: &Path) -> bool {
    let pid = written(file).ok().and_then(|text| text.trim().parse::<i32>().ok());
    // Its zombie holds nothing.
    pid.is_some_and(|pid| !process_table::is_alive(pid))
}

/// The proof that this is the only supervisor of a runtime directory. The kernel lets go of it however we die.
#[derive(Debug)]
pub struct RuntimeLock(Flock<File>);

impl RuntimeLock {
    /// Takes the lock; one that a predecessor passes on is held by both (flock(2)). Waits only for what a dead supervisor has left: at most ten seconds.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(runtime_dir: &Path, inherited: Option<OwnedFd>) -> Result<Self, LockError> {
        let path = runtime_dir.to_path_buf();
        let at = |source: io::Error| LockError::Io { path: path.clone(), source };
        let file = runtime_dir.join(FILE);
        let end = Instant::now() + PATIENCE;
        let mut open = inherited.map_or_else(|| open(&file), |lock| Ok(lock.into())).map_err(at)?;
        let locked = loop {
            match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
                Err((again, Errno::EWOULDBLOCK)) if is_of_the_dead(&file) && Instant::now() < end => {
                    open = again;
                    std::thread::sleep(PAUSE);
                }
                other => break other,
            }
        };
        match locked {
            Ok(lock) => {
                // In place, and not shorter than any number: a full disk has no room for anything new. The position is
                // shared with whoever passed it on. It is for people and for `lives`; the lock is the lock without it.
                let own = format!("{:<10}\n", std::process::id());
                if let Err(error) = lock.write_all_at(own.as_bytes(), 0) {
                    tracing::warn!(%error, path = %file.display(), "the lock is held, and our number cannot be written there");
                }
                Ok(Self(lock))
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let pid = written(&file).unwrap_or_default();
                let pid = if pid.trim().is_empty() { "?".to_owned() } else { pid.trim().to_owned() };
                Err(LockError::Held { pid, path })
            }
            Err((_, errno)) => Err(at(errno.into())),
        }
    }

    /// The same lock, to be passed on.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether it is still the file that lies in the directory.
    #[must_use]
    pub fn is_in(&self, runtime_dir: &Path) -> bool {
        let there = std::fs::metadata(runtime_dir.join(FILE)).ok();
        let same = |there: Metadata| {
            self.0.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        there.is_some_and(same)
    }
}
