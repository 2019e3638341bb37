//! What a thread that carries output has in its hands: a pipe of its own, into which bytes are moved from the worker's
//! pipe before they are written. The worker's pipe is not locked while the file hangs; and since this pipe is kept for a
//! successor, and it stands in the black box whose bytes are in it, nothing is lost or written twice when the supervisor
//! dies in between: moving from pipe to pipe, and from pipe to file, is all or nothing for each byte (splice(2)).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use nix::fcntl::{OFlag, SpliceFFlags, splice, tee};
use nix::unistd::{pipe2, read};

use super::pipe::{read_all, waiting};
use crate::record::black_box::{CARRIERS, Carriers};
use crate::record::post_mortem::PastCarried;
use crate::service_manager::{FdStore, Heritage};

/// Largest piece that is carried at once: what a pipe holds as a rule.
pub(super) const CHUNK: usize = 64 * 1024;
/// Begins their names in the store.
const PREFIX: &str = "hands/";

/// A pipe.
type Pipe = (OwnedFd, OwnedFd);

/// The hands of one thread.
#[derive(Debug)]
pub(super) struct Hands {
    /// None where descriptors are short: bytes pass through memory then.
    pipe: Option<Pipe>,
    /// For a look at what is in the pipe without taking it.
    glass: Option<Pipe>,
    slot: usize,
    carriers: Carriers,
    pub(super) buffer: Vec<u8>,
}

impl Hands {
    /// The hands with this number; there are [`CARRIERS`].
    pub(super) fn new(slot: usize, carriers: Carriers, store: &FdStore) -> Self {
        let pipe = (slot < CARRIERS).then(|| pipe2(OFlag::O_CLOEXEC).ok()).flatten();
        if let Some(carried) = carriers.slot(slot) {
            carried.stream.store(0, Ordering::Relaxed);
            carried.owner.store(owner(std::process::id().into(), slot as u64), Ordering::SeqCst);
        }
        if let Some((out, _)) = &pipe {
            store.keep(&format!("{PREFIX}{slot}/{}", std::process::id()), &[out.as_fd()]);
        }
        let glass = pipe.as_ref().and_then(|_| pipe2(OFlag::O_CLOEXEC).ok());
        Self { pipe, glass, slot, carriers, buffer: vec![0; CHUNK] }
    }

    pub(super) fn can_hold(&self) -> bool {
        self.pipe.is_some()
    }

    /// Moves what is in a worker's pipe into this one. How many bytes; 0: there is nothing.
    pub(super) fn take(&self, from: &OwnedFd, stream: u64) -> usize {
        let Some((_, into)) = &self.pipe else { return 0 };
        if let Some(carried) = self.carriers.slot(self.slot) {
            carried.length.store(0, Ordering::Relaxed);
            carried.stream.store(stream, Ordering::SeqCst);
        }
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        splice(from, None, into, None, CHUNK, flags).unwrap_or(0)
    }

    /// What was taken, to be moved on.
    pub(super) fn held(&self) -> Option<&OwnedFd> {
        self.pipe.as_ref().map(|(out, _)| out)
    }

    /// Copies the first of the `count` bytes that were taken to the buffer: how many, and whether they are in the pipe
    /// still. Where they cannot be copied they are taken out.
    pub(super) fn look(&mut self, count: usize) -> (usize, bool) {
        let Some((out, _)) = &self.pipe else { return (0, false) };
        if let Some((glass, into)) = &self.glass
            && let Ok(seen) = tee(out, into, count, SpliceFFlags::SPLICE_F_NONBLOCK)
            && seen > 0
            && read_all(glass, &mut self.buffer[..seen])
        {
            return (seen, true);
        }
        (read(out, &mut self.buffer[..count]).unwrap_or(0), false)
    }

    /// Before the write of what was looked at: where, and how many bytes that makes.
    pub(super) fn begin_write(&self, place: u64, length: u64) {
        if let Some(carried) = self.carriers.slot(self.slot) {
            carried.place.store(place, Ordering::Relaxed);
            carried.length.store(length, Ordering::SeqCst);
        }
    }

    /// Drops what is left of what was taken: it is written, or cannot be.
    pub(super) fn empty(&self, mut count: usize) {
        let mut buffer = [0; 4096];
        while let Some((out, _)) = self.pipe.as_ref().filter(|_| count > 0) {
            match read(out, &mut buffer[..count.min(4096)]) {
                Ok(0) | Err(_) => break,
                Ok(dropped) => count -= dropped,
            }
        }
        if let Some(carried) = self.carriers.slot(self.slot) {
            carried.length.store(0, Ordering::SeqCst);
        }
    }
}

/// What a predecessor's thread had in its hands.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) pipe: OwnedFd,
    /// Where it was to be written, if that had begun, and how many bytes that makes.
    pub(super) place: Option<(u64, u64)>,
    pub(super) stream: u64,
    /// Its name in the store, from which it goes when it is written.
    pub(super) name: String,
}

/// Stands for the hands of one thread of one supervisor.
fn owner(pid: u64, slot: u64) -> u64 {
    pid << 16 | slot
}

/// All of them, also those that the predecessor had from its own; empty hands are let go. They are passed on at once, so
/// that they are not forgotten if we die before they are written.
pub(super) fn leftovers(
    heritage: &mut Heritage,
    carried: &[PastCarried],
    carriers: &Carriers,
    store: &FdStore,
) -> Vec<Leftover> {
    let mut found = Vec::new();
    for (rest, pipe) in heritage.claim_all(PREFIX) {
        let name = format!("{PREFIX}{rest}");
        let numbers =
            rest.split_once('/').and_then(|(slot, pid)| Some(owner(pid.parse().ok()?, slot.parse().ok()?)));
        let past = carried.iter().find(|past| past.owner != 0 && Some(past.owner) == numbers);
        if waiting(&pipe) == 0 {
            store.forget(&name);
        } else if let Some(past) = past {
            carriers.pass_on(past);
            found.push(Leftover { pipe, place: past.place, stream: past.stream, name });
        } else {
            tracing::warn!(name, "nobody knows whose output this is: it is dropped");
            store.forget(&name);
        }
    }
    found
}
