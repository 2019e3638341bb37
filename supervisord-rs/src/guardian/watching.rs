//! One supervisor while it lives: signals to it, datagrams from it, its orphans reaped, its
//! watchdog judged.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use supervision::Status;

use super::notify::Word;
use super::policy::Death;
use super::watchdog::{self, Watchdog};
use super::{
    Guardian, LOOK_MS, ROOM_AGAIN_MS, SIGN_OF_LIFE, TRACER_LIMIT, is_order_to_end, now, say, until,
};
use crate::hangup::Hangup;
use crate::isolation::exits::{orphans, reaper};
use crate::isolation::launch::Child;
use crate::process_table::tracer;
use crate::service_manager::Ending;

impl Guardian {
    /// Until the supervisor is dead: signals to it, its datagrams from it, orphans reaped. The pid
    /// of the one that died, which may have taken the place of another meanwhile. `Err`: there is
    /// an order to end, and this one has been killed and cannot die.
    pub(super) fn watch(&mut self, mut child: Child) -> Result<(i32, Death), Child> {
        // Since when it has exited, and is kept back for its tracer (ptrace(2)).
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
            // One that has ended in order has taken its place, though that cannot die.
            if reaper::has_exited(&child.pidfd)
                && !self.is_stopping(child.pid)
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
                return Ok((child.pid, self.death(child.pid, status)));
            }
            self.pass_signals_on(&child);
            // The supervisor's status belongs to its watcher, who comes to it at once.
            let exit_records = &mut self.exit_records;
            exit_records.flush();
            orphans::reap(|pid| pid == child.pid, |exit| exit_records.write(exit), None);
            self.judge(&child, looking_since);
            self.look_for_unkillable(&child);
            if self.unkillable.is_known(child.pid) && self.policy.ordered_to_end().is_some() {
                return Err(child);
            }
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
            _ if self.exit_records.is_waiting() => PollTimeout::from(ROOM_AGAIN_MS),
            // One that has been killed without being able to die wakes no one.
            due => {
                due.into_iter().chain(self.unkillable.due()).min().map_or(PollTimeout::NONE, until)
            }
        };
        // Fails without kernel memory, which passes: ending here would leave every worker alone.
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
                    "the supervisor names process {pid} in its place, but there is no such \
                        process: {error}"
                ));
            }
        }
    }

    fn is_stopping(&self, pid: i32) -> bool {
        self.notify.is_stopping() || self.orderly_end.is_of(pid)
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
        let was_stopping = self.is_stopping(pid);
        Death { ending, was_ready: self.notify.is_ready(), was_stopping }
    }

    /// To a supervisor that has said something: then it can take them.
    fn pass_signals_on(&mut self, child: &Child) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = match signal.ssi_signo.cast_signed() {
                libc::SIGHUP => match self.terminal.hangup() {
                    Hangup::Reload => libc::SIGHUP,
                    Hangup::End => {
                        self.orderly_end.say_terminal_has_closed();
                        libc::SIGTERM
                    }
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
    pub(super) fn note(&mut self, number: u32) -> Option<Signal> {
        let signal = Signal::try_from(i32::try_from(number).ok()?).ok()?;
        if is_order_to_end(number) {
            self.policy.on_order_to_end(signal as i32);
        }
        (signal != Signal::SIGCHLD).then_some(signal)
    }

    /// Ends a supervisor whose loop does not turn.
    fn judge(&mut self, child: &Child, looking_since: Duration) {
        self.look_for_sign(child.pid);
        let signal = match self.watchdog.judge(now(), looking_since) {
            watchdog::Verdict::Fine => return,
            _ if tracer(child.pid).is_some() => return self.watchdog.excuse(now()),
            watchdog::Verdict::Abort => {
                say(&format!(
                    "supervisor (pid {}) has given no sign of life for too long (`watchdog:`): it \
                     is ended",
                    child.pid
                ));
                libc::SIGABRT
            }
            watchdog::Verdict::Kill => libc::SIGKILL,
        };
        let _ = reaper::signal(child, signal);
    }

    fn look_for_unkillable(&mut self, child: &Child) {
        let is_near = self.before.is_some()
            || self.policy.ordered_to_end().is_some()
            || self.watchdog.has_ended_it();
        let both = [Some(child), self.before.as_ref()];
        self.unkillable.look(both.into_iter().flatten().map(|one| one.pid), now(), is_near);
    }

    /// A sign of life that the supervisor has given since its last datagram: a full queue loses
    /// these. Our own service manager hears of it too.
    fn look_for_sign(&mut self, supervisor: i32) {
        let now = now();
        let before = self.watchdog.due();
        if before.is_none_or(|due| now < due) {
            return;
        }
        if let Some(at) = self.orderly_end.last_sign(supervisor, now) {
            self.watchdog.on_sign(at);
        }
        if self.watchdog.due() != before
            && let Some(upstream) = &self.upstream
        {
            upstream.alive();
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
