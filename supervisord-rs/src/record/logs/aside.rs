//! Files that were put aside: `x.log.1`, `x.log.2.gz`; compressed, and removed when there is too much of them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The name of a file that was put aside.
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

/// `x.log.1` → `x.log.1.gz`: whole, or not at all.
pub(super) fn compress(path: &Path) -> io::Result<()> {
    let target = {
        let mut name = path.as_os_str().to_owned();
        name.push(".gz");
        PathBuf::from(name)
    };
    let hidden = target.with_extension("gz.new");
    let mut source = File::open(path)?;
    let result = (|| {
        let mut encoder = GzEncoder::new(File::create(&hidden)?, Compression::default());
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let count = source.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            encoder.write_all(&buffer[..count])?;
        }
        encoder.finish()?.sync_all()?;
        fs::rename(&hidden, &target)?;
        fs::remove_file(path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&hidden);
    }
    result
}

/// Removes rotated files, the oldest first, until these and the present ones together take at most `cap` bytes. How many
/// they take then.
pub(super) fn keep_to_cap(paths: &[PathBuf], cap: u64) -> u64 {
    let mut total: u64 = paths.iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum();
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
        if fs::remove_file(&path).is_ok() {
            total = total.saturating_sub(size);
        }
    }
    total
}

/// The files of these logs that were put aside. Each directory is read once, however many logs are in it.
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

/// `x.log` of `x.log.3` and `x.log.3.gz`; `None` for what was not put aside.
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
