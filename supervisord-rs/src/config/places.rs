//! The default directories: those of the service manager, else the user's, else the system's.
//!
//! A variable that is empty is not set, and one that is no absolute path names no place and is
//! ignored: the XDG base directory specification says so, and anything else would put directories
//! where the program happens to run.

use std::env;
use std::path::{Path, PathBuf};

use crate::accounts;

/// Where a configuration is looked for when none is named, after `./supervisord-rs.yaml`.
pub const SYSTEM_FILE: &str = "/etc/supervisord-rs/supervisord-rs.yaml";

const NAME: &str = "supervisord-rs";
/// What the service manager gives (systemd.exec(5)).
const GIVEN: [&str; 3] = ["RUNTIME_DIRECTORY", "STATE_DIRECTORY", "LOGS_DIRECTORY"];
/// What the user has. Root has the system's directories.
const OF_USER: [&str; 3] = ["XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"];

/// `$RUNTIME_DIRECTORY` (systemd.exec(5)), else `$XDG_RUNTIME_DIR/supervisord-rs`, else
/// `/run/supervisord-rs`.
pub(crate) fn runtime_dir() -> PathBuf {
    place("RUNTIME_DIRECTORY", || absolute("XDG_RUNTIME_DIR"), "/run")
}

/// `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/supervisord-rs`, else `~/.local/state/supervisord-rs`
/// for users, else `/var/lib/supervisord-rs`.
pub(crate) fn state_dir() -> PathBuf {
    let of_user = || absolute("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")));
    place("STATE_DIRECTORY", of_user, "/var/lib")
}

/// `$LOGS_DIRECTORY`, else `log` under the state directory for users, else
/// `/var/log/supervisord-rs`.
pub(crate) fn log_dir() -> PathBuf {
    if let Some(given) = first("LOGS_DIRECTORY") {
        return given;
    }
    if is_root() { Path::new("/var/log").join(NAME) } else { state_dir().join("log") }
}

/// A sentence about each variable that is set and ignored.
pub(crate) fn ignored() -> Vec<String> {
    let of_user = if is_root() { &[][..] } else { &OF_USER };
    let is_bad = |value: &std::ffi::OsStr| !value.is_empty() && !Path::new(value).is_absolute();
    let bad = GIVEN.iter().chain(of_user).filter_map(|name| Some((name, env::var_os(name)?)));
    bad.filter(|(_, value)| is_bad(value))
        .map(|(name, value)| {
            format!("{name}={} is ignored: it is not an absolute path", value.display())
        })
        .collect()
}

/// A path as written, relative to the directory of the file that it is written in.
pub(crate) fn relative_to(file: &Path, written: &Path) -> PathBuf {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let joined = directory.unwrap_or(Path::new(".")).join(written);
    std::path::absolute(&joined).unwrap_or(joined)
}

fn place(given: &str, of_user: impl Fn() -> Option<PathBuf>, system: &str) -> PathBuf {
    if let Some(given) = first(given) {
        return given;
    }
    let of_user = if is_root() { None } else { of_user() };
    of_user.unwrap_or_else(|| system.into()).join(NAME)
}

/// The user's home directory: `$HOME`, else what the machine knows, as a shell does for `~`.
fn home() -> Option<PathBuf> {
    let of_account = || accounts::user(&nix::unistd::geteuid().to_string()).map(|user| user.home);
    // The root directory is the home of users that have none.
    absolute("HOME").or_else(of_account).filter(|home| home.is_absolute() && home != Path::new("/"))
}

/// A variable that names a place.
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// systemd gives a list with colons when a unit asks for several; the first is ours.
fn first(variable: &str) -> Option<PathBuf> {
    let value = env::var_os(variable)?;
    env::split_paths(&value).next().filter(|path| path.is_absolute())
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
