//! Something runs out. All but memory is given back after a while, and what is taken is bounded:
//! the fault is the process's, never the machine's.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::fault::Scene;

/// So long it lasts.
const WHILE: Duration = Duration::from_millis(300);
/// Descriptors that are opened until there are no more.
const DESCRIPTORS: u64 = 256;
/// Threads, each with a stack of [`STACK`] bytes.
const THREADS: usize = 400;
const STACK: usize = 64 * 1024;
/// Output, in bytes.
const FLOOD: usize = 8 << 20;

/// Its worker goes on: on a busy machine this takes longer than a heartbeat may.
pub(super) fn leak(cap: u64, scene: &Scene<'_>) {
    const CHUNK: usize = 1 << 20;
    for _ in 0..cap / CHUNK as u64 {
        scene.beat();
        // Written, so that the kernel really allocates it.
        black_box(vec![1_u8; CHUNK].leak());
    }
}

/// No memory is taken: there is no room for so much in any address space.
pub(super) fn alloc_error() {
    let layout = Layout::from_size_align(1 << 62, 8).expect("it is a layout");
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc(black_box(layout)) };
    if memory.is_null() {
        handle_alloc_error(layout);
    }
}

/// By the device that is always full: a full file system would be that of others too.
pub(super) fn disk_full() {
    let mut file = File::options().write(true).open("/dev/full").expect("it is there");
    file.write_all(b"a record").expect("a record is written");
}

/// Under a limit that is lowered for that time: the real one may be a million.
pub(super) fn descriptors(scene: &Scene<'_>) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let Ok(first) = File::open("/dev/null") else { return };
    let used = u64::try_from(first.as_raw_fd()).unwrap_or(0);
    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft.min(used + DESCRIPTORS), hard);
    let all = std::iter::from_fn(|| first.as_fd().try_clone_to_owned().ok());
    let all: Vec<_> = all.take(DESCRIPTORS as usize * 2).collect();
    scene.beat_until(|| false, WHILE);
    drop(all);
    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
}

pub(super) fn threads(scene: &Scene<'_>) {
    let mut ends = Vec::new();
    for _ in 0..THREADS {
        let (end, ended) = channel::<()>();
        let builder = std::thread::Builder::new().name("injected".into()).stack_size(STACK);
        if builder.spawn(move || ended.recv().is_ok()).is_err() {
            break;
        }
        ends.push(end);
        scene.beat();
    }
    scene.beat_until(|| false, WHILE);
}

pub(super) fn flood(scene: &Scene<'_>) {
    let line = [&[b'x'; 99][..], b"\n"].concat().repeat(40);
    for _ in 0..FLOOD / line.len() {
        let _ = nix::unistd::write(scene.output, &line);
        scene.beat();
    }
}
