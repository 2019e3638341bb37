//! How orphans ended: the guardian reaps them, and the supervisor that has adopted them cannot
//! (waitpid(2) is for parents). So the guardian writes it down in a pipe, which one supervisor
//! after the other reads.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use supervision::Status;

use super::wait::Exit;

/// The name of the reading end among what the supervisor inherits.
pub const EXIT_RECORDS: &str = "obituaries";
/// Bytes of one record: pid, what kind of status, its number, and when it was reaped.
const RECORD: usize = 24;
/// Records that wait for room at most: 1.5 MiB of them.
const WAITING_MAX: usize = 65_536;

/// One process that has been reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitRecord {
    /// Its PID, which another process may have by now.
    pub pid: i32,
    /// How it ended.
    pub status: Status,
    /// When it was reaped, in nanoseconds of `CLOCK_BOOTTIME`, the clock of start times.
    pub at: u64,
}

/// The guardian's end of the pipe.
#[derive(Debug)]
pub(crate) struct ExitRecords {
    reader: OwnedFd,
    writer: File,
    /// What the pipe had no room for, oldest first.
    waiting: VecDeque<[u8; RECORD]>,
}

impl ExitRecords {
    pub(crate) fn new() -> nix::Result<Self> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // The limit of ordinary users (`pipe-max-size`, proc_sys_fs(5)); a smaller one will do.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1 << 20));
        Ok(Self { reader, writer: writer.into(), waiting: VecDeque::new() })
    }

    pub(crate) fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Records one. What does not fit into a full pipe waits here until a supervisor reads:
    /// thousands may end while there is none.
    pub(crate) fn write(&mut self, exit: &Exit) {
        let (kind, number) = match exit.status {
            Status::Exited(code) => (0, code),
            Status::Signaled { signal, core_dumped } => (1 + i32::from(core_dumped), signal),
            Status::Returned
            | Status::Failed
            | Status::Panicked
            | Status::Abandoned
            | Status::NotLaunched(_)
            | Status::Unknown => return,
        };
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&exit.pid.to_ne_bytes());
        record[4..8].copy_from_slice(&kind.to_ne_bytes());
        record[8..12].copy_from_slice(&number.to_ne_bytes());
        record[16..].copy_from_slice(&boottime_ns().to_ne_bytes());
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(record);
        self.flush();
    }

    /// Whether something waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes down what waits, as far as there is room.
    pub(crate) fn flush(&mut self) {
        while let Some(record) = self.waiting.front() {
            // Shorter than PIPE_BUF: all of it or nothing (pipe(7)).
            if self.writer.write(record).is_err() {
                return;
            }
            self.waiting.pop_front();
        }
    }
}

/// Takes what has been written.
pub fn read(pipe: &OwnedFd) -> Vec<ExitRecord> {
    let Ok(handle) = pipe.try_clone() else { return Vec::new() };
    let mut file = File::from(handle);
    let mut bytes = vec![0; RECORD * 512];
    let mut found = Vec::new();
    while let Ok(count) = file.read(&mut bytes) {
        if count == 0 {
            break;
        }
        found.extend(bytes[..count].chunks_exact(RECORD).filter_map(parse));
    }
    found
}

fn parse(record: &[u8]) -> Option<ExitRecord> {
    let word = |at: usize| Some(i32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
    let number = word(8)?;
    let status = match word(4)? {
        0 => Status::Exited(number),
        1 => Status::Signaled { signal: number, core_dumped: false },
        2 => Status::Signaled { signal: number, core_dumped: true },
        _ => return None,
    };
    Some(ExitRecord {
        pid: word(0)?,
        status,
        at: u64::from_ne_bytes(record.get(16..24)?.try_into().ok()?),
    })
}

fn boottime_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| {
        u64::try_from(now.tv_sec()).unwrap_or(0) * 1_000_000_000
            + u64::try_from(now.tv_nsec()).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_once() {
        let mut exit_records = ExitRecords::new().unwrap();
        let core = Status::Signaled { signal: 11, core_dumped: true };
        let real_time = Status::Signaled { signal: 40, core_dumped: false };
        for (pid, status) in
            [(7, Status::Exited(3)), (6, Status::Unknown), (8, core), (9, real_time)]
        {
            exit_records.write(&Exit { pid, status });
        }
        let read_them = || {
            read(&exit_records.reader)
                .into_iter()
                .map(|one| (one.pid, one.status))
                .collect::<Vec<_>>()
        };
        assert_eq!(read_them(), [(7, Status::Exited(3)), (8, core), (9, real_time)]);
        assert_eq!(read_them(), []);
    }

    #[test]
    fn what_has_no_room_is_there_when_somebody_has_read() {
        let mut exit_records = ExitRecords::new().unwrap();
        let count = 60_000;
        for pid in 1..=count {
            exit_records.write(&Exit { pid, status: Status::Exited(3) });
        }
        let mut read_pids = Vec::new();
        while read_pids.len() < count as usize {
            let some = read(&exit_records.reader);
            assert!(!some.is_empty(), "{} of {count}", read_pids.len());
            read_pids.extend(some.into_iter().map(|one| one.pid));
            exit_records.flush();
        }
        assert!(read_pids.into_iter().eq(1..=count), "each once, in order");
    }
}
