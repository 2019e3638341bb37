//! Ctrl-C in the middle of a trial leaves nothing behind: neither processes nor directories.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::isolation::orphans;

/// The directory of the trial that runs.
static DIRECTORY: Mutex<Option<PathBuf>> = Mutex::new(None);
static BEGUN: Once = Once::new();

/// From now on an interrupt kills all that a trial in this directory has started, removes the
/// directory, and ends us. We are a child subreaper: what is orphaned by that comes to us, and dies
/// too.
pub(super) fn on_interrupt(directory: &Path) {
    *DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory.to_path_buf());
    BEGUN.call_once(|| {
        // Without it we die as before: at once.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let killed = orphans::kill_all();
                if let Some(directory) = &*DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner)
                {
                    let _ = std::fs::remove_dir_all(directory);
                }
                if !killed.left.is_empty() {
                    eprintln!("supervisord-rs: left behind: processes {:?}", killed.left);
                }
                std::process::exit(128 + signal);
            }
        });
    });
}
