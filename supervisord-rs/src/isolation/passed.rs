//! Secrets that came as descriptors from the parent process (`secrets: { KEY: fd:5 }`): read once,
//! at the very start, and kept as sealed memory. So even a pipe serves each launch, and it can be
//! passed on: by the guardian to each supervisor, and through the fd store to a successor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use crate::config::Settings;
use crate::config::settings::SecretSource;
use crate::sealed::sealed;
use crate::service_manager::InheritedDescriptors;
use crate::waiting::Limit;

/// Largest `env_file` and secret.
pub(super) const SECRET_MAX: u64 = 1024 * 1024;

/// For its writer to write it and to close its end. Longer, and it hangs; a start that waits for
/// ever says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// A secret that did not come.
#[derive(Debug, Error)]
#[error("cannot read the secret on descriptor {number}")]
pub struct MissingSecret {
    number: RawFd,
    #[source]
    source: io::Error,
}

/// Those that have been read, by the number that stands in the configuration.
static SECRETS: OnceLock<BTreeMap<RawFd, OwnedFd>> = OnceLock::new();

/// Begins their names among what a supervisor hands to the next.
const PREFIX: &str = "secret/";

/// Reads every secret that is to come as a descriptor: handed over by name, or under its number.
/// Call it before anything else opens descriptors.
///
/// # Errors
/// There is no such descriptor, it cannot be read, is larger than 1 MiB, or has no end within ten
/// seconds.
pub fn adopt(
    settings: &Settings,
    inherited: &mut InheritedDescriptors,
) -> Result<(), MissingSecret> {
    let sources = settings.launches.iter().flat_map(|launch| launch.execution.secrets.values());
    let numbers: BTreeSet<RawFd> = sources
        .filter_map(|source| match source {
            SecretSource::Descriptor(number) => Some(*number),
            SecretSource::File(_) => None,
        })
        .collect();
    let mut secrets = BTreeMap::new();
    for number in numbers {
        let handed_over = inherited.claim(&format!("{PREFIX}{number}"));
        let memory = match handed_over {
            Some(memory) => Ok(memory),
            None => {
                take(number, inherited).and_then(|inherited| sealed(&read(File::from(inherited))?))
            }
        };
        secrets.insert(number, memory.map_err(|source| MissingSecret { number, source })?);
    }
    let _ = SECRETS.set(secrets);
    Ok(())
}

/// What was inherited under a number that means nothing else.
#[expect(unsafe_code, reason = "an inherited descriptor is a number, which nothing owns yet")]
fn take(number: RawFd, inherited: &InheritedDescriptors) -> io::Result<OwnedFd> {
    // SAFETY: the call has no memory effects, and only asks.
    let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    if !is_open || inherited.covers(number) {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: it is open, as just checked; it was inherited, and nothing in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// All that were read, with the names by which they are handed over.
pub fn all() -> impl Iterator<Item = (String, &'static OwnedFd)> {
    SECRETS
        .get()
        .into_iter()
        .flatten()
        .map(|(number, memory)| (format!("{PREFIX}{number}"), memory))
}

fn read(mut file: File) -> io::Result<Vec<u8>> {
    if file.metadata()?.is_file() {
        // The parent shares the position, and a predecessor has read it.
        file.rewind()?;
        return whole(file);
    }
    let mut limit = Limit::new(PATIENCE);
    let mut content = Vec::new();
    loop {
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        let ready = limit.wait(|slice| {
            poll(&mut fds, PollTimeout::try_from(slice).unwrap_or(PollTimeout::ZERO))
        });
        if ready? == 0 {
            if !limit.is_over() {
                continue;
            }
            return Err(io::Error::other("its writer has not closed it within ten seconds"));
        }
        let mut piece = [0; 4096];
        match file.read(&mut piece)? {
            0 => return Ok(content),
            count => content.extend_from_slice(&piece[..count]),
        }
        if content.len() as u64 > SECRET_MAX {
            return Err(Errno::EFBIG.into());
        }
    }
}

/// All of a file; EFBIG when that is too much: half a secret is none.
pub(super) fn whole(file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(SECRET_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > SECRET_MAX { Err(Errno::EFBIG.into()) } else { Ok(content) }
}

/// A handle to one that was read.
///
/// # Errors
/// EBADF when it was not; what open(2) says.
pub(super) fn open(number: RawFd) -> io::Result<File> {
    let memory = SECRETS.get().and_then(|secrets| secrets.get(&number)).ok_or(Errno::EBADF)?;
    File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(memory)))
}
