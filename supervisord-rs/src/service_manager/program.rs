//! The path of this binary, by the name that started this process: an upgrade puts another one
//! there, flips a symbolic link, or moves the old one away. The kernel's link to the running file
//! (proc_pid_exe(5)) follows the old one.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The binary that runs here, whatever has become of its name (proc_pid_exe(5)).
pub const OWN: &str = "/proc/self/exe";
/// Set for a supervisor that is started under another name, such as `/proc/self/exe`.
pub const PROGRAM: &str = "SUPERVISORD_RS_PROGRAM";

/// An absolute path, with its symbolic links as at the start. Call it early: it looks the path up
/// once.
#[must_use]
pub fn program() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let by_starter = || {
        let is_ours = super::guardian_pid().is_some() || super::hand_over_from().is_some();
        std::env::var_os(PROGRAM).filter(|_| is_ours).map(PathBuf::from)
    };
    PATH.get_or_init(|| by_starter().or_else(by_name).unwrap_or_else(image)).clone()
}

/// The first word of the command line, looked up as a shell does, if it leads to the running
/// binary.
fn by_name() -> Option<PathBuf> {
    let name = PathBuf::from(std::env::args_os().next()?);
    let here = std::env::current_dir().ok()?;
    let is_us = |path: &PathBuf| is_same(path, Path::new(OWN));
    if name.components().count() > 1 {
        return Some(here.join(name)).filter(is_us);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| here.join(directory).join(&name)).find(is_us)
}

fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| path.metadata().ok().map(|data| (data.dev(), data.ino()));
    file(one).is_some_and(|known| Some(known) == file(other))
}

fn image() -> PathBuf {
    let own = std::fs::read_link(OWN).unwrap_or_else(|_| OWN.into());
    // The kernel adds this to the name of a replaced file.
    let text = own.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| own.clone(), PathBuf::from)
}
