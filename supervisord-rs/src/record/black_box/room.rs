//! The file: under a temporary name until it is complete, with room reserved for the next.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use workers::runtime::board::SIZE;

use super::account;

/// Name of the file in the runtime directory.
pub const FILE: &str = "blackbox";
/// Its name until it is complete.
pub(super) const HIDDEN: &str = "blackbox.new";
/// Most workers.
pub(super) const WORKERS_MAX: usize = 16 * 1024;

/// The file of the next black box, made beforehand: a disk that is full by then has room for it.
#[derive(Clone, Debug)]
pub struct Reserve {
    pub(super) runtime_dir: PathBuf,
    pub(super) workers: usize,
    /// Why the present one is in no file.
    pub(super) homeless: Option<String>,
    /// Whether no other process can have that.
    pub(super) is_private: bool,
}

impl Reserve {
    /// Creates it, if it does not exist. The next supervisor empties it.
    ///
    /// # Errors
    /// What open(2) or posix_fallocate(3) say; ENOSPC when the directory is full.
    pub fn make(&self) -> io::Result<()> {
        let file = open(&self.runtime_dir)?;
        let length = i64::try_from(pages(self.workers)?.get() * SIZE).unwrap_or(i64::MAX);
        nix::fcntl::posix_fallocate(&file, 0, length)?;
        Ok(())
    }

    /// The message where it cannot be made.
    #[must_use]
    pub fn trouble(&self, error: &io::Error) -> String {
        let whose = if self.homeless.is_some() { "this supervisor's" } else { "the next" };
        let reason = self.homeless.clone().unwrap_or_else(|| error.to_string());
        let meanwhile = if self.is_private {
            "it is in this supervisor's memory alone, and after a death its successor starts every \
             worker again"
        } else {
            "it is in memory, and outlives the supervisor and not the guardian"
        };
        format!(
            "no room for {whose} black box in {}: {reason}; meanwhile {meanwhile}; make room, or \
             raise the limit on the size of files: it is tried again",
            self.runtime_dir.display()
        )
    }
}

pub(super) fn pages(workers: usize) -> io::Result<NonZeroUsize> {
    if workers > WORKERS_MAX {
        return Err(io::Error::other(format!("more than {WORKERS_MAX} workers")));
    }
    Ok(NonZeroUsize::MIN.saturating_add(workers + account::pages(workers)))
}

/// The file under the temporary name. Replaces a FIFO or a link in its place.
pub(super) fn open(runtime_dir: &Path) -> io::Result<File> {
    let path = runtime_dir.join(HIDDEN);
    if std::fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
        std::fs::remove_file(&path)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}
