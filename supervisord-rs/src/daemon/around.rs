//! The surroundings of the loop, which stay while it runs: control socket, service manager, store,
//! lock.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{kill, raise};
use nix::unistd::{Pid, getppid};
use socket2::Type;
use tokio::sync::mpsc;
use workers::board::monotonic_ns;

use super::hand_over::{Gate, LOCK, STATE_LOCK};
use super::in_force;
use crate::config::{Settings, SupervisorSettings};
use crate::control;
use crate::control::request::Request;
use crate::control::server::Server;
use crate::control::socket::Admission;
use crate::control::thread::ApiThread;
use crate::daemon::runtime_lock::RuntimeLock;
use crate::guardian::orderly_end::{self, ORDERLY_END};
use crate::held_signals::GUARDIAN_GONE;
use crate::record::black_box::BlackBox;
use crate::record::scribe::Scribe;
use crate::service_manager::{Custody, FdStore, ServiceManager, hand_over_from};
use crate::unix_socket::{Bound, is_served};

/// The control socket of a socket unit (`FileDescriptorName=`, systemd.socket(5)), which is not
/// ours to remove.
pub(super) const CONTROL_OF_UNIT: &str = "control";
/// For the manager to hear, at the very end, what it need not keep any more.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// For the end after the last worker: processes that do not die of SIGKILL, logs and answers have
/// limits of their own, which add up to less.
const LAST_STEPS: Duration = Duration::from_secs(30);
/// Our own in the store.
pub(super) const CONTROL: &str = "control-socket";

/// What stays as it is while the supervisor runs.
pub(super) struct Around {
    pub(super) started_at: String,
    pub(super) guardian: Option<i32>,
    /// Whether a predecessor that cannot die is still our parent.
    pub(super) is_under_predecessor: bool,
    pub(super) black_box: Rc<BlackBox>,
    pub(super) scribe: Scribe,
    /// What the guardian is to know.
    pub(super) custody: Custody,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) service_manager: Option<ServiceManager>,
    /// Where the guardian reads who ends in order, and signs of life.
    pub(super) orderly_end: Option<File>,
    pub(super) server: Option<Server>,
    pub(super) api_thread: ApiThread,
    pub(super) socket: PathBuf,
    /// The file there that is our control socket; `None`: we have none there.
    pub(super) control: Option<Bound>,
    /// The same, where it belongs to a socket unit, which goes on listening when we have ended.
    pub(super) unit_socket: Option<OwnedFd>,
    /// Where that is kept by which processes outlive us; none where they are not to.
    pub(super) store: FdStore,
    /// Where our own is kept: the configuration in force, the black box.
    pub(super) keeper: FdStore,
    /// Our predecessor waits there until we are ready.
    pub(super) gate: Option<Gate>,
    /// The terminal that it was started at.
    pub(super) terminal: crate::hangup::Terminal,
    /// Held as long as this process lives; the kernel releases it after any death. None where the
    /// directory is missing.
    pub(super) lock: Option<RuntimeLock>,
    /// The same in the state directory, which stays when the other one is deleted.
    pub(super) state_lock: Option<RuntimeLock>,
}

impl Around {
    /// Says that start-up is over; where a predecessor waits for that, to it. False: it goes on
    /// without us.
    pub(super) fn announce_ready(&mut self, workers: usize) -> bool {
        if self.gate.take().is_some_and(|gate| !gate.pass()) {
            return false;
        }
        // One that cannot die is still our parent.
        self.is_under_predecessor = hand_over_from().is_some();
        if self.guardian.is_some() {
            // As of a supervisor that the guardian started: without it, we stop in order. Only now
            // is it our parent.
            let _ = nix::sys::prctl::set_pdeathsig(GUARDIAN_GONE);
            // It may have died before this was said.
            if self.is_guardian_gone() {
                let _ = raise(GUARDIAN_GONE);
            }
        }
        self.keeper.release();
        tracing::info!(socket = %self.socket.display(), workers, "supervising");
        if let Some(manager) = &self.service_manager {
            if self.guardian.is_some() {
                manager.custody(self.custody);
            }
            manager.ready();
            manager.status(&format!("supervising {workers} workers"));
        }
        true
    }

