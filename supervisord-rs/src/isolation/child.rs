//! A process that we have created, or taken over.

use std::os::fd::OwnedFd;

/// See above.
#[derive(Debug)]
pub struct Child {
    /// Its number; also that of its process group, and mostly of its session.
    pub pid: i32,
    /// The handle to wait for it and to signal it.
    pub pidfd: OwnedFd,
    /// When it was born, in clock ticks since boot (proc_pid_stat(5)); with the number it means
    /// this process for ever. 0: not known.
    pub start_time: u64,
    /// Whether another supervisor was its parent: then we cannot wait for it, and its number may
    /// become another's as soon as it has exited.
    pub is_adopted: bool,
}
