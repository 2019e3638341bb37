//! What the control server asks of the daemon's loop: one bounded queue, an answer to each.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{broadcast, oneshot};

use super::protocol::{
    AwaitRequest, Done, EventRecord, Failure, IncidentRecord, InjectRequest, ReexecRequest,
    ScaleRequest, ShutdownRequest, SignalRequest, StatusReport, WorkersRequest,
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
    /// To show something. It changes nothing.
    Show(Show),
    /// To change something; the peer that asks for it.
    Order(Order, Peer, Answer<Done>),
}

/// What there is to see.
#[derive(Debug)]
pub enum Show {
    /// Everything there is to see now.
    Status(Answer<StatusReport>),
    /// The newest incidents, at most so many settled ones.
    Incidents(usize, Answer<Found>),
    /// Every event from now on. A reader that is too slow loses the oldest, and sees that it did.
    Events(Answer<broadcast::Receiver<EventRecord>>),
}

/// What there is to order, and to wait for.
#[derive(Debug)]
pub enum Order {
    /// Start workers.
    Start(WorkersRequest),
    /// Stop workers.
    Stop(WorkersRequest),
    /// Restart workers.
    Restart(WorkersRequest),
    /// Wait until workers that were ordered to come up have, or have failed to. It changes nothing.
    Await(AwaitRequest),
    /// Suspend workers.
    Pause(WorkersRequest),
    /// Let workers go on.
    Resume(WorkersRequest),
    /// Change the number of a worker's instances.
    Scale(ScaleRequest),
    /// Signal workers.
    Signal(SignalRequest),
    /// Commit a fault in a worker.
    Inject(InjectRequest),
    /// Give way to another supervisor.
    Reexec(ReexecRequest),
    /// Stop everything and end.
    Shutdown(ShutdownRequest),
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
            Self::Show(Show::Status(answer)) => drop(answer.send(Err(failure))),
            Self::Show(Show::Incidents(_, answer)) => drop(answer.send(Err(failure))),
            Self::Show(Show::Events(answer)) => drop(answer.send(Err(failure))),
            Self::Order(_, _, answer) => drop(answer.send(Err(failure))),
        }
    }
}