    /// Whether the guardian has died: then this process has another parent, and no successor will
    /// start. A successor is at first a child of its predecessor.
    pub(super) fn is_guardian_gone(&self) -> bool {
        let Some(guardian) = self.guardian else { return false };
        let is_child_of_another = getppid().as_raw() != guardian && hand_over_from().is_none();
        is_child_of_another || kill(Pid::from_raw(guardian), None) == Err(nix::errno::Errno::ESRCH)
    }

    /// Whether the parent that has died was a predecessor that could not die at the hand-over. The
    /// guardian is our parent then, and its death is reported from now on.
    pub(super) fn is_predecessors_death(&mut self) -> bool {
        let was_under = self.is_under_predecessor;
        self.is_under_predecessor = hand_over_from().is_some();
        was_under && !self.is_guardian_gone()
    }

    /// Whether process workers outlive us.
    pub(super) fn is_kept(&self) -> bool {
        self.store.is_there()
    }

    /// What outlives us, in pieces: see [`FdStore::kept_after`].
    pub(super) fn kept_after(
        &self,
        last: Option<&str>,
        most: usize,
    ) -> Vec<(String, Arc<OwnedFd>)> {
        self.store.kept_after(last, most)
    }

    /// The control socket, where it belongs to a socket unit, with the name by which it is passed.
    pub(super) fn unit_socket(&self) -> Option<(&'static str, BorrowedFd<'_>)> {
        self.unit_socket.as_ref().map(|socket| (CONTROL_OF_UNIT, socket.as_fd()))
    }

    /// The locks of the runtime directory, with the names by which they are passed: a lock is held
    /// as long as any process has it.
    pub(super) fn locks(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        let state_lock = self.state_lock.as_ref().map(|lock| (STATE_LOCK, lock.as_fd()));
        self.lock.as_ref().map(|lock| (LOCK, lock.as_fd())).into_iter().chain(state_lock)
    }

    /// Names another process in our place. Whether that was heard.
    pub(super) fn name_successor(&self, pid: i32) -> bool {
        self.service_manager.as_ref().is_none_or(|manager| manager.main_pid(pid))
    }

    /// Says that a reload has begun, or that it is over and all is as it was.
    pub(super) fn say_reloading(&self, is_over: bool) {
        match &self.service_manager {
            Some(manager) if is_over => manager.ready(),
            Some(manager) => manager.reloading(),
            None => {}
        }
    }

    /// Says that the loop turns: to the guardian also in a way that needs no room in its queue.
    pub(super) fn say_alive(&self) {
        self.give_sign(Duration::ZERO);
        if let Some(manager) = &self.service_manager {
            manager.alive();
        }
    }

    /// Says that the loop turns no more, and that the end takes [`LAST_STEPS`] at most.
    pub(super) fn say_last_steps(&self) {
        self.give_sign(LAST_STEPS);
    }

    fn give_sign(&self, ahead: Duration) {
        if let Some(page) = &self.orderly_end {
            let at = Duration::from_nanos(monotonic_ns()).saturating_add(ahead);
            let _ = orderly_end::give_sign(page, at);
        }
    }

    /// Says that the end has begun and is wanted: to the guardian in a way that needs no room in
    /// its queue.
    pub(super) fn announce_stopping(&self) {
        let is_known =
            self.orderly_end.as_ref().is_some_and(|page| orderly_end::announce(page).is_ok());
        if let Some(manager) = &self.service_manager {
            manager.stopping(is_known);
        }
    }

    /// Whether the guardian's terminal has closed.
    pub(super) fn has_terminal_closed(&self) -> bool {
        self.orderly_end.as_ref().is_some_and(orderly_end::has_terminal_closed)
    }

    /// Where the guardian reads who ends in order, with the name by which it is passed.
    pub(super) fn orderly_end(&self) -> Option<(&'static str, BorrowedFd<'_>)> {
        self.orderly_end.as_ref().map(|page| (ORDERLY_END, page.as_fd()))
    }

    /// Whether clients reach us at the control socket's path.
    pub(super) fn has_control(&self) -> bool {
        is_there(self.control, self.unit_socket.is_some(), &self.socket)
    }

