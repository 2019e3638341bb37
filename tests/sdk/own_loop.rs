//! A loop of a worker's own, which watches the descriptor of its context and never a clock.

use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use workers::{Context, Registry, WorkerError};

use crate::harness::{Bed, EAGER};
use crate::{PLACES, Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[(
    "a_loop_that_waits_without_end_is_asked_and_one_that_does_not_answer_hangs",
    a_loop_that_waits_without_end_is_asked_and_one_that_does_not_answer_hangs,
)];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry.function("own-loop", "waits for orders alone; args: answers", own_loop)
}

#[derive(serde::Deserialize)]
struct Args {
    answers: bool,
}

fn own_loop(context: &Context, args: Args) -> Result<(), WorkerError> {
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    set.add(context.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
    context.ready();
    while !context.stop_requested() {
        set.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
        if args.answers {
            // A unit for each question: a sign of life as `tick` is.
            context.progress(1);
        }
    }
    Ok(())
}

fn a_loop_that_waits_without_end_is_asked_and_one_that_does_not_answer_hangs() {
    let bed = Bed::new();
    let entry = |(number, place): (usize, &&str)| {
        format!(
            "  w{number}: {{ worker: own-loop, args: {{ answers: true }}, {place}, heartbeat: 2s }}\n"
        )
    };
    let workers: String = PLACES.iter().enumerate().map(entry).collect();
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nworkers:\n{workers}  stuck: {{ worker: own-loop, args: {{ answers: false \
             }}, isolation: process, heartbeat: 2s, {EAGER} }}\n"
        ),
    );
    for number in 0..PLACES.len() {
        let worker = supervisor.wait("a second answer", |supervisor| {
            let worker = supervisor.worker(&format!("w{number}"));
            (worker.progress >= Some(2)).then_some(worker)
        });
        assert_eq!(worker.generation, 1, "{worker:?}");
    }
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.worker.as_deref(), Some("stuck"), "{}", incident.sentence);
    assert_eq!(incident.ending.cause, "hang", "{}", incident.sentence);
    supervisor.stop();
}
