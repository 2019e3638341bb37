//! What can wait until the end of a turn of the loop: to wake other threads and processes, so that
//! they write a line, an event, a change of the fd store.
//!
//! Waking a thread whose processor sleeps costs more than most of what the loop does, and a thread
//! that is woken early competes with what is urgent: the launch of what has died. So a turn does
//! its work first, in its order, and rings all bells at its end, in theirs.

use std::cell::RefCell;

/// Rings a bell.
type Bell = Box<dyn FnOnce()>;

thread_local! {
    /// `None`: no turn is under way on this thread.
    static BELLS: RefCell<Option<Vec<Bell>>> = const { RefCell::new(None) };
}

/// A turn. Its end is that of the outermost one on its thread.
#[derive(Debug)]
pub(crate) struct Turn {
    is_outermost: bool,
}

impl Turn {
    pub(crate) fn begin() -> Self {
        let is_outermost = BELLS.with_borrow_mut(|bells| {
            let is_outermost = bells.is_none();
            bells.get_or_insert_default();
            is_outermost
        });
        Self { is_outermost }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_outermost {
            // First: what they do may come back here.
            let bells = BELLS.take();
            bells.into_iter().flatten().for_each(|bell| bell());
        }
    }
}

/// Rings a bell at the end of the turn, or at once where none is under way.
pub(crate) fn ring(bell: impl FnOnce() + 'static) {
    let bell: Bell = Box::new(bell);
    let now = BELLS.with_borrow_mut(|bells| match bells {
        Some(bells) => {
            bells.push(bell);
            None
        }
        None => Some(bell),
    });
    if let Some(bell) = now {
        bell();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn bells_ring_in_their_order_at_the_end_of_the_outermost_turn() {
        let rung = Rc::new(Cell::new(0));
        let ring_as = |number: u32| {
            let rung = Rc::clone(&rung);
            ring(move || rung.set(rung.get() * 10 + number));
        };
        ring_as(1);
        assert_eq!(rung.get(), 1, "no turn is under way");
        let turn = Turn::begin();
        ring_as(2);
        drop(Turn::begin());
        ring_as(3);
        assert_eq!(rung.get(), 1, "they wait for the end");
        drop(turn);
        assert_eq!(rung.get(), 123);
        ring_as(4);
        assert_eq!(rung.get(), 1234, "and no longer");
    }
}
