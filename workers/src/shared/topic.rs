//! The latest value of something, between processes: read without waiting.

mod latest;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use latest::{Cells, SLOTS, Unread};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attachment::Attachment;
use super::event::Event;
use super::holder::Holder;
use super::mutex::Inner;
use super::queue::MESSAGE_MAX;
use super::segment::{HEADER, Kind, LINE, Numbers, Words};
use super::{Error, Segment, Wait};

#[repr(C, align(64))]
struct TopicWords {
    latest: AtomicU64,
    news: Event,
    /// One writer at a time.
    writer: Inner,
}

// SAFETY: words and atomics, in the order of C.
unsafe impl Words for TopicWords {}

/// The beginning of a slot; the value follows.
#[repr(C)]
struct SlotWords {
    mark: AtomicU64,
    length: AtomicU32,
    _unused: AtomicU32,
}

// SAFETY: atomics, in the order of C.
unsafe impl Words for SlotWords {}

/// A value that threads and processes publish and read, the latest one only.
///
/// *Guarantees*: a reader never waits, whatever writers do or wherever they die, and gets a value
/// that one writer has published, whole, and never an older one than before. Writers wait for each
/// other.
///
/// *Trust*: what one writes over its memory is a value too, or none; lengths are checked at each
/// use. For writers as of [`Mutex`](super::Mutex).
pub struct Topic {
    attachment: Attachment,
    message: usize,
    words: &'static TopicWords,
    /// Found once: to read a value takes a few nanoseconds.
    slots: [&'static SlotWords; SLOTS],
}

/// A value of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Counts the values, from 1.
    pub number: u64,
    /// Its length, in bytes.
    pub length: usize,
}

const SLOTS_AT: usize = HEADER + size_of::<TopicWords>();

fn stride(message: usize) -> usize {
    (size_of::<SlotWords>() + message).next_multiple_of(LINE)
}

/// What a writer has.
pub(super) fn inner(segment: &Segment) -> &Inner {
    &segment.at::<TopicWords>(HEADER).writer
}

pub(super) fn whole_size([message, b, c]: Numbers) -> Option<usize> {
    let fits = (1..=MESSAGE_MAX).contains(&message) && (b, c) == (0, 0);
    fits.then(|| SLOTS_AT + SLOTS * stride(message))
}

impl Topic {
    /// Makes a topic for values of so many bytes at most, 1 to [`MESSAGE_MAX`].
    ///
    /// # Errors
    /// [`Error::Unfit`], [`Error::System`].
    pub fn create(message: usize, holder: Holder) -> Result<Self, Error> {
        Error::unless_fit("bytes of a message", message, 1..=MESSAGE_MAX)?;
        let numbers = [message, 0, 0];
        let topic = Self::of(Attachment::create(Kind::Topic, numbers, whole_size, holder)?);
        topic.words.writer.initialize();
        Ok(topic)
    }

    /// Uses the topic behind this descriptor, in the name of `holder`.
    ///
    /// # Errors
    /// [`Error::OtherKind`], [`Error::Foreign`], [`Error::System`].
    pub fn open(fd: OwnedFd, holder: Holder) -> Result<Self, Error> {
        Ok(Self::of(Attachment::open(fd, Kind::Topic, whole_size, holder)?))
    }

    fn of(attachment: Attachment) -> Self {
        let (message, segment) = (attachment.segment.numbers()[0], attachment.segment);
        let slots = std::array::from_fn(|index| segment.at(SLOTS_AT + index * stride(message)));
        Self { attachment, message, words: segment.at(HEADER), slots }
    }

