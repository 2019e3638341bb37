//! HTTP → requests to the loop → answers. Bounded in clients, bytes and time: nothing that a client
//! does, or leaves undone, disturbs the loop or another client.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::clients::{Client, Places};
use super::protocol::{
    EventRecord, Failure, INVALID_CONFIGURATION, IncidentRecord, UNKNOWN_INCIDENT, VERSION,
};
use super::request::{Answer, Peer, Request};
use super::socket::{Admission, Standing};
use super::thread::ApiThread;
use super::timed::Timed;
use crate::pool::Pool;
use crate::record::incidents::read_others;

/// Largest body, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// For the head of a request, and again for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// For a stranger to ask, and to take its answer.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(1);
/// For a reader of events to take the last ones when the server ends.
const LAST_EVENTS: Duration = Duration::from_millis(20);
/// An answer that takes longer is waited for in another place.
const AT_ONCE: Duration = Duration::from_millis(200);
/// Why there is no place.
const CROWD: &str = "64 clients do already, or 48 besides root and the supervisor's own user";
/// For the figures of a report.
const USAGE_LIMIT: Duration = Duration::from_secs(2);
/// Those who read for answers: no request needs a thread that may not be to be had.
static READERS: Pool = Pool::new("reader", 4);
/// Incidents given when no number is.
const LAST_DEFAULT: usize = 20;

type Requests = mpsc::Sender<Request>;

/// A server that runs, and the means to end it.
#[derive(Debug)]
pub struct Server {
    places: Arc<Places>,
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
        READERS.begin();
        let (closing, closed) = watch::channel(false);
        listener.set_nonblocking(true)?;
        let copy = listener.as_fd().try_clone_to_owned().ok();
        let service = Service { admission, requests, places: Arc::clone(&places), closed };
        handle.spawn(serve(UnixListener::from_std(listener)?, service));
        Ok(Self { places, closing, listener: copy })
    }

    /// Takes no more clients, and waits until those that are there have their answers: at most
    /// `limit`. The listening socket, where others wait.
    pub async fn end(self, limit: Duration) -> Option<std::os::unix::net::UnixListener> {
        self.closing.send_replace(true);
        let _ = timeout(limit, self.places.all_are_free()).await;
        self.listener.map(Into::into)
    }
}

async fn serve(listener: UnixListener, service: Service) {
    let mut closed = service.closed.clone();
    loop {
        let turn = async {
            match listener.accept().await {
                Ok((stream, _)) => admit(stream, &service).await,
                Err(error) => {
                    // Usually EMFILE: the client stays in the backlog, and trying again at once
                    // would spin.
                    tracing::warn!(%error, "cannot accept a client of the control API");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        tokio::select! {
            () = turn => {}
            () = end(&mut closed) => return,
        }
    }
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
                tokio::spawn(async move {
                    let _ = timeout(STRANGER_TIMEOUT, serve_stranger(stream, peer)).await;
                    drop(place);
                });
            }
        }
    }
}

