//! What the control server asks of the daemon's loop: one bounded queue, an answer to each.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{broadcast, oneshot};

use super::protocol::{
    Done, EventRecord, Failure, IncidentRecord, InjectRequest, ReexecRequest, ScaleRequest,
    ShutdownRequest, SignalRequest, StatusReport, WorkersRequest,
};

/// Who asks: the peer credentials of the connection (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process when it connected; 0 for the supervisor itself.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The sender of an answer; a client that went away is no error.
pub type Answer<T> = oneshot::Sender<Result<T, Failure>>;

/// One request with the way back.
#[derive(Debug)]
pub enum Request {
    /// Everything there is to see now.
    Status(Answer<StatusReport>),
    /// The newest incidents, at most so many settled ones.
    Incidents(usize, Answer<Found>),
    /// Every event from now on. A reader that is too slow loses the oldest, and sees that it did.
    Events(Answer<broadcast::Receiver<EventRecord>>),
    /// Start workers.
    Start(WorkersRequest, Peer, Answer<Done>),
    /// Stop workers.
    Stop(WorkersRequest, Peer, Answer<Done>),
    /// Restart workers.
    Restart(WorkersRequest, Peer, Answer<Done>),
    /// Suspend workers.
    Pause(WorkersRequest, Peer, Answer<Done>),
    /// Let workers go on.
    Resume(WorkersRequest, Peer, Answer<Done>),
    /// Change the number of a worker's instances.
    Scale(ScaleRequest, Peer, Answer<Done>),
    /// Signal a worker.
    Signal(SignalRequest, Peer, Answer<Done>),
    /// Commit a fault in a worker.
    Inject(InjectRequest, Peer, Answer<Done>),
    /// Give way to another supervisor.
    Reexec(ReexecRequest, Peer, Answer<Done>),
    /// Stop everything and end.
    Shutdown(ShutdownRequest, Peer, Answer<Done>),
}

/// Incidents that are in memory.
#[derive(Debug)]
pub struct Found {
    /// The newest settled ones, oldest first.
    pub settled: Vec<IncidentRecord>,
    /// All that are open.
    pub open: Vec<IncidentRecord>,
    /// The file that has the other settled ones.
    pub path: Arc<Path>,
}

impl Request {
    /// Answers that it cannot be done, to the client, if it still waits.
    pub fn refuse(self, failure: Failure) {
        // A client that went away is no error.
        match self {
            Self::Status(answer) => drop(answer.send(Err(failure))),
            Self::Incidents(_, answer) => drop(answer.send(Err(failure))),
            Self::Events(answer) => drop(answer.send(Err(failure))),
            Self::Start(_, _, answer)
            | Self::Stop(_, _, answer)
            | Self::Restart(_, _, answer)
            | Self::Pause(_, _, answer)
            | Self::Resume(_, _, answer)
            | Self::Scale(_, _, answer)
            | Self::Signal(_, _, answer)
            | Self::Inject(_, _, answer)
            | Self::Reexec(_, _, answer)
            | Self::Shutdown(_, _, answer) => drop(answer.send(Err(failure))),
        }
    }
}
