//! What threads and processes cost on this machine: `measure`.
//!
//! Each [`Axis`] compares a worker as a thread, in a cell and as a process, each beside its limit:
//! the bare loop that does the same without a supervisor or an SDK. Cases take turns, round by
//! round ([`rounds`]), and a figure is the median of its rounds with their quartiles. A figure that
//! cannot be taken says why ([`figures::Entry::Untaken`]). From the figures follow two sentences for
//! each axis, also where they contradict the textbooks.
//!
//! Processes are this very program, started again by [`child::VERB`]: a program that calls
//! [`run`] gives its arguments to [`child::main`] first. They die with the one that measures.
//!
//! This crate knows the SDK (`workers`) and nothing of the supervisor: what only a supervisor can
//! measure comes in by [`Isolation`].

pub mod axes;
pub mod child;
pub mod figures;
mod hosts;
pub mod machine;
mod memory;
mod peer;
pub mod pinning;
pub mod progress;
pub mod report;
pub mod rounds;
pub mod statistics;
mod words;

use std::time::Instant;

pub use axes::Axis;
pub use axes::isolation::{Isolation, Trial};
pub use figures::Report;
pub use progress::Progress;
pub use rounds::Effort;

use pinning::Cpus;
use progress::Pace;

/// What one measurement of an axis has at hand.
pub(crate) struct Bench<'a> {
    pub(crate) effort: Effort,
    pub(crate) cpus: Cpus,
    pub(crate) pace: &'a Pace<'a>,
}

/// Measures these axes, in their order. Blocks until all are done: less than a minute with
/// [`Effort::quick`], less than ten in full. The calling thread is pinned to processors meanwhile.
///
/// # Errors
/// What keeps all of them from being measured.
pub fn run(
    asked: &[Axis],
    effort: Effort,
    isolation: &dyn Isolation,
    progress: &dyn Progress,
) -> Result<Report, String> {
    let begun = Instant::now();
    let cpus = Cpus::of_this_process()?;
    child::raise_descriptors();
    let machine = machine::Machine::of(&cpus);
    let pace = Pace::new(asked, effort, progress);
    let bench = Bench { effort, cpus, pace: &pace };
    let mut measured = Vec::new();
    for &axis in asked {
        pace.begins(axis);
        let begun = Instant::now();
        let mut result = axes::measure(axis, &bench, isolation);
        bench.cpus.release();
        result.seconds = words::significant(begun.elapsed().as_secs_f64());
        measured.push(result);
        pace.ends();
    }
    Ok(Report {
        version: figures::VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        quick: effort.is_quick(),
        seconds: words::significant(begun.elapsed().as_secs_f64()),
        machine,
        axes: measured,
    })
}
