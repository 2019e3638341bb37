//! Files that were put aside: `x.log.1`, `x.log.2.gz`; compressed, and removed when there is too much of them.

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
    for path in paths {
        for (candidate, metadata) in siblings(path) {
            total += metadata.len();
            rotated.push((metadata.modified().unwrap_or(UNIX_EPOCH), candidate, metadata.len()));
        }
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

/// The rotated files of a log.
fn siblings(path: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_rotated = |other: &str| {
        let number = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        number.is_some_and(|number| number.trim_end_matches(".gz").parse::<u32>().is_ok())
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_rotated))
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .collect()
}
