//! `reexec`: another supervisor, of another binary perhaps, takes our place while we live. It is started beside us with all
//! that is in the fd store, goes on from the black box, and says that it is ready; then we name it to the service manager
//! and end. One that does not become ready in time is killed, and another one of our own binary takes our place: what we
//! run stays open as long as we live, whatever became of the file.
//!
//! Process workers, sockets and output notice nothing. Thread workers are our own threads: they are asked to stop, and the
//! successor starts them again; that is no incident.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde_json::json;

use super::Daemon;
use super::beside::Said;
use super::in_force::{self, READ_ANEW};
use crate::config::Settings;
use crate::control::protocol::{Done, Failure, ReexecRequest};
use crate::control::request::{Answer, Peer};
use crate::isolation::helper::Summons;
use crate::isolation::launch::{Child, Plan, advice};
use crate::isolation::{inherited, reaper};
use crate::record::words;
use crate::service_manager::{self, HAND_OVER, Heritage, table};
use crate::waiting::until;

/// For a successor to be ready, when nothing else is said.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// For threads to stop, and for output that is on its way.
const REST: Duration = Duration::from_secs(5);
/// Between two looks at whose child we are.
const PAUSE: Duration = Duration::from_millis(1);
/// Between two signs of life to the service manager while we wait.
const PATIENCE: Duration = Duration::from_millis(500);
/// For a binary to check our configuration.
const CHECK: Duration = Duration::from_secs(10);
/// What we are an image of, whatever became of the file.
const OWN: &str = "/proc/self/exe";
/// The name of the gate among what a successor inherits.
const GATE: &str = "hand-over";
/// The lock of the runtime directory goes with the place.
pub(super) const LOCK: &str = "lock";
/// So does its name.
pub(super) const LOCK_OF_NAME: &str = "lock-of-name";
/// What was meant for us alone.
const NOT_INHERITED: [&str; 5] =
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", service_manager::PURPOSE, READ_ANEW];
/// For the answers that are on their way while nobody supervises.
const LAST_ANSWERS: Duration = Duration::from_millis(100);
/// The successor: it is ready. Its version follows.
const READY: u8 = b'r';
/// The predecessor: whoever restarts us knows the successor, and watches it.
const NAMED: u8 = b'n';
/// The successor: it does not end with its predecessor any more.
const ALONE: u8 = b'a';

/// The successor's end of the gate: through it our predecessor hears that we are ready, and we hear that it is gone.
#[derive(Debug)]
pub(super) struct Gate(UnixStream);

impl Gate {
    /// The one that was inherited; `None`: we are nobody's successor, or of one that died.
    pub(super) fn claim(heritage: &mut Heritage) -> Option<Self> {
        heritage.claim(GATE).map(|gate| Self(gate.into()))
    }

    /// Says that we are ready, and waits until the predecessor has named us in its place and ended. False: it has not, and
    /// goes on without us.
    ///
    /// Until we are named we end with the predecessor (`PR_SET_PDEATHSIG`, prctl(2)): if it dies, whoever restarts it knows
    /// nothing of us, and starts another. So there is always exactly one.
    pub(super) fn pass(mut self) -> bool {
        let ready = [&[READY], env!("CARGO_PKG_VERSION").as_bytes()].concat();
        let said = self.0.set_read_timeout(Some(DEADLINE)).and_then(|()| self.0.write_all(&ready));
        if said.is_err() || self.hear() != Some(NAMED) {
            return false;
        }
        if prctl::set_pdeathsig(None).is_err() || self.0.write_all(&[ALONE]).is_err() {
            return false;
        }
        // When it has ended, or is about to: its descriptors are closed before we are somebody else's child, and what is
        // tied to our parent must be tied to the new one.
        let _ = self.hear();
        let _ = until(REST, PAUSE, || service_manager::hand_over_from().is_none().then_some(()));
        true
    }

    fn hear(&mut self) -> Option<u8> {
        let mut word = [0];
        matches!(self.0.read(&mut word), Ok(1)).then_some(word[0])
    }
}

/// A hand-over that was ordered.
#[derive(Debug)]
pub(super) struct Order {
    binary: PathBuf,
    deadline: Duration,
    answer: Answer<Done>,
}

/// How far one has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    is_under_way: bool,
    /// One that can go on.
    checked: Option<Order>,
}

