//! The listening sockets that the configuration hands to a worker.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use super::Context;
use crate::runtime::endowment::SOCKET;

impl Context {
    /// The listening socket that the configuration hands to this worker under this name (`sockets:`
    /// with `name:`); the first call has it. It stays open while the worker restarts, and clients
    /// wait in its queue. `None`: there is none, or it was taken. Does not block.
    #[must_use]
    pub fn socket(&self, name: &str) -> Option<OwnedFd> {
        self.claim(&format!("{SOCKET}{name}"))
    }

    /// The same as a listener of TCP, which never blocks (`O_NONBLOCK`), since instances share it:
    /// [`wait_readable`](Self::wait_readable) waits for clients, and so does a `TcpListener` of
    /// tokio, by `from_std`.
    ///
    /// # Errors
    /// `NotFound`: there is no such socket, or it was taken: the first call has it. The text says
    /// which are left, and what to write.
    ///
    /// ```
    /// # use std::{io::Write, os::fd::AsFd};
    /// # use workers::{Context, Readiness, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     let listener = context.listener("http")?;
    ///     while context.wait_readable(listener.as_fd(), None)? == Readiness::Readable {
    ///         // Another instance may have been faster.
    ///         let Ok((mut client, _)) = listener.accept() else { continue };
    ///         client.write_all(b"hello\n")?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn listener(&self, name: &str) -> io::Result<TcpListener> {
        let socket = self.socket(name).ok_or_else(|| {
            let endowment = self.shared.endowment.lock().unwrap_or_else(PoisonError::into_inner);
            let left = match endowment.unclaimed_of(SOCKET).as_slice() {
                [] => "none".to_owned(),
                left => left.join(", "),
            };
            let text = format!(
                "no socket `{name}` is here, or it was taken before (left: {left}): `sockets: [{{ \
                 listen: ADDRESS:PORT, name: {name} }}]`"
            );
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}
