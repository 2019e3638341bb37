//! Memory that no process can change any more, also one that holds it: secrets, and the names of
//! passed descriptors.

use std::fs::{self, File, Permissions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Memory with this content, to be read from its start, that cannot be changed any more.
pub(crate) fn sealed(content: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"secret", flags)?);
    file.write_all(content)?;
    // Its reader opens /dev/fd/N, which is an open of its own: every holder of the descriptor may
    // read, and none may write.
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(name, Permissions::from_mode(0o444))?;
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn it_is_read_from_its_start_and_neither_holder_nor_reader_can_change_it() {
        let memory = sealed(b"a secret").expect("memory");
        let name = format!("/proc/self/fd/{}", memory.as_raw_fd());
        assert_eq!(fs::metadata(&name).expect("there").permissions().mode() & 0o777, 0o444);
        let mut file = File::from(memory);
        let mut text = String::new();
        file.read_to_string(&mut text).expect("readable");
        assert_eq!(text, "a secret");
        assert!(file.write_all(b"more").is_err(), "it is sealed");
        assert!(file.set_len(0).is_err(), "it is sealed");
    }
}
