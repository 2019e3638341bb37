//! The control socket: where clients reach this supervisor, whether it made the socket or a socket
//! unit of the service manager did.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::Type;
use tokio::sync::mpsc;

use crate::config::SupervisorSettings;
use crate::control;
use crate::control::request::Request;
use crate::control::server::Server;
use crate::control::socket::Admission;
use crate::control::thread::ApiThread;
use crate::service_manager::FdStore;
use crate::unix_socket::{Bound, is_served};

/// The control socket of a socket unit (`FileDescriptorName=`, systemd.socket(5)), which is not
/// ours to remove.
pub(super) const CONTROL_OF_UNIT: &str = "control";
/// Our own in the store.
pub(super) const CONTROL: &str = "control-socket";

/// The socket, and who serves it.
pub(super) struct ControlSocket {
    path: PathBuf,
    requests: mpsc::Sender<Request>,
    thread: ApiThread,
    server: Option<Server>,
    /// The file there that is our control socket; `None`: we have none there.
    bound: Option<Bound>,
    /// The same, where it belongs to a socket unit, which goes on listening when we have ended.
    of_unit: Option<OwnedFd>,
}

impl ControlSocket {
    /// One that is not served yet. `requests`: where the orders of clients go.
    pub(super) fn new(
        path: PathBuf,
        requests: mpsc::Sender<Request>,
        of_unit: Option<OwnedFd>,
    ) -> Self {
        let thread = ApiThread::default();
        Self { path, requests, thread, server: None, bound: None, of_unit }
    }

    /// Serves the unit's socket, an `inherited` one that still lies in its place, or a new one.
    pub(super) fn serve(
        &mut self,
        supervisor: &SupervisorSettings,
        inherited: Option<OwnedFd>,
        store: &FdStore,
    ) -> io::Result<()> {
        let group = supervisor.control_group.as_deref();
        let (path, is_of_unit) = (self.path.as_path(), self.of_unit.is_some());
        // Clients that connected while there was no supervisor wait in its queue.
        let is_ours = || match is_of_unit {
            true => path.exists(),
            false => Bound::at(path).is_some() && is_served(path, Type::STREAM).unwrap_or(false),
        };
        let inherited = inherited.map(UnixListener::from).filter(|_| is_ours());
        control::socket::open_directory(&supervisor.runtime_dir, group)?;
        let (listener, admission) = match inherited {
            Some(listener) if is_of_unit => (listener, control::socket::admission(group)?),
            Some(listener) => {
                (listener, control::socket::take_over(path, supervisor.control_mode, group)?)
            }
            None => {
                store.forget(CONTROL);
                control::socket::bind(path, supervisor.control_mode, group)?
            }
        };
        if !is_of_unit {
            store.keep(CONTROL, &[listener.as_fd()]);
        }
        let bound = Bound::at(path);
        self.server = Some(self.start(listener, admission)?);
        self.bound = bound;
        Ok(())
    }

    /// Serves one that has been made again.
    pub(super) fn listen(&mut self, listening: Listening, store: &FdStore) -> io::Result<()> {
        store.forget(CONTROL);
        store.keep(CONTROL, &[listening.listener.as_fd()]);
        let Listening { listener, admission, bound } = listening;
        let server = self.start(listener, admission)?;
        self.of_unit = None;
        self.bound = bound;
        // Clients of the old one are served to the end.
        self.server = Some(server);
        Ok(())
    }

    fn start(&mut self, listener: UnixListener, admission: Admission) -> io::Result<Server> {
        Server::start(&mut self.thread, listener, admission, self.requests.clone())
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file there that is ours, and whether it is that of a unit.
    pub(super) fn owner(&self) -> (Option<Bound>, bool) {
        (self.bound, self.of_unit.is_some())
    }

    /// The socket, where it belongs to a socket unit, with the name by which it is passed.
    pub(super) fn of_unit(&self) -> Option<(&'static str, BorrowedFd<'_>)> {
        self.of_unit.as_ref().map(|socket| (CONTROL_OF_UNIT, socket.as_fd()))
    }

    /// The trouble in the log and status where it cannot be made.
    pub(super) fn trouble(&self, error: &io::Error) -> String {
        let path = self.path.display();
        format!(
            "cannot listen on the control socket {path}: {error}; signals work; it is tried again"
        )
    }

    /// Clients that connect from now on wait for the next supervisor.
    pub(super) async fn close_door(&mut self) {
        if let Some(server) = &mut self.server {
            server.close_door().await;
        }
    }

    /// Clients get the answers that are on their way, for so long at most. The socket, which no
    /// task serves any more.
    pub(super) async fn end(&mut self, limit: Duration) -> Option<UnixListener> {
        match self.server.take() {
            Some(server) => server.end(limit).await,
            None => None,
        }
    }

    /// Leaves nothing behind, unless it belongs to a unit.
    pub(super) fn clear_away(&self, listener: Option<&UnixListener>) {
        if self.of_unit.is_some() {
            return;
        }
        if is_there(self.bound, false, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
        if let Some(listener) = listener {
            control::socket::send_away(listener);
        }
    }
}

impl std::fmt::Debug for ControlSocket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ControlSocket").field("path", &self.path).finish_non_exhaustive()
    }
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

/// Whether that file lies at the path of the control socket; that of a socket unit is not ours, and
/// any will do.
pub(super) fn is_there(control: Option<Bound>, is_of_unit: bool, socket: &Path) -> bool {
    if is_of_unit { socket.exists() } else { control.is_some_and(|bound| bound.is_at(socket)) }
}
