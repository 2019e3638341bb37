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
//! ends when it is told to, or when its policy gives up, and then everything is stopped in order
//! first.
//!
//! | file | concept |
//! |---|---|
//! | `policy` | what a death means: pure, with time as an argument |
//! | `watchdog` | whether the supervisor hangs: pure too |
//! | `launching` | a supervisor with all that is kept |
//! | `ending` | the end, with a supervisor or without |
//! | `notify` | the datagrams of the supervisor |
//! | `store` | the descriptors that it has kept |
//! | `orderly_end` | which supervisor ends in order, said without a queue |
//! | `obituary` | how orphans ended, for whoever has adopted them |

mod ending;
mod launching;
mod notify;
pub mod obituary;
pub mod orderly_end;
mod policy;
mod store;
mod watchdog;

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
use supervision::Status;
use workers::board::monotonic_ns;

use crate::daemon::hangup::{Hangup, Terminal};
use crate::daemon::signals::GUARDIAN_GONE;
use crate::isolation::launch::{Child, raise_open_files};
use crate::isolation::orphans::{self, Killed};
use crate::isolation::reaper;
use crate::service_manager::{self, Custody, Ending, Predecessor, ServiceManager};
use ending::kill_what_is_left;
use launching::Purpose;
use notify::{Notify, Word};
use obituary::Obituaries;
use orderly_end::OrderlyEnd;
use policy::{Death, Policy, Verdict};
use watchdog::Watchdog;

/// Exit status when the supervisor died too often: EX_SOFTWARE of sysexits.h.
pub const EXIT_GAVE_UP: u8 = 70;

/// Signals that are passed on.
const FORWARDED: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    GUARDIAN_GONE,
];
/// Between two signs of life to our own service manager while there is no supervisor to give them.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

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

/// Runs the supervisor as a child with the same arguments, until it has ended in order or has died
/// too often.
///
/// `is_storm`: whether it is killed on purpose, so that each death is followed by another start at
/// once and for ever. `custody`: the rules until a supervisor says others.
///
/// Call it before there is any other thread. Exit status: the supervisor's own; 0 when we had to
/// stop everything ourselves; [`EXIT_GAVE_UP`].
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
    obituaries: Obituaries,
    orderly_end: OrderlyEnd,
    /// The supervisor in whose place another one was named, as long as it lives.
    before: Option<Child>,
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

