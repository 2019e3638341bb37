//! HUP: an order to reload, or the end of a terminal.
//!
//! The kernel sends it to the leader of a session whose terminal closes, and a shell passes it on
//! to its jobs. Then a run that was started at that terminal ends in order. Where HUP was ignored
//! from the start, as nohup(1) has it, the run goes on.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::process_table::mask;

/// Tells a supervisor that HUP was ignored where the first of its line was started: what a process
/// ignores is not inherited from a supervisor or a guardian, which take the signal.
pub const NO_HANGUP: &str = "SUPERVISORD_RS_NO_HANGUP";

/// Why the run ends; under a guardian that one sees it, and passes TERM on.
pub(crate) const TERMINAL_CLOSED: &str = "shutting down, since the terminal has closed";

/// Bit of SIGHUP in a mask of proc_pid_status(5).
const HUP_BIT: u64 = 1 << (libc::SIGHUP - 1);

/// Whether HUP was ignored when the first of our line was started. To be asked before the signal is
/// taken.
pub fn was_ignored() -> bool {
    static WAS_IGNORED: OnceLock<bool> = OnceLock::new();
    *WAS_IGNORED.get_or_init(|| {
        let mask = mask(Path::new("/proc/self/status"), "SigIgn:");
        std::env::var_os(NO_HANGUP).is_some() || mask.is_some_and(|mask| mask & HUP_BIT != 0)
    })
}

/// The value of [`NO_HANGUP`] for a supervisor that we start; empty: it is not to be set.
pub fn handed_on() -> &'static str {
    if was_ignored() { "1" } else { "" }
}

/// One end of a terminal is announced more than once: by the kernel, by the shell, by the guardian.
const ECHO: Duration = Duration::from_secs(1);

/// What a HUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// A person wants a reload.
    Reload,
    /// The terminal has closed, and a run that was started there ends.
    End,
    /// The terminal has closed, and that means nothing: it was said before, or HUP was ignored from
    /// the start.
    Nothing,
}

/// The terminal that a run was started at, if it was. Under a guardian it is the guardian's.
#[derive(Debug)]
pub struct Terminal {
    open: Option<File>,
    closed_at: Option<Instant>,
}

impl Terminal {
    /// The controlling terminal, tty(4).
    pub fn controlling() -> Self {
        Self { open: File::open("/dev/tty").ok(), closed_at: None }
    }

    /// What a HUP that comes now means.
    pub fn hangup(&mut self) -> Hangup {
        if self.open.as_ref().is_some_and(is_hung_up) {
            self.open = None;
            self.closed_at = Some(Instant::now());
            return if was_ignored() { Hangup::Nothing } else { Hangup::End };
        }
        let is_echo = self.closed_at.is_some_and(|at| at.elapsed() < ECHO);
        if is_echo { Hangup::Nothing } else { Hangup::Reload }
    }
}

/// The kernel says so of every open description before it sends the signal.
fn is_hung_up(terminal: &File) -> bool {
    let mut polled = [PollFd::new(terminal.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled[0].revents().is_some_and(|found| found.contains(PollFlags::POLLHUP))
}
