//! A file in a directory that others may write too, reached past no link of theirs: each component
//! of its path is opened by the descriptor of the one before it, and a symbolic link is followed
//! only if root or we made it. What is done then is done by the name in that directory, whatever
//! becomes of the path meanwhile.
//!
//! openat2(2) knows no such rule (`RESOLVE_NO_SYMLINKS` refuses root's links too), so that each
//! component is looked at here, on every kernel.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

/// Links that are followed one after the other, as path_resolution(7) has it.
const LINKS_MAX: usize = 40;

/// A name in a directory that is held open.
#[derive(Debug)]
pub(crate) struct Reached {
    directory: OwnedFd,
    name: OsString,
}

impl Reached {
    /// The directory of `path` must be there; what the path names need not, and is not followed.
    ///
    /// # Errors
    /// Those of open(2); PermissionDenied for a symbolic link that neither root nor this user owns.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Self::walk(path, false)
    }

    /// The same; directories that are not there are made.
    ///
    /// # Errors
    /// The same, and those of mkdir(2).
    pub(crate) fn making(path: &Path) -> io::Result<Self> {
        Self::walk(path, true)
    }

    /// The same for a file that is there: where its name is a symbolic link, that is followed by
    /// the same rule.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn following(path: &Path) -> io::Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let reached = Self::of(&path)?;
            let found = open_at(&reached.directory, &reached.name)?;
            let stat = fstat(&found)?;
            if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFLNK {
                return Ok(reached);
            }
            check_owner(&path, stat.st_uid)?;
            // The link that was looked at, whatever has its name now.
            let target = PathBuf::from(readlinkat(&found, "")?);
            path = path.parent().unwrap_or(Path::new("/")).join(target);
        }
        Err(Errno::ELOOP.into())
    }

    /// Its path without links, now.
    pub(crate) fn real(&self) -> io::Result<PathBuf> {
        let directory = std::fs::read_link(format!("/proc/self/fd/{}", self.directory.as_raw_fd()));
        Ok(directory?.join(&self.name))
    }

    /// What leads there as long as this lives, in this process.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new(&format!("/proc/self/fd/{}", self.directory.as_raw_fd())).join(&self.name)
    }

    fn walk(path: &Path, is_made: bool) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| io::Error::from(Errno::EISDIR))?.to_owned();
        let directory = path.parent().unwrap_or(Path::new("/"));
        Ok(Self { directory: open_directory(directory, is_made)?, name })
    }
}

fn open_directory(path: &Path, is_made: bool) -> io::Result<OwnedFd> {
    let mut at = open_at(AT_FDCWD, OsStr::new("."))?;
    let mut so_far = PathBuf::new();
    let mut rest: VecDeque<OsString> = components(path).collect();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        let next = match open_at(&at, &name) {
            Err(Errno::ENOENT) if is_made => {
                match mkdirat(&at, name.as_os_str(), Mode::from_bits_truncate(0o777)) {
                    Ok(()) | Err(Errno::EEXIST) => open_at(&at, &name)?,
                    Err(errno) => return Err(errno.into()),
                }
            }
            other => other?,
        };
        let stat = fstat(&next)?;
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFLNK {
            so_far.push(&name);
            at = next;
            continue;
        }
        check_owner(&so_far.join(&name), stat.st_uid)?;
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::ELOOP.into());
        }
        // The link that was looked at, whatever has its name now.
        let target = PathBuf::from(readlinkat(&next, "")?);
        for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
            rest.push_front(component);
        }
    }
    Ok(at)
}

/// One that a worker has made leads nowhere: we may be able to write where it is not.
///
/// # Errors
/// PermissionDenied for one that neither root nor this user owns.
pub(crate) fn check_owner(link: &Path, owner: u32) -> io::Result<()> {
    if owner == 0 || owner == nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    let why = format!("{} is a symbolic link of another user (uid {owner})", link.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn open_at(at: impl std::os::fd::AsFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// As they are walked: the root is one of them, and leads there from everywhere.
fn components(path: &Path) -> impl Iterator<Item = OsString> {
    path.components()
        .filter(|component| !matches!(component, Component::CurDir))
        .map(|component| component.as_os_str().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn our_own_links_and_missing_directories_are_passed() {
        let directory = tempfile::tempdir().expect("a directory");
        let real = directory.path().join("real/deep");
        fs::create_dir_all(&real).expect("made");
        symlink("real", directory.path().join("link")).expect("a link");
        let path = directory.path().join("link/deep/../deep/file");
        fs::write(Reached::of(&path).expect("there").path(), "x").expect("written");
        assert_eq!(fs::read(real.join("file")).expect("there"), b"x");
        let missing = directory.path().join("link/new/er/file");
        assert_eq!(Reached::of(&missing).expect_err("missing").kind(), io::ErrorKind::NotFound);
        fs::write(Reached::making(&missing).expect("made").path(), "x").expect("written");
        assert!(directory.path().join("real/new/er/file").exists());
        symlink("loop", directory.path().join("loop")).expect("a link");
        let error = Reached::of(&directory.path().join("loop/file")).expect_err("endless");
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn what_was_reached_stays_reached_whatever_becomes_of_the_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let (there, elsewhere) = (directory.path().join("there"), directory.path().join("else"));
        for made in [&there, &elsewhere] {
            fs::create_dir(made).expect("made");
        }
        let reached = Reached::of(&there.join("file")).expect("there");
        fs::rename(&there, directory.path().join("moved")).expect("moved");
        symlink(&elsewhere, &there).expect("a link");
        fs::write(reached.path(), "x").expect("written");
        assert!(directory.path().join("moved/file").exists());
        assert!(!elsewhere.join("file").exists());
    }

    #[test]
    fn a_link_of_another_user_leads_nowhere_wherever_it_stands_in_the_path() {
        if crate::skip::lacks_root() {
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("secret/deep")).expect("made");
        let link = directory.path().join("link");
        symlink("secret", &link).expect("a link");
        std::os::unix::fs::lchown(&link, Some(65_534), None).expect("its owner");
        for path in ["link/file", "link/deep/file"] {
            for reach in [Reached::of, Reached::making] {
                let error = reach(&directory.path().join(path)).expect_err("another's link");
                assert!(error.to_string().contains("symbolic link of another user"), "{error}");
            }
        }
    }
}
