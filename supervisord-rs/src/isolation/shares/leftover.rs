//! Names of POSIX in `/dev/shm` whose supervisor has gone.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::names::{PREFIX, prefix};

/// Where POSIX has the names of shared memory and, after `sem.`, of semaphores (shm_overview(7),
/// sem_overview(7)).
const DIRECTORY: &str = "/dev/shm";

/// What has a name that the supervisor with this runtime directory gives. It is to be over.
pub(crate) fn names_left(runtime_dir: &Path) -> Vec<PathBuf> {
    let prefix = prefix(runtime_dir);
    let files = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let is_own = |name: &OsStr| begins_with(name, &prefix);
    files.filter(|entry| is_own(&entry.file_name())).map(|entry| entry.path()).collect()
}

/// Whether a file in `/dev/shm` has a name that a supervisor gives: it is that one's, and known by
/// [`names_left`].
pub(crate) fn is_of_a_supervisor(file: &Path) -> bool {
    file.file_name().is_some_and(|name| begins_with(name, PREFIX))
}

/// `prefix` has the slash that names of POSIX begin with.
fn begins_with(name: &OsStr, prefix: &str) -> bool {
    let name = name.as_bytes();
    let name = name.strip_prefix(b"sem.").unwrap_or(name);
    name.starts_with(prefix.trim_start_matches('/').as_bytes())
}

#[cfg(test)]
mod tests {
    use workers::shared::{Named, Space};

    use super::*;

    #[test]
    fn names_are_found_by_the_directory_of_their_supervisor() {
        let (own, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        let name = format!("{}gate", prefix(own.path()));
        assert_eq!(names_left(own.path()), Vec::<PathBuf>::new());
        let _made = Named::Semaphore { permits: 1 }.make(&name).expect("made");
        let (found, of_other) = (names_left(own.path()), names_left(other.path()));
        Space::Semaphore.unlink(&name).expect("there");
        assert_eq!(found, [Space::Semaphore.path(&name)].map(PathBuf::from));
        assert!(found.iter().all(|file| is_of_a_supervisor(file)), "{found:?}");
        assert_eq!(of_other, Vec::<PathBuf>::new());
        assert!(!is_of_a_supervisor(Path::new("/dev/shm/libpod_lock")));
    }
}