async fn serve_client(stream: UnixStream, peer: Peer, client: Arc<Client>, service: Service) {
    let Service { requests, mut closed, .. } = service;
    let closed_for_streams = closed.clone();
    let stream = TokioIo::new(Timed::new(stream, Arc::clone(&client)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        // One request a connection: the next one waits for its turn among all others.
        .keep_alive(false)
        .serve_connection(stream, TowerToHyperService::new(api(requests, peer)));
    let mut served = std::pin::pin!(served);
    let whole = async {
        let result = tokio::select! {
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

/// One answer to whatever it asks.
async fn serve_stranger(stream: UnixStream, peer: Peer) {
    let served = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self::closed(peer)));
    let _ = served.await;
}

fn api(requests: Requests, peer: Peer) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/incidents", get(incidents))
        .route("/v1/incidents/{id}", get(incident))
        .route("/v1/events", get(events))
        .route(
            "/v1/start",
            post(|requests, peer, body| order(requests, peer, body, Request::Start)),
        )
        .route("/v1/stop", post(|requests, peer, body| order(requests, peer, body, Request::Stop)))
        .route(
            "/v1/restart",
            post(|requests, peer, body| order(requests, peer, body, Request::Restart)),
        )
        .route(
            "/v1/pause",
            post(|requests, peer, body| order(requests, peer, body, Request::Pause)),
        )
        .route(
            "/v1/resume",
            post(|requests, peer, body| order(requests, peer, body, Request::Resume)),
        )
        .route(
            "/v1/scale",
            post(|requests, peer, body| order(requests, peer, body, Request::Scale)),
        )
        .route(
            "/v1/signal",
            post(|requests, peer, body| order(requests, peer, body, Request::Signal)),
        )
        .route(
            "/v1/inject",
            post(|requests, peer, body| order(requests, peer, body, Request::Inject)),
        )
        .route(
            "/v1/reexec",
            post(|requests, peer, body| order(requests, peer, body, Request::Reexec)),
        )
        .route(
            "/v1/shutdown",
            post(|requests, peer, body| order(requests, peer, body, Request::Shutdown)),
        )
        .fallback(|| async {
            refuse(
                StatusCode::NOT_FOUND,
                "invalid",
                format!("no such path; this is version {VERSION}"),
            )
        })
        .method_not_allowed_fallback(|| async {
            let message = "this path takes another method: GET asks, POST orders".to_owned();
            refuse(StatusCode::METHOD_NOT_ALLOWED, "invalid", message)
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(Extension(peer))
        .with_state(requests)
}

fn closed(peer: Peer) -> Router {
    Router::new().fallback(move || async move {
        let message = format!(
            "user {} may not control this supervisor: be root or its own user, or set `supervisor: {{ control: {{ group: ... }} }}`",
            peer.uid
        );
        refuse(StatusCode::FORBIDDEN, "refused", message)
    })
}

/// What stands after the `?`, if it can be read.
type Asked<T> = Result<Query<T>, QueryRejection>;

fn not_understood(why: &str) -> Response {
    refuse(StatusCode::BAD_REQUEST, "invalid", why.to_owned())
}

#[derive(Deserialize)]
struct With {
    #[serde(default)]
    usage: bool,
}

async fn status(State(requests): State<Requests>, query: Asked<With>) -> Response {
    let usage = match query {
        Ok(Query(With { usage })) => usage,
        Err(rejected) => return not_understood(&rejected.body_text()),
    };
    let _owed = CLIENT.get().is_owed();
    if !usage {
        return ask(&requests, Request::Status).await;
    }
    match call(&requests, Request::Status).await {
        // Beside the loop: /proc takes its time, and where it takes too much there is an answer
        // without figures.
        Ok(report) => {
            let mut full = report.clone();
            let filled = read(USAGE_LIMIT, move || {
                crate::usage::fill(&mut full);
                full
            });
            axum::Json(filled.await.unwrap_or(report)).into_response()
        }
        Err(failure) => fail(&failure),
    }
}

/// Reads what may take its time, on a thread that is there already. `None`: it took too long.
async fn read<T: Send + 'static>(
    limit: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let is_there = READERS.run(move || drop(answer.send(job())));
    if !is_there {
        return None;
    }
    timeout(limit, answered).await.ok()?.ok()
}

#[derive(Deserialize)]
struct Last {
    last: Option<usize>,
    #[serde(default)]
    open: bool,
}

async fn incidents(State(requests): State<Requests>, query: Asked<Last>) -> Response {
    let Last { last, open } = match query {
        Ok(Query(last)) => last,
        Err(rejected) => return not_understood(&rejected.body_text()),
    };
    match newest(&requests, last.unwrap_or(LAST_DEFAULT), open).await {
        Ok(records) => axum::Json(records).into_response(),
        Err(failure) => fail(&failure),
    }
}

async fn incident(
    State(requests): State<Requests>,
    path: Result<Path<u64>, PathRejection>,
) -> Response {
    let id = match path {
        Ok(Path(id)) => id,
        Err(rejected) => return not_understood(&rejected.body_text()),
    };
    match newest(&requests, usize::MAX, true).await {
        Ok(records) => {
            let found: Vec<IncidentRecord> =
                records.into_iter().filter(|record| record.id == id).collect();
            if found.is_empty() {
                let message = format!("no incident {id}");
                return refuse(StatusCode::NOT_FOUND, UNKNOWN_INCIDENT, message);
            }
            axum::Json(found).into_response()
        }
        Err(failure) => fail(&failure),
    }
}

/// The newest incidents, oldest first: from memory, and the older ones from the file, beside the
/// loop. `open`: with all that are not settled yet.
async fn newest(
    requests: &Requests,
    last: usize,
    open: bool,
) -> Result<Vec<IncidentRecord>, Failure> {
    let _owed = CLIENT.get().is_owed();
    let found = call(requests, |answer| Request::Incidents(last, answer)).await?;
    let (mut records, path) = (found.settled, found.path);
    let missing = last - records.len().min(last);
    if open {
        records.extend(found.open);
    }
    if missing == 0 {
        records.sort_by_key(|record| record.id);
        return Ok(records);
    }
    let known = records.iter().map(|record| record.id).collect();
    let older = read(READ_TIMEOUT, move || read_others(&path, &known, missing)).await;
    let failed =
        |why: String| Failure::new("failed", format!("cannot read older incidents: {why}"));
    let older = older.ok_or_else(|| failed("the disk does not answer".to_owned()))?;
    let mut all = older.map_err(|error| failed(error.to_string()))?;
    all.append(&mut records);
    all.sort_by_key(|record| record.id);
    Ok(all)
}

/// JSON lines until the client leaves. A reader that is too slow loses the oldest, and learns how
/// many.
async fn events(State(requests): State<Requests>) -> Response {
    let receiver = match call(&requests, Request::Events).await {
        Ok(receiver) => receiver,
        Err(failure) => return fail(&failure),
    };
    if !CLIENT.with(|client| client.begins_to_read()) {
        let message = format!("no more clients can read events: {CROWD}");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "busy", message);
    }
    let closed = CLOSED.get();
    let lines =
        futures_util::stream::unfold((receiver, closed), |(mut receiver, mut closed)| async {
            let received = tokio::select! {
                biased;
                received = receiver.recv() => received,
                () = end(&mut closed) => return None,
            };
            let record = match received {
                Ok(record) => record,
                Err(RecvError::Lagged(lost)) => lost_events(lost),
                Err(RecvError::Closed) => return None,
            };
            let mut line = serde_json::to_vec(&record).expect("a record is valid JSON");
            line.push(b'\n');
            Some((Ok::<_, Infallible>(Bytes::from(line)), (receiver, closed)))
        });
    ([("content-type", "application/jsonl")], Body::from_stream(lines)).into_response()
}

fn lost_events(lost: u64) -> EventRecord {
    EventRecord {
        seq: 0,
        at: crate::record::events::wall(std::time::SystemTime::now()),
        monotonic_us: workers::board::monotonic_ns() / 1000,
        kind: "lost".into(),
        worker: None,
        generation: None,
        detail: serde_json::json!({ "events": lost }),
    }
}

/// A verb that changes something: its body is read within its time, its answer comes when the loop
/// gives it.
async fn order<B: DeserializeOwned, T: Serialize>(
    State(requests): State<Requests>,
    Extension(peer): Extension<Peer>,
    body: Body,
    request: impl FnOnce(B, Peer, Answer<T>) -> Request,
) -> Response {
    let read = timeout(READ_TIMEOUT, axum::body::to_bytes(body, BODY_MAX)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let message = format!("the body is larger than {BODY_MAX} bytes or broke off");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "invalid", message);
        }
        Err(_) => {
            let message = format!("the body did not come within {} s", READ_TIMEOUT.as_secs());
            return refuse(StatusCode::REQUEST_TIMEOUT, "invalid", message);
        }
    };
    let body: B = match serde_json::from_slice(if bytes.is_empty() { b"{}" } else { &bytes }) {
        Ok(body) => body,
        Err(error) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                "invalid",
                format!("the body is not what this path takes: {error}"),
            );
        }
    };
    match outcome(&requests, |answer| request(body, peer, answer)).await {
        Ok(value) => axum::Json(value).into_response(),
        Err(failure) => fail(&failure),
    }
}

