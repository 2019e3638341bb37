//! The thread itself.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use supervision::LaunchFailure;
use workers::Registry;
use workers::runtime::endowment::{Endowment, Named};
use workers::runtime::run::IncarnationPlan;

use crate::isolation::host::Order;
use crate::isolation::launch::{become_foreign, from_io};
use crate::isolation::live::Sdk;
use crate::stages;

/// Starts the thread. It ends by itself, when it stops; it is not joined, since one that hangs
/// would hang us.
pub(super) fn launch(
    sdk: &Sdk,
    order: &Order<'_>,
    registry: &Registry,
    poke: &Arc<OwnedFd>,
    output: OwnedFd,
) -> Result<(), LaunchFailure> {
    let wake = sdk.wake.copy().map_err(|error| from_io(stages::BOARD, &error))?;
    let plan = IncarnationPlan {
        name: order.name.to_owned(),
        kind: order.kind.to_owned(),
        generation: order.generation,
        args: order.args.clone(),
        on_panic: order.on_panic,
        scheduling: order.scheduling.clone(),
        mapping: Arc::clone(&sdk.page.mapping),
        page: sdk.page.number,
        poke: Arc::clone(poke),
        wake,
        output,
        endowment: copies(&order.handed)?,
        briefing: order.briefing.clone(),
        at_end: None,
    };
    become_foreign();
    workers::runtime::run::spawn(plan, registry)
        .map(drop)
        .map_err(|error| from_io(stages::THREAD, &error))
}

/// A thread gets copies, as a process does.
fn copies(handed: &[Named<'_>]) -> Result<Endowment, LaunchFailure> {
    let mut endowment = Endowment::default();
    for (name, descriptor) in handed {
        let copy = descriptor.try_clone_to_owned();
        let copy = copy.map_err(|error| from_io(stages::DESCRIPTORS, &error))?;
        endowment.add((*name).to_owned(), copy);
    }
    Ok(endowment)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{PipeReader, Read, Write, pipe};
    use std::os::fd::AsFd;

    use nix::sys::eventfd::EventFd;
    use supervision::{Generation, Incarnation, WorkerId};
    use workers::runtime::briefing::Briefing;
    use workers::runtime::mapping::Mapping;
    use workers::runtime::run::OnPanic;
    use workers::runtime::scheduling::Scheduling;
    use workers::{Context, Worker, WorkerError};

    use super::*;
    use crate::isolation::live::Page;

    /// Answers on what it was handed.
    struct Answerer;

    impl Worker for Answerer {
        fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
            let way = context.claim("answers").ok_or("not handed over")?;
            Ok(File::from(way).write_all(b"claimed")?)
        }
    }

    #[test]
    fn a_thread_claims_what_it_was_handed_by_name() {
        let mapping = Arc::new(Mapping::sealed("w").expect("a board"));
        let incarnation = Incarnation { worker: WorkerId(0), generation: Generation(1) };
        let sdk = Sdk::new(Page { mapping, number: 0 }, "w", incarnation).expect("a timer");
        let answerer = |_: serde_json::Value| -> Result<Answerer, WorkerError> { Ok(Answerer) };
        let registry = Registry::default().with("answerer", "", answerer);
        let poke = Arc::new(OwnedFd::from(EventFd::new().expect("an eventfd")));
        let output = File::create("/dev/null").expect("/dev/null");
        let (mut reader, writer): (PipeReader, _) = pipe().expect("a pipe");
        let order = Order {
            name: "w",
            kind: "answerer",
            generation: 1,
            args: &serde_json::Value::Null,
            on_panic: OnPanic::Contain,
            scheduling: &Scheduling::default(),
            briefing: Briefing::default(),
            handed: vec![("answers", writer.as_fd())],
        };
        launch(&sdk, &order, &registry, &poke, output.into()).expect("a thread");
        drop(writer);
        let mut text = String::new();
        // The worker's copy is the last: it is closed with the worker.
        reader.read_to_string(&mut text).expect("readable");
        assert_eq!(text, "claimed");
    }
}
