//! This supervisor rests, and another continues: this one releases what two supervisors cannot hold
//! at once, passes all kept descriptors, and names the successor to the guardian or service
//! manager. Each wait here ends after some seconds, and the loop answers meanwhile.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workers::runtime::endowment::{Named, PIECE_MAX};

use super::{DEADLINE, OWN, Order, REST, Successor, in_words};
use crate::control::protocol::{Done, Failure};
use crate::control::request::Answer;
use crate::daemon::signals::Signals;
use crate::daemon::{Daemon, leave};
use crate::held_signals::GUARDIAN_GONE;
use crate::isolation::exits::exit_record::EXIT_RECORDS;
use crate::record::event::What;
use crate::waiting::Limit;

/// The deadline for a prepared successor to take over: no supervisor runs meanwhile.
const TAKE_OVER: Duration = Duration::from_secs(10);
/// The deadline for answers that are on their way while no supervisor runs.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

impl Daemon {
    /// Gives way to the supervisor that is prepared; to one of our own binary when that does not
    /// work. Does not come back, but where the guardian is gone.
    pub(in crate::daemon) async fn hand_over_if_prepared(&mut self, signals: &mut Signals) {
        let Some((order, successor)) = self.hand_over.prepared.take() else { return };
        let Order { binary, answer, reload, .. } = order;
        let rested_at = self.now();
        self.rest(signals).await;
        let limit = &mut Limit::new(TAKE_OVER);
        let (heir, result) = match self.give_way(signals, successor, rested_at, limit).await {
            Ok((pid, version)) => {
                let own = std::process::id();
                let file = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or(binary);
                let message = match &reload {
                    Some(reload) => format!("reloaded {} (process {pid})", reload.config),
                    None => {
                        let file = file.display();
                        format!("process {pid} has taken over from {own}: {file} {version}")
                    }
                };
                (pid, Ok(Done { message, reload, ..Done::default() }))
            }
            Err(why) => match self.go_on_as_another(signals, &binary, rested_at, &why).await {
                Ok((pid, failure)) => (pid, Err(failure)),
                Err(failure) => return self.end_without_guardian(answer, failure).await,
            },
        };
        self.pass_on_signals(heir);
        // A client that has this answer may ask the next question at once: the successor serves it.
        self.control.close_door().await;
        let _ = answer.send(result);
        // Streams of events end at once; no supervisor runs until this one has ended.
        self.observers.stream.close();
        self.turn_away("busy", "another supervisor has just taken over: ask it again");
        self.control.end(LAST_ANSWERS).await;
        // Nothing is cleared away: all of it belongs to the successor.
        leave(0);
    }

    /// The successor carries out what came while this supervisor rested. It is a child of this
    /// process, so no other process can have its PID.
    fn pass_on_signals(&mut self, heir: i32) {
        for signal in std::mem::take(&mut self.hand_over.signals) {
            if let Ok(signal) = Signal::try_from(signal)
                && signal != GUARDIAN_GONE
            {
                tracing::info!(signal = signal.as_str(), pid = heir, "passed on to the successor");
                let _ = kill(Pid::from_raw(heir), signal);
            }
        }
    }

    /// Our own binary takes our place, since the other one has not: what has come to rest does not
    /// go on here.
    ///
    /// # Errors
    /// There is no guardian any more, which would start another.
    async fn go_on_as_another(
        &mut self,
        signals: &mut Signals,
        binary: &Path,
        rested_at: Duration,
        why: &str,
    ) -> Result<(i32, Failure), Failure> {
        if self.around.is_guardian_gone() {
            return Err(without_guardian(binary, why));
        }
        self.emit(None, What::RolledBack { binary, why, had_rested: true });
        let limit = &mut Limit::new(DEADLINE);
        let begun = self.meanwhile(signals, Successor::begin(Path::new(OWN), limit)).await;
        let result = match begun {
            Ok(successor) => self.give_way(signals, successor, rested_at, limit).await,
            Err(worse) => Err(worse),
        };
        match result {
            Ok((pid, _)) => {
                let message = format!(
                    "{} does not take over: {why}; the old one goes on as process {pid}",
                    in_words(binary)
                );
                Ok((pid, Failure::new("failed", message)))
            }
            Err(_) if self.around.is_guardian_gone() => Err(without_guardian(binary, why)),
            Err(worse) => {
                // If this supervisor dies, the guardian or service manager replaces it, and nothing
                // more is lost.
                tracing::error!(
                    "nor does the old binary: {worse}; this supervisor ends, to be restarted"
                );
                leave(1);
            }
        }
    }