    /// The descriptor, for a process that will use it.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.attachment.segment.fd()
    }

    /// The longest value, in bytes.
    #[must_use]
    pub fn message_size(&self) -> usize {
        self.message
    }

    fn data_at(&self, index: usize) -> usize {
        SLOTS_AT + index * stride(self.message) + size_of::<SlotWords>()
    }

    /// Publishes a value, and returns its number. Waits for other writers only.
    ///
    /// # Errors
    /// [`Error::TooLong`]; [`Error::TimedOut`], [`Error::GivenUp`]; [`Error::Overwritten`].
    pub fn publish(&self, value: &[u8], wait: &Wait<'_>) -> Result<u64, Error> {
        let (length, limit) = (value.len(), self.message);
        if length > limit {
            return Err(Error::TooLong { length, limit });
        }
        // A writer that died has left nothing that matters.
        let locked = self.words.writer.lock(self.attachment, wait, true)?;
        let guard = locked.carry_on();
        let number = latest::write(&self, |slot| {
            self.slots[slot].length.store(length as u32, Ordering::Relaxed);
            self.attachment.segment.copy_into(self.data_at(slot), value);
        });
        drop(guard);
        self.words.news.notify_all();
        Ok(number)
    }

    /// Copies the latest value, or as much of it as there is room for. None: there is no value
    /// yet. Never waits, makes no system call.
    ///
    /// # Errors
    /// [`Error::TooFast`]: it was overtaken by writers a thousand times in a row.
    #[inline]
    pub fn read(&self, into: &mut [u8]) -> Result<Option<Published>, Error> {
        let copy = |slot: usize| {
            let length = self.slots[slot].length.load(Ordering::Relaxed) as usize;
            let length = length.min(self.message);
            let part = length.min(into.len());
            self.attachment.segment.copy_out(self.data_at(slot), &mut into[..part]);
            length
        };
        match latest::read(&self, copy) {
            Ok((number, length)) => Ok(Some(Published { number, length })),
            Err(Unread::Nothing) => Ok(None),
            Err(Unread::Overtaken) => Err(Error::TooFast),
        }
    }

    /// Publishes a value as JSON, for [`Self::read_value`].
    ///
    /// # Errors
    /// [`Error::Value`]; those of [`Self::publish`].
    pub fn publish_value<T: Serialize + ?Sized>(
        &self,
        value: &T,
        wait: &Wait<'_>,
    ) -> Result<u64, Error> {
        self.publish(&serde_json::to_vec(value).map_err(Error::Value)?, wait)
    }

    /// The latest value that [`Self::publish_value`] has published, with its number. Never waits.
    ///
    /// # Errors
    /// [`Error::Value`]; those of [`Self::read`].
    pub fn read_value<T: DeserializeOwned>(&self) -> Result<Option<(u64, T)>, Error> {
        let mut bytes = vec![0; self.message];
        let Some(Published { number, length }) = self.read(&mut bytes)? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes[..length]).map_err(Error::Value)?;
        Ok(Some((number, value)))
    }

    /// Waits for a value after that of this number; 0 for any.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::GivenUp`].
    pub fn wait_after(&self, number: u64, wait: &Wait<'_>) -> Result<(), Error> {
        let place = self.attachment.place();
        let wait = &wait.seen_at(&place);
        let is_news = || self.words.latest.load(Ordering::Acquire) > number;
        while !is_news() {
            let time = wait.next()?;
            let ticket = self.words.news.announce();
            if !is_news() {
                self.words.news.sleep(ticket, time);
            }
        }
        Ok(())
    }
}

impl Cells for &Topic {
    type Word = AtomicU64;
    const ATTEMPTS: usize = 1000;

    #[inline]
    fn latest(&self) -> &AtomicU64 {
        &self.words.latest
    }

    #[inline]
    fn mark(&self, slot: usize) -> &AtomicU64 {
        &self.slots[slot].mark
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn topic(message: usize) -> Topic {
        Topic::create(message, Holder::this_thread().expect("/proc")).expect("made")
    }

    #[test]
    fn the_latest_value_is_read_whole_while_others_come() {
        let topic = topic(256);
        let mut bytes = [0; 256];
        assert_eq!(topic.read(&mut bytes).expect("nothing disturbs"), None);
        let wait = Wait::at_most(Duration::from_secs(60));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let wait = Wait::at_most(Duration::from_secs(60));
                    for value in 0..20_000_u32 {
                        topic
                            .publish(&[value as u8; 256][..=value as usize % 256], &wait)
                            .expect("published");
                    }
                });
            }
            let mut last = 0;
            while last < 40_000 {
                topic.wait_after(last, &wait).expect("news");
                let value = topic.read(&mut bytes).expect("not too fast").expect("a value");
                assert!(value.number > last);
                last = value.number;
                let whole = &bytes[..value.length];
                assert!(whole.iter().all(|byte| *byte == whole[0]), "{whole:?}");
                assert_eq!(value.length, whole[0] as usize + 1);
            }
        });
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_and_changes_nothing() {
        let topic = topic(4);
        topic.publish(b"abcd", &Wait::none()).expect("fits");
        let answer = topic.publish(b"abcde", &Wait::none());
        assert!(matches!(answer, Err(Error::TooLong { length: 5, limit: 4 })), "{answer:?}");
        let mut part = [0; 3];
        let value = topic.read(&mut part).expect("read").expect("a value");
        assert_eq!((&part, value), (b"abc", Published { number: 1, length: 4 }));
        assert!(matches!(topic.wait_after(1, &Wait::none()), Err(Error::TimedOut)));
    }

    #[test]
    fn words_that_were_written_over_stop_no_reader() {
        for byte in [1, 0x55, 0xff] {
            let topic = topic(100);
            topic.publish(b"abcd", &Wait::none()).expect("fits");
            let size = topic.attachment.segment.size();
            topic.attachment.segment.copy_into(HEADER, &vec![byte; size - HEADER]);
            let mut bytes = [0; 100];
            let answer = topic.read(&mut bytes);
            assert!(matches!(answer, Err(Error::TooFast) | Ok(_)), "{answer:?}");
            if let Ok(Some(value)) = answer {
                assert!(value.length <= 100);
            }
            let wait = Wait::at_most(Duration::from_millis(20));
            assert!(topic.publish(b"x", &wait).is_err());
        }
    }
}
