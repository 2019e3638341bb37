//! The directories where nothing is said: what the service manager gives us, else what the user has, else the system's.

use std::env;
use std::path::{Path, PathBuf};

/// Where a configuration is looked for when none is named, after `./supervisord-rs.yaml`.
pub const SYSTEM_FILE: &str = "/etc/supervisord-rs/supervisord-rs.yaml";

const NAME: &str = "supervisord-rs";

/// `$RUNTIME_DIRECTORY` (systemd.exec(5)), else `$XDG_RUNTIME_DIR/supervisord-rs`, else `/run/supervisord-rs`.
pub(crate) fn runtime_dir() -> PathBuf {
    place("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", None, "/run")
}

/// `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/supervisord-rs`, else `~/.local/state/supervisord-rs` for users, else
/// `/var/lib/supervisord-rs`.
pub(crate) fn state_dir() -> PathBuf {
    place("STATE_DIRECTORY", "XDG_STATE_HOME", Some(".local/state"), "/var/lib")
}

/// `$LOGS_DIRECTORY`, else `log` under the state directory for users, else `/var/log/supervisord-rs`.
pub(crate) fn log_dir() -> PathBuf {
    if let Some(given) = first("LOGS_DIRECTORY") {
        return given;
    }
    if is_root() { Path::new("/var/log").join(NAME) } else { state_dir().join("log") }
}

/// A path as written, relative to the directory of the file that it is written in.
pub(crate) fn relative_to(file: &Path, written: &Path) -> PathBuf {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let joined = directory.unwrap_or(Path::new(".")).join(written);
    std::path::absolute(&joined).unwrap_or(joined)
}

fn place(given: &str, user: &str, home: Option<&str>, system: &str) -> PathBuf {
    if let Some(given) = first(given) {
        return given;
    }
    let in_home = || Some(PathBuf::from(env::var_os("HOME")?).join(home?));
    let of_user = env::var_os(user).map(PathBuf::from).or_else(in_home);
    of_user.filter(|_| !is_root()).unwrap_or_else(|| system.into()).join(NAME)
}

/// systemd gives a list with colons when a unit asks for several; the first is ours.
fn first(variable: &str) -> Option<PathBuf> {
    let value = env::var_os(variable).filter(|value| !value.is_empty())?;
    env::split_paths(&value).next()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
