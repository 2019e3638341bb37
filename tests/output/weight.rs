//! How much lies in a directory whose files come, go and change their names.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of all files of a directory; `None` where it changed meanwhile, and one file may have been
/// counted under two names.
pub(crate) fn weight(directory: &Path) -> Option<u64> {
    let (before, after) = (look(directory), look(directory));
    let are_same = before.len() == after.len()
        && before.iter().zip(&after).all(|((name, (file, _)), (name_after, (file_after, _)))| {
            (name, file) == (name_after, file_after)
        });
    are_same.then(|| before.values().map(|(_, length)| length).sum())
}

/// Each file by its name: its number and its length.
fn look(directory: &Path) -> BTreeMap<PathBuf, (u64, u64)> {
    // It may not be there yet.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let known = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    known.map(|(path, metadata)| (path, (metadata.ino(), metadata.len()))).collect()
}
