//! The guardian: the tiny parent that starts the supervisor again after its death, keeps its
//! descriptors meanwhile, and leaves nothing behind.
//!
//! Where systemd runs us, systemd does this. The guardian has one thread, and others only to close
//! what strangers have sent; it knows nothing of workers, parses nothing but datagrams of
//! sd_notify(3), and waits for three things at once: a signal, a datagram, the supervisor's death.
//! It is a child subreaper (prctl(2)): orphans of workers come to it and are reaped, and how they
//! ended is passed on.
//!
//! A supervisor that had descriptors kept wants its processes to outlive it: its successor finds
//! them, and ends what it cannot account for. One that kept nothing leaves nothing: every process
//! that is left is killed before the next one starts. In either case nothing ever runs twice. It
//! ends on an order, or when its policy gives up, and first stops everything in order.
//!
//! | file | concept |
//! |---|---|
//! | `policy` | what a death means: pure, with time as an argument |
//! | `watching` | one supervisor while it lives |
//! | `watchdog` | whether the supervisor hangs: pure too |
//! | `launching` | a supervisor with all that is kept |
//! | `unkillable` | a supervisor that has been killed and cannot die |
//! | `ending` | the end, with a supervisor or without |
//! | `notify` | the datagrams of the supervisor |
//! | `store` | the descriptors that it has kept |
//! | `orderly_end` | which supervisor ends in order, and its signs of life, without a queue |

mod ending;
mod launching;
mod notify;
pub mod orderly_end;
mod policy;
mod store;
mod unkillable;
mod watchdog;
mod watching;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use workers::runtime::board::monotonic_ns;

use crate::hangup::Terminal;
use crate::held_signals::{GUARDIAN_GONE, HELD};
use crate::isolation::exits::exit_record::ExitRecords;
use crate::isolation::exits::orphans::{self, Killed};
use crate::isolation::launch::{Child, raise_limits};
use crate::service_manager::{self, Custody, Ending, Predecessor, ServiceManager};
use ending::{kill_what_is_left, status_of_end};
use launching::Purpose;
use notify::Notify;
use orderly_end::OrderlyEnd;
use policy::{Policy, Verdict};
use unkillable::Unkillable;
use watchdog::Watchdog;

/// Exit status when the supervisor died too often: EX_SOFTWARE of sysexits.h.
pub const EXIT_GAVE_UP: u8 = 70;

/// Between two signs of life to our own service manager while there is no supervisor to give them.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// The time for a tracer of a dead supervisor to detach.
const TRACER_LIMIT: Duration = Duration::from_millis(250);
/// Between two looks at whether that has happened, in milliseconds.
const LOOK_MS: u8 = 10;
/// Between two tries to write down what the pipe of exit records had no room for, in milliseconds.
const ROOM_AGAIN_MS: u16 = 50;