    /// If this supervisor died, nothing would replace it, and the workers would run on without a
    /// supervisor.
    async fn end_without_guardian(&mut self, answer: Answer<Done>, failure: Failure) {
        tracing::error!("{}", failure.message);
        let _ = answer.send(Err(failure));
        self.hand_over.is_under_way = false;
        self.black_box.give_way(false);
        self.on_signal(GUARDIAN_GONE as i32);
    }

    /// Lets go of what two cannot do at once.
    async fn rest(&mut self, signals: &mut Signals) {
        self.carry_out_all();
        while self.launch_next() {}
        // What is not launched by now is the successor's to launch.
        self.drivers.withdraw_all();
        self.drivers.stop_mortal(REST);
        self.wait_until(signals, REST, |daemon| !daemon.drivers.has_mortal()).await;
        if !self.wait_until(signals, REST, |daemon| daemon.drivers.hold_logs(Duration::ZERO)).await
        {
            let whose = self.drivers.logs_in_hand().join(", ");
            tracing::warn!("a write hangs; the output of these may be late: {whose}");
        }
        self.write_settled(None);
        let written = self.record_writer.begin_flush();
        self.wait_until(signals, REST, |_| !matches!(written.try_recv(), Err(TryRecvError::Empty)))
            .await;
        self.black_box.give_way(true);
    }

    /// Gives a successor all that is kept, waits until it is ready, and lets it stand alone. Its
    /// number, and the version that it says it is.
    async fn give_way(
        &mut self,
        signals: &mut Signals,
        mut successor: Successor,
        rested_at: Duration,
        limit: &mut Limit,
    ) -> Result<(i32, String), String> {
        self.give_all(signals, &mut successor, limit).await?;
        let ready = successor.gate.wait_until_ready(rested_at, limit);
        let version = self.meanwhile(signals, ready).await?;
        let pid = successor.pid();
        // Once named to the guardian or service manager, it may outlive this process.
        if !self.around.name_successor(pid) {
            return Err("the service manager takes no message".into());
        }
        if self.meanwhile(signals, successor.gate.let_go()).await {
            successor.leave();
            return Ok((pid, version));
        }
        self.around.name_successor(nix::unistd::getpid().as_raw());
        Err("it ended before it had taken over".into())
    }

    /// In pieces: no more are in flight than the kernel allows a user.
    async fn give_all(
        &mut self,
        signals: &mut Signals,
        successor: &mut Successor,
        limit: &mut Limit,
    ) -> Result<(), String> {
        let mut piece = self.kept_besides().map_err(|error| error.to_string())?;
        let mut last: Option<String> = None;
        loop {
            let named: Vec<Named<'_>> = piece
                .iter()
                .map(|(name, descriptor)| (name.as_str(), descriptor.as_fd()))
                .collect();
            self.meanwhile(signals, successor.gate.give(&named, limit)).await?;
            piece = self.around.kept_after(last.as_deref(), PIECE_MAX);
            let Some((name, _)) = piece.last() else { return Ok(()) };
            last = Some(name.clone());
        }
    }

    /// What is not in the store: nothing perhaps, where neither lock could be had.
    fn kept_besides(&self) -> std::io::Result<Vec<(String, Arc<OwnedFd>)>> {
        let all = self.drivers.exit_records().map(|pipe| (EXIT_RECORDS, pipe)).into_iter();
        all.chain(self.control.of_unit())
            .chain(self.locks.passed())
            .chain(self.around.orderly_end())
            .map(|(name, one)| Ok((name.to_owned(), Arc::new(one.try_clone_to_owned()?))))
            .collect()
    }
}

fn without_guardian(binary: &Path, why: &str) -> Failure {
    let binary = in_words(binary);
    let message =
        format!("{binary} does not take over: {why}; the guardian is gone: everything is stopped");
    Failure::new("failed", message)
}
