//! Which path leads where.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, get, post};
use serde::de::DeserializeOwned;

use super::Requests;
use super::logs::logs;
use super::ordered::{BODY_MAX, order};
use super::query;
use super::refusal::Refused;
use super::shown::{incident, incidents, status};
use super::stream::events;
use crate::control::protocol::{Failure, VERSION};
use crate::control::request::{Order, Peer};
use crate::record::reading::Access;

/// What those may ask who may control this supervisor.
pub(super) fn api(requests: Requests, peer: Peer, access: Access) -> Router {
    Router::new()
        .route("/v1/incidents/{id}", get(incident))
        .route("/v1/events", get(events))
        .route("/v1/start", ordering(Order::Start))
        .route("/v1/stop", ordering(Order::Stop))
        .route("/v1/restart", ordering(Order::Restart))
        .route("/v1/await", ordering(Order::Await))
        .route("/v1/pause", ordering(Order::Pause))
        .route("/v1/resume", ordering(Order::Resume))
        .route("/v1/scale", ordering(Order::Scale))
        .route("/v1/signal", ordering(Order::Signal))
        .route("/v1/inject", ordering(Order::Inject))
        .route("/v1/reexec", ordering(Order::Reexec))
        .route("/v1/shutdown", ordering(Order::Shutdown))
        .route_layer(from_fn(query::none))
        .route("/v1/status", get(status))
        .route("/v1/incidents", get(incidents))
        .route("/v1/logs", get(logs))
        .fallback(|uri: Uri| async move {
            let path = uri.path();
            let message = format!(
                "there is no path {path}: see `Control API` in docs/cli.md; this is version \
                 {VERSION}, /v1/..."
            );
            Refused::invalid(StatusCode::NOT_FOUND, message)
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let path = uri.path();
            let message = format!("{path} takes no {method}: GET asks, POST orders");
            Refused::invalid(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(Extension(peer))
        .layer(Extension(access))
        .with_state(requests)
}

/// `POST`, whose body becomes an order.
fn ordering<B>(becomes: fn(B) -> Order) -> MethodRouter<Requests>
where
    B: DeserializeOwned + Send + 'static,
{
    post(move |requests, peer, body| order(requests, peer, body, becomes))
}

/// One answer to whatever a stranger asks: why it gets no other.
pub(super) fn closed(message: String) -> Router {
    let refused = move || async move { Refused::from(Failure::new("refused", message)) };
    Router::new().fallback(refused)
}
