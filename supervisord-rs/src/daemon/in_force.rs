//! The configuration in force: kept outside the supervisor, so that a successor after its death
//! continues with exactly the same one, whatever the file contains by then. A crash is not a
//! reload.
//!
//! It is sealed memory in the fd store, closed to all others: it may contain secrets, and a full
//! disk or a missing directory does not matter to it. An orderly end releases it.

use std::fmt::Display;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::config::{Source, SupervisorSettings};
use crate::service_manager::{CONFIGURATION, FdStore, InheritedDescriptors, READ_ANEW};

/// Where a supervisor has its configuration from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A person wants the file to be read: by a start, a reload or a hand-over to another binary.
    /// An impossible order is refused.
    File,
    /// A predecessor died. Its workers still run, and users rely on them: nothing that fails now
    /// ends them.
    Predecessor,
}

/// Whether a person wants the file to be read, although there is a predecessor.
#[must_use]
pub fn is_to_be_read_anew() -> bool {
    std::env::var_os(READ_ANEW).is_some()
}

/// The predecessor's configuration, for its successor after a death. `None`: there was no
/// predecessor, or a person wants the file to be read.
#[must_use]
pub fn kept(inherited: &InheritedDescriptors) -> Option<Source> {
    if is_to_be_read_anew() { None } else { of_predecessor(inherited) }
}

/// The predecessor's configuration.
pub(super) fn of_predecessor(inherited: &InheritedDescriptors) -> Option<Source> {
    let kept = inherited.peek(CONFIGURATION)?.try_clone().ok()?;
    let read = whole(&File::from(kept)).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
    // There is no log yet.
    read.inspect_err(|error| {
        eprintln!("supervisord-rs: the configuration in force cannot be read: {error}")
    })
    .ok()
}

/// Keys with another value than before that hold as long as there is a supervisor: it is known by
/// its runtime directory, and whether a process outlives it is settled when that is launched.
pub(super) fn fixed(ours: &SupervisorSettings, other: &SupervisorSettings) -> Vec<String> {
    let said = |key: &str, ours: &dyn Display, other: &dyn Display| {
        format!("`supervisor.{key}` ({ours} is in force, {other} in the file)")
    };
    let mut fixed = Vec::new();
    if ours.runtime_dir != other.runtime_dir {
        fixed.push(said("runtime_dir", &ours.runtime_dir.display(), &other.runtime_dir.display()));
    }
    if ours.on_death != other.on_death {
        fixed.push(said("on_death", &ours.on_death, &other.on_death));
    }
    fixed
}

/// Has it kept from now on, in place of another.
pub(super) fn keep(source: &Source, store: &FdStore) {
    store.forget(CONFIGURATION);
    let is_kept = sealed(source).map(|memory| store.keep(CONFIGURATION, &[memory.as_fd()]));
    if !matches!(is_kept, Ok(true)) && store.is_there() {
        tracing::warn!(
            "cannot keep the configuration: after a death the successor reads the file as it is \
             then"
        );
    }
}

/// Bytes of the memory that keeps it.
///
/// # Errors
/// It cannot be written as JSON.
pub(super) fn size(source: &Source) -> io::Result<usize> {
    Ok(serde_json::to_vec(source)?.len())
}

/// The end is orderly: the next start reads the file.
pub(super) fn forget(store: &FdStore) {
    store.forget(CONFIGURATION);
}

fn sealed(source: &Source) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"configuration", flags)?);
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(&serde_json::to_vec(source)?)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    Ok(file.into())
}

/// From the beginning: earlier holders share the position.
fn whole(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
