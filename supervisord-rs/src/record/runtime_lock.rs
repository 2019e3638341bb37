//! One supervisor to a runtime directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

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

/// The proof that this is the only supervisor of a runtime directory. The kernel lets go of it however we die.
#[derive(Debug)]
pub struct RuntimeLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl RuntimeLock {
    /// Takes the lock. Does not wait.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(runtime_dir: &Path) -> Result<Self, LockError> {
        let path = runtime_dir.to_path_buf();
        let at = |source: io::Error| LockError::Io { path: path.clone(), source };
        let file = runtime_dir.join("supervisor.lock");
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&file);
        match Flock::lock(open.map_err(at)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                let written = lock.set_len(0).and_then(|()| {
                    io::Write::write_all(&mut &*lock, format!("{}\n", std::process::id()).as_bytes())
                });
                written.map_err(at)?;
                Ok(Self(lock))
            }
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                let pid = std::fs::read_to_string(&file).unwrap_or_default();
                let pid = if pid.trim().is_empty() { "?".to_owned() } else { pid.trim().to_owned() };
                Err(LockError::Held { pid, path })
            }
            Err((_, errno)) => Err(at(errno.into())),
        }
    }
}
