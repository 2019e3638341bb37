//! To put a message into a queue.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::Queue;
use super::ring::Claim;
use super::size::SlotWords;
use crate::shared::spinning::Tries;
use crate::shared::wait::SLICE;
use crate::shared::{Error, Wait};

/// How long a sender sleeps at first when there is no room; then twice as long each time. It may be
/// that slots become free, and not as many as it is woken for.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// How much of the next slot is fetched before it is written, in bytes: about as much as a CPU fetches
/// at a time.
const FETCHED_MAX: usize = 2048;

thread_local! {
    /// Of one that finds the queue full.
    static FULL: Tries = const { Tries::new() };
}

impl Queue {
    /// Puts a message into the queue, as soon as there is room. It is copied.
    ///
    /// # Errors
    /// [`Error::TooLong`]; [`Error::TimedOut`], [`Error::GivenUp`]: the queue is full;
    /// [`Error::Evicted`].
    pub fn send(&self, message: &[u8], wait: &Wait<'_>) -> Result<(), Error> {
        let (length, limit) = (message.len(), self.size.message);
        if length > limit {
            return Err(Error::TooLong { length, limit });
        }
        if let Some(channel) = &self.channel {
            let place = self.attachment.place();
            return channel.send(message, &wait.seen_at(&place));
        }
        let claim = self.claim(wait)?;
        self.fill(claim, message, || {})
    }

    /// The same, with something between the last byte and the word that it is whole: for a death
    /// there. What the kernel carries is whole or not there.
    pub(crate) fn send_but(
        &self,
        message: &[u8],
        wait: &Wait<'_>,
        before_it_is_whole: impl FnOnce(),
    ) -> Result<(), Error> {
        if self.channel.is_some() {
            before_it_is_whole();
            return self.send(message, wait);
        }
        let claim = self.claim(wait)?;
        self.fill(claim, message, before_it_is_whole)
    }

    /// The next message will be of about this length: a taker on another CPU has its room in the cache
    /// there, and to fetch that line by line, as it is written, takes most of the time of sending.
    fn fetch_next(&self, index: usize, length: usize) {
        let next = if index + 1 < self.size.capacity { index + 1 } else { 0 };
        // One that is being read is better left there.
        if self.ring().is_free(next) {
            let length = (size_of::<SlotWords>() + length).min(FETCHED_MAX);
            self.attachment.segment.fetch_to_write(self.slot_at(next), length);
        }
    }

    /// Waits for room.
    fn claim(&self, wait: &Wait<'_>) -> Result<Claim, Error> {
        let (mut pause, mut has_spun) = (FIRST_PAUSE, false);
        let place = self.attachment.place();
        let wait = &wait.seen_at(&place);
        loop {
            if let Some(claim) = self.ring().claim(self.seat) {
                return Ok(claim);
            }
            let time = wait.next()?.min(pause);
            if !has_spun && !time.is_zero() {
                has_spun = true;
                if let Some(claim) = FULL.with(|tries| tries.until(|| self.ring().claim(self.seat)))
                {
                    return Ok(claim);
                }
            }
            pause = (pause * 2).min(SLICE);
            let ticket = self.words().room.0.announce();
            if let Some(claim) = self.ring().claim(self.seat) {
                return Ok(claim);
            }
            if self.words().room.0.sleep(ticket, time) {
                self.look_after();
            }
        }
    }

    /// Sends a value as JSON, for [`Message::value`](crate::shared::Message::value).
    ///
    /// # Errors
    /// [`Error::Value`]; those of [`Self::send`].
    pub fn send_value<T: Serialize + ?Sized>(
        &self,
        value: &T,
        wait: &Wait<'_>,
    ) -> Result<(), Error> {
        self.send(&serde_json::to_vec(value).map_err(Error::Value)?, wait)
    }

    fn fill(
        &self,
        claim: Claim,
        message: &[u8],
        before_it_is_whole: impl FnOnce(),
    ) -> Result<(), Error> {
        let slot = self.slot_words(claim.index);
        slot.number.store(claim.number(), Ordering::Relaxed);
        slot.length.store(message.len() as u32, Ordering::Relaxed);
        slot.deliveries.store(0, Ordering::Relaxed);
        self.attachment.segment.copy_into(self.data_at(claim.index), message);
        before_it_is_whole();
        if !self.ring().commit(claim, self.seat) {
            return Err(Error::Evicted);
        }
        self.words().ready.0.notify_one_fenced();
        self.fetch_next(claim.index, message.len());
        Ok(())
    }
}
