//! The supervisor while it rests: it shows the status, accepts no orders, sends `WATCHDOG=1`, and
//! keeps signals for the one that continues.

use std::pin::pin;
use std::time::Duration;

use nix::libc::{SIGCHLD, SIGTERM};

use super::{BREATH, PAUSE};
use crate::control::protocol::{Done, Failure};
use crate::control::request::{Order, Request};
use crate::daemon::signals::{Came, Signals};
use crate::daemon::{Daemon, until};
use crate::waiting::{Limit, within};

const AT_REST: &str =
    "another supervisor is taking over, which lasts some seconds at most: order it again then";

impl Daemon {
    /// Waits for that, and answers meanwhile.
    pub(super) async fn meanwhile<T>(
        &mut self,
        signals: &mut Signals,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        loop {
            let breath = until(Some(self.signs.after(BREATH)));
            tokio::select! {
                done = &mut work => return done,
                Some(request) = self.requests.recv() => self.answer_at_rest(request),
                came = signals.next() => self.keep_signal(came),
                () = breath => self.say_alive(),
            }
        }
    }

    /// Waits until that is so, and answers meanwhile. False: it was not in time.
    pub(super) async fn wait_until(
        &mut self,
        signals: &mut Signals,
        limit: Duration,
        is_so: impl Fn(&Self) -> bool,
    ) -> bool {
        let mut limit = Limit::new(limit);
        while !limit.look(|| is_so(self)) {
            if limit.is_over() {
                return false;
            }
            let nothing = within(&mut limit, tokio::time::sleep(PAUSE));
            self.meanwhile(signals, nothing).await;
        }
        true
    }

    fn keep_signal(&mut self, came: Came) {
        // Who has died is known by its own handle.
        let kept = self.hear(came).filter(|&signal| signal != SIGCHLD);
        self.hand_over.signals.extend(kept);
    }

    fn answer_at_rest(&mut self, request: Request) {
        match request {
            Request::Show(what) => self.show(what),
            Request::Order(Order::Shutdown(request), peer, answer) => {
                self.log_order("shutdown", "", peer);
                let orders = if request.now { 2 } else { 1 };
                self.hand_over.signals.extend([SIGTERM].iter().cycle().take(orders));
                let message = "shutting down".to_owned();
                let _ = answer.send(Ok(Done { message, ..Done::default() }));
            }
            order @ Request::Order(..) => order.refuse(Failure::new("busy", AT_REST.into())),
        }
    }
}