    /// Serves a control socket that has been made again.
    pub(super) fn listen(&mut self, listening: Listening) -> io::Result<()> {
        self.store.forget(CONTROL);
        self.store.keep(CONTROL, &[listening.listener.as_fd()]);
        let Listening { listener, admission, bound } = listening;
        let requests = self.requests.clone();
        let server = Server::start(&mut self.api_thread, listener, admission, requests)?;
        self.unit_socket = None;
        self.control = bound;
        // Clients of the old one are served to the end.
        self.server = Some(server);
        Ok(())
    }

    /// The trouble in the log and status where the control socket cannot be made.
    pub(super) fn control_trouble(&self, error: &io::Error) -> String {
        control_trouble(&self.socket, error)
    }

    /// After the last worker: the mark that tells a clean end from a death.
    ///
    /// `listener`: the control socket, which no task serves any more.
    pub(super) fn end(&self, listener: Option<&UnixListener>) {
        self.announce_stopping();
        in_force::forget(&self.keeper);
        // Nothing is left: a successor would adopt what the manager still had.
        self.keeper.flush(LAST_WORDS);
        self.black_box.mark_clean();
        if self.unit_socket.is_none() {
            if self.has_control() {
                let _ = std::fs::remove_file(&self.socket);
            }
            if let Some(listener) = listener {
                control::socket::send_away(listener);
            }
        }
    }
}

impl std::fmt::Debug for Around {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Around").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The trouble in the log and status where the control socket cannot be made.
pub(super) fn control_trouble(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    format!(
        "cannot listen on the control socket {socket}: {error}; signals work; it is tried again"
    )
}

/// Who serves clients, and where their requests go.
pub(super) struct Service<'a> {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) thread: &'a mut ApiThread,
}

/// A control socket that is not served yet.
#[derive(Debug)]
pub(super) struct Listening {
    listener: UnixListener,
    admission: Admission,
    pub(super) bound: Option<Bound>,
}

impl Listening {
    /// Makes the socket. May block where a file system, or a database of groups, does.
    pub(super) fn bind(socket: &Path, supervisor: &SupervisorSettings) -> io::Result<Self> {
        let group = supervisor.control_group.as_deref();
        control::socket::open_directory(&supervisor.runtime_dir, group)?;
        let (listener, admission) = control::socket::bind(socket, supervisor.control_mode, group)?;
        Ok(Self { listener, admission, bound: Bound::at(socket) })
    }
}

pub(super) fn serve(
    socket: &Path,
    settings: &Settings,
    service: Service<'_>,
    inherited: Option<OwnedFd>,
    is_of_unit: bool,
    store: &FdStore,
) -> io::Result<(Server, Option<Bound>)> {
    let supervisor = &settings.supervisor;
    let group = supervisor.control_group.as_deref();
    // Clients that connected while there was no supervisor wait in its queue.
    let is_ours = || match is_of_unit {
        true => socket.exists(),
        false => Bound::at(socket).is_some() && is_served(socket, Type::STREAM).unwrap_or(false),
    };
    let inherited = inherited.map(UnixListener::from).filter(|_| is_ours());
    control::socket::open_directory(&supervisor.runtime_dir, group)?;
    let (listener, admission) = match inherited {
        Some(listener) if is_of_unit => (listener, control::socket::admission(group)?),
        Some(listener) => {
            (listener, control::socket::take_over(socket, supervisor.control_mode, group)?)
        }
        None => {
            store.forget(CONTROL);
            control::socket::bind(socket, supervisor.control_mode, group)?
        }
    };
    if !is_of_unit {
        store.keep(CONTROL, &[listener.as_fd()]);
    }
    let control = Bound::at(socket);
    Ok((Server::start(service.thread, listener, admission, service.requests)?, control))
}

/// Whether that file lies at the path of the control socket; that of a socket unit is not ours, and
/// any will do.
pub(super) fn is_there(control: Option<Bound>, is_of_unit: bool, socket: &Path) -> bool {
    if is_of_unit { socket.exists() } else { control.is_some_and(|bound| bound.is_at(socket)) }
}
