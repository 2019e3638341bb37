//! A POSIX semaphore (sem_overview(7)): a number, which knows no holders.

use std::mem::size_of;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;

use crate::shared::Error;
use crate::shared::mapped::Mapped;
use crate::shared::pace::now;

unsafe extern "C" {
    /// sem_wait(3) with the clock that no one sets (glibc 2.30): the crate libc does not have it.
    fn sem_clockwait(
        semaphore: *mut libc::sem_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
}

/// One that is mapped as sem_open(3) maps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posix(&'static Mapped);

impl Posix {
    /// Of the file that the C library keeps it in.
    pub(super) fn of(file: OwnedFd) -> Result<Self, Error> {
        Ok(Self(Mapped::of(file, size_of::<libc::sem_t>())?))
    }

    fn words(self) -> *mut libc::sem_t {
        self.0.base().as_ptr().cast()
    }

    /// Takes a permit, if there is one.
    pub(super) fn try_take(self) -> Result<bool, Error> {
        // SAFETY: needed because no crate here has POSIX semaphores. The words are mapped as long as
        // the process lives, aligned to a page, and made by sem_open(3). What others write there is
        // another number to it.
        match Errno::result(unsafe { libc::sem_trywait(self.words()) }) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(Error::of("sem_trywait")(errno)),
        }
    }

    /// Waits this long for a permit. False: there was none.
    pub(super) fn take_within(self, time: Duration) -> Result<bool, Error> {
        let until = now().saturating_add(time);
        let until = libc::timespec {
            tv_sec: until.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: until.subsec_nanos().into(),
        };
        let clock = libc::CLOCK_MONOTONIC;
        // SAFETY: as above; the time outlives the call.
        match Errno::result(unsafe { sem_clockwait(self.words(), clock, &raw const until) }) {
            Ok(_) => Ok(true),
            Err(Errno::ETIMEDOUT | Errno::EINTR) => Ok(false),
            Err(errno) => Err(Error::of("sem_clockwait")(errno)),
        }
    }

    /// Gives a permit back.
    pub(super) fn give_back(self) {
        // SAFETY: as above. It fails only where others have written a number that is too large.
        unsafe { libc::sem_post(self.words()) };
    }
}
