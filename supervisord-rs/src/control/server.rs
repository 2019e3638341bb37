//! HTTP → requests to the loop → answers. Bounded in clients, bytes and time: nothing that a client
//! does, or leaves undone, disturbs the loop or another client.

mod body;
mod call;
mod logs;
mod ordered;
mod query;
mod refusal;
mod routes;
mod shown;
mod spare;
mod stream;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::spare::Spare;
use super::clients::{Client, Places};
use super::request::{Peer, Request};
use super::socket::{Admission, Standing};
use super::thread::ApiThread;
use super::timed::Timed;
use crate::isolation::peer;
use crate::record::reading::Access;

/// For the head of a request, and again for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// For a stranger to ask, and to take its answer.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(1);
/// For a reader of events to take the last ones when the server ends.
const LAST_EVENTS: Duration = Duration::from_millis(20);
/// Why there is no place.
const CROWD: &str = "64 clients do already, or 48 besides root and the supervisor's own user";

type Requests = mpsc::Sender<Request>;

/// A server that runs, and the means to end it.
#[derive(Debug)]
pub struct Server {
    places: Arc<Places>,
    /// The task that accepts, and the order to it to end.
    acceptor: JoinHandle<()>,
    closing_door: watch::Sender<bool>,
    closing: watch::Sender<bool>,
    /// Decides what becomes of waiting clients when the server ends.
    listener: Option<OwnedFd>,
}

/// What a connection needs to be served.
#[derive(Clone)]
struct Service {
    admission: Admission,
    requests: Requests,
    places: Arc<Places>,
    closed: watch::Receiver<bool>,
}

tokio::task_local! {
    /// Whose request is being answered.
    static CLIENT: Arc<Client>;
    /// When the server is to end.
    static CLOSED: watch::Receiver<bool>;
}

impl Server {
    /// Starts to serve, on the thread that is there for it.
    ///
    /// # Errors
    /// EAGAIN when that thread cannot be started; EMFILE.
    pub fn start(
        thread: &mut ApiThread,
        listener: std::os::unix::net::UnixListener,
        admission: Admission,
        requests: Requests,
    ) -> io::Result<Self> {
        let handle = thread.handle()?;
        let _runtime = handle.enter();
        let places = Arc::new(Places::new());
        shown::READERS.begin();
        let (closing, closed) = watch::channel(false);
        let (closing_door, door_closed) = watch::channel(false);
        listener.set_nonblocking(true)?;
        let copy = listener.as_fd().try_clone_to_owned().ok();
        let service = Service { admission, requests, places: Arc::clone(&places), closed };
        let acceptor = handle.spawn(serve(UnixListener::from_std(listener)?, service, door_closed));
        Ok(Self { places, acceptor, closing_door, closing, listener: copy })
    }

    /// Accepts no more clients: those that connect from now on wait in the queue of the socket.
    /// Returns when this server cannot accept any more. Those that it has accepted are served.
    pub async fn close_door(&mut self) {
        self.closing_door.send_replace(true);
        if !self.acceptor.is_finished() {
            // An error says that the task is gone, which is an end too.
            let _ = (&mut self.acceptor).await;
        }
    }

    /// Takes no more clients, and waits until those that are there have their answers: at most
    /// `limit`. The listening socket, where others wait.
    pub async fn end(self, limit: Duration) -> Option<std::os::unix::net::UnixListener> {
        self.closing_door.send_replace(true);
        self.closing.send_replace(true);
        let _ = timeout(limit, self.places.all_are_free()).await;
        self.listener.map(Into::into)
    }
}

