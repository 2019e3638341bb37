//! The guardian: the tiny parent that starts the supervisor again after its death, keeps its descriptors meanwhile, and
//! leaves nothing behind.
//!
//! Where systemd runs us, systemd does this. The guardian is single-threaded, knows nothing of workers, parses nothing
//! but datagrams of sd_notify(3), and waits for three things at once: a signal, a datagram, the supervisor's death. It
//! is a child subreaper (prctl(2)): orphans of workers come to it and are reaped, and how they ended is passed on.
//!
//! A supervisor that had descriptors kept wants its processes to outlive it: its successor finds them, and ends what it
//! cannot account for. One that kept nothing leaves nothing: every process that is left is killed before the next one
//! starts. In either case nothing ever runs twice.
//!
//! | file | concept |
//! |---|---|
//! | `policy` | what a death means: pure, with time as an argument |
//! | `notify` | the datagrams of the supervisor |
//! | `store` | the descriptors that it has kept |
//! | `obituary` | how orphans ended, for whoever has adopted them |

mod notify;
pub mod obituary;
mod policy;
mod store;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use supervision::{LaunchFailure, Status};
use workers::board::monotonic_ns;

use crate::isolation::inherited;
use crate::isolation::launch::{Child, OPEN_FILES, Plan, advice, original_open_files, raise_open_files};
use crate::isolation::orphans::{self, Killed};
use crate::isolation::reaper;
use crate::service_manager::{self, Ending, Predecessor, ServiceManager};
use notify::Notify;
use obituary::{OBITUARIES, Obituaries};
use policy::{Death, Policy, Verdict};

/// Exit status when the supervisor died too often: EX_SOFTWARE of sysexits.h.
pub const EXIT_GAVE_UP: u8 = 70;

/// Signals that are passed on.
const FORWARDED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// For whoever traces a supervisor that has died to let go of it.
const TRACER_LIMIT: Duration = Duration::from_millis(250);
/// Between two looks at whether that has happened, in milliseconds.
const LOOK_MS: u8 = 10;
/// Between two tries to write down what the pipe of obituaries had no room for, in milliseconds.
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

