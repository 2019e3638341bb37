//! An order over which the supervisor dies, as by the end of a worker that is a thread of it: its
//! successor has the order, and tells what comes of it.

use std::time::{Duration, Instant};

use super::waits::PAUSE;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::Done;
use crate::waiting::until;

/// A successor answers within this time, or none follows.
const SUCCESSOR: Duration = Duration::from_secs(5);
/// One after the other may die over the same worker.
const SUCCESSORS_MAX: usize = 3;

/// The outcome of an order that the successor of a supervisor is given `again`: one that changes
/// nothing where it is carried out already.
pub(super) fn outcome(
    client: &Client,
    order: impl FnOnce() -> Result<Done, ClientError>,
    again: impl Fn() -> Result<Done, ClientError>,
) -> Result<Done, ClientError> {
    let mut outcome = order();
    for _ in 0..SUCCESSORS_MAX {
        if !matches!(outcome, Err(ClientError::BrokenOff(_))) || !has_successor(client) {
            break;
        }
        outcome = again();
    }
    outcome
}

fn has_successor(client: &Client) -> bool {
    let mut gone = None;
    let answers = until(Duration::MAX, PAUSE, || match client.status() {
        Ok(_) => Some(true),
        Err(ClientError::NoSupervisor { .. }) => {
            let since: Instant = *gone.get_or_insert_with(Instant::now);
            (since.elapsed() >= SUCCESSOR).then_some(false)
        }
        Err(ClientError::BrokenOff(_) | ClientError::Busy { .. }) => None,
        Err(
            ClientError::NotPermitted { .. }
            | ClientError::Failed(_)
            | ClientError::TimedOut(_)
            | ClientError::Protocol(_),
        ) => Some(false),
    });
    answers.unwrap_or(false)
}