async fn serve(listener: UnixListener, service: Service, mut door_closed: watch::Receiver<bool>) {
    let (mut spare, mut is_told) = (Spare::new(), false);
    loop {
        spare.keep(&listener);
        let turn = async {
            let accepted = match listener.accept().await {
                // At once: other threads want the place too, and this one would take it back.
                Err(error) if spare.give_up(&error) => now(&listener).await,
                accepted => Some(accepted),
            };
            match accepted {
                Some(Ok((stream, _))) => {
                    is_told = false;
                    admit(stream, &service).await;
                }
                // The kernel looks for a place before it looks for a client.
                None => {}
                Some(Err(error)) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%error, "cannot accept a client of the control API");
                    }
                    // The client stays in the backlog, and trying again at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        tokio::select! {
            () = turn => {}
            () = end(&mut door_closed) => return,
        }
    }
}

/// Accepts without waiting. `None`: there is no client.
async fn now(listener: &UnixListener) -> Option<io::Result<(UnixStream, SocketAddr)>> {
    std::future::poll_fn(|context| match listener.poll_accept(context) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Until the server is to end.
async fn end(closed: &mut watch::Receiver<bool>) {
    // An error says that the server is gone, which is an end too.
    let _ = closed.wait_for(|closed| *closed).await;
}

/// Only the owner is waited for here: others are not to hold it up.
async fn admit(stream: UnixStream, service: &Service) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let peer = Peer {
        pid: credentials.pid().unwrap_or(0),
        uid: credentials.uid(),
        gid: credentials.gid(),
    };
    let service = service.clone();
    match service.admission.standing(peer, &stream) {
        Standing::Owner => {
            let client = service.places.seat(Standing::Owner).await;
            tokio::spawn(serve_client(stream, peer, client, service));
        }
        Standing::Member => {
            let Some(queued) = service.places.in_the_queue() else { return };
            tokio::spawn(async move {
                let client = timeout(READ_TIMEOUT, service.places.seat(Standing::Member)).await;
                drop(queued);
                if let Ok(client) = client {
                    serve_client(stream, peer, client, service).await;
                }
            });
        }
        Standing::Stranger => {
            if let Some(place) = service.places.for_a_stranger() {
                let message = format!(
                    "user {} may not use the API of this supervisor: {}",
                    peer.uid,
                    service.admission.who()
                );
                tokio::spawn(async move {
                    let _ = timeout(STRANGER_TIMEOUT, serve_stranger(stream, message)).await;
                    drop(place);
                });
            }
        }
    }
}

async fn serve_client(stream: UnixStream, peer: Peer, client: Arc<Client>, service: Service) {
    let Service { requests, mut closed, .. } = service;
    let closed_for_streams = closed.clone();
    let access = access(peer, &stream, &client);
    let stream = TokioIo::new(Timed::new(stream, Arc::clone(&client)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        // One request a connection: the next one waits for its turn among all others.
        .keep_alive(false)
        .serve_connection(stream, TowerToHyperService::new(routes::api(requests, peer, access)));
    let mut served = std::pin::pin!(served);
    let whole = async {
        let result = tokio::select! {
            // What has arrived is read before the client has to give way.
            biased;
            result = served.as_mut() => result,
            () = client.has_to_give_way() => return,
            () = end(&mut closed) => {
                // What is being answered is answered to its end; a connection at rest is closed.
                served.as_mut().graceful_shutdown();
                let limit = if client.is_reading() { LAST_EVENTS } else { Duration::MAX };
                timeout(limit, served).await.unwrap_or(Ok(()))
            }
        };
        // A client that breaks off, or sends no HTTP, is its own affair.
        if let Err(error) = result {
            tracing::debug!(%error, pid = peer.pid, "a client of the control API broke off");
        }
    };
    CLIENT.scope(Arc::clone(&client), CLOSED.scope(closed_for_streams, whole)).await;
}

/// What it may read of what the supervisor can read.
fn access(peer: Peer, stream: &UnixStream, client: &Client) -> Access {
    if client.is_owner() {
        return Access::Own;
    }
    let groups = peer::groups(stream).unwrap_or_default();
    Access::Of { uid: peer.uid, groups: groups.into_iter().chain([peer.gid]).collect() }
}

/// One answer to whatever it asks.
async fn serve_stranger(stream: UnixStream, message: String) {
    let served = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes::closed(message)));
    let _ = served.await;
}
