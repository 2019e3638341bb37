//! A question to the loop, and the way back.

use super::{CLIENT, Requests};
use crate::control::protocol::Failure;
use crate::control::request::{Answer, Request};

/// Asks the loop, and waits for its answer.
///
/// # Errors
/// What the loop answers; `shutting-down` when it is gone.
pub(super) async fn call<T>(
    requests: &Requests,
    request: impl FnOnce(Answer<T>) -> Request,
) -> Result<T, Failure> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let gone = || Failure::new("shutting-down", "the supervisor is shutting down".to_owned());
    let _owed = CLIENT.get().is_owed();
    requests.send(request(answer)).await.map_err(|_| gone())?;
    answered.await.unwrap_or_else(|_| Err(gone()))
}
