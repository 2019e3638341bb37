//! The guardian: the tiny parent that starts the supervisor again after a fatal thread fault, and leaves nothing behind.
//!
//! Where systemd runs us, systemd does this. The guardian is single-threaded, knows nothing of workers, parses nothing
//! but datagrams of sd_notify(3), and waits for three things at once: a signal, a datagram, the supervisor's death. It
//! is a child subreaper (prctl(2)): orphans of workers come to it and are reaped; when the supervisor has died, every
//! process that is left is killed before the next one starts, so that nothing ever runs twice.
//!
//! | file | concept |
//! |---|---|
//! | `policy` | what a death means: pure, with time as an argument |
//! | `notify` | the datagrams of the supervisor |

mod notify;
mod policy;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use supervision::{LaunchFailure, Status};
use workers::board::monotonic_ns;

use crate::isolation::inherited;
use crate::isolation::launch::{Child, Plan, advice};
use crate::isolation::orphans::{self, Killed};
use crate::isolation::reaper;
use crate::service_manager::{self, Ending, Predecessor, ServiceManager};
use notify::Notify;
use policy::{Death, Policy, Verdict};

/// Exit status when the supervisor died too often: EX_SOFTWARE of sysexits.h.
pub const EXIT_GAVE_UP: u8 = 70;

/// Signals that are passed on.
const FORWARDED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

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

