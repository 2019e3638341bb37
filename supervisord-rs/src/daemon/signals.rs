//! What signals mean to the supervisor: TERM, INT and QUIT stop everything, a second one kills;
//! USR2 reopens logs and the control socket; PWR is the guardian's death, which stops everything,
//! however often it comes; CHLD has orphans reaped; HUP has another supervisor read the
//! configuration and take over, or ends a run whose terminal has closed. USR1 is said and means nothing, and so it does not end us. The
//! others are left alone.

use std::{io, mem};

use futures_util::StreamExt;
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use supervision::Event;

use super::Daemon;

/// Signals that a guardian passes on, and that people send.
const HELD: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    GUARDIAN_GONE,
];

/// Comes when the guardian dies (`PR_SET_PDEATHSIG`, prctl(2)). It is sent once for each of the
/// guardian's threads that we are a child of in turn, so it must not be one of those that mean more
/// when they come twice.
pub(crate) const GUARDIAN_GONE: Signal = Signal::SIGPWR;
const SIGPWR: i32 = GUARDIAN_GONE as i32;

/// Has the signals wait that we will take, on this thread and those that it starts. First of all:
/// what comes before they are taken would end us, or be lost (process 1 of a container gets no
/// signal that it neither takes nor blocks).
pub fn hold() {
    let _ = super::hangup::was_ignored();
    let _ = HELD.into_iter().collect::<SigSet>().thread_block();
}

/// The signals that we take, in the order they come.
pub(super) struct Signals(signal_hook_tokio::Signals);

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let taken = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, SIGPWR];
        let signals = signal_hook_tokio::Signals::new(taken)?;
        HELD.into_iter().collect::<SigSet>().thread_unblock()?;
        Ok(Self(signals))
    }

    pub(super) async fn next(&mut self) -> i32 {
        match self.0.next().await {
            Some(signal) => signal,
            // Only when the handle is closed, which nobody does.
            None => std::future::pending().await,
        }
    }
}

impl Daemon {
    /// Stops everything; `now`: without asking.
    pub(super) fn shut_down(&mut self, now: bool) {
        self.around.announce_stopping();
        let request = self.request_id();
        self.turn(Some(Event::Command {
            request,
            command: supervision::Command::Shutdown { now },
        }));
    }

    pub(super) async fn on_signal(&mut self, signal: i32) {
        let name = crate::record::words::signal(signal);
        match signal {
            SIGTERM | SIGINT | SIGQUIT => {
                tracing::info!(signal = name, "shutting down");
                // The guardian's death was nobody's order: the first one after it changes nothing,
                // the next one kills.
                if !mem::take(&mut self.ends_with_guardian) {
                    self.shut_down(self.machine.is_shutting_down());
                }
            }
            SIGPWR if self.machine.is_shutting_down() => {}
            SIGPWR => {
                tracing::warn!(signal = name, "shutting down, since the guardian is gone");
                self.ends_with_guardian = true;
                self.shut_down(false);
            }
            SIGCHLD => {
                self.drivers.reap_orphans();
                self.turn(None);
            }
            SIGUSR2 => {
                self.drivers.reopen_logs();
                tracing::info!("logs are reopened");
                if let Err(error) = self.around.reopen_control(&self.settings) {
                    tracing::error!(%error, "the control socket is gone and cannot be made anew");
                }
            }
            SIGHUP => self.on_hangup(),
            _ => tracing::warn!(signal = name, "nobody asked for this signal"),
        }
    }
}
