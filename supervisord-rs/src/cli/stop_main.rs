//! `__stop`: systemd runs it to stop the supervisor (`ExecStop=`, systemd.service(5)): it orders
//! the end, and waits for it.
//!
//! After a hand-over the main process is not a child of systemd, and for a unit with
//! `KillMode=process` systemd does not wait for the end of such a process: SIGKILL would follow
//! SIGTERM at once, and workers would not stop in order. systemd does wait for this command, at
//! most `TimeoutStopSec=`.

use std::os::fd::AsFd;

use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::Exit;
use crate::isolation::exits::reaper;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The supervisor's process (`$MAINPID`).
    pid: i32,
}

pub(super) fn run(options: &Options) -> Exit {
    match stop(options.pid) {
        // A process that has ended already needs no order.
        Ok(()) | Err(Errno::ESRCH) => Exit::Done,
        Err(error) => {
            eprintln!("supervisord-rs: cannot stop process {}: {error}", options.pid);
            Exit::Failed
        }
    }
}

fn stop(pid: i32) -> nix::Result<()> {
    let process = reaper::open(pid)?;
    reaper::signal_by(&process, Signal::SIGTERM as i32)?;
    loop {
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}
