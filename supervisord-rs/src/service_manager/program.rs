//! Where our binary lies, by the name that we were started by: an upgrade puts another one there,
//! flips a symbolic link, or moves the old one away. What the kernel calls the file that we are an
//! image of (proc_pid_exe(5)) follows the old one.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Set for a supervisor that is started under another name, such as `/proc/self/exe`.
pub const PROGRAM: &str = "SUPERVISORD_RS_PROGRAM";

/// An absolute path, with the symbolic links that it had when we were started. Ask for it early: it
/// is looked up once.
#[must_use]
pub fn program() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let by_starter = || {
        let is_ours = super::guardian_pid().is_some() || super::hand_over_from().is_some();
        std::env::var_os(PROGRAM).filter(|_| is_ours).map(PathBuf::from)
    };
    PATH.get_or_init(|| by_starter().or_else(by_name).unwrap_or_else(image)).clone()
}

/// The first word of the command line, looked up as a shell does, if it leads to what we are.
fn by_name() -> Option<PathBuf> {
    let name = PathBuf::from(std::env::args_os().next()?);
    let here = std::env::current_dir().ok()?;
    let is_us = |path: &PathBuf| is_same(path, Path::new("/proc/self/exe"));
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
    let own = std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| "/proc/self/exe".into());
    // The kernel says so of a file that has been replaced.
    let text = own.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| own.clone(), PathBuf::from)
}
