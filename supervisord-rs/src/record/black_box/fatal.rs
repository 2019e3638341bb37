//! What the handler of a fatal signal writes.
#![expect(unsafe_code, reason = "it finds pages by their addresses")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use workers::runtime::board::{Board, SIZE, monotonic_ns};

use super::BlackBox;
use super::header::Header;
use super::note::{NOTE, Note};
use super::room::WORKERS_MAX;

/// What the handler of a fatal signal copies: from a worker's own board to its note. Set while the
/// worker lives.
static MIRRORED: [AtomicPtr<Board>; WORKERS_MAX] =
    [const { AtomicPtr::new(ptr::null_mut()) }; WORKERS_MAX];
/// Page 0 of the black box, for the handler.
pub(super) static PAGES: AtomicPtr<Header> = AtomicPtr::new(ptr::null_mut());

impl BlackBox {
    /// Has the board of a worker in another process copied when the supervisor dies; `None`: no
    /// longer. The caller keeps the board mapped until then.
    pub fn mirror(&self, worker: usize, board: Option<&Board>) {
        let board = board.map_or(ptr::null_mut(), |board| ptr::from_ref(board).cast_mut());
        MIRRORED[worker].store(board, Ordering::Release);
    }

    /// What the handler of a fatal signal does: the supervisor's own last words, and a copy of what
    /// its process workers had done. Async-signal-safe: loads and stores of mapped memory,
    /// clock_gettime.
    pub fn on_fatal(signal: i32, code: i32, address: u64, tid: i32) {
        let header = PAGES.load(Ordering::Acquire);
        if header.is_null() {
            return;
        }
        // SAFETY: set by `create` to a mapping that is never unmapped.
        let header_ref = unsafe { &*header };
        if header_ref.signal.load(Ordering::Acquire) != 0 {
            return;
        }
        let workers = header_ref.workers.load(Ordering::Relaxed) as usize;
        for (index, mirrored) in MIRRORED.iter().enumerate().take(workers) {
            // SAFETY: boards stay mapped while they are mirrored; the page of this worker lies
            // `index + 1` pages behind the header, within the mapping.
            unsafe {
                let Some(board) = mirrored.load(Ordering::Acquire).as_ref() else { continue };
                let note = &*header.byte_add((index + 1) * SIZE + NOTE).cast::<Note>();
                note.progress.store(board.progress.load(Ordering::Relaxed), Ordering::Relaxed);
                note.in_flight.store(board.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        header_ref.code.store(code, Ordering::Relaxed);
        header_ref.address.store(address, Ordering::Relaxed);
        header_ref.tid.store(tid, Ordering::Relaxed);
        header_ref.died_at.store(monotonic_ns(), Ordering::Relaxed);
        header_ref.signal.store(signal, Ordering::Release);
    }
}
