//! Small files that the kernel makes when they are read (proc(5), cgroups(7)).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// More than any of them has.
const ROOM: usize = 4096;

/// One that is shorter than a page, in one read: the kernel gives it whole, and tells no size
/// before, so that `fs::read` would feel its way with several.
///
/// # Errors
/// Those of open(2) and read(2).
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    read_open(File::open(path)?)
}

fn read_open(mut file: File) -> io::Result<Vec<u8>> {
    let mut content = vec![0; ROOM];
    let count = file.read(&mut content)?;
    content.truncate(count);
    Ok(content)
}

/// The same of one that lies in a directory.
///
/// # Errors
/// The same.
pub(crate) fn read_at(directory: &OwnedFd, name: &str) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    read_open(openat(directory, name, flags, Mode::empty())?.into())
}

/// One that may be longer, of short lines: mostly in one read.
///
/// # Errors
/// The same.
pub(crate) fn read_list(path: impl AsRef<Path>) -> io::Result<String> {
    let content = read(&path)?;
    // The kernel ends a read before a line that does not fit.
    if content.len() < ROOM / 2 {
        return Ok(String::from_utf8_lossy(&content).into_owned());
    }
    std::fs::read_to_string(path)
}

/// The same as text; what is no UTF-8 in it is replaced.
///
/// # Errors
/// The same.
pub(crate) fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_gives_the_whole_file() {
        for file in ["/proc/self/stat", "/proc/self/cgroup", "/proc/loadavg"] {
            let content = read(file).expect("procfs");
            assert!(content.ends_with(b"\n"), "{file}: {}", String::from_utf8_lossy(&content));
        }
        assert_eq!(
            read_text("/proc/self/comm").ok(),
            std::fs::read_to_string("/proc/self/comm").ok()
        );
        assert!(read("/proc/self/none").is_err());
    }
}
