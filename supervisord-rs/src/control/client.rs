//! The other side of the control API, blocking: for the CLI, for comparisons, for tests.

mod error;

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub use error::ClientError;
use error::{broken, broken_off, refusal, unreachable};

use super::protocol::{
    AwaitRequest, Done, EventRecord, IncidentRecord, InjectRequest, LogItem, LogsRequest,
    ReexecRequest, ScaleRequest, ShutdownRequest, SignalName, SignalRequest, StatusReport,
    UNKNOWN_INCIDENT, WAIT_DEFAULT, WorkersRequest,
};

/// For the answer to a question, and for the answer to an order beyond its own limit.
const ANSWER: Duration = Duration::from_secs(15);
/// For the first lines of logs: disks may take their time.
const LOGS: Duration = Duration::from_secs(50);
/// For a place in the queue of a socket that many connect to.
const QUEUE: Duration = Duration::from_secs(5);
/// Between two attempts to get there: connect(2) does not wait where it may not block.
const PAUSE: Duration = Duration::from_millis(20);
/// A limit beyond every use.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// As many incidents as a supervisor has in memory.
pub const MANY_INCIDENTS: usize = 1000;

/// A client of one supervisor. Each call is a connection of its own.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
    limit: Option<Duration>,
}

impl Client {
    /// A client of the supervisor at this socket. Does not connect yet.
    ///
    /// # Panics
    /// When the process has no descriptors left for an event loop.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            socket: socket.into(),
            runtime: runtime.expect("descriptors for an event loop"),
            limit: None,
        }
    }

    /// Another client of the same supervisor, whose orders wait at most so long for their outcome.
    #[must_use]
    pub fn clone_with(&self, limit: Option<Duration>) -> Self {
        Self { limit, ..Self::new(&self.socket) }
    }

    /// Where it connects to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Everything there is to see now.
    ///
    /// # Errors
    /// See [`ClientError`]; the same for every call below.
    pub fn status(&self) -> Result<StatusReport, ClientError> {
        self.call("GET", "/v1/status", &())
    }

    /// The same, with what everyone uses. Takes as long as /proc takes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status_with_usage(&self) -> Result<StatusReport, ClientError> {
        self.call("GET", "/v1/status?usage=true", &())
    }

    /// The newest settled incidents, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn incidents(&self, last: usize) -> Result<Vec<IncidentRecord>, ClientError> {
        self.call("GET", &format!("/v1/incidents?last={last}"), &())
    }

    /// The newest incidents, and all that are open, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn incidents_and_open(&self, last: usize) -> Result<Vec<IncidentRecord>, ClientError> {
        self.call("GET", &format!("/v1/incidents?last={last}&open=true"), &())
    }

    /// One incident; `None` when there is none of this number.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn incident(&self, id: u64) -> Result<Option<IncidentRecord>, ClientError> {
        let found: Result<Vec<IncidentRecord>, ClientError> =
            self.call("GET", &format!("/v1/incidents/{id}"), &());
        match found {
            Ok(mut found) => Ok(found.pop()),
            Err(ClientError::Failed(failure)) if failure.error == UNKNOWN_INCIDENT => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts workers; with `wait` the answer comes when they run or have failed to.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn start(&self, workers: &[String], wait: bool) -> Result<Done, ClientError> {
        self.call("POST", "/v1/start", &self.order(workers, wait))
    }

    /// Stops workers; with `wait` the answer comes when they are down.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stop(&self, workers: &[String], wait: bool) -> Result<Done, ClientError> {
        self.call("POST", "/v1/stop", &self.order(workers, wait))
    }

    /// Restarts workers; with `wait` the answer comes when they run again or have failed to.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn restart(&self, workers: &[String], wait: bool) -> Result<Done, ClientError> {
        self.call("POST", "/v1/restart", &self.order(workers, wait))
    }

    /// Waits until a later generation of each of these workers runs or has failed to. `after`: the
    /// generations before.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn wait_for(&self, after: &BTreeMap<String, u64>) -> Result<Done, ClientError> {
        let request = AwaitRequest { after: after.clone(), timeout_ms: self.timeout_ms() };
        self.call("POST", "/v1/await", &request)
    }

    /// Suspends workers with all that they have started.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn pause(&self, workers: &[String]) -> Result<Done, ClientError> {
        self.call("POST", "/v1/pause", &self.order(workers, false))
    }

    /// Lets suspended workers go on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn resume(&self, workers: &[String]) -> Result<Done, ClientError> {
        self.call("POST", "/v1/resume", &self.order(workers, false))
    }

    /// Changes the number of a worker's instances; with `wait` the answer comes when the new ones
    /// run and the others are gone.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn scale(&self, worker: &str, instances: u32, wait: bool) -> Result<Done, ClientError> {
        let timeout_ms = self.timeout_ms();
        self.call(
            "POST",
            "/v1/scale",
            &ScaleRequest { worker: worker.into(), instances, wait, timeout_ms },
        )
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn signal(&self, worker: &str, signal: i32) -> Result<Done, ClientError> {
        self.signal_all(&[worker.to_owned()], SignalName::Number(signal))
    }

    /// Sends a signal to each of these that is a process and up.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn signal_all(&self, workers: &[String], signal: SignalName) -> Result<Done, ClientError> {
        let workers = workers.to_vec();
        self.call("POST", "/v1/signal", &SignalRequest { workers, worker: None, signal })
    }

    /// Orders a fault. A supervisor that shares its worker's fate may be gone before it has
    /// answered: that it broke off then is an answer too.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn inject(&self, worker: &str, fault: &str) -> Result<Done, ClientError> {
        let request = InjectRequest { worker: worker.into(), fault: fault.into() };
        match self.call("POST", "/v1/inject", &request) {
            Err(ClientError::BrokenOff(_)) => {
                let message = format!("{fault} ordered in {worker}; the supervisor broke off");
                Ok(Done { message, ..Done::default() })
            }
            answer => answer,
        }
    }

    /// Has another supervisor take the place of this one, of `binary` or of the file that it was
    /// started from.
    ///
    /// # Errors
    /// Refused, when nothing would outlive it; failed, when the old one goes on; see
    /// [`ClientError`].
    pub fn reexec(
        &self,
        binary: Option<&Path>,
        timeout: Option<Duration>,
    ) -> Result<Done, ClientError> {
        let timeout_ms =
            timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self.call(
            "POST",
            "/v1/reexec",
            &ReexecRequest { binary: binary.map(Into::into), timeout_ms },
        )
    }

    /// Orders the supervisor to stop everything and end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn shutdown(&self, now: bool) -> Result<Done, ClientError> {
        self.call("POST", "/v1/shutdown", &ShutdownRequest { now })
    }

    /// Every event from now on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn events(&self) -> Result<Events<'_>, ClientError> {
        self.runtime.block_on(asked_again(|| self.stream("/v1/events")))
    }

    /// Captured output. It ends by itself unless it is followed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn logs(&self, request: &LogsRequest) -> Result<Parts<'_, LogItem>, ClientError> {
        let path = format!("/v1/logs?{}", request.to_query());
        let timed = async { tokio::time::timeout(LOGS, asked_again(|| self.stream(&path))).await };
        self.runtime.block_on(timed).unwrap_or(Err(ClientError::TimedOut(LOGS)))
    }

    async fn stream<T>(&self, path: &str) -> Result<Parts<'_, T>, ClientError> {
        let (mut sender, _connection) = self.connect().await?;
        let response = sender.send_request(request("GET", path, Bytes::new())?).await;
        let response = response.map_err(|error| broken_off(&error))?;
        if !response.status().is_success() {
            return Err(refusal(&whole(response).await?));
        }
        let body = response.into_body();
        Ok(Parts { client: self, body, buffer: Vec::new(), next: 0, of: PhantomData })
    }

    fn order(&self, workers: &[String], wait: bool) -> WorkersRequest {
        WorkersRequest { workers: workers.to_vec(), wait, timeout_ms: self.timeout_ms() }
    }

    fn timeout_ms(&self) -> Option<u64> {
        self.limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
    }

    fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = if method == "GET" {
            Vec::new()
        } else {
            serde_json::to_vec(body).map_err(|error| broken(&error))?
        };
        // What is only asked is answered at once: a supervisor that does not, hangs. So does one
        // that does not say in time that there is no outcome.
        let outcome =
            if method == "GET" { Duration::ZERO } else { self.limit.unwrap_or(WAIT_DEFAULT) };
        let limit = outcome.saturating_add(ANSWER).min(FOR_EVER);
        let attempt = async || {
            let (mut sender, connection) = self.connect().await?;
            let response = sender.send_request(request(method, path, body.clone().into())?).await;
            let response = response.map_err(|error| broken_off(&error))?;
            let status = response.status();
            let bytes = whole(response).await?;
            // Closed now, not when this client happens to be used again: the supervisor shall be at
            // rest.
            drop(sender);
            let _ = connection.await;
            if status.is_success() {
                serde_json::from_slice(&bytes).map_err(|error| broken(&error))
            } else {
                Err(refusal(&bytes))
            }
        };
        let call = async {
            match method {
                "GET" => asked_again(attempt).await,
                _ => attempt().await,
            }
        };
        let timed = async { tokio::time::timeout(limit, call).await };
        self.runtime.block_on(timed).unwrap_or(Err(ClientError::TimedOut(limit)))
    }

    async fn connect(
        &self,
    ) -> Result<(SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>), ClientError> {
        let stream = self.connection().await?;
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| broken_off(&error))?;
        Ok((sender, tokio::spawn(connection)))
    }

    /// A connection; a place in a full queue (EAGAIN, connect(2)) is waited for.
    async fn connection(&self) -> Result<UnixStream, ClientError> {
        let end = Instant::now() + QUEUE;
        loop {
            let socket = self.socket.clone();
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(unreachable(socket, error));
                }
                Err(_) if Instant::now() >= end => return Err(ClientError::Busy { socket }),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// An answer that comes part by part, each a line of JSON; of events, it ends when the supervisor
/// does. [`ClientError::BrokenOff`] where that died.
#[derive(Debug)]
pub struct Parts<'a, T> {
    client: &'a Client,
    body: Incoming,
    buffer: Vec<u8>,
    /// Where in it the next part begins.
    next: usize,
    of: PhantomData<fn() -> T>,
}

