//! Reads and joins with a deadline: what a wrong product never writes or never ends fails the test
//! that waits for it, and does not hold the suite.

use std::io::Read;
use std::os::fd::AsFd;
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{DEADLINE, until};

/// Reads what is there, or waits for it; 0 at the end.
#[track_caller]
pub fn read_in_time(mut reader: impl Read + AsFd, buffer: &mut [u8]) -> usize {
    let mut polled = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(DEADLINE).expect("a time that poll(2) takes");
    assert_ne!(poll(&mut polled, limit).expect("an open descriptor"), 0, "waited in vain to read");
    reader.read(buffer).expect("readable")
}

/// What a thread returns, once it has ended.
#[track_caller]
pub fn join_in_time<T>(thread: JoinHandle<T>) -> T {
    until(DEADLINE, || thread.is_finished().then_some(())).expect("the thread to end");
    thread.join().expect("no panic")
}
