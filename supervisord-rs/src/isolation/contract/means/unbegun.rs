//! Launches that are not wanted any more before they begin: they are dropped from the line.
//!
//! Hundreds may wait there, behind others or behind a file system that does not answer. Without
//! this an order to stop would have to wait until each was started, to be stopped then.

use supervision::{Event, Incarnation};
use workers::runtime::board::monotonic_ns;

use super::Means;
use crate::record::evidence::Evidence;

const WHY: &str = "not started: asked to stop while it waited for its turn to start";

impl Means {
    /// A worker that is being launched is to stop: its `start_before:` command is asked to, and a
    /// launch that waits in line is dropped. One that has begun goes on, and is stopped then.
    pub(in crate::isolation) fn stop_launch(&mut self, incarnation: Incarnation) {
        self.ask_before(incarnation);
        let domain = self.registry[incarnation.worker].domain;
        let launchers = &self.underway.launchers;
        let slot = &mut self.registry[domain].expected;
        let Some(expected) = slot.take_if(|expected| {
            // A cell whose other members may still be wanted is launched.
            let is_wanted = expected.members != [incarnation] && !launchers.is_closed();
            !is_wanted && launchers.take_back(&expected.attempt)
        }) else {
            return;
        };
        if expected.has_spoken {
            self.listen(domain);
        }
        for member in expected.members {
            self.drop_launch(member);
        }
    }

    /// No launch of a worker begins any more: everything ends, and each of them is about to be
    /// [stopped](Self::stop_launch).
    pub(in crate::isolation) fn close_launches(&mut self) {
        self.underway.launchers.close();
    }

    /// Answers a launch that has not begun.
    pub(in crate::isolation) fn drop_launch(&mut self, incarnation: Incarnation) {
        let (message, work) = (Some(WHY.to_owned()), Some((0, 0)));
        let evidence = Evidence { seen_at: monotonic_ns(), message, work, ..Evidence::default() };
        self.registry[incarnation.worker].evidence = Some((incarnation, evidence));
        self.release(incarnation.worker);
        self.say(incarnation.worker, Event::NotBegun { incarnation });
    }
}
