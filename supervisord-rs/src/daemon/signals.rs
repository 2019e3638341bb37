//! What signals mean to the supervisor: TERM, INT and QUIT stop everything, a second one kills
//! (that which the guardian passes on is none, where it came to both of us); what a thread worker
//! sends to its process is no order; USR2 reopens logs and
//! the control socket; PWR is the guardian's death, which stops everything, however often it comes;
//! CHLD has orphans reaped; HUP has another supervisor read the configuration and take over, or
//! ends a run whose terminal has closed. Those that would end the process and mean nothing here
//! (USR1, timers, SIGIO) are logged and have no effect. Other signals are left alone.

use std::io;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nix::sys::signal::SigSet;
use nix::unistd::getpid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR2};
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Origin;
use supervision::Event;

use super::Daemon;
use crate::hangup::{Hangup, TERMINAL_CLOSED, was_ignored};
use crate::held_signals::{GUARDIAN_GONE, HELD};
use crate::service_manager;

const SIGPWR: i32 = GUARDIAN_GONE as i32;

/// Has the signals wait that we will take, on this thread and those that it starts. First of all:
/// what comes before they are taken would end us, or be lost (process 1 of a container gets no
/// signal that it neither takes nor blocks).
pub fn hold() {
    let _ = was_ignored();
    let _ = HELD.into_iter().collect::<SigSet>().thread_block();
}

/// Of [`HELD`], those that are orders, or the guardian's death.
const ORDERS: [i32; 6] = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR2, SIGPWR];

/// The signals that we take. However many children end, and whatever means nothing comes: an order
/// is taken as soon as any of them.
pub(super) struct Signals {
    /// With their senders.
    orders: signal_hook_tokio::SignalsInfo<WithOrigin>,
    /// Each once, however often it came since it was taken.
    others: signal_hook_tokio::Signals,
    ways: Ways,
}

/// A terminal signals its whole foreground group, and a service manager may signal all processes of
/// a unit: the guardian, which passes it on, and us. Within this time both are one.
const MOMENT: Duration = Duration::from_secs(1);

/// What came lately by either way, and has not come by the other.
#[derive(Debug, Default)]
struct Ways {
    to_us: Option<(i32, Instant)>,
    passed_on: Option<(i32, Instant)>,
}

impl Ways {
    /// Whether the same has come by the other way just now.
    fn is_known(&mut self, signal: i32, is_passed_on: bool, now: Instant) -> bool {
        let (own, other) = match is_passed_on {
            true => (&mut self.passed_on, &mut self.to_us),
            false => (&mut self.to_us, &mut self.passed_on),
        };
        let is_same =
            |(known, at): &mut (i32, Instant)| *known == signal && now.duration_since(*at) < MOMENT;
        if other.take_if(is_same).is_some() {
            return true;
        }
        *own = Some((signal, now));
        false
    }
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let held = HELD.into_iter().map(|signal| signal as i32);
        let others = held.filter(|signal| !ORDERS.contains(signal)).chain([SIGCHLD]);
        let orders = signal_hook_tokio::SignalsInfo::new(ORDERS)?;
        let others = signal_hook_tokio::Signals::new(others)?;
        HELD.into_iter().collect::<SigSet>().thread_unblock()?;
        Ok(Self { orders, others, ways: Ways::default() })
    }

    pub(super) async fn next(&mut self) -> Came {
        loop {
            tokio::select! {
                biased;
                Some(origin) = self.orders.next() => {
                    if !self.is_known(&origin) {
                        return Came::from(&origin);
                    }
                }
                Some(signal) = self.others.next() => return Came { signal, is_own: false },
                // Only when the handles are closed, which we never do.
                else => std::future::pending().await,
            }
        }
    }

    fn is_known(&mut self, origin: &Origin) -> bool {
        let sender = origin.process.map(|process| process.pid);
        let is_passed_on = sender.is_some() && sender == service_manager::guardian_pid();
        matches!(origin.signal, SIGTERM | SIGINT | SIGQUIT)
            && self.ways.is_known(origin.signal, is_passed_on, Instant::now())
    }
}

/// One that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    signal: i32,
    /// Whether this process has sent it.
    is_own: bool,
}

