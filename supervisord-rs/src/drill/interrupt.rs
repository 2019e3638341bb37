//! Ctrl-C in the middle of a trial leaves nothing behind: neither processes nor directories nor
//! cgroups.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::disk;
use crate::config::Adaptation;
use crate::isolation::exits::orphans;
use crate::isolation::tree::cgroup;

/// The directory of the running trial. An interrupt holds it to the end of this process.
static DIRECTORY: Mutex<Option<PathBuf>> = Mutex::new(None);
static BEGUN: Once = Once::new();

/// Begins a trial in the directory that `make` makes, by `start`. From now on an interrupt kills all
/// processes of the trial, removes the directory, and ends this process. This process is a child
/// subreaper: orphans become its children, and die too. An interrupt waits for `make` and `start`, so
/// that it finds what they have made.
///
/// # Errors
/// Those of `make` and `start`.
pub(super) fn begin<T>(
    make: impl FnOnce() -> io::Result<PathBuf>,
    start: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<(PathBuf, T)> {
    BEGUN.call_once(|| {
        // Without the handler an interrupt ends this process at once.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]) else { return };
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let directory = DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
                end(directory.as_deref(), false);
                std::process::exit(128 + signal);
            }
        });
    });
    let mut current = DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = make()?;
    *current = Some(directory.clone());
    let started = start(&directory)?;
    Ok((directory, started))
}

/// Ends what is left of a trial, and removes its directory, unless that is kept.
pub(super) fn end(directory: Option<&Path>, is_kept: bool) {
    let killed = orphans::kill_all();
    if !killed.left.is_empty() {
        eprintln!("supervisord-rs: left behind: processes {:?}", killed.left);
    }
    if let Some(directory) = directory {
        cgroup::remove_leftovers(&Adaptation::runtime_dir(directory));
        if is_kept {
            disk::keep(directory);
        } else {
            disk::remove(directory);
        }
    }
}

/// Does not return while an interrupt ends this process: what fails now fails because of that.
pub(super) fn hold_if_interrupted() {
    drop(DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner));
}
