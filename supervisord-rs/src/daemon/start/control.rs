//! How clients reach this supervisor.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::StartError;
use crate::config::Settings;
use crate::control::request::Request;
use crate::control::server::Server;
use crate::control::thread::ApiThread;
use crate::daemon::REQUESTS;
use crate::daemon::around::{CONTROL, Service, control_trouble, serve};
use crate::daemon::in_force::Origin;
use crate::daemon::upkeep::{THE_CONTROL_SOCKET, Troubles};
use crate::service_manager::{FdStore, Heritage};
use crate::unix_socket::Bound;

/// The control socket, and the queue between it and the loop.
pub(super) struct Control {
    pub(super) sender: mpsc::Sender<Request>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) socket: PathBuf,
    pub(super) unit_socket: Option<OwnedFd>,
    pub(super) server: Option<Server>,
    pub(super) api_thread: ApiThread,
    pub(super) bound: Option<Bound>,
}

impl Control {
    /// `of_unit`: the listening socket of the service manager's unit; without one, that of a
    /// predecessor does. A first start without a control socket is refused; a successor goes on.
    pub(super) fn open(
        settings: &Settings,
        origin: Origin,
        of_unit: Option<OwnedFd>,
        heritage: &mut Heritage,
        store: &FdStore,
        troubles: &mut Troubles,
    ) -> Result<Self, StartError> {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let socket = settings.supervisor.runtime_dir.join("control.sock");
        let unit_socket = of_unit.as_ref().map(OwnedFd::try_clone).transpose()?;
        let is_of_unit = unit_socket.is_some();
        let mut api_thread = ApiThread::default();
        let service = Service { requests: sender.clone(), thread: &mut api_thread };
        let inherited = of_unit.or_else(|| heritage.claim(CONTROL));
        let served = serve(&socket, settings, service, inherited, is_of_unit, store);
        let (server, bound) = match served {
            Ok((server, bound)) => (Some(server), bound),
            Err(error) if origin == Origin::Predecessor => {
                troubles.insert(THE_CONTROL_SOCKET, control_trouble(&socket, &error));
                (None, None)
            }
            Err(source) => return Err(StartError::Control { path: socket, source }),
        };
        Ok(Self { sender, requests, socket, unit_socket, server, api_thread, bound })
    }
}