impl From<&Origin> for Came {
    fn from(origin: &Origin) -> Self {
        let own = getpid().as_raw();
        let is_own = origin.process.is_some_and(|process| process.pid == own);
        Self { signal: origin.signal, is_own }
    }
}

impl Daemon {
    /// The signal that came, where it is meant for the supervisor.
    pub(super) fn hear(&self, Came { signal, is_own }: Came) -> Option<i32> {
        let is_of_thread = is_own && self.drivers.disowns(signal);
        (!is_of_thread).then_some(signal)
    }

    /// Stops everything; `now`: without asking.
    pub(super) fn shut_down(&mut self, now: bool) {
        self.around.announce_stopping();
        let request = self.unanswered.number();
        self.turn(Some(Event::Command {
            request,
            command: supervision::Command::Shutdown { now },
        }));
    }

    pub(super) fn on_signal(&mut self, signal: i32) {
        let name = crate::record::words::signal(signal);
        match signal {
            SIGTERM | SIGINT | SIGQUIT => {
                let is_first = !self.machine.is_shutting_down();
                if is_first && signal == SIGTERM && self.around.has_terminal_closed() {
                    tracing::info!("{TERMINAL_CLOSED}");
                } else {
                    tracing::info!(signal = name, "shutting down");
                }
                if self.end.is_news() {
                    self.shut_down(self.machine.is_shutting_down());
                }
            }
            SIGPWR if self.machine.is_shutting_down() => {}
            SIGPWR if self.around.is_predecessors_death() => {}
            SIGPWR => {
                tracing::warn!(signal = name, "shutting down, since the guardian is gone");
                self.end.begin_by_guardian();
                self.shut_down(false);
            }
            SIGCHLD => {
                // The drivers wait for main processes by their handles: what is dead after that is
                // an orphan.
                self.drivers.collect();
                self.drivers.reap_orphans();
                self.turn(None);
            }
            SIGUSR2 => {
                self.drivers.reopen_logs();
                tracing::info!("logs are reopened");
                self.upkeep.look_now();
            }
            SIGHUP => self.on_hangup(),
            _ => tracing::warn!(signal = name, "this signal has no effect"),
        }
    }

    fn on_hangup(&mut self) {
        match self.around.terminal.hangup() {
            _ if self.machine.is_shutting_down() => {}
            Hangup::Nothing => tracing::info!("the terminal has closed; the supervisor runs on"),
            Hangup::Reload => self.reload_unasked(),
            Hangup::End => {
                tracing::info!("{TERMINAL_CLOSED}");
                self.shut_down(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    #[test]
    fn an_order_waits_for_no_end_of_a_child() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("an event loop");
        let _entered = runtime.enter();
        let mut signals = Signals::new().expect("descriptors");
        let mut next = || {
            // Delivered to this thread, before this returns (raise(3)).
            raise(Signal::SIGCHLD).expect("it is us");
            runtime.block_on(async {
                // As in each round of the loop: the kernel's news have their turn.
                tokio::task::yield_now().await;
                signals.next().await.signal
            })
        };
        while next() != SIGCHLD {}
        raise(Signal::SIGUSR2).expect("it is us");
        let place = (0..100).position(|_| next() == SIGUSR2);
        assert!(place.is_some_and(|place| place < 3), "it is heard as number {place:?}");
    }

    #[test]
    fn what_came_to_both_is_one_order_and_each_further_one_another() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut ways = Ways::default();
        assert!(!ways.is_known(SIGTERM, false, at(0)));
        assert!(ways.is_known(SIGTERM, true, at(5)), "the same, passed on");
        assert!(!ways.is_known(SIGTERM, false, at(10)), "a second order");
        assert!(ways.is_known(SIGTERM, true, at(15)));
        assert!(!ways.is_known(SIGTERM, true, at(20)), "whichever way comes first");
        assert!(ways.is_known(SIGTERM, false, at(25)));
        assert!(!ways.is_known(SIGTERM, false, at(2000)));
        assert!(!ways.is_known(SIGTERM, true, at(4000)), "another one, much later");
        assert!(!ways.is_known(SIGINT, false, at(4001)), "another signal");
    }
}
