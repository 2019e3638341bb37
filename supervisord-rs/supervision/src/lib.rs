//! The supervision machine: it decides everything and does nothing.
//!
//! Events go in ([`Machine::handle`]), effects come out ([`Machine::poll_effect`]), and time is an
//! argument: a [`core::time::Duration`] on the monotonic clock. There is no clock, no I/O and no
//! randomness in this crate, so that a schedule of events replays bit for bit.
//!
//! | file | concept |
//! |---|---|
//! | `spec` | the workers to keep running: policy only |
//! | `event`, `effect` | the inputs and outputs of the machine |
//! | `ending`, `incident` | how an incarnation ended; the record of one failure |
//! | `machine` | the API |
//! | `checkpoint` | what a machine remembers of each worker for its successor |
//! | `resume` | how that one goes on |
//! | `worker` | one worker: its phase, and all that is known of it |
//! | `view` | what can be seen of it from outside |
//! | `table` | what each signal means in each phase: the total life-cycle table |
//! | `life_cycle` | the table's reactions carried out |
//! | `admission` | how many start at once, and who waits for a place |
//! | `scaling` | workers that are added and taken away |
//! | `failure` | what follows an ending: incident, backoff, quarantine, finish |
//! | `losses` | incidents opened, and closed when each loss is settled |
//! | `group` | strategies: who else is restarted, and when a group gives up |
//! | `command` | what people want: start, stop, restart, signal, inject, shut down |
//! | `injection` | faults on schedule |
//! | `lapse` | time in which the machine heard no worker |
//! | `dependencies` | who waits for whom |
//! | `restart`, `timers`, `open_incidents`, `worker_table` | arithmetic of delays and windows; what falls due; open incidents; who has changed |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod admission;
pub mod capabilities;
mod checkpoint;
mod command;
mod dependencies;
pub mod effect;
pub mod ending;
pub mod event;
mod failure;
mod group;
pub mod id;
pub mod incident;
mod injection;
mod lapse;
mod life_cycle;
mod losses;
pub mod machine;
mod open_incidents;
mod order;
mod prospects;
mod restart;
pub mod resume;
mod scaling;
pub mod spec;
mod table;
mod timers;
mod view;
mod worker;
mod worker_table;

pub use capabilities::{Capabilities, FaultDomain};
pub use checkpoint::{Checkpoint, InjectionMemo, Marks, OpenLoss};
pub use effect::{Effect, GivingUp, Transition};
pub use ending::{Cause, Ending, LaunchFailure, LaunchStage, Status};
pub use event::{Command, Culprit, Event, Extension, Refusal};
pub use id::{
    DomainId, FaultId, Generation, GroupId, Incarnation, IncidentId, RequestId, WorkerId,
};
pub use incident::{Incident, Loss, Outcome};
pub use machine::Machine;
pub use resume::{Fate, Recovered, RecoveredDeath, RecoveredWorker};
pub use spec::Spec;
pub use view::WorkerView;
pub use worker::{Phase, Quarantine, StopReason};

/// The code of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
