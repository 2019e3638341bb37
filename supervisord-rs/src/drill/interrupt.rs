//! Ctrl-C in the middle of a trial leaves nothing behind: neither processes nor directories.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::isolation::orphans;

/// The directory of the running trial.
static DIRECTORY: Mutex<Option<PathBuf>> = Mutex::new(None);
static BEGUN: Once = Once::new();

/// From now on an interrupt kills all processes of the trial in this directory, removes the
/// directory, and ends this process. This process is a child subreaper: orphans become its
/// children, and die too.
pub(super) fn on_interrupt(directory: &Path) {
    *DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory.to_path_buf());
    BEGUN.call_once(|| {
        // Without the handler an interrupt ends this process at once.
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
