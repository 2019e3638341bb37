//! Requests that change something: the client's body becomes an order, the loop carries it out, the
//! client waits for the outcome.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::body::understood;
use super::call::call;
use super::refusal::Refused;
use super::{CLIENT, CROWD, READ_TIMEOUT, Requests};
use crate::control::protocol::{Done, Failure};
use crate::control::request::{Order, Peer, Request};

/// Largest body, in bytes.
pub(super) const BODY_MAX: usize = 64 * 1024;
/// An answer that takes longer is waited for in another place.
const AT_ONCE: Duration = Duration::from_millis(200);

/// A verb that changes something: its body is read within its time, its answer comes when the loop
/// gives it.
pub(super) async fn order<B: DeserializeOwned>(
    State(requests): State<Requests>,
    Extension(peer): Extension<Peer>,
    body: Body,
    becomes: fn(B) -> Order,
) -> Result<axum::Json<Done>, Refused> {
    let bytes = whole(body).await?;
    let body = understood(&bytes).map_err(|why| Refused::invalid(StatusCode::BAD_REQUEST, why))?;
    let order = becomes(body);
    Ok(axum::Json(outcome(&requests, order, peer).await?))
}

/// All of the body, if it is small enough and comes in time.
async fn whole(body: Body) -> Result<Bytes, Refused> {
    match timeout(READ_TIMEOUT, axum::body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let message = format!("the body is larger than {BODY_MAX} bytes or broke off");
            Err(Refused::invalid(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(_) => {
            let message = format!("the body did not come within {} s", READ_TIMEOUT.as_secs());
            Err(Refused::invalid(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// The outcome of an order, which may take long: its client waits in a place where it blocks no
/// other client.
async fn outcome(requests: &Requests, order: Order, peer: Peer) -> Result<Done, Failure> {
    let asked = call(requests, |answer| Request::Order(order, peer, answer));
    let mut answered = std::pin::pin!(asked);
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
