//! `reexec`: another supervisor, of another binary perhaps, takes our place while we live. In two
//! steps: first it is started beside us with nothing, checks the configuration, and says that it is
//! prepared; meanwhile we go on as if it were not there, and one that does not come so far is
//! killed and forgotten. Then we rest, and give it all that is in the fd store; it goes on from the
//! black box, and says that it is ready; we name it to the service manager and end. One that fails
//! there is killed, and another one of our own binary takes our place: what we run stays open as
//! long as we live, whatever became of the file.
//!
//! Process workers, sockets and output notice nothing. Thread workers are our own threads: they are
//! asked to stop, and the successor starts them again; that is no incident.
//!
//! | file | concept |
//! |---|---|
//! | `hand_over` | who may take over, and what we do meanwhile |
//! | `check` | whether one can go on with what the file says |
//! | `giving_way` | we rest, and another goes on |
//! | `meanwhile` | what we do while we rest |
//! | `reload` | what a reload does to each worker |
//! | `gate` | what the two say to each other, and what is given |
//! | `successor` | how it is started |

mod check;
mod gate;
mod giving_way;
mod meanwhile;
mod reload;
mod successor;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Daemon, OWN};
use crate::config::Settings;
use crate::control::protocol::{Done, Failure, ReexecRequest, ReloadReport};
use crate::control::request::{Answer, Peer};
use crate::record::event::What;
use crate::service_manager;
use crate::waiting::Limit;

pub use gate::Gate;
use successor::Successor;

/// The default deadline for a successor to be prepared.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// For threads to stop, and for output that is on its way.
const REST: Duration = Duration::from_secs(5);
/// Between two signs of life to the service manager while we wait.
const BREATH: Duration = Duration::from_millis(500);
/// Between two looks at whose child we are.
const PAUSE: Duration = Duration::from_millis(1);
/// For a binary to check our configuration, and for us to read it.
const CHECK: Duration = Duration::from_secs(10);
/// The lock of the runtime directory goes with the place.
pub(super) const LOCK: &str = "lock";
/// So does the one in the state directory.
pub(super) const STATE_LOCK: &str = "state-lock";

/// A hand-over that was ordered.
#[derive(Debug)]
pub(super) struct Order {
    binary: PathBuf,
    limit: Limit,
    answer: Answer<Done>,
    /// Of a reload: what it does to each worker.
    reload: Option<ReloadReport>,
}

impl Order {
    /// Whether it is about the file alone: the binary is ours.
    fn is_reload(&self) -> bool {
        self.binary.as_os_str() == OWN
    }
}

/// Something of a hand-over has happened in the background.
#[derive(Debug)]
pub(super) enum News {
    /// The binary that is to take over has checked the configuration; what we read in it ourselves.
    Checked { order: Order, result: Result<Option<Box<Settings>>, Failure> },
    /// A supervisor of that binary is ready to take over.
    Prepared { order: Order, settings: Option<Box<Settings>>, result: Result<Successor, String> },
    /// A reload by signal came to nothing; why.
    NotReloaded(Option<String>),
}

/// How far one has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    is_under_way: bool,
    /// One that takes over next.
    prepared: Option<(Order, Successor)>,
    /// Orders that came while this supervisor rested, for the one that continues.
    signals: Vec<i32>,
}

fn refuse(answer: Answer<Done>, message: String) {
    let _ = answer.send(Err(refused(message)));
}

fn refused(message: String) -> Failure {
    Failure::new("refused", message)
}

