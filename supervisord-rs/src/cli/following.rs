//! The stream of events over the lives of several supervisors: where one dies or hands over, its
//! successor's events go on.

use std::io;
use std::time::Instant;

use super::exit::{Exit, report};
use super::output::say;
use super::waits::{HAND_OVER, PATIENCE, PAUSE};
use crate::control::client::{Client, ClientError, Events};
use crate::control::protocol::EventRecord;

/// What a verb does with events. Each answer: whether its reader is still there.
pub(super) trait Follower {
    /// A supervisor answers: what happened before its first event is shown now.
    fn begin(&mut self) -> bool;
    /// It reports this.
    fn event(&mut self, event: &EventRecord) -> bool;
}

/// How a stream ended.
enum End {
    /// The reader of the output has gone.
    Unread,
    /// The supervisor has closed it in order.
    Closed,
    /// The supervisor broke off: it has died.
    BrokenOff,
    /// It sent what is no event.
    Invalid(ClientError),
}

/// Runs until the reader of the output has gone, or the supervisor has ended in order and none
/// follows it. Waits for the successor of one that has died.
pub(super) fn follow(client: &Client, follower: &mut impl Follower) -> Exit {
    let mut stream = match client.events() {
        Ok(stream) => stream,
        Err(error) => return report(&error),
    };
    loop {
        let has_died = match shown(stream, follower) {
            End::Unread => return Exit::Done,
            End::Invalid(error) => return report(&error),
            End::Closed => false,
            End::BrokenOff => true,
        };
        stream = match successor(|| client.events(), has_died) {
            Ok(Some(stream)) => stream,
            Ok(None) => return Exit::Done,
            Err(error) => return report(&error),
        };
    }
}

fn shown(stream: Events<'_>, follower: &mut impl Follower) -> End {
    if !follower.begin() {
        return End::Unread;
    }
    for event in stream {
        match event {
            Ok(event) if follower.event(&event) => {}
            Ok(_) => return End::Unread,
            Err(ClientError::BrokenOff(_)) => return End::BrokenOff,
            Err(error) => return End::Invalid(error),
        }
    }
    End::Closed
}

/// What the next supervisor there answers; `None` when none follows one that ended in order: that
/// one removes its socket.
pub(super) fn successor<T>(
    mut ask: impl FnMut() -> Result<T, ClientError>,
    has_died: bool,
) -> Result<Option<T>, ClientError> {
    let since = Instant::now();
    let mut ended_since = (!has_died).then_some(since);
    let mut has_spoken = false;
    loop {
        match ask() {
            Ok(answer) => return Ok(Some(answer)),
            Err(ClientError::NoSupervisor { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                ended_since = ended_since.or_else(|| Some(Instant::now()));
            }
            Err(
                ClientError::NoSupervisor { .. }
                | ClientError::BrokenOff(_)
                | ClientError::Busy { .. },
            ) => ended_since = ended_since.filter(|_| !has_died),
            Err(ClientError::Failed(failure))
                if ["shutting-down", "busy"].contains(&failure.error.as_str()) => {}
            Err(error) => return Err(error),
        }
        if ended_since.is_some_and(|at| at.elapsed() >= HAND_OVER) {
            return Ok(None);
        }
        if ended_since.is_none() && !has_spoken && since.elapsed() >= PATIENCE {
            say("the supervisor has died; waiting for its successor");
            has_spoken = true;
        }
        std::thread::sleep(PAUSE);
    }
}
