//! Text in mapped memory: words, since each is stored at once.

use std::sync::atomic::{AtomicU64, Ordering};

/// Stores as many bytes as there is room for; how many those are.
pub(super) fn store(words: &[AtomicU64], bytes: &[u8]) -> usize {
    let cut = bytes.len().min(words.len() * 8);
    for (word, part) in words.iter().zip(bytes[..cut].chunks(8)) {
        let mut padded = [0; 8];
        padded[..part.len()].copy_from_slice(part);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    cut
}

/// The first bytes of what is stored there, so many as there are at most.
pub(in crate::record) fn load(words: &[AtomicU64], length: usize) -> Vec<u8> {
    let bytes = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
    bytes.take(length).collect()
}
