//! What has happened and the machine has not heard yet. Of workers that fail again and again, or
//! have just begun, it hears in turn with the others: however many of them there are, what a person
//! ordered waits for one of theirs at most.

use std::collections::{BTreeMap, VecDeque};

use supervision::{Event, WorkerId};

/// Events on their way to the machine. Those of one worker keep their order.
#[derive(Debug, Default)]
pub(in crate::isolation) struct Queue {
    calm: VecDeque<Event>,
    yielding: VecDeque<(WorkerId, Event)>,
    /// How many of each worker are in there.
    counts: BTreeMap<WorkerId, usize>,
    /// Whether the last event was one of those that do not yield.
    was_calm: bool,
}

impl Queue {
    /// Something has happened to a worker. `yields`: it lets others pass.
    pub(in crate::isolation) fn push(&mut self, worker: WorkerId, event: Event, yields: bool) {
        if yields || self.counts.contains_key(&worker) {
            *self.counts.entry(worker).or_default() += 1;
            self.yielding.push_back((worker, event));
        } else {
            self.calm.push_back(event);
        }
    }

    /// Something has happened to many.
    pub(in crate::isolation) fn push_for_all(&mut self, event: Event) {
        self.calm.push_back(event);
    }

    /// The next one: from the two queues in turn.
    pub(in crate::isolation) fn pop(&mut self) -> Option<Event> {
        let calm_first = !self.was_calm;
        self.was_calm = calm_first && !self.calm.is_empty() || self.yielding.is_empty();
        if self.was_calm {
            return self.calm.pop_front();
        }
        let (worker, event) = self.yielding.pop_front()?;
        if let Some(count) = self.counts.get_mut(&worker) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&worker);
            }
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use supervision::{Generation, Incarnation};

    use super::*;

    fn event(worker: u32, generation: u64) -> Event {
        let (worker, generation) = (WorkerId(worker), Generation(generation));
        Event::Exited { incarnation: Incarnation { worker, generation } }
    }

    #[test]
    fn whoever_fails_again_and_again_delays_another_by_one_event() {
        let mut queue = Queue::default();
        (0..100).for_each(|number| queue.push(WorkerId(number), event(number, 1), true));
        (100..103).for_each(|number| queue.push(WorkerId(number), event(number, 1), false));
        let order: Vec<Event> = std::iter::from_fn(|| queue.pop()).collect();
        let place = |number| order.iter().position(|found| *found == event(number, 1));
        assert_eq!([place(100), place(101), place(102)], [Some(0), Some(2), Some(4)]);
        assert_eq!([place(0), place(1), place(99)], [Some(1), Some(3), Some(102)]);
        assert_eq!(order.len(), 103);
    }

    #[test]
    fn events_of_one_worker_keep_their_order() {
        let mut queue = Queue::default();
        queue.push(WorkerId(1), event(1, 1), true);
        queue.push(WorkerId(1), event(1, 2), false);
        queue.push(WorkerId(2), event(2, 1), false);
        let order: Vec<Event> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [event(2, 1), event(1, 1), event(1, 2)]);
        queue.push(WorkerId(1), event(1, 3), false);
        assert_eq!(queue.calm.len(), 1, "nothing of it is left to keep it back");
    }
}
