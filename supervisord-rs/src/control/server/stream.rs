//! The stream of events: JSON lines until the client leaves, or the server ends.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::error::RecvError;

use super::call::call;
use super::refusal::Refused;
use super::{CLIENT, CLOSED, CROWD, Requests, end};
use crate::control::protocol::{EventRecord, Failure};
use crate::control::request::{Request, Show};

/// A reader that is too slow loses the oldest events, and learns how many.
pub(super) async fn events(State(requests): State<Requests>) -> Result<Response, Refused> {
    let receiver = call(&requests, |answer| Request::Show(Show::Events(answer))).await?;
    if !CLIENT.with(|client| client.begins_to_read()) {
        let message = format!("no more clients can read events: {CROWD}");
        return Err(Failure::new("busy", message).into());
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
    Ok(([("content-type", "application/jsonl")], Body::from_stream(lines)).into_response())
}

fn lost_events(lost: u64) -> EventRecord {
    EventRecord {
        seq: 0,
        at: crate::record::wall_time::wall(std::time::SystemTime::now()),
        monotonic_us: workers::runtime::board::monotonic_ns() / 1000,
        kind: "lost".into(),
        worker: None,
        generation: None,
        detail: serde_json::json!({ "events": lost }),
    }
}