fn refuse(answer: Answer<Done>, message: String) {
    let _ = answer.send(Err(Failure { error: "refused".into(), message }));
}

/// What the binary's own check of our configuration says.
async fn checked(summons: Summons, limit: Duration, file: &Path) -> Result<(), String> {
    let helper = summons.arrive(limit).await.map_err(|failed| failed.message)?;
    match helper.wait(limit).await {
        Some(supervision::Status::Exited(0)) => Ok(()),
        Some(supervision::Status::Exited(code)) => {
            Err(format!("its `check {}` ends with exit status {code}; run it to see why", file.display()))
        }
        Some(status) => Err(format!("`check` of the configuration ends with {}", words::status(status))),
        None => Err(format!("`check` of the configuration has not ended after {limit:?}")),
    }
}

impl Daemon {
    /// Has the binary that is to take over look at the configuration, while the loop goes on. It costs nobody anything if it
    /// cannot even say its version, does not like what it reads, or never ends.
    pub(super) fn on_reexec(&mut self, request: ReexecRequest, peer: Peer, answer: Answer<Done>) {
        let binary = request.binary.clone().unwrap_or_else(service_manager::program);
        self.log_order("reexec", &binary.display().to_string(), peer);
        let why = if !self.around.is_kept() {
            "nobody keeps the supervisor's descriptors, so that no worker would outlive it: run it under its guardian, or as a unit with FileDescriptorStoreMax=, and not with `on_death: kill`"
        } else if self.machine.is_shutting_down() {
            "the supervisor is shutting down"
        } else if std::mem::replace(&mut self.hand_over.is_under_way, true) {
            "another hand-over is under way: wait for it"
        } else {
            let deadline = request.timeout_ms.map_or(DEADLINE, Duration::from_millis);
            return self.check(Order { binary, deadline, answer });
        };
        refuse(answer, why.into());
    }

    fn check(&self, order: Order) {
        let file = self.settings.source.file.clone();
        let argv = [OsString::from("supervisord-rs"), "check".into(), file.clone().into_os_string()];
        let check = self.drivers.launch_check(&order.binary, &argv);
        let limit = order.deadline.min(CHECK);
        self.beside.spawn(async move {
            let result = match check {
                Ok(summons) => checked(summons, limit, &file).await,
                Err(why) => Err(why),
            };
            Said::Checked { order, result }
        });
    }

    /// Whether it can take over; then [`hand_over_if_checked`](Self::hand_over_if_checked) goes on.
    pub(super) fn on_checked(&mut self, order: Order, result: Result<(), String>) {
        self.hand_over.is_under_way = false;
        let why = match result {
            Err(why) => Some(format!("{} is not taken: {why}", order.binary.display())),
            Ok(()) if self.machine.is_shutting_down() => Some("the supervisor is shutting down".into()),
            Ok(()) => self.objection(),
        };
        match why {
            Some(why) => refuse(order.answer, why),
            None => self.hand_over.checked = Some(order),
        }
    }

    /// Gives way to a supervisor of the binary that was checked; to one of our own binary when that does not work. Does not
    /// come back.
    pub(super) async fn hand_over_if_checked(&mut self) {
        let Some(Order { binary, deadline, answer }) = self.hand_over.checked.take() else { return };
        let own = PathBuf::from(OWN);
        self.rest();
        let result = match self.give_way(&binary, true, deadline) {
            Ok((successor, version)) => {
                let (pid, own) = (successor.pid, std::process::id());
                let file = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or(binary);
                let message =
                    format!("process {pid} has taken over from {own}: {} {version}", file.display());
                Ok(Done { message, ..Done::default() })
            }
            Err(why) => {
                tracing::error!(binary = %binary.display(), "it does not take over: {why}; the old one goes on");
                self.publish("rolled-back", None, json!({ "binary": binary, "why": why }));
                match self.give_way(&own, false, DEADLINE) {
                    Ok((successor, _)) => {
                        let message = format!(
                            "{} does not take over: {why}; the old one goes on as process {}",
                            binary.display(),
                            successor.pid
                        );
                        Err(Failure { error: "failed".into(), message })
                    }
                    Err(worse) => {
                        // Dead, we are replaced by whoever restarts us, and nothing is lost that is not lost now.
                        tracing::error!(
                            "nor does our own: {worse}; this supervisor ends to be started again"
                        );
                        std::process::exit(1);
                    }
                }
            }
        };
        let _ = answer.send(result);
        // Streams of events end at once; nobody supervises until we have ended.
        self.events = crate::record::events::Events::default();
        if let Some(server) = self.around.server.take() {
            server.end(LAST_ANSWERS).await;
        }
        // Nothing of ours is cleared away: all of it is the successor's.
        std::process::exit(0);
    }

