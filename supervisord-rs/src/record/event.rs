//! What happened, emitted once. All that have to know of it are [`Observer`]s: the stream of
//! events, the supervisor's own log, hooks, records. None of them knows another.
//!
//! An event borrows what it tells of: it costs no memory, and an observer that has no audience
//! makes no text and no JSON of it. The JSON that readers get: `published`.

mod published;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use supervision::{Incarnation, Incident, IncidentId, Phase};

use super::incidents::Names;
use crate::config::settings::probes::Kind;
use crate::control::protocol::{EndingReport, IncidentRecord};

/// Learns of everything that happens, in the order in which it happens. Called on the loop: it
/// never waits.
pub trait Observer {
    /// This has happened.
    fn observe(&mut self, event: &Event<'_>);
}

/// Something that happened.
#[derive(Debug)]
pub struct Event<'a> {
    /// To whom; `None`: to the supervisor, or to no run of a worker.
    pub who: Option<Who<'a>>,
    /// What.
    pub what: What<'a>,
}

/// One run of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The worker's name.
    pub name: &'a str,
    /// Which worker, and which run of it.
    pub incarnation: Incarnation,
}

/// What happened. `published` has the name and the JSON of each.
#[derive(Debug)]
pub enum What<'a> {
    /// A worker has changed its phase.
    Phase {
        /// The phase that it leaves.
        from: Phase,
        /// The phase that it enters.
        to: Phase,
        /// How its incarnation ended, if it did.
        ending: Option<&'a EndingReport>,
        /// Its fault domain.
        fault_domain: &'a str,
        /// Whether it has ended with success, and was to end.
        has_succeeded: bool,
    },
    /// Something failed.
    IncidentOpened {
        /// What the machine knows of it.
        incident: &'a Incident,
        /// How the culprit, or else the domain, ended.
        ending: &'a EndingReport,
        /// The names of those lost and of the domain.
        names: &'a Names,
        /// The record as far as it is known. `None`: it is settled already, and the record of that
        /// follows.
        record: Option<&'a IncidentRecord>,
    },
    /// A launch has failed as the one before it did: the incident counts it.
    IncidentAgain {
        /// The incident.
        id: IncidentId,
        /// How many launches have failed in this way.
        count: u64,
    },
    /// An incident is settled.
    IncidentSettled {
        /// All about it.
        record: &'a Arc<IncidentRecord>,
        /// Whether everyone lost is back.
        recovered: bool,
    },
    /// A fault was ordered for a worker.
    Injected {
        /// Its name.
        fault: &'static str,
    },
    /// A worker of a predecessor goes on under this supervisor.
    Adopted {
        /// Its main process.
        pid: Option<i32>,
        /// Its phase.
        phase: Phase,
    },
    /// A process of a predecessor could not be taken over.
    NotAdopted {
        /// The process.
        pid: i32,
        /// What there should have been.
        missing: Cow<'a, str>,
    },
    /// What was killed is still there.
    Remains {
        /// The processes, in words.
        processes: &'a [String],
        /// Why they do not die.
        why: &'a str,
    },
    /// A probe has changed its mind.
    Probe {
        /// What it decides.
        kind: Kind,
        /// What it says; `None`: nothing.
        good: Option<bool>,
        /// Whether the worker is not to be depended on from now on.
        is_unready: bool,
    },
    /// A hook did not end with success in time.
    HookFailed {
        /// Its command.
        command: &'a str,
        /// How it failed.
        why: &'a str,
    },
    /// A worker can never start.
    InVain {
        /// The worker that it waits for.
        on: &'a str,
        /// Why that will not come.
        why: &'a str,
    },
    /// A worker starts without one that it would have liked to wait for.
    StartsWithout {
        /// The worker that is not there.
        on: &'a str,
        /// Why it is not.
        why: &'a str,
    },
    /// Everything is stopped without an order.
    GivingUp {
        /// Why.
        why: &'a str,
        /// The exit status of the supervisor.
        exit_status: u8,
    },
    /// Another binary was to take over, and has not.
    RolledBack {
        /// The binary.
        binary: &'a Path,
        /// Why it did not.
        why: &'a str,
        /// Whether this supervisor had come to rest already, so that another of its own binary has
        /// to go on.
        had_rested: bool,
    },
    /// A client gave an order.
    Command {
        /// What is to be done.
        verb: &'a str,
        /// To whom.
        subject: &'a str,
        /// The user of the client.
        uid: u32,
        /// The process of the client.
        pid: i32,
    },
    /// A message on a worker's notify socket was refused.
    NotifyRefused {
        /// The process that sent it.
        sender: i32,
        /// Why it was refused.
        why: Cow<'a, str>,
    },
    /// A worker that is to stop is frozen from outside.
    Frozen {
        /// By what.
        why: Cow<'a, str>,
    },
    /// A stop command could not be started.
    StopCommandFailed {
        /// Why not.
        error: Cow<'a, str>,
    },
    /// Output cannot be written; what is lost is counted.
    LogTrouble {
        /// Whose output.
        worker: Cow<'a, str>,
        /// Where it should go.
        target: Cow<'a, str>,
        /// Why it does not.
        error: Cow<'a, str>,
    },
    /// Output is written again.
    LogRecovered {
        /// Whose output.
        worker: Cow<'a, str>,
        /// Where it goes.
        target: Cow<'a, str>,
        /// How much was lost.
        lost_bytes: u64,
    },
}
