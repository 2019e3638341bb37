//! Writes to a target that may accept nothing for a while, without waiting for ever where possible:
//! one that was opened with O_NONBLOCK is polled. The parent may have set that flag on standard
//! output.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use crate::waiting::Limit;

/// How long a target may take nothing before what is to be written is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How a target has behaved.
#[derive(Debug, Default)]
pub(super) struct Patient {
    /// It took nothing for [`PATIENCE`]: until it takes something again, it is not waited for.
    is_stalled: bool,
}

/// What was not written, and why.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) bytes: usize,
    pub(super) error: io::Error,
}

impl Patient {
    /// Writes all of it.
    ///
    /// # Errors
    /// Those of write(2); TimedOut when nothing was taken for [`PATIENCE`]. What comes before may
    /// have been written.
    pub(super) fn write_all(&mut self, target: impl AsFd, bytes: &[u8]) -> Result<(), Unwritten> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = match write(&target, rest) {
                Ok(written) if written > 0 => written,
                Ok(_) => return Err(Unwritten { bytes: rest.len(), error: Errno::EIO.into() }),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) if self.wait_for(target.as_fd()) => continue,
                Err(Errno::EAGAIN) => {
                    let why = format!("it has taken nothing for {} s", PATIENCE.as_secs());
                    let error = io::Error::new(io::ErrorKind::TimedOut, why);
                    return Err(Unwritten { bytes: rest.len(), error });
                }
                Err(errno) => return Err(Unwritten { bytes: rest.len(), error: errno.into() }),
            };
            self.is_stalled = false;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// Waits until something can be written. False: nothing can.
    fn wait_for(&mut self, target: BorrowedFd<'_>) -> bool {
        let patience = if self.is_stalled { Duration::ZERO } else { PATIENCE };
        let mut limit = Limit::new(patience);
        loop {
            let mut polled = [PollFd::new(target, PollFlags::POLLOUT)];
            let ready = limit.wait(|slice| {
                let timeout = PollTimeout::try_from(slice).unwrap_or(PollTimeout::MAX);
                poll(&mut polled, timeout)
            });
            match ready {
                Ok(1..) => return true,
                Ok(0) | Err(Errno::EINTR) if !limit.is_over() => {}
                Ok(_) | Err(_) => {
                    self.is_stalled = true;
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use std::time::Instant;

    use super::*;

    #[test]
    fn a_reader_that_is_slow_costs_nothing_and_one_that_stops_costs_what_it_did_not_take() {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).expect("a pipe");
        let mut reader = std::fs::File::from(ours);
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).expect("ours");
        let taking = std::thread::spawn(move || {
            let mut taken = vec![0; 1024 * 1024];
            reader.read_exact(&mut taken).expect("all of it");
            reader
        });
        let mut patient = Patient::default();
        patient.write_all(&theirs, &vec![b'x'; 1024 * 1024]).expect("all of it");
        let _reader = taking.join().expect("all of it was taken");
        let unwritten =
            patient.write_all(&theirs, &vec![b'x'; 1024 * 1024]).expect_err("nothing reads");
        assert_eq!(
            unwritten.bytes,
            1024 * 1024 - 64 * 1024,
            "what the pipe has room for was taken"
        );
        let begun = Instant::now();
        patient.write_all(&theirs, b"x").expect_err("it is full");
        assert!(begun.elapsed() < PATIENCE / 2, "it is not waited for again");
    }
}
