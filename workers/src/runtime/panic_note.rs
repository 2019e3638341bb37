//! What the panic hook notes of this thread's latest panic, for those who decide what it comes to:
//! the root of the thread, where the unwinding ends, or the handler of SIGABRT, where it cannot
//! unwind. A panic that is caught before leaves nothing but this.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::runtime::board::TEXT_MAX;

/// Read by the same thread alone, also in a signal handler: atomics, so that no store is seen half.
struct Note {
    words: [AtomicU64; TEXT_MAX / 8],
    length: AtomicUsize,
    /// Where the panic's own text begins, behind its place.
    text_at: AtomicUsize,
}

thread_local! {
    // Has no destructor: it is there until the thread has ended.
    static LATEST: Note = const {
        Note {
            words: [const { AtomicU64::new(0) }; TEXT_MAX / 8],
            length: AtomicUsize::new(0),
            text_at: AtomicUsize::new(0),
        }
    };
}

/// Notes a panic: its place (with what separates it) and its text.
pub(crate) fn set(place: &str, text: &str) {
    LATEST.with(|note| {
        let mut all = place.bytes().chain(text.bytes()).take(TEXT_MAX);
        let mut length = 0;
        note.length.store(0, Ordering::Release);
        for word in &note.words {
            let mut bytes = [0; 8];
            for byte in &mut bytes {
                let Some(next) = all.next() else { break };
                *byte = next;
                length += 1;
            }
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        note.text_at.store(place.len().min(length), Ordering::Relaxed);
        note.length.store(length, Ordering::Release);
    });
}

/// The bytes of the note, and where the panic's own text begins. Async-signal-safe.
pub(crate) fn get() -> ([u8; TEXT_MAX], usize, usize) {
    LATEST.with(|note| {
        let length = note.length.load(Ordering::Acquire).min(TEXT_MAX);
        let mut bytes = [0; TEXT_MAX];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(&note.words) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        (bytes, length, note.text_at.load(Ordering::Relaxed).min(length))
    })
}

/// The whole note, if it is of a panic with this text; it may be cut.
pub(crate) fn of_text(text: &str) -> Option<String> {
    let (bytes, length, text_at) = get();
    let noted = &bytes[text_at..length];
    let is_same = if length == TEXT_MAX {
        text.as_bytes().starts_with(noted)
    } else {
        text.as_bytes() == noted
    };
    (length > 0 && is_same).then(|| String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// Forgets it: the panic has come to its end.
pub(crate) fn clear() {
    LATEST.with(|note| note.length.store(0, Ordering::Release));
}
