//! Which boot of the machine, and which binary.

use crate::stable_hash::stable_hash;

/// A number for this boot of the machine; 0 where the kernel does not tell.
pub(in crate::record) fn boot() -> u64 {
    std::fs::read("/proc/sys/kernel/random/boot_id").map_or(0, stable_hash)
}

/// A number for the file of our binary: another one after an upgrade, and 0 where it cannot be
/// known.
pub(in crate::record) fn binary() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(file) = std::fs::metadata("/proc/self/exe") else { return 0 };
    let words = [file.dev(), file.ino(), file.mtime_nsec().cast_unsigned()];
    stable_hash(words.into_iter().flat_map(u64::to_le_bytes))
}