/// Runs the supervisor as a child with the same arguments, until it has ended in order or has died too often.
///
/// Call it before there is any other thread. Exit status: the supervisor's own; 128 + n when a signal that we passed
/// on ended it; [`EXIT_GAVE_UP`].
#[must_use]
pub fn run(arguments: &[OsString], secrets: &[RawFd]) -> ExitCode {
    match Guardian::new(arguments, secrets).and_then(Guardian::run) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

struct Guardian {
    arguments: Vec<OsString>,
    /// Numbers of the descriptors that hold secrets: each supervisor gets them.
    secrets: Vec<RawFd>,
    signals: SignalFd,
    notify: Notify,
    /// Our own service manager, if there is one after all.
    upstream: Option<ServiceManager>,
    policy: Policy,
}

impl Guardian {
    fn new(arguments: &[OsString], secrets: &[RawFd]) -> Result<Self, GuardianError> {
        prctl::set_child_subreaper(true)?;
        // It may be inherited as ignored, and then nobody could be waited for.
        #[expect(unsafe_code, reason = "signal dispositions have no safe form")]
        // SAFETY: the default action runs no code of ours.
        unsafe {
            signal(Signal::SIGCHLD, SigHandler::SigDfl)?;
        }
        let mut mask: SigSet = FORWARDED.into_iter().collect();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        Ok(Self {
            arguments: arguments.to_vec(),
            secrets: secrets.to_vec(),
            signals: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
            notify: Notify::new()?,
            upstream: ServiceManager::from_env(),
            policy: Policy::default(),
        })
    }

    fn run(mut self) -> Result<u8, GuardianError> {
        let mut predecessor = None;
        loop {
            let child = self.launch(predecessor)?;
            let death = self.watch(&child)?;
            let Killed { reaped: left, left: undead } = orphans::kill_all();
            if !undead.is_empty() {
                say(&format!("these processes do not die of SIGKILL: {undead:?}"));
            }
            match self.policy.on_death(now(), death) {
                Verdict::Exit(code) => return Ok(code),
                Verdict::GiveUp => {
                    say(&format!(
                        "supervisor (pid {}) {}; it has died too often: giving up (exit status {EXIT_GAVE_UP})",
                        child.pid, death.ending
                    ));
                    return Ok(EXIT_GAVE_UP);
                }
                Verdict::Restart { after } => {
                    let left =
                        if left == 0 { String::new() } else { format!("; {left} processes ended with it") };
                    say(&format!("supervisor (pid {}) {}{left}; starting it again", child.pid, death.ending));
                    predecessor = Some(Predecessor {
                        pid: child.pid,
                        ending: death.ending,
                        died_at_ns: monotonic_ns(),
                    });
                    if let Some(code) = self.pause(after)? {
                        return Ok(code);
                    }
                }
            }
        }
    }

    fn launch(&mut self, predecessor: Option<Predecessor>) -> Result<Child, GuardianError> {
        self.notify.reset();
        let own = [
            (service_manager::GUARDIAN, std::process::id().to_string()),
            (service_manager::NOTIFY_SOCKET, self.notify.address().to_owned()),
            (service_manager::PREDECESSOR, predecessor.map(|past| past.to_string()).unwrap_or_default()),
        ];
        let inherited: Vec<(OsString, OsString)> =
            std::env::vars_os().filter(|(name, _)| own.iter().all(|(known, _)| name != known)).collect();
        let environment = inherited
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
            .chain(own.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
        let launch = || -> Result<Child, LaunchFailure> {
            let mut plan = Plan::new(OsStr::new("/proc/self/exe"), &self.arguments, OsStr::new(""))?
                .environment(environment)?
                .descriptor(io::stdin().as_fd())?
                .descriptor(io::stdout().as_fd())?
                .descriptor(io::stderr().as_fd())?
                // A supervisor without its guardian stops in order, and takes its workers along.
                .parent_death_signal(Signal::SIGTERM);
            for &number in &self.secrets {
                // One that cannot be passed on is missed, and named, by the supervisor.
                if let Ok(secret) = inherited::duplicate(number) {
                    plan = plan.descriptor_at(secret.as_fd(), number)?;
                }
            }
            plan.launch()
        };
        launch().map_err(|failure| GuardianError::Launch(advice(failure, "/proc/self/exe")))
    }

    /// Until the supervisor is dead: signals to it, its datagrams from it, orphans reaped.
    fn watch(&mut self, child: &Child) -> Result<Death, GuardianError> {
        loop {
            let mut fds = [
                PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.notify.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            // Datagrams first: what it said before it died counts.
            self.notify.receive(child.pid, self.upstream.as_ref());
            if let Some(status) = reaper::reap(child) {
                self.notify.receive(child.pid, self.upstream.as_ref());
                let ending = match status {
                    Status::Exited(code) => Ending::Exited(code),
                    Status::Signaled { signal, .. } => Ending::Signaled(signal),
                    Status::Returned
                    | Status::Failed
                    | Status::Panicked
                    | Status::Abandoned
                    | Status::NotLaunched(_)
                    | Status::Unknown => Ending::Exited(-1),
                };
                return Ok(Death {
                    ending,
                    was_ready: self.notify.is_ready(),
                    was_stopping: self.notify.is_stopping(),
                });
            }
            while let Ok(Some(signal)) = self.signals.read_signal() {
                self.on_signal(signal.ssi_signo, Some(child));
            }
            // The supervisor's status belongs to its watcher, who comes to it at once.
            orphans::reap(|pid| pid == child.pid);
        }
    }

    /// Waits before the next start. An order to end that comes meanwhile ends us: there is nobody to pass it on to.
    fn pause(&mut self, after: Duration) -> Result<Option<u8>, GuardianError> {
        let end = now() + after;
        loop {
            while let Ok(Some(signal)) = self.signals.read_signal() {
                self.on_signal(signal.ssi_signo, None);
            }
            if let Some(signal) = self.policy.ordered_to_end() {
                return Ok(Some(policy::by_signal(signal)));
            }
            let left = end.saturating_sub(now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn on_signal(&mut self, number: u32, child: Option<&Child>) {
        let Ok(signal) =
            i32::try_from(number).map_err(drop).and_then(|number| Signal::try_from(number).map_err(drop))
        else {
            return;
        };
        if matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) {
            self.policy.on_order_to_end(signal as i32);
        }
        if signal != Signal::SIGCHLD
            && let Some(child) = child
        {
            let _ = reaper::signal(child, signal as i32);
        }
    }
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_ns())
}

fn say(text: &str) {
    // Standard error may be gone; the guardian goes on.
    let line = format!("supervisord-rs guardian: {text}\n");
    let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
}

impl std::fmt::Debug for Guardian {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Guardian")
            .field("signals", &self.signals.as_fd().as_raw_fd())
            .finish_non_exhaustive()
    }
}