impl Daemon {
    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::Checked { order, result } => self.on_checked(order, result),
            News::Prepared { order, settings, result } => {
                self.on_prepared(order, settings.as_deref(), result);
            }
            News::NotReloaded(why) => self.on_not_reloaded(why),
        }
    }

    /// Lets the new binary check the configuration, while the loop turns. It does no harm if the
    /// binary cannot even print its version, refuses the file, or never ends.
    pub(super) fn on_reexec(&mut self, request: ReexecRequest, peer: Peer, answer: Answer<Done>) {
        let binary = request.binary.clone().unwrap_or_else(service_manager::program);
        match request.binary.as_ref().filter(|binary| binary.as_os_str() == OWN) {
            Some(_) => {
                let file = self.settings.source.file.display().to_string();
                self.log_order("reload", &file, peer);
            }
            None => self.log_order("reexec", &binary.display().to_string(), peer),
        }
        // The supervisor's user runs the chosen binary: a user who may only use the API must not
        // become that user by it.
        let is_theirs = request.binary.as_ref().is_some_and(|binary| binary.as_os_str() != OWN);
        let may_choose = peer.uid == 0 || peer.uid == nix::unistd::getuid().as_raw();
        let why = if is_theirs && !may_choose {
            "only root and the supervisor's own user may name another binary (`--binary`), since \
             it runs as that user; without it, `reexec` takes the file that the supervisor was \
             started from"
        } else if !self.around.is_kept() {
            "no guardian or service manager keeps the supervisor's descriptors, so no worker would \
             outlive it: run it under its guardian, or as a unit with FileDescriptorStoreMax=, and \
             not with `on_death: kill`"
        } else if self.machine.is_shutting_down() {
            "the supervisor is shutting down"
        } else if std::mem::replace(&mut self.hand_over.is_under_way, true) {
            "another hand-over is under way: wait for it"
        } else {
            let limit = request.timeout_ms.map_or(DEADLINE, Duration::from_millis);
            let limit = Limit::new(limit);
            return self.check(Order { binary, limit, answer, reload: None });
        };
        refuse(answer, why.into());
    }

    fn check(&self, order: Order) {
        let source = Arc::clone(&self.settings.source);
        let file = source.file.clone();
        let argv =
            [OsString::from("supervisord-rs"), "check".into(), file.clone().into_os_string()];
        let is_reload = order.is_reload();
        let binary = order.binary.display().to_string();
        // Our own binary reads the file as we do.
        let check = (!is_reload).then(|| self.drivers.launch_check(&order.binary, &argv, None));
        let registry = self.drivers.registry().clone();
        self.background.spawn(async move {
            let mut limit = Limit::new(order.limit.rest().min(CHECK));
            let checked = match check {
                Some(Ok(summons)) => check::checked(summons, &mut limit, &file).await,
                Some(Err(why)) => Err(why),
                None => Ok(()),
            };
            let not_taken = |why: String| refused(format!("{binary} cannot take over: {why}"));
            let result = match checked {
                Ok(()) => check::read(source, registry, &mut limit).await,
                Err(why) => Err(not_taken(why)),
            };
            // Another binary may like what we do not.
            let result = match result {
                Ok(Err(problems)) if is_reload => Err(check::invalid(&problems)),
                Ok(read) => Ok(read.ok()),
                Err(failure) => Err(failure),
            };
            News::Checked { order, result }
        });
    }

    /// Whether it can take over; then one is prepared, in the background too.
    fn on_checked(&mut self, mut order: Order, result: Result<Option<Box<Settings>>, Failure>) {
        let settings = match result {
            Ok(settings) => settings,
            Err(failure) => {
                self.hand_over.is_under_way = false;
                let _ = order.answer.send(Err(failure));
                return;
            }
        };
        if let Some(why) = self.view().objection(settings.as_deref()) {
            return self.give_up(order.answer, why);
        }
        order.reload = settings
            .as_deref()
            .filter(|_| order.is_reload())
            .map(|settings| self.view().reload_report(settings));
        match Successor::prepare(&self.drivers, &order.binary, order.limit) {
            Err(why) => self.give_up(order.answer, why),
            Ok(prepared) => self.background.spawn(async move {
                let result = prepared.await;
                News::Prepared { order, settings, result }
            }),
        }
    }

    fn give_up(&mut self, answer: Answer<Done>, why: String) {
        self.hand_over.is_under_way = false;
        refuse(answer, why);
    }

    /// It runs, and waits for us; or it is gone, and nothing has happened. Then
    /// [`hand_over_if_prepared`](Self::hand_over_if_prepared) goes on.
    fn on_prepared(
        &mut self,
        order: Order,
        settings: Option<&Settings>,
        result: Result<Successor, String>,
    ) {
        // Meanwhile a worker may have started that the file does not name.
        match (self.view().objection(settings), result) {
            (None, Ok(successor)) => self.hand_over.prepared = Some((order, successor)),
            (Some(why), _) => self.give_up(order.answer, why),
            (None, Err(why)) => {
                self.hand_over.is_under_way = false;
                let (binary, why) = (order.binary.as_path(), why.as_str());
                self.emit(None, What::RolledBack { binary, why, had_rested: false });
                let binary = in_words(&order.binary);
                let message = format!("{binary} does not take over: {why}; nothing has changed");
                refuse(order.answer, message);
            }
        }
    }

    /// SIGHUP: the same, with the present binary and without an answer.
    pub(super) fn reload_unasked(&mut self) {
        self.around.say_reloading(false);
        let (answer, result) = tokio::sync::oneshot::channel();
        let own = nix::unistd::getpid().as_raw();
        let peer = Peer {
            pid: own,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
        };
        let request = ReexecRequest { binary: Some(OWN.into()), timeout_ms: None };
        self.on_reexec(request, peer, answer);
        // Where it succeeds we do not come to it: the successor says that the reload is over.
        self.background.spawn(async move {
            News::NotReloaded(
                result.await.ok().and_then(Result::err).map(|failure| failure.message),
            )
        });
    }

    fn on_not_reloaded(&self, why: Option<String>) {
        if let Some(why) = why {
            tracing::error!("the configuration is not reloaded: {why}");
        }
        self.around.say_reloading(true);
    }
}

/// A binary in a message. A reload runs this supervisor's own, which has no name that a user knows.
fn in_words(binary: &Path) -> String {
    if binary == Path::new(OWN) {
        "the next supervisor".to_owned()
    } else {
        binary.display().to_string()
    }
}
