//! The supervision machine: it decides everything and does nothing.
//!
//! Events go in ([`Machine::handle`]), effects come out ([`Machine::poll_effect`]), and time is an argument: a
//! [`core::time::Duration`] since the start of the supervisor on the monotonic clock. There is no clock, no I/O and
//! no randomness in this crate, so that a schedule of events replays bit for bit.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod effect;
pub mod ending;
pub mod event;
pub mod id;
pub mod incident;
pub mod machine;
pub mod spec;

pub use effect::{Effect, Transition};
pub use ending::{Cause, Ending, LaunchFailure, LaunchStage, Status};
pub use event::{Command, Event, Refusal};
pub use id::{DomainId, FaultId, Generation, GroupId, Incarnation, IncidentId, RequestId, WorkerId};
pub use incident::{Incident, Loss, Outcome};
pub use machine::{Inherited, InheritedDeath, InheritedWorker, Machine, Phase, WorkerView};
pub use spec::Spec;
