//! Rotated files: `x.log.1`, `x.log.2.gz`; compressed, and removed when there are too many.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::lock;
use crate::append;
use crate::reach::Reached;

/// The name of a rotated file.
pub(super) fn numbered(path: &Path, number: u32, is_compressed: bool) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{}", if is_compressed { ".gz" } else { "" }));
    name.into()
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The last bytes of the newest rotated file, where it is not compressed.
pub(super) fn end_of_newest(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = append::open_regular(&numbered(path, 1, false))?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(most as u64);
    let mut end = vec![0; usize::try_from(length - start).unwrap_or(most)];
    file.read_exact_at(&mut end, start)?;
    Ok(end)
}

/// A rotated file that was compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    /// How many others waited to be compressed when it began.
    pub(super) left: usize,
    /// False: it was removed as the oldest meanwhile, and the work was in vain.
    pub(super) is_kept: bool,
}

/// Compresses the oldest uncompressed rotated file: whole, or not at all. `None`: there was none.
/// Meanwhile the writer may rename and remove it, under the lock `naming`: its inode identifies it.
pub(super) fn compress_oldest(
    path: &Path,
    keep: u32,
    naming: &Mutex<()>,
) -> io::Result<Option<Packed>> {
    let reached = Reached::of(path)?;
    let path = &reached.path();
    let plain = || -> Vec<PathBuf> {
        (1..=keep)
            .map(|number| (numbered(path, number, false), numbered(path, number, true)))
            .take_while(|(plain, compressed)| is_there(plain) || is_there(compressed))
            .filter_map(|(plain, _)| is_there(&plain).then_some(plain))
            .collect()
    };
    let (source, left) = {
        let _named = lock(naming);
        let mut all = plain();
        let Some(oldest) = all.pop() else { return Ok(None) };
        let left = all.len();
        match append::open_reached(&oldest) {
            // It was removed for the cap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(Packed { left, is_kept: false }));
            }
            opened => (opened?, left),
        }
    };
    let inode = source.metadata()?.ino();
    let hidden = hidden(path);
    let result = pack(&source, &hidden).and_then(|()| {
        let _named = lock(naming);
        let is_it =
            |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|file| file.ino() == inode);
        match plain().into_iter().find(is_it) {
            Some(plain) => {
                fs::rename(&hidden, plain.with_added_extension("gz"))?;
                remove(&plain).map(|()| true)
            }
            // It is too old to be kept.
            None => fs::remove_file(&hidden).map(|()| false),
        }
    });
    if result.is_err() {
        let _ = fs::remove_file(&hidden);
    }
    result.map(|is_kept| Some(Packed { left, is_kept }))
}

/// What is being compressed; one at a time for each log.
fn hidden(path: &Path) -> PathBuf {
    path.with_added_extension("gz.new")
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The same users may read the compressed file as the log.
fn pack(source: &File, hidden: &Path) -> io::Result<()> {
    remove(hidden)?;
    let was = source.metadata()?;
    let mut options = OpenOptions::new();
    // Never a file that another process has put there meanwhile.
    let target = options.write(true).create_new(true).mode(was.mode() & 0o777).open(hidden)?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::fchown(&target, Some(was.uid()), Some(was.gid()))?;
    }
    target.set_permissions(fs::Permissions::from_mode(was.mode() & 0o777))?;
    let mut encoder = GzEncoder::new(target, Compression::default());
    let mut buffer = vec![0; 256 * 1024];
    let mut source = source;
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        encoder.write_all(&buffer[..count])?;
    }
    encoder.finish()?.sync_all()
}

/// Removes rotated files, the oldest first, until these and the present ones together take at most
/// `cap` bytes. How many they take then.
pub(super) fn keep_to_cap(paths: &[PathBuf], cap: u64) -> u64 {
    let present = paths.iter().flat_map(|path| [fs::metadata(path), fs::metadata(hidden(path))]);
    let mut total: u64 = present.flatten().map(|file| file.len()).sum();
    let mut rotated: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
    for (path, metadata) in all_of(paths) {
        total += metadata.len();
        rotated.push((metadata.modified().unwrap_or(UNIX_EPOCH), path, metadata.len()));
    }
    rotated.sort();
    for (_, path, size) in rotated {
        if total <= cap {
            break;
        }
        if Reached::of(&path).and_then(|reached| fs::remove_file(reached.path())).is_ok() {
            total = total.saturating_sub(size);
        }
    }
    total
}

/// The rotated files of these logs. Reads each directory once, however many logs are in it.
fn all_of(paths: &[PathBuf]) -> Vec<(PathBuf, fs::Metadata)> {
    let known: HashSet<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let directories: HashSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    let mut found = Vec::new();
    for directory in directories {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if present(&path).is_some_and(|present| known.contains(present.as_path()))
                && let Ok(metadata) = entry.metadata()
            {
                found.push((path, metadata));
            }
        }
    }
    found
}

/// `x.log` of `x.log.3` and `x.log.3.gz`; `None` for a file that is not rotated.
fn present(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (present, number) = name.strip_suffix(".gz").unwrap_or(name).rsplit_once('.')?;
    number.parse::<u32>().ok().map(|_| path.with_file_name(present))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_strangers_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str| directory.path().join(name);
        for name in ["a.log", "a.log.1", "a.log.2.gz", "b.log", "b.log.1", "c.log.1", "a.log.x"] {
            fs::write(file(name), [0; 100]).expect("written");
        }
        let age = |name: &str, seconds: u64| {
            let then = SystemTime::now() - std::time::Duration::from_secs(seconds);
            File::options()
                .write(true)
                .open(file(name))
                .and_then(|file| file.set_modified(then))
                .expect("ours");
        };
        age("a.log.2.gz", 30);
        age("b.log.1", 20);
        age("a.log.1", 10);
        let paths = [file("a.log"), file("b.log")];
        assert_eq!(keep_to_cap(&paths, 500), 500);
        assert_eq!(keep_to_cap(&paths, 350), 300);
        let left = |name: &str| file(name).exists();
        assert!(!left("a.log.2.gz") && !left("b.log.1") && left("a.log.1"));
        assert_eq!(keep_to_cap(&paths, 10), 200, "the present ones are not removed");
        assert!(left("a.log") && left("b.log") && left("c.log.1") && left("a.log.x"));
    }
}
