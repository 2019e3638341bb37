//! Who reads: a supervisor may read more than the one who asks it, and passes no more on than that
//! one could read by itself.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;

use crate::log_tail::open_regular;

/// Bits of a mode, of the class that a user belongs to.
const READ: u32 = 4;
const SEARCH: u32 = 1;

/// What the one who asks may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// All that this process may.
    Own,
    /// What the modes of files and directories allow this user, with these groups. Access control
    /// lists allow nothing here.
    Of {
        /// The user.
        uid: u32,
        /// All groups.
        groups: Vec<u32>,
    },
}

impl Access {
    /// Opens a file of output for reading, see [`open_regular`].
    ///
    /// # Errors
    /// Those of [`open_regular`]; EACCES where the one who asks may not read it.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        let file = open_regular(path)?;
        match self {
            Self::Own => {}
            Self::Of { uid, groups } => check(&file, *uid, groups)?,
        }
        Ok(file)
    }
}

fn check(file: &File, uid: u32, groups: &[u32]) -> io::Result<()> {
    let may = |found: &Metadata, what| allows(found, uid, groups, what);
    // Where the file lies now, without links.
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let mut directories = path.ancestors().skip(1);
    let is_reached = directories
        .all(|directory| std::fs::metadata(directory).is_ok_and(|found| may(&found, SEARCH)));
    if is_reached && may(&file.metadata()?, READ) { Ok(()) } else { Err(Errno::EACCES.into()) }
}

/// As path_resolution(7) has it: the first class that a user belongs to counts, not the best.
fn allows(found: &Metadata, uid: u32, groups: &[u32], what: u32) -> bool {
    let mode = found.mode();
    let of_class = if found.uid() == uid {
        mode >> 6
    } else if groups.contains(&found.gid()) {
        mode >> 3
    } else {
        mode
    };
    of_class & what != 0
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OTHER: u32 = 54_321;

    #[test]
    fn a_file_is_read_by_those_whom_its_mode_and_its_directories_let_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.log");
        std::fs::write(&path, "x").expect("written");
        let found = path.metadata().expect("there");
        let (owner, group) = (found.uid(), found.gid());
        let opened = |(file, above): (u32, u32), uid, groups: &[u32]| {
            for (path, mode) in [(path.as_path(), file), (directory.path(), above)] {
                std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("its own");
            }
            Access::Of { uid, groups: groups.to_vec() }.open(&path).map(drop)
        };
        assert!(opened((0o640, 0o755), OTHER, &[OTHER, group]).is_ok());
        assert!(opened((0o644, 0o755), OTHER, &[OTHER]).is_ok());
        for (modes, uid, groups) in [
            ((0o640, 0o755), OTHER, &[OTHER][..]),
            ((0o604, 0o755), OTHER, &[group]),
            ((0o644, 0o700), OTHER, &[OTHER]),
        ] {
            let error = opened(modes, uid, groups).expect_err("not let in");
            assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{modes:?}");
        }
        assert!(opened((0o644, 0o755), owner, &[]).is_ok());
        assert!(Access::Own.open(&path).is_ok());
    }
}