/// Runs the supervisor as a child with the same arguments, until it has ended in order or has died too often.
///
/// `is_storm`: whether it is killed on purpose, so that each death is followed by another start at once and for ever.
///
/// Call it before there is any other thread. Exit status: the supervisor's own; 128 + n when a signal that we passed
/// on ended it; [`EXIT_GAVE_UP`].
#[must_use]
pub fn run(arguments: &[OsString], is_storm: bool) -> ExitCode {
    match Guardian::new(arguments, is_storm).and_then(Guardian::run) {
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
    obituaries: Obituaries,
    /// The supervisor in whose place another one was named, as long as it lives.
    before: Option<Child>,
    /// Our own service manager, if there is one after all.
    upstream: Option<ServiceManager>,
    policy: Policy,
}

impl Guardian {
    fn new(arguments: &[OsString], is_storm: bool) -> Result<Self, GuardianError> {
        prctl::set_child_subreaper(true)?;
        raise_open_files();
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
            signals: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
            notify: Notify::new()?,
            obituaries: Obituaries::new()?,
            before: None,
            upstream: ServiceManager::from_env(),
            policy: Policy::new(is_storm),
        })
    }

    fn run(mut self) -> Result<u8, GuardianError> {
        let mut predecessor = None;
        loop {
            let mut child = self.launch(predecessor)?;
            let death = self.watch(&mut child)?;
            let died_at_ns = monotonic_ns();
            let verdict = self.policy.on_death(now(), death);
            // What had descriptors kept is the successor's business, if there will be one.
            let is_kept = matches!(verdict, Verdict::Restart { .. }) && self.notify.store().keeps_processes();
            let left = if is_kept { 0 } else { kill_what_is_left() };
            match verdict {
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
                    predecessor = Some(Predecessor { pid: child.pid, ending: death.ending, died_at_ns });
                    if let Some(code) = self.pause(after)? {
                        let _ = kill_what_is_left();
                        return Ok(code);
                    }
                }
            }
        }
    }

    fn launch(&mut self, predecessor: Option<Predecessor>) -> Result<Child, GuardianError> {
        self.notify.reset();
        let kept = self.notify.store().iter().map(|(name, _)| name.as_str());
        let secrets: Vec<String> = inherited::all().map(|(name, _)| name).collect();
        let names: Vec<&str> = kept.chain(secrets.iter().map(String::as_str)).chain([OBITUARIES]).collect();
        let own = [
            (service_manager::GUARDIAN, std::process::id().to_string()),
            (service_manager::NOTIFY_SOCKET, self.notify.address().to_owned()),
            (service_manager::PREDECESSOR, predecessor.map(|past| past.to_string()).unwrap_or_default()),
            (service_manager::FDSTORE, store::MOST.to_string()),
            ("LISTEN_FDS", names.len().to_string()),
            ("LISTEN_FDNAMES", names.join(":")),
            (OPEN_FILES, original_open_files().unwrap_or(0).to_string()),
        ];
        let inherited: Vec<(OsString, OsString)> =
            std::env::vars_os().filter(|(name, _)| own.iter().all(|(known, _)| name != known)).collect();
        let environment = inherited
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
            .chain(own.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
        let launch = || -> Result<Child, LaunchFailure> {
            let plan = Plan::new(OsStr::new("/proc/self/exe"), &self.arguments, OsStr::new(""))?
                .environment(environment)?
                .descriptor(io::stdin().as_fd())?
                .descriptor(io::stdout().as_fd())?
                .descriptor(io::stderr().as_fd())?;
            let kept = self.notify.store().iter().map(|(_, descriptor)| descriptor.as_fd());
            let secrets = inherited::all().map(|(_, secret)| secret.as_fd());
            let handed_over: Vec<_> = kept.chain(secrets).chain([self.obituaries.reader()]).collect();
            plan.many_descriptors(&handed_over)?
                .listen_pid()
                // A supervisor without its guardian stops in order, and takes its workers along.
                .parent_death_signal(Some(Signal::SIGTERM))
                .launch()
        };
        launch().map_err(|failure| GuardianError::Launch(advice(failure, "/proc/self/exe")))
    }

    /// Until the supervisor is dead: signals to it, its datagrams from it, orphans reaped.
    fn watch(&mut self, child: &mut Child) -> Result<Death, GuardianError> {
        // Since when it has exited, and is kept back for whoever traces it (ptrace(2)).
        let mut kept_back: Option<Duration> = None;
        loop {
            // Its handle would be ready for ever.
            let (events, timeout) = match kept_back {
                // Obituaries that wait for room are tried again.
                None if self.obituaries.is_waiting() => (PollFlags::POLLIN, PollTimeout::from(ROOM_AGAIN_MS)),
                None => (PollFlags::POLLIN, PollTimeout::NONE),
                Some(_) => (PollFlags::empty(), PollTimeout::from(LOOK_MS)),
            };
            let mut fds = [
                PollFd::new(child.pidfd.as_fd(), events),
                PollFd::new(self.notify.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            // Datagrams first: what it said before it died counts.
            self.notify.receive(child.pid, self.upstream.as_ref());
            self.follow(child);
            if reaper::has_exited(&child.pidfd)
                && let Some(before) = self.before.take()
                && !reaper::has_exited(&before.pidfd)
            {
                // The one that was to take its place is dead, and it lives: it goes on.
                *child = before;
                kept_back = None;
                continue;
            }
            if let Some(status) = status_of(child, &mut kept_back) {
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
                // A terminal that closes means nobody's wish (sigaction(2), SI_KERNEL).
                let is_hangup =
                    signal.ssi_signo == Signal::SIGHUP as u32 && signal.ssi_code == libc::SI_KERNEL;
                if !is_hangup {
                    self.on_signal(signal.ssi_signo, Some(child));
                }
            }
            // The supervisor's status belongs to its watcher, who comes to it at once.
            let obituaries = &mut self.obituaries;
            obituaries.flush();
            orphans::reap(|pid| pid == child.pid, |exit| obituaries.write(exit));
        }
    }

    /// The supervisor has named another process in its place: that one is watched from now on. It becomes our child when
    /// the old one ends.
    fn follow(&mut self, child: &mut Child) {
        let Some(pid) = self.notify.take_main_pid().filter(|pid| *pid != child.pid) else { return };
        match reaper::open(pid) {
            Ok(pidfd) => {
                self.before =
                    Some(std::mem::replace(child, Child { pid, pidfd, start_time: 0, is_adopted: false }))
            }
            Err(error) => {
                say(&format!("the supervisor names process {pid} in its place, and that is none: {error}"))
            }
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

/// How the supervisor ended, if it has. One that is traced is reaped when its tracer lets go of it, and that is not waited
/// for long: how it ended stands in the process table.
fn status_of(child: &Child, kept_back: &mut Option<Duration>) -> Option<Status> {
    if !reaper::has_exited(&child.pidfd) {
        *kept_back = None;
        return None;
    }
    let since = *kept_back.get_or_insert_with(now);
    let is_late = now().saturating_sub(since) >= TRACER_LIMIT;
    reaper::reap(child).or_else(|| is_late.then(|| reaper::status_of_traced(child)))
}

/// Ends every process that is left. How many they were.
fn kill_what_is_left() -> usize {
    let Killed { reaped, left } = orphans::kill_all();
    if !left.is_empty() {
        say(&format!("these processes do not die of SIGKILL: {left:?}"));
    }
    reaped
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