/// Why the guardian itself cannot work.
#[derive(Debug, thiserror::Error)]
enum GuardianError {
    #[error("cannot set up: {0}")]
    Setup(#[from] io::Error),
    #[error("cannot start the supervisor: {0}")]
    Launch(String),
}

impl From<nix::errno::Errno> for GuardianError {
    fn from(errno: nix::errno::Errno) -> Self {
        Self::Setup(errno.into())
    }
}

/// Runs the supervisor as a child with the same arguments, until it has ended in order or has died
/// too often.
///
/// `is_storm`: whether it is killed on purpose, so that each death is followed by another start at
/// once and for ever. `custody`: the rules until a supervisor says others.
///
/// Call it before there is any other thread. Exit status: the supervisor's own; 0 when we had to
/// stop everything ourselves; 1 instead of 0 when processes do not die; [`EXIT_GAVE_UP`].
#[must_use]
pub fn run(arguments: &[OsString], is_storm: bool, custody: Custody) -> ExitCode {
    match Guardian::new(arguments, Policy::new(custody, is_storm)).and_then(Guardian::run) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

struct Guardian {
    arguments: Vec<OsString>,
    signals: SignalFd,
    notify: Notify,
    exit_records: ExitRecords,
    orderly_end: OrderlyEnd,
    /// The supervisor in whose place another one was named, as long as it lives.
    before: Option<Child>,
    /// Whether one of them cannot die.
    unkillable: Unkillable,
    /// What the last one that took another's place is an image of; `None`: our own.
    binary: Option<File>,
    /// Our own service manager, if there is one after all, and how often it wants to hear of us.
    upstream: Option<ServiceManager>,
    upstream_watchdog: Option<Duration>,
    policy: Policy,
    watchdog: Watchdog,
    /// Signals for a supervisor that cannot take any yet.
    unsent: Vec<Signal>,
    /// Where the run was started.
    terminal: Terminal,
    /// Descriptors that are given up for a start.
    spare: Vec<File>,
}

/// What a signal does here that the guardian does not read.
fn set_dispositions() -> nix::Result<()> {
    let dispositions = [
        // It may be inherited as ignored, and then the guardian could wait for no child.
        (Signal::SIGCHLD, SigHandler::SigDfl),
        // They mean nothing here, and would take all that the guardian keeps with it. Where the
        // kernel raises them for what the guardian did itself, they are as fatal as ever: it
        // ignores that they are ignored.
        (Signal::SIGTRAP, SigHandler::SigIgn),
        (Signal::SIGSYS, SigHandler::SigIgn),
    ];
    for (number, disposition) in dispositions {
        #[expect(unsafe_code, reason = "signal dispositions have no safe form")]
        // SAFETY: neither disposition runs code of this program.
        unsafe { signal(number, disposition) }?;
    }
    Ok(())
}

impl Guardian {
    fn new(arguments: &[OsString], policy: Policy) -> Result<Self, GuardianError> {
        prctl::set_child_subreaper(true)?;
        raise_limits();
        set_dispositions()?;
        // All that are passed on: the supervisor logs also those that mean nothing.
        let mut mask: SigSet = HELD.into_iter().collect();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        Ok(Self {
            arguments: arguments.to_vec(),
            signals: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
            notify: Notify::new()?,
            exit_records: ExitRecords::new()?,
            orderly_end: OrderlyEnd::new()?,
            before: None,
            unkillable: Unkillable::default(),
            binary: None,
            upstream: ServiceManager::from_env(),
            upstream_watchdog: service_manager::watchdog(),
            policy,
            watchdog: Watchdog::default(),
            unsent: Vec::new(),
            terminal: Terminal::controlling(),
            spare: launching::spare(),
        })
    }

    fn run(mut self) -> Result<u8, GuardianError> {
        let mut predecessor: Option<Predecessor> = None;
        loop {
            let child = match self.launch(predecessor, Purpose::Supervise) {
                Ok(child) => child,
                Err(why) => {
                    // The very first: there is nothing that we would have to stay for.
                    let Some(past) = predecessor else { return Err(GuardianError::Launch(why)) };
                    let after = self.policy.on_vain_start();
                    say(&format!(
                        "cannot start a supervisor: {why}; its workers go on; trying again in \
                         {after:?}"
                    ));
                    if self.pause(after) {
                        return Ok(self.end_in_order(past));
                    }
                    continue;
                }
            };
            let (pid, death) = match self.watch(child) {
                Ok(dead) => dead,
                Err(unkillable) => return Ok(self.end_around(unkillable)),
            };
            let past = Predecessor { pid, ending: death.ending, died_at_ns: monotonic_ns() };
            let said = format!("supervisor (pid {pid}) {}", death.ending);
            match self.policy.on_death(now(), death) {
                Verdict::Exit(code) => return Ok(status_of_end(code, &kill_what_is_left())),
                Verdict::GoOnEnding => {
                    say(&format!("{said} while everything was to be stopped: going on with that"));
                    return Ok(self.end_in_order(past));
                }
                Verdict::GiveUp => {
                    say(&format!(
                        "{said}; it has died too often: giving up (exit status {EXIT_GAVE_UP})"
                    ));
                    self.end_in_order(past);
                    return Ok(EXIT_GAVE_UP);
                }
                Verdict::Restart { after } => {
                    // What had descriptors kept is the successor's business.
                    let left = if self.notify.store().keeps_processes() {
                        0
                    } else {
                        kill_what_is_left().reaped
                    };
                    let left = if left == 0 {
                        String::new()
                    } else {
                        format!("; {left} processes ended with it")
                    };
                    say(&format!("{said}{left}; starting it again"));
                    // One that only could not start has no story.
                    if death.was_ready
                        || matches!(death.ending, Ending::Signaled(_))
                        || predecessor.is_none()
                    {
                        predecessor = Some(past);
                    }
                    if self.pause(after) {
                        return Ok(self.end_in_order(past));
                    }
                }
            }
        }
    }

    /// Waits before the next start. True: there is an order to end.
    fn pause(&mut self, after: Duration) -> bool {
        let end = now() + after;
        loop {
            while let Ok(Some(signal)) = self.signals.read_signal() {
                self.note(signal.ssi_signo);
            }
            let left = end.saturating_sub(now());
            if self.policy.ordered_to_end().is_some() || left.is_zero() {
                return self.policy.ordered_to_end().is_some();
            }
            if let Some(upstream) = &self.upstream {
                upstream.alive();
            }
            // Orphans that end meanwhile are reported.
            let exit_records = &mut self.exit_records;
            orphans::reap(|_| false, |status| exit_records.write(status), None);
            self.wait_for_signals(left.min(SIGN_OF_LIFE));
        }
    }

    fn wait_for_signals(&self, limit: Duration) {
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
        if matches!(poll(&mut fds, timeout), Err(errno) if errno != nix::errno::Errno::EINTR) {
            std::thread::sleep(limit);
        }
    }
}

fn is_order_to_end(number: u32) -> bool {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, GUARDIAN_GONE]
        .iter()
        .any(|signal| *signal as u32 == number)
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_ns())
}

fn until(moment: Duration) -> PollTimeout {
    let left = moment.saturating_sub(now()).as_millis().saturating_add(1);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

/// Says it where it can be said at once: standard error may be gone, or a pipe whose reader has
/// stopped.
fn say(text: &str) {
    let line = format!("supervisord-rs guardian: {text}\n");
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    // A pipe that is writable takes a whole line (PIPE_BUF, pipe(7)).
    if poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        let _ = io::Write::write_all(&mut &stderr, line.as_bytes());
    }
}

impl std::fmt::Debug for Guardian {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Guardian")
            .field("signals", &self.signals.as_fd().as_raw_fd())
            .finish_non_exhaustive()
    }
}
