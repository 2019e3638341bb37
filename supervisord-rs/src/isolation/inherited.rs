//! Secrets that came as descriptors of whoever started us (`secrets: { KEY: fd:5 }`): read once, at the very start, and kept
//! under their numbers as sealed memory. So a pipe can be asked again at each launch, and a guardian can pass it on.
#![expect(unsafe_code, reason = "a descriptor that was inherited is a number, and nobody's yet")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use super::surroundings::{SECRET_MAX, sealed};
use crate::config::Settings;
use crate::config::settings::SecretSource;

/// For its writer to write it and to close its end. Longer, and it hangs; a start that waits for ever says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// A secret that did not come.
#[derive(Debug, Error)]
#[error("cannot read the secret on descriptor {number}")]
pub struct MissingSecret {
    number: RawFd,
    #[source]
    source: io::Error,
}

/// Reads every secret that is to come as a descriptor, and puts it back under its number as memory. Call it before
/// anything else opens descriptors. Their numbers, ascending.
///
/// # Errors
/// There is no such descriptor, it cannot be read, is larger than 1 MiB, or has no end within ten seconds.
pub fn adopt(settings: &Settings) -> Result<Vec<RawFd>, MissingSecret> {
    let sources = settings.launches.iter().flat_map(|launch| launch.surroundings.secrets.values());
    let numbers: BTreeSet<RawFd> = sources
        .filter_map(|source| match source {
            SecretSource::Descriptor(number) => Some(*number),
            SecretSource::File(_) => None,
        })
        .collect();
    for &number in &numbers {
        adopt_one(number).map_err(|source| MissingSecret { number, source })?;
    }
    Ok(numbers.into_iter().collect())
}

fn adopt_one(number: RawFd) -> io::Result<()> {
    // SAFETY: only used to ask whether it is open, before anything else of ours could close it.
    fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD)?;
    // SAFETY: it is open, as was just asked; it was inherited, and nobody of this process owns it.
    let inherited = unsafe { OwnedFd::from_raw_fd(number) };
    let memory = sealed(&read(File::from(inherited))?)?;
    if memory.as_raw_fd() == number {
        let _ = memory.into_raw_fd();
        return Ok(());
    }
    // Its number is free now: the lowest from there on is that very number.
    let place = fcntl(memory.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(number))?;
    // SAFETY: the kernel has just made it for us. It stays open until this process ends.
    let kept = unsafe { OwnedFd::from_raw_fd(place) };
    if place != number {
        return Err(io::Error::other("its number was taken meanwhile"));
    }
    let _ = kept.into_raw_fd();
    Ok(())
}

fn read(mut file: File) -> io::Result<Vec<u8>> {
    if file.metadata()?.is_file() {
        // Whoever handed it to us shares the position with us, and our predecessor has read it.
        file.rewind()?;
        return super::surroundings::whole(file);
    }
    let end = Instant::now() + PATIENCE;
    let mut content = Vec::new();
    loop {
        let rest = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::ZERO);
        if poll(&mut fds, timeout)? == 0 {
            return Err(io::Error::other("its writer has not closed it within ten seconds"));
        }
        let mut piece = [0; 4096];
        match file.read(&mut piece)? {
            0 => return Ok(content),
            count => content.extend_from_slice(&piece[..count]),
        }
        if content.len() as u64 > SECRET_MAX {
            return Err(nix::errno::Errno::EFBIG.into());
        }
    }
}

/// A handle to one that was adopted.
///
/// # Errors
/// EBADF when it was not.
pub(super) fn open(number: RawFd) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{number}"))
}

/// To be handed to a child of ours under its number.
///
/// # Errors
/// EBADF when it was not adopted.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: borrowed for this call alone; adopted descriptors stay open until this process ends.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD)?;
    borrowed.try_clone_to_owned()
}
