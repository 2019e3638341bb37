//! A message that was taken and lies in its slot until it is acknowledged.

use std::sync::atomic::Ordering;

use serde::de::DeserializeOwned;

use super::Queue;
use crate::shared::Error;
use crate::shared::attachment::Attachment;

/// A message that was taken. If its taker dies, or drops it without [`Self::acknowledge`] (also by
/// a panic), it is taken again.
#[must_use = "it is taken again when this is dropped"]
#[derive(Debug)]
pub struct Message<'a> {
    queue: &'a Queue,
    index: usize,
    length: usize,
    deliveries: u32,
    /// Of a queue that the kernel carries: its bytes, and the place where it is noted as taken.
    carried: Option<(Vec<u8>, Option<usize>)>,
    is_over: bool,
}

impl<'a> Message<'a> {
    /// Of a slot that the queue's seat has just taken.
    pub(super) fn new(queue: &'a Queue, index: usize) -> Self {
        let slot = queue.slot_words(index);
        // Others may write over it at any time: it is checked once, and never read again.
        let length = (slot.length.load(Ordering::Relaxed) as usize).min(queue.size.message);
        let deliveries = slot.deliveries.load(Ordering::Relaxed).saturating_add(1);
        slot.deliveries.store(deliveries, Ordering::Relaxed);
        Self { queue, index, length, deliveries, carried: None, is_over: false }
    }

    /// Of a queue that the kernel carries, which has it no more.
    pub(super) fn carried(queue: &'a Queue, bytes: Vec<u8>, place: Option<usize>) -> Self {
        let (index, length) = (usize::MAX, bytes.len());
        Self { queue, index, length, deliveries: 1, carried: Some((bytes, place)), is_over: false }
    }

    /// Its length, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How often it was taken, with this time. More than 1: a taker before may have done the work,
    /// or half of it; and a message that kills its takers can be left out.
    #[must_use]
    pub fn deliveries(&self) -> u32 {
        self.deliveries
    }

    /// A number that no other message has in this queue (until the ring has come around 2⁴⁸
    /// times), the same at each delivery: for takers that must see what they have done already. 0
    /// where the kernel carries the queue: it is delivered once.
    #[must_use]
    pub fn number(&self) -> u64 {
        if self.carried.is_some() {
            return 0;
        }
        self.queue.slot_words(self.index).number.load(Ordering::Relaxed)
    }

    /// Copies it, or as much as there is room for. Returns how many bytes.
    pub fn copy_into(&self, bytes: &mut [u8]) -> usize {
        let length = self.length.min(bytes.len());
        if let Some((carried, _)) = &self.carried {
            bytes[..length].copy_from_slice(&carried[..length]);
            return length;
        }
        let at = self.queue.data_at(self.index);
        self.queue.attachment.segment.copy_out(at, &mut bytes[..length]);
        length
    }

    /// A copy of it.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.copy_into(&mut bytes);
        bytes
    }

    /// The value that [`Queue::send_value`] has sent.
    ///
    /// # Errors
    /// [`Error::Value`]: it is none of this type. It stays taken: acknowledge it, unless others
    /// understand it.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.to_vec()).map_err(Error::Value)
    }

    /// Says that its work is done: it is never taken again.
    ///
    /// # Errors
    /// [`Error::Evicted`].
    pub fn acknowledge(mut self) -> Result<(), Error> {
        self.is_over = true;
        if let Some((_, place)) = &self.carried {
            let place = *place;
            self.forget_taken(place);
            return Ok(());
        }
        let is_done = self.queue.ring().acknowledge(self.index, self.queue.seat);
        self.queue.tell_room(self.index);
        if is_done { Ok(()) } else { Err(Error::Evicted) }
    }
}

impl Message<'_> {
    fn forget_taken(&self, place: Option<usize>) {
        let Attachment { segment, holder, .. } = self.queue.attachment;
        segment.forget_taken(place, holder);
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        if let Some((_, place)) = &self.carried {
            let place = *place;
            // One that unwinds has lost it, and the incident says so.
            if !self.is_over && !std::thread::panicking() {
                self.forget_taken(place);
            }
        } else if !self.is_over {
            self.queue.ring().give_back(self.index, self.queue.seat);
            self.queue.words().ready.0.notify_one();
        }
    }
}
