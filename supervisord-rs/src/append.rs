//! Opens a file to be written to at its end, in a directory that a worker may write too: whatever
//! is put in the file's place, the open neither waits nor ends somewhere else.
//!
//! `O_APPEND`: each write lands at the end of the file, also with other writers (open(2)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::reach::{Reached, check_owner};

/// Links that are followed one after the other, as path_resolution(7) has it.
const LINKS_MAX: usize = 40;
/// What is created may be read by its group.
const MODE: u32 = 0o640;

/// Opens it, and creates it and its directory where they are not there. A FIFO is opened without a
/// reader, and outlives it.
///
/// # Errors
/// Those of open(2); PermissionDenied for a symbolic link that neither root nor this user owns.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    match open_once(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The directory has vanished.
            Reached::making(path)?;
            open_once(path)
        }
        other => other,
    }
}

/// Opens a regular file for reading, and nothing in its place: it neither waits nor follows a link,
/// nor passes one of another user.
///
/// # Errors
/// Those of open(2); another one for what is no regular file.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open_reached(&Reached::of(path)?.path())
}

/// The same, in a directory that was reached already.
pub(crate) fn open_reached(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

fn open_once(path: &Path) -> io::Result<File> {
    let mut path: PathBuf = path.into();
    for _ in 0..LINKS_MAX {
        let reached = Reached::of(&path)?;
        let there = reached.path();
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(MODE);
        // Without O_NONBLOCK the open of a FIFO waits for a reader, and that of a terminal for a
        // modem.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        match options.custom_flags(flags).open(&there) {
            Ok(file) if file.metadata()?.file_type().is_fifo() => {
                return Ok(for_both(&file).unwrap_or(file));
            }
            // A FIFO without a reader (fifo(7)).
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                let mut options = OpenOptions::new();
                return options.read(true).write(true).custom_flags(flags).open(&there);
            }
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => match follow(&path, &there)?
            {
                Link::To(target) => path = target,
                Link::Open => {
                    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).create(false);
                    return options.open(&there);
                }
            },
            other => return other,
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// A FIFO opened for both never waits for its reader, and outlives it (fifo(7)).
fn for_both(fifo: &File) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    options.open(format!("/proc/self/fd/{}", fifo.as_raw_fd()))
}

enum Link {
    To(PathBuf),
    /// It stands for something that is open, as those in `/proc/PID/fd` do (proc(5)): there is no
    /// path to go on with.
    Open,
}

/// Where a symbolic link leads, if it is root's or ours.
fn follow(path: &Path, there: &Path) -> io::Result<Link> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let link = OpenOptions::new().read(true).custom_flags(flags).open(there)?;
    check_owner(path, link.metadata()?.uid())?;
    let is_of_proc =
        fstatfs(&link).is_ok_and(|system| system.filesystem_type() == PROC_SUPER_MAGIC);
    if is_of_proc && path.parent().and_then(Path::file_name).is_some_and(|name| name == "fd") {
        return Ok(Link::Open);
    }
    // The link that was looked at, whatever has its name now.
    let target = nix::fcntl::readlinkat(&link, "")?;
    Ok(Link::To(path.parent().unwrap_or(Path::new("/")).join(target)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_there_stays_and_a_fifo_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/er/x.log");
        open(&path).expect("created").write_all(b"one\n").expect("written");
        open(&path).expect("opened").write_all(b"two\n").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"one\ntwo\n");
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        open(&fifo).expect("opened without a reader").write_all(b"kept").expect("written");
        open_regular(&fifo).expect_err("no regular file");
    }

    #[test]
    fn our_own_links_are_followed_and_those_of_others_are_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        symlink("target", &link).expect("a link");
        open(&link).expect("opened").write_all(b"x").expect("written");
        assert_eq!(fs::read(&target).expect("there"), b"x");
        if crate::skip::lacks_root() {
            return;
        }
        std::os::unix::fs::lchown(&link, Some(65_534), None).expect("its owner");
        let error = open(&link).expect_err("another's link");
        assert!(error.to_string().contains("symbolic link of another user"), "{error}");
    }
}
