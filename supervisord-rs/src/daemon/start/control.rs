//! How clients reach this supervisor.

use std::os::fd::OwnedFd;

use tokio::sync::mpsc;

use super::StartError;
use crate::config::Settings;
use crate::control::request::Request;
use crate::daemon::REQUESTS;
use crate::daemon::control_socket::{CONTROL, ControlSocket};
use crate::daemon::in_force::Origin;
use crate::daemon::upkeep::{THE_CONTROL_SOCKET, Troubles};
use crate::service_manager::{FdStore, InheritedDescriptors};

/// The control socket, and the queue between it and the loop.
pub(super) struct Control {
    pub(super) socket: ControlSocket,
    pub(super) requests: mpsc::Receiver<Request>,
}

impl Control {
    /// `of_unit`: the listening socket of the service manager's unit; without one, that of a
    /// predecessor does. A first start without a control socket is refused; a successor goes on.
    pub(super) fn open(
        settings: &Settings,
        origin: Origin,
        of_unit: Option<OwnedFd>,
        inherited: &mut InheritedDescriptors,
        store: &FdStore,
        troubles: &mut Troubles,
    ) -> Result<Self, StartError> {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let path = settings.supervisor.runtime_dir.join("control.sock");
        let kept = of_unit.as_ref().map(OwnedFd::try_clone).transpose()?;
        let mut socket = ControlSocket::new(path, sender, kept);
        let inherited = of_unit.or_else(|| inherited.claim(CONTROL));
        match socket.serve(&settings.supervisor, inherited, store) {
            Ok(()) => {}
            Err(error) if origin == Origin::Predecessor => {
                troubles.insert(THE_CONTROL_SOCKET, socket.trouble(&error));
            }
            Err(source) => {
                return Err(StartError::Control { path: socket.path().to_owned(), source });
            }
        }
        Ok(Self { socket, requests })
    }
}
