//! What a worker does to the process that it shares with others, if it shares one.

use std::io::pipe;
use std::os::fd::AsFd;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::{Mode, umask};

/// So long a forked child lives, in nanoseconds.
const CHILD: libc::c_long = 200_000_000;

/// Rust ignores SIGPIPE; a library that does not changes that for all.
pub(super) fn broken_pipe() {
    let Ok((reader, writer)) = pipe() else { return };
    drop(reader);
    // SAFETY: the default action runs no handler. That it ends the process is the fault.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let _ = nix::unistd::write(writer.as_fd(), b"to no reader");
}

/// The child has all that its parent has, and one thread of it. Nothing waits for it.
pub(super) fn fork() {
    // SAFETY: the child of a process with threads makes async-signal-safe calls alone
    // (signal-safety(7)).
    unsafe {
        if libc::fork() == 0 {
            let time = libc::timespec { tv_sec: 0, tv_nsec: CHILD };
            libc::nanosleep(&raw const time, std::ptr::null_mut());
            libc::_exit(0);
        }
    }
}

/// As a library that reports panics by itself does: the hook that was there does not run.
pub(super) fn panic_with_foreign_hook() {
    std::panic::set_hook(Box::new(|_| {}));
    panic!("injected panic with a foreign hook");
}

pub(super) fn ignore_term() {
    // SAFETY: no handler is installed.
    let _ = unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) };
}

pub(super) fn wander() {
    let _ = std::env::set_current_dir("/");
    umask(Mode::from_bits_truncate(0o777));
}
