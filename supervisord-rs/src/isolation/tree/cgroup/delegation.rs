//! Whose a cgroup is: systemd has one writer for each, and says which ones it has given away
//! (`Delegate=`).
#![expect(unsafe_code, reason = "extended attributes have no safe form in our libraries")]

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Ends of the names that systemd gives to its units.
const UNITS: [&str; 4] = [".service", ".scope", ".slice", ".mount"];
/// systemd's marks of a delegated cgroup: one that only root can read, and (251 and later) one for
/// every user.
const MARKS: [&CStr; 2] = [c"trusted.delegate", c"user.delegate"];

/// The unit of systemd that a cgroup belongs to, where that has not been delegated. `None`: it is
/// ours to manage, as far as its permissions go.
///
/// The nearest unit counts: the manager of a user has been delegated all that is below it, and has
/// given away no more than it says.
pub(super) fn owner(cgroup: &Path, mount: &Path) -> Option<String> {
    let below = cgroup.ancestors().take_while(|path| *path != mount);
    let unit = below.into_iter().find(|path| is_unit(path))?;
    let is_delegated = MARKS.iter().any(|mark| is_marked(unit, mark));
    (!is_delegated).then(|| unit.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

fn is_unit(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| UNITS.iter().any(|end| name.ends_with(end)))
}

fn is_marked(path: &Path, mark: &CStr) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut value = [0_u8; 1];
    // SAFETY: needed because neither std nor nix read extended attributes. Sound because both names
    // are C strings that outlive the call, and the kernel writes at most `value.len()` bytes into
    // `value` (getxattr(2)).
    let length = unsafe {
        libc::getxattr(path.as_ptr(), mark.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    length == 1 && value[0] == b'1'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_unit_that_was_not_delegated_owns_a_cgroup() {
        let mount = Path::new("/sys/fs/cgroup");
        let owner = |path: &str| owner(&mount.join(path), mount);
        assert_eq!(owner("system.slice/no-such.service"), Some("no-such.service".into()));
        assert_eq!(owner("system.slice/no-such.service/below"), Some("no-such.service".into()));
        assert_eq!(owner("init.scope"), Some("init.scope".into()));
        assert_eq!(owner("docker/0123"), None);
        assert_eq!(owner(""), None);
    }
}
