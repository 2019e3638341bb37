//! What a thread that carries output has in its hands: a pipe of its own, into which bytes are
//! moved from the worker's pipe before they are written. The worker's pipe is not locked while the
//! file hangs; and since this pipe is kept for a successor, and it stands in the black box whose
//! bytes are in it and which write of them has begun, a successor finds out what is left to write:
//! moving from pipe to pipe is all or nothing for each byte (splice(2)), bytes stay in the pipe
//! until they are written, and what is written can be found in the file (`leftover`).

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use nix::fcntl::{OFlag, SpliceFFlags, splice, tee};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{pipe2, read};

use super::pipe::read_all;
use crate::record::black_box::{Begun, CARRIERS, Carriers};
use crate::service_manager::FdStore;

/// Largest piece that is carried at once: the usual size of a pipe.
pub(super) const CHUNK: usize = 64 * 1024;
/// Begins the names of their pipes in the store.
pub(super) const PIPE: &str = "hands/";
/// Begins the names of the texts that they write.
pub(super) const TEXT: &str = "text/";

/// The most descriptors of one thread in the fd store: the pipe, and the text.
pub const KEPT: usize = 2;
/// The descriptors of one thread at most: two pipes, the way out, the text, and the
/// copies that the store makes of what is kept.
pub const DESCRIPTORS: usize = 2 + 2 + 1 + 1 + KEPT;

/// A pipe.
type Pipe = (OwnedFd, OwnedFd);

/// The staging pipe of one thread.
#[derive(Debug)]
pub(super) struct StagingPipe {
    /// None where descriptors are short: bytes pass through memory then.
    pipe: Option<Pipe>,
    /// For a look at what is in the pipe without taking it.
    glass: Option<Pipe>,
    /// Where what is written goes from the pipe.
    nowhere: Option<File>,
    /// The text that is being written, for a successor that has to find it in the file. Made when
    /// there is one first.
    text: Option<File>,
    slot: usize,
    carriers: Carriers,
    store: FdStore,
    pub(super) buffer: Vec<u8>,
}

impl StagingPipe {
    /// The one with this number; there are [`CARRIERS`].
    pub(super) fn new(slot: usize, carriers: Carriers, store: &FdStore) -> Self {
        let pipe = (slot < CARRIERS).then(|| pipe2(OFlag::O_CLOEXEC).ok()).flatten();
        if let Some(carried) = carriers.slot(slot) {
            carried.stream.store(0, Ordering::Relaxed);
            carried.owner.store(owner(std::process::id().into(), slot as u64), Ordering::SeqCst);
        }
        if let Some((out, _)) = &pipe {
            store.keep(&format!("{PIPE}{slot}/{}", std::process::id()), &[out.as_fd()]);
        }
        let glass = pipe.as_ref().and_then(|_| pipe2(OFlag::O_CLOEXEC).ok());
        let nowhere = File::options().write(true).open("/dev/null").ok();
        let (text, store) = (None, store.clone());
        Self { pipe, glass, nowhere, text, slot, carriers, store, buffer: vec![0; CHUNK] }
    }

    pub(super) fn can_hold(&self) -> bool {
        self.pipe.is_some()
    }

    /// Moves what is in a pipe of this stream into this one. How many bytes; 0: there is nothing.
    pub(super) fn take(&self, from: &OwnedFd, stream: u64) -> usize {
        let Some((_, into)) = &self.pipe else { return 0 };
        if let Some(carried) = self.carriers.slot(self.slot) {
            carried.length.store(0, Ordering::Relaxed);
            carried.stream.store(stream, Ordering::SeqCst);
        }
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        splice(from, None, into, None, CHUNK, flags).unwrap_or(0)
    }

    /// Copies the first of the `count` bytes that were taken to the buffer: how many, and whether
    /// they are in the pipe still. Where they cannot be copied they are taken out.
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

    /// Before the first `covered` of `held` bytes are written to a file that is so long, as they
    /// are or as a text.
    pub(super) fn begin_write(
        &mut self,
        place: u64,
        held: usize,
        covered: usize,
        text: Option<&[u8]>,
    ) {
        if let Some(text) = text {
            self.write_down(text);
        }
        let Some(carried) = self.carriers.slot(self.slot) else { return };
        carried.begin(Begun {
            place,
            length: text.map_or(covered, <[u8]>::len) as u64,
            held: held as u64,
            covered: covered as u64,
            is_text: text.is_some(),
        });
    }

    fn write_down(&mut self, text: &[u8]) {
        if self.text.is_none() {
            let Ok(file) = memfd_create(c"text", MFdFlags::MFD_CLOEXEC) else { return };
            self.store
                .keep(&format!("{TEXT}{}/{}", self.slot, std::process::id()), &[file.as_fd()]);
            self.text = Some(file.into());
        }
        if let Some(file) = &self.text {
            let _ = file.write_all_at(text, 0);
        }
    }

    /// Drops the first of what was taken: it is written, or cannot be.
    pub(super) fn empty(&self, count: usize) {
        if let Some((out, _)) = &self.pipe {
            drop_from(out, self.nowhere.as_ref(), count);
        }
        if let Some(carried) = self.carriers.slot(self.slot) {
            carried.length.store(0, Ordering::SeqCst);
        }
    }
}

/// Takes so many bytes out of a pipe.
pub(super) fn drop_from(pipe: &OwnedFd, nowhere: Option<&File>, mut count: usize) {
    while count > 0 {
        let moved =
            nowhere.map(|nowhere| splice(pipe, None, nowhere, None, count, SpliceFFlags::empty()));
        let dropped = match moved {
            Some(Ok(moved)) if moved > 0 => Ok(moved),
            Some(_) | None => read(pipe, &mut vec![0; count.min(CHUNK)]),
        };
        match dropped {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(0) | Err(_) => break,
            Ok(dropped) => count -= dropped,
        }
    }
}

/// Stands for the staging pipe of one thread of one supervisor.
pub(super) fn owner(pid: u64, slot: u64) -> u64 {
    pid << 16 | slot
}
