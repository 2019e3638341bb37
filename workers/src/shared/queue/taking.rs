//! To take the next message of a queue.

use super::{Message, Queue};
use crate::shared::attachment::Attachment;
use crate::shared::spinning::Tries;
use crate::shared::{Error, Wait};

thread_local! {
    /// Of one that finds the queue empty.
    static EMPTY: Tries = const { Tries::new() };
}

impl Queue {
    /// Takes the next message, as soon as there is one.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::GivenUp`]: the queue is empty.
    pub fn take(&self, wait: &Wait<'_>) -> Result<Message<'_>, Error> {
        let place = self.attachment.place();
        let wait = &wait.seen_at(&place);
        if let Some(channel) = &self.channel {
            let bytes = channel.take(self.size.message, wait)?;
            let Attachment { segment, holder, .. } = self.attachment;
            return Ok(Message::carried(self, bytes, segment.note_taken(holder)));
        }
        let mut has_spun = false;
        loop {
            if let Some(index) = self.ring().take(self.seat) {
                return Ok(Message::new(self, index));
            }
            let time = wait.next()?;
            if !has_spun && !time.is_zero() {
                has_spun = true;
                let index = EMPTY.with(|tries| tries.until(|| self.ring().take(self.seat)));
                if let Some(index) = index {
                    return Ok(Message::new(self, index));
                }
            }
            self.words().room.0.notify_all();
            let ticket = self.words().ready.0.announce();
            if let Some(index) = self.ring().take(self.seat) {
                return Ok(Message::new(self, index));
            }
            if self.words().ready.0.sleep(ticket, time) {
                self.look_after();
                if let Some(index) = self.ring().take_any(self.seat) {
                    return Ok(Message::new(self, index));
                }
            }
        }
    }

    /// After a slot has become free. Who waits for room is not woken for each: then sender and
    /// taker would change places at each message of a full queue.
    pub(super) fn tell_room(&self, index: usize) {
        let part = (self.size.capacity / 2).max(1);
        if (index + 1).is_multiple_of(part) {
            self.words().room.0.notify_all();
        }
    }
}
