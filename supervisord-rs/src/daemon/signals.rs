//! What signals mean to the supervisor: TERM, INT and QUIT stop everything, a second one kills; USR2 reopens logs and the
//! control socket; CHLD has orphans reaped; HUP has another supervisor read the configuration and take over. The others are
//! left alone.

use std::io;

use futures_util::StreamExt;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR2};
use supervision::Event;

use super::Daemon;

/// The signals that we take, in the order they come.
pub(super) struct Signals(signal_hook_tokio::Signals);

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(signal_hook_tokio::Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR2, SIGCHLD])?))
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
    pub(super) async fn on_signal(&mut self, signal: i32) {
        let name = crate::record::words::signal(signal);
        match signal {
            SIGTERM | SIGINT | SIGQUIT => {
                tracing::info!(signal = name, "shutting down");
                self.around.announce_stopping();
                let request = self.request_id();
                let command = supervision::Command::Shutdown { now: self.machine.is_shutting_down() };
                self.turn(Some(Event::Command { request, command }));
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
            SIGHUP => self.on_hangup().await,
            _ => tracing::warn!(signal = name, "nobody asked for this signal"),
        }
    }
}
