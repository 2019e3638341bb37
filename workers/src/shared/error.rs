//! Why an operation on something shared did not happen.

use std::io;

use super::Kind;

/// Why an operation on something shared did not happen. Nothing has changed then, unless the
/// variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The deadline of the [`Wait`](super::Wait) has passed.
    #[error("the wait has reached its deadline")]
    TimedOut,
    /// The function of the [`Wait`](super::Wait) said so: mostly the order to stop.
    #[error("the wait was given up")]
    GivenUp,
    /// The owner died, or unwound within a change, and the one that was told so did not repair the
    /// data: from then on, all get this. The resource must be made again.
    #[error(
        "poisoned: its owner died, and the next one did not repair the data; `shutdown` and `run` \
         make it again"
    )]
    Poisoned,
    /// Its owner died, and by its [`OnOwnerDeath`](super::OnOwnerDeath) all its users are
    /// restarted, this one too: return.
    #[error("its owner died, and all its users are restarted")]
    UsersRestart,
    /// The worker was not handed a resource of this name.
    #[error(
        "no resource `{name}` is here ({used}): write `uses: [{name}]` in the entry of this \
         worker, and define it in `resources:`"
    )]
    NotUsed {
        /// What was asked for.
        name: String,
        /// What it has, in words.
        used: String,
    },
    /// A value that cannot be written as JSON, or bytes that are none of this type.
    #[error("not a value of this type")]
    Value(#[source] serde_json::Error),
    /// This thread holds it already.
    #[error("this thread holds it already")]
    Deadlock,
    /// As many as it has places for use it.
    #[error("all its {0} places are taken: make it with more")]
    NoPlace(usize),
    /// The message is longer than the message size of the queue or topic.
    #[error("a message of {length} bytes; it takes at most {limit}")]
    TooLong {
        /// Of the message, in bytes.
        length: usize,
        /// The message size, in bytes.
        limit: usize,
    },
    /// The bytes from `offset` on do not lie within the region.
    #[error("{length} bytes at {offset} are beyond the end, at {size}")]
    BeyondEnd {
        /// The first byte, in bytes from the beginning.
        offset: usize,
        /// How many.
        length: usize,
        /// The size of the region, in bytes.
        size: usize,
    },
    /// This holder was taken for dead, and its claim given to others: the message is not sent, or
    /// not acknowledged.
    #[error("its holder was taken for dead, and others got it")]
    Evicted,
    /// New values come faster than this reader can copy one.
    #[error("its value changes faster than it can be read")]
    TooFast,
    /// Another process wrote over words that only this library may write.
    #[error("its memory was overwritten; `shutdown` and `run` make it again")]
    Overwritten,
    /// A number of permits, places, messages or bytes that it cannot be made with.
    #[error("{what}: {value} is not from {least} to {most}")]
    Unfit {
        /// Which number.
        what: &'static str,
        /// What was asked for.
        value: usize,
        /// The least that is possible.
        least: usize,
        /// The most that is possible.
        most: usize,
    },
    /// The descriptor is of another kind.
    #[error("{}, where {} is needed", one_of(*found), one_of(Some(*expected)))]
    OtherKind {
        /// What it is; none for a number that this version does not know.
        found: Option<Kind>,
        /// What was asked for.
        expected: Kind,
    },
    /// The descriptor is no shared segment, or one of another version, or its sizes contradict
    /// each other.
    #[error("no segment that this version can use: {0}")]
    Foreign(&'static str),
    /// A system call failed.
    #[error("{call} failed")]
    System {
        /// The system call.
        call: &'static str,
        /// What it answered.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: with the name of the call.
    pub(crate) fn of<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { call, source: source.into() }
    }

    /// For a number that is not in `range`.
    pub(crate) fn unless_fit(
        what: &'static str,
        value: usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<(), Self> {
        let (least, most) = (*range.start(), *range.end());
        if range.contains(&value) { Ok(()) } else { Err(Self::Unfit { what, value, least, most }) }
    }
}

/// A resource of this kind, in the words of `kind:`.
fn one_of(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Region) => "a region",
        Some(Kind::Mutex) => "a mutex",
        Some(Kind::Semaphore) => "a semaphore",
        Some(Kind::Condition) => "a condition",
        Some(Kind::RwLock) => "an rw-lock",
        Some(Kind::Queue) => "a queue",
        Some(Kind::Topic) => "a topic",
        None => "a resource of a kind that this version does not know",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_words_of_the_configuration() {
        let queue = |found| Error::OtherKind { found, expected: Kind::Queue }.to_string();
        assert_eq!(queue(Some(Kind::RwLock)), "an rw-lock, where a queue is needed");
        assert!(queue(None).contains("does not know, where a queue"));
    }
}