impl Guardian {
    fn new(arguments: &[OsString], policy: Policy) -> Result<Self, GuardianError> {
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
            orderly_end: OrderlyEnd::new()?,
            before: None,
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
                        "cannot start a supervisor: {why}; its workers go on; trying again in {after:?}"
                    ));
                    if self.pause(after) {
                        return Ok(self.end_in_order(past));
                    }
                    continue;
                }
            };
            let (pid, death) = self.watch(child);
            let past = Predecessor { pid, ending: death.ending, died_at_ns: monotonic_ns() };
            let said = format!("supervisor (pid {pid}) {}", death.ending);
            match self.policy.on_death(now(), death) {
                Verdict::Exit(code) => {
                    kill_what_is_left();
                    return Ok(code);
                }
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
                    let left =
                        if self.notify.store().keeps_processes() { 0 } else { kill_what_is_left() };
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

    /// Until the supervisor is dead: signals to it, its datagrams from it, orphans reaped. The pid
    /// of the one that died, which may have taken the place of another meanwhile.
    fn watch(&mut self, mut child: Child) -> (i32, Death) {
        // Since when it has exited, and is kept back for whoever traces it (ptrace(2)).
        let mut kept_back: Option<Duration> = None;
        loop {
            let looking_since = now();
            self.wait(&child, kept_back.is_some());
            // Datagrams first: what it said before it died counts.
            self.hear(&mut child);
            if reaper::has_exited(&child.pidfd) {
                self.hear(&mut child);
            }
            if self.before.as_ref().is_some_and(|before| reaper::has_exited(&before.pidfd)) {
                self.before = None;
            }
            if reaper::has_exited(&child.pidfd)
                && let Some(before) = self.before.take()
            {
                // The one that was to take its place is dead, and it lives: it goes on.
                child = before;
                self.notify.listen_to(child.pid);
                self.notify.set_ready();
                self.watchdog = Watchdog::begin(now(), self.policy.rules().watchdog, true);
                kept_back = None;
                continue;
            }
            if let Some(status) = status_of(&child, &mut kept_back) {
                return (child.pid, self.death(child.pid, status));
            }
            self.pass_signals_on(&child);
            // The supervisor's status belongs to its watcher, who comes to it at once.
            let obituaries = &mut self.obituaries;
            obituaries.flush();
            orphans::reap(|pid| pid == child.pid, |exit| obituaries.write(exit));
            self.judge(&child, looking_since);
        }
    }

    /// Until there is something to look at. The handle of one that is kept back would be ready for
    /// ever.
    fn wait(&self, child: &Child, is_kept_back: bool) {
        let events = if is_kept_back { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut fds = [
            PollFd::new(child.pidfd.as_fd(), events),
            PollFd::new(self.notify.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = match self.watchdog.due() {
            _ if is_kept_back => PollTimeout::from(LOOK_MS),
            // Obituaries that wait for room are tried again.
            _ if self.obituaries.is_waiting() => PollTimeout::from(ROOM_AGAIN_MS),
            due => due.map_or(PollTimeout::NONE, until),
        };
        // Fails for want of kernel memory, which passes: whoever ends here leaves everything alone.
        if matches!(poll(&mut fds, timeout), Err(errno) if errno != nix::errno::Errno::EINTR) {
            std::thread::sleep(SIGN_OF_LIFE);
        }
    }

    /// Takes what the supervisor has said.
    fn hear(&mut self, child: &mut Child) {
        while let Some(word) = self.notify.receive(self.upstream.as_ref()) {
            match word {
                Word::Ready => {
                    self.policy.on_ready();
                    self.watchdog.on_ready(now());
                }
                Word::Turn => self.watchdog.on_word(now(), true),
                Word::Other => self.watchdog.on_word(now(), false),
                Word::Custody(custody) => {
                    self.policy.set_rules(custody);
                    self.watchdog.set_limit(custody.watchdog);
                }
                Word::Successor(pid) => self.follow(child, pid),
            }
        }
    }

    /// The supervisor has named another process in its place: that one is listened to and watched
    /// from now on. It becomes our child when the old one ends.
    fn follow(&mut self, child: &mut Child, pid: i32) {
        if pid == child.pid {
            return;
        }
        match reaper::open(pid) {
            Ok(pidfd) => {
                self.binary = File::open(format!("/proc/{pid}/exe")).ok().or(self.binary.take());
                let successor = Child { pid, pidfd, start_time: 0, is_adopted: false };
                self.before = Some(std::mem::replace(child, successor));
                self.notify.listen_to(pid);
                self.notify.set_ready();
                self.watchdog = Watchdog::begin(now(), self.policy.rules().watchdog, true);
            }
            Err(error) => {
                say(&format!(
                    "the supervisor names process {pid} in its place, and that is none: {error}"
                ));
            }
        }
    }

    fn death(&self, pid: i32, status: Status) -> Death {
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
        let was_stopping = self.notify.is_stopping() || self.orderly_end.is_of(pid);
        Death { ending, was_ready: self.notify.is_ready(), was_stopping }
    }

    /// To a supervisor that has said something: then it can take them.
    fn pass_signals_on(&mut self, child: &Child) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = match signal.ssi_signo.cast_signed() {
                libc::SIGHUP => match self.terminal.hangup() {
                    Hangup::Reload => libc::SIGHUP,
                    Hangup::End => libc::SIGTERM,
                    Hangup::Nothing => continue,
                },
                number => number,
            };
            if let Some(signal) = self.note(number.cast_unsigned()) {
                self.unsent.push(signal);
            }
        }
        if self.notify.has_spoken() {
            for signal in self.unsent.drain(..) {
                let _ = reaper::signal(child, signal as i32);
            }
        }
    }

    /// What it means to us; and the signal, if it is to be passed on.
    fn note(&mut self, number: u32) -> Option<Signal> {
        let signal = Signal::try_from(i32::try_from(number).ok()?).ok()?;
        if is_order_to_end(number) {
            self.policy.on_order_to_end(signal as i32);
        }
        (signal != Signal::SIGCHLD).then_some(signal)
    }

    /// Ends a supervisor whose loop does not turn.
    fn judge(&mut self, child: &Child, looking_since: Duration) {
        let signal = match self.watchdog.judge(now(), looking_since) {
            watchdog::Verdict::Fine => return,
            _ if is_traced(child.pid) => return self.watchdog.excuse(now()),
            watchdog::Verdict::Abort => {
                say(&format!(
                    "supervisor (pid {}) has given no sign of life for too long (`watchdog:`): it is ended",
                    child.pid
                ));
                libc::SIGABRT
            }
            watchdog::Verdict::Kill => libc::SIGKILL,
        };
        let _ = reaper::signal(child, signal);
    }

    /// Waits before the next start. True: somebody wants us to end.
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
            // Orphans that end meanwhile are told of.
            let obituaries = &mut self.obituaries;
            orphans::reap(|_| false, |status| obituaries.write(status));
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

/// How the supervisor ended, if it has. One that is traced is reaped when its tracer lets go of it,
/// and that is not waited for long: how it ended stands in the process table.
fn status_of(child: &Child, kept_back: &mut Option<Duration>) -> Option<Status> {
    if !reaper::has_exited(&child.pidfd) {
        *kept_back = None;
        return None;
    }
    let since = *kept_back.get_or_insert_with(now);
    let is_late = now().saturating_sub(since) >= TRACER_LIMIT;
    reaper::reap(child).or_else(|| is_late.then(|| reaper::status_of_traced(child)))
}

fn is_order_to_end(number: u32) -> bool {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, GUARDIAN_GONE]
        .iter()
        .any(|signal| *signal as u32 == number)
}

/// Whether a debugger holds it.
fn is_traced(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
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