    /// SIGHUP: the same, with our own binary and nobody to answer.
    pub(super) fn on_hangup(&mut self) {
        if std::mem::take(&mut self.around.has_terminal) && !super::start::has_terminal() {
            tracing::info!("the terminal has closed; the supervisor goes on");
            return;
        }
        self.around.say_reloading(false);
        let (answer, result) = tokio::sync::oneshot::channel();
        let own = nix::unistd::getpid().as_raw();
        let peer =
            Peer { pid: own, uid: nix::unistd::getuid().as_raw(), gid: nix::unistd::getgid().as_raw() };
        let request = ReexecRequest { binary: Some(OWN.into()), timeout_ms: None };
        self.on_reexec(request, peer, answer);
        // Where it succeeds we do not come to it: the successor says that the reload is over.
        self.beside.spawn(async move {
            Said::NotReloaded(result.await.ok().and_then(Result::err).map(|failure| failure.message))
        });
    }

    pub(super) fn on_not_reloaded(&self, why: Option<String>) {
        if let Some(why) = why {
            tracing::error!("the configuration is not read anew: {why}");
        }
        self.around.say_reloading(true);
    }

    /// Why no successor can go on with what the file says now.
    fn objection(&self) -> Option<String> {
        let file = self.settings.source.file.display();
        let settings = crate::config::load(&self.settings.source.file, self.drivers.registry()).ok()?;
        let fixed = in_force::fixed(&self.settings.supervisor, &settings.supervisor);
        if !fixed.is_empty() {
            return Some(format!(
                "{file} changes what holds as long as a supervisor and its successors run: {}; nothing was changed; undo that, or end it and run it again (supervisord-rs shutdown)",
                fixed.join(", ")
            ));
        }
        let orphaned = self.orphaned(&settings);
        (!orphaned.is_empty()).then(|| {
            let names = orphaned.join(" ");
            format!(
                "{names} would be nobody's: not in {file} any more, and running; stop them first (supervisord-rs stop {names})"
            )
        })
    }

    /// Workers with processes that the file does not name any more: a successor would have to kill them.
    fn orphaned(&self, settings: &Settings) -> Vec<String> {
        let is_named = |name: &str, base: &str| {
            settings.templates.contains_key(base)
                || settings.launches.iter().any(|launch| launch.name == name)
        };
        let ours = self.every_worker().filter(|worker| {
            let view = self.machine.worker(*worker);
            let launch = self.drivers.launch_of(*worker);
            view.is_some_and(|view| view.phase.is_live())
                && launch.isolation != crate::config::Isolation::Thread
                && !is_named(&launch.name, &launch.base)
        });
        ours.map(|worker| self.names.worker(worker).to_owned()).collect()
    }

    /// Lets go of what two cannot do at once.
    fn rest(&mut self) {
        // What is not launched by now is the successor's to launch.
        self.drivers.withdraw_all();
        self.drivers.stop_threads(REST);
        if !self.drivers.hold_logs(REST) {
            tracing::warn!("output hangs in a write: what is in there may be written late");
        }
        self.write_settled(true);
        self.around.scribe.flush(REST);
        self.around.black_box.give_way(true);
    }