/// The stream of events.
pub type Events<'a> = Parts<'a, EventRecord>;

impl<T> Parts<'_, T> {
    /// Takes all that is still to come, so that the supervisor has to keep none of it.
    ///
    /// # Errors
    /// It broke off.
    pub fn receive_all(&mut self) -> Result<(), ClientError> {
        while let Some(frame) = self.client.runtime.block_on(self.body.frame()) {
            let frame = frame.map_err(|error| broken_off(&error))?;
            self.buffer.extend(frame.into_data().unwrap_or_default());
        }
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for Parts<'_, T> {
    type Item = Result<T, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut searched = self.next;
        loop {
            if let Some(length) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.next..searched + length;
                self.next = line.end + 1;
                return Some(
                    serde_json::from_slice(&self.buffer[line]).map_err(|error| broken(&error)),
                );
            }
            self.buffer.drain(..self.next);
            (self.next, searched) = (0, self.buffer.len());
            match self.client.runtime.block_on(self.body.frame())? {
                Ok(frame) => self.buffer.extend(frame.into_data().unwrap_or_default()),
                Err(error) => return Some(Err(broken_off(&error))),
            }
        }
    }
}

fn request(
    method: &str,
    path: &str,
    body: Bytes,
) -> Result<hyper::Request<Full<Bytes>>, ClientError> {
    hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "supervisord-rs")
        .header("connection", "close")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(|error| broken(&error))
}

/// A question changes nothing, so it is asked again where the supervisor breaks off: of the
/// successor, or to learn that no supervisor is there any more.
async fn asked_again<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let end = Instant::now() + QUEUE;
    loop {
        match attempt().await {
            Err(ClientError::BrokenOff(_)) if Instant::now() < end => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// All of an answer.
async fn whole(response: hyper::Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = response.into_body().collect().await.map_err(|error| broken_off(&error))?;
    Ok(body.to_bytes())
}