async fn ask<T: Serialize>(
    requests: &Requests,
    request: impl FnOnce(Answer<T>) -> Request,
) -> Response {
    match call(requests, request).await {
        Ok(value) => axum::Json(value).into_response(),
        Err(failure) => fail(&failure),
    }
}

async fn call<T>(
    requests: &Requests,
    request: impl FnOnce(Answer<T>) -> Request,
) -> Result<T, Failure> {
    let (answer, answered) = oneshot::channel();
    let gone = || Failure::new("shutting-down", "the supervisor is shutting down".to_owned());
    let _owed = CLIENT.get().is_owed();
    requests.send(request(answer)).await.map_err(|_| gone())?;
    answered.await.unwrap_or_else(|_| Err(gone()))
}

/// The outcome of an order, which may take long: its client waits in a place where it blocks no
/// other client.
async fn outcome<T>(
    requests: &Requests,
    request: impl FnOnce(Answer<T>) -> Request,
) -> Result<T, Failure> {
    let mut answered = std::pin::pin!(call(requests, request));
    if let Ok(answer) = timeout(AT_ONCE, answered.as_mut()).await {
        return answer;
    }
    if CLIENT.with(|client| client.begins_to_wait()) {
        return answered.await;
    }
    let message =
        format!("the order stands (see `status`), but its outcome cannot be waited for: {CROWD}");
    Err(Failure::new("busy", message))
}

fn fail(failure: &Failure) -> Response {
    let status = match failure.error.as_str() {
        "unknown-worker" => StatusCode::NOT_FOUND,
        "refused" => StatusCode::FORBIDDEN,
        "not-running" | "failed" | "superseded" => StatusCode::CONFLICT,
        INVALID_CONFIGURATION => StatusCode::UNPROCESSABLE_ENTITY,
        "timed-out" => StatusCode::GATEWAY_TIMEOUT,
        "shutting-down" | "busy" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, axum::Json(failure)).into_response()
}

fn refuse(status: StatusCode, error: &str, message: String) -> Response {
    (status, axum::Json(Failure::new(error, message))).into_response()
}