    /// Starts a successor, waits until it is ready, and lets it stand alone. It reads the file `anew`, or goes on with the
    /// configuration in force. It, and the version that it says it is.
    fn give_way(&self, binary: &Path, anew: bool, deadline: Duration) -> Result<(Child, String), String> {
        let (mut gate, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
        let child = self.launch_successor(binary, theirs.as_fd(), anew)?;
        drop(theirs);
        let heard = self.wait_for_ready(&mut gate, deadline).and_then(|version| {
            self.let_go(&mut gate, &child)?;
            Ok(version)
        });
        match heard {
            Ok(version) => {
                // It hears that we are gone when this is closed, which is when we are.
                std::mem::forget(gate);
                Ok((child, version))
            }
            Err(why) => {
                // With whatever it has started: all of that has what we handed over.
                reaper::signal_group(&child, libc::SIGKILL);
                reaper::discard(&child.pidfd);
                Err(why)
            }
        }
    }

    /// Its version.
    fn wait_for_ready(&self, gate: &mut UnixStream, deadline: Duration) -> Result<String, String> {
        let end = Instant::now() + deadline;
        let mut said = [0; 64];
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(format!("it is not ready after {deadline:?}"));
            }
            self.around.say_alive();
            let timed = gate.set_read_timeout(Some(rest.min(PATIENCE)));
            match timed.and_then(|()| gate.read(&mut said)) {
                Ok(count @ 1..) if said[0] == READY => {
                    return Ok(String::from_utf8_lossy(&said[1..count]).into_owned());
                }
                Ok(_) => return Err("it ends before it is ready".into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Names it to whoever restarts us, and then lets it outlive us.
    fn let_go(&self, gate: &mut UnixStream, child: &Child) -> Result<(), String> {
        if !self.around.name_successor(child.pid) {
            return Err("the service manager takes no message".into());
        }
        let mut said = [0];
        let answered = gate
            .set_read_timeout(Some(REST))
            .and_then(|()| gate.write_all(&[NAMED]))
            .and_then(|()| gate.read_exact(&mut said));
        if answered.is_ok() && said[0] == ALONE {
            return Ok(());
        }
        self.around.name_successor(nix::unistd::getpid().as_raw());
        Err("it ends before it has taken over".into())
    }

    fn launch_successor(&self, binary: &Path, gate: BorrowedFd<'_>, anew: bool) -> Result<Child, String> {
        let kept: Vec<(String, OwnedFd)> = self.around.kept();
        let secrets: Vec<(String, BorrowedFd<'_>)> =
            inherited::all().map(|(name, secret)| (name, secret.as_fd())).collect();
        let all: Vec<(&str, BorrowedFd<'_>)> = kept
            .iter()
            .map(|(name, descriptor)| (name.as_str(), descriptor.as_fd()))
            .chain(secrets.iter().map(|(name, secret)| (name.as_str(), *secret)))
            .chain(self.drivers.obituaries().map(|pipe| (crate::guardian::obituary::OBITUARIES, pipe)))
            .chain(self.around.unit_socket())
            .chain(self.around.locks())
            .chain([(GATE, gate)])
            .collect();
        let table = table::write(all.iter().copied()).map_err(|error| error.to_string())?;
        let passed: Vec<BorrowedFd<'_>> =
            all.iter().map(|(_, descriptor)| *descriptor).chain([table.as_fd()]).collect();
        let own: [(&str, OsString); 4] = [
            (table::TABLE, table.as_raw_fd().to_string().into()),
            (HAND_OVER, std::process::id().to_string().into()),
            (service_manager::PREDECESSOR, OsString::new()),
            (service_manager::PROGRAM, place_of(binary).into_os_string()),
        ];
        let read_anew = anew.then_some((OsStr::new(READ_ANEW), OsStr::new("1")));
        let is_stale = |name: &OsStr| NOT_INHERITED.iter().any(|stale| name == *stale);
        let inherited: Vec<(OsString, OsString)> = std::env::vars_os()
            .filter(|(name, _)| !is_stale(name) && own.iter().all(|(known, _)| name != known))
            .collect();
        let environment = inherited
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
            .chain(own.iter().map(|(name, value)| (OsStr::new(name), value.as_os_str())))
            .chain(read_anew);
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let launch = || {
            Plan::new(binary.as_os_str(), &arguments, OsStr::new(""))?
                .environment(environment)?
                .descriptor(io::stdin().as_fd())?
                .descriptor(io::stdout().as_fd())?
                .descriptor(io::stderr().as_fd())?
                .pass(&passed)
                .listen_pid()
                // Until it stands alone: whoever comes after our death finds no other that is half a supervisor.
                .parent_death_signal(Some(Signal::SIGKILL))
                .launch()
        };
        launch().map_err(|failure| advice(failure, &binary.display().to_string()))
    }
}

/// Where a successor is told that its binary lies.
fn place_of(binary: &Path) -> PathBuf {
    if binary == Path::new(OWN) {
        return service_manager::program();
    }
    std::env::current_dir().unwrap_or_default().join(binary)
}
