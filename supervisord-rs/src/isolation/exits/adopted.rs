//! How an adopted process ended. This supervisor is not its parent and cannot wait for it. The
//! status comes from the process table while it is a zombie, from its pidfd (Linux 6.15), or from
//! the guardian, which reaped it and records that.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use supervision::Status;

use super::exit_record::{self, ExitRecord};
use super::reaper;
use crate::isolation::child::Child;
use crate::process_table;

/// The most exit records to keep: of orphans that belong to no worker, the oldest go.
const KEPT: usize = 16_384;

/// The exit records of processes that another process reaped.
#[derive(Debug, Default)]
pub(in crate::isolation) struct ExitRecords {
    pipe: Option<OwnedFd>,
    known: BTreeMap<i32, ExitRecord>,
}

/// What can be said of an adopted process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) enum Look {
    /// It lives.
    Alive,
    /// It has exited, and this is how.
    Exited(Status),
    /// It has exited, and how is not known yet, or never will be.
    Unsettled,
}

impl ExitRecords {
    pub(in crate::isolation) fn new(pipe: Option<OwnedFd>) -> Self {
        Self { pipe, known: BTreeMap::new() }
    }

    /// The pipe that they come through.
    pub(in crate::isolation) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Looks at an adopted process.
    pub(in crate::isolation) fn look(&mut self, child: &Child) -> Look {
        if !reaper::has_exited(&child.pidfd) {
            return Look::Alive;
        }
        self.status(child.pid, child.start_time, Some(&child.pidfd))
            .map_or(Look::Unsettled, Look::Exited)
    }

    /// How a process ended that was born at `start_time` (in clock ticks since boot).
    pub(in crate::isolation) fn status(
        &mut self,
        pid: i32,
        start_time: u64,
        pidfd: Option<&OwnedFd>,
    ) -> Option<Status> {
        let zombie = process_table::stat(pid).filter(|stat| stat.start_time == start_time);
        let by_table = zombie.and_then(|stat| stat.exit_status).map(reaper::from_raw);
        by_table
            .or_else(|| pidfd.and_then(exit_of).map(reaper::from_raw))
            .or_else(|| self.by_exit_record(pid, start_time))
    }

    fn by_exit_record(&mut self, pid: i32, start_time: u64) -> Option<Status> {
        if let Some(pipe) = &self.pipe {
            for exit_record in exit_record::read(pipe) {
                self.known.insert(exit_record.pid, exit_record);
            }
        }
        while self.known.len() > KEPT {
            let oldest = self
                .known
                .values()
                .min_by_key(|exit_record| exit_record.at)
                .map(|exit_record| exit_record.pid);
            oldest.and_then(|pid| self.known.remove(&pid));
        }
        // One of an earlier process with the same number is not meant.
        let known = self.known.get(&pid).filter(|known| known.at >= nanoseconds(start_time));
        known.map(|known| known.status)
    }
}

/// Clock ticks are a hundredth of a second in all that the kernel tells (`USER_HZ`, time(7)).
fn nanoseconds(ticks: u64) -> u64 {
    let tick = Duration::from_millis(10).as_nanos();
    ticks.saturating_mul(u64::try_from(tick).unwrap_or(0))
}

/// The wait status of a process that has been reaped, by its pidfd: `PIDFD_GET_INFO` with
/// `PIDFD_INFO_EXIT`, Linux 6.15.
#[expect(unsafe_code, reason = "nix has no such ioctl")]
fn exit_of(pidfd: &OwnedFd) -> Option<i32> {
    /// `struct pidfd_info` of linux/pidfd.h, as of its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info)
    const PIDFD_GET_INFO: libc::c_ulong = 3 << 30 | 64 << 16 | 0xFF << 8 | 11;
    const _: () = assert!(size_of::<Info>() == 64);
    let mut info = Info { mask: PIDFD_INFO_EXIT, ..Info::default() };
    // SAFETY: needed because nothing else tells. The kernel writes at most as many bytes as the
    // number of the call says, which is the size of our structure; the descriptor is open.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (Errno::result(result).is_ok() && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_adopted_process_tells_how_it_ended_as_long_as_it_is_a_zombie_and_an_older_one_tells_nothing()
     {
        let mut spawned = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = i32::try_from(spawned.id()).unwrap();
        let pidfd = reaper::open(pid).unwrap();
        let start_time = process_table::start_time(pid).unwrap();
        let child = Child { pid, pidfd, start_time, is_adopted: true };
        let mut exit_records = ExitRecords::default();
        let end = std::time::Instant::now() + Duration::from_secs(20);
        let look = loop {
            match exit_records.look(&child) {
                Look::Alive => assert!(std::time::Instant::now() < end, "it does not end"),
                look => break look,
            }
            std::thread::yield_now();
        };
        assert_eq!(look, Look::Exited(Status::Exited(7)));
        spawned.wait().unwrap();
        let known = ExitRecord { pid, status: Status::Exited(3), at: 1 };
        exit_records.known.insert(pid, known);
        assert_ne!(
            exit_records.status(pid, start_time, None),
            Some(Status::Exited(3)),
            "that was another process"
        );
        exit_records.known.insert(pid, ExitRecord { at: u64::MAX, ..known });
        assert_eq!(exit_records.status(pid, start_time, None), Some(Status::Exited(3)));
    }
}
