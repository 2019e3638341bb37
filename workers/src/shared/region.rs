//! Memory that processes share, between two pages that none of them can touch.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::mapped::Mapped;
use super::segment::{HEADER, Kind, Numbers};
use super::{Error, Segment, copy};

/// The largest region: 512 GiB.
pub const REGION_MAX: usize = 1 << 39;

const GUARD: usize = HEADER;
const DATA_AT: usize = HEADER + GUARD;

/// Memory that threads and processes share.
///
/// *Guarantees*: none can shrink it, so that no access is SIGBUS because of others; all see the
/// same bytes. The pages before and behind it are out of reach in each process that uses it: what
/// runs over its edge is SIGSEGV there and damages nothing. Its size is rounded up to pages; only
/// pages that are written take memory.
///
/// *Not guaranteed*: that bytes belong together. Copies may be raced by others and then have any
/// bytes; guard it by a [`Mutex`](super::Mutex) or [`RwLock`](super::RwLock), and change it within
/// their `change`, whose version tells whether a death has torn it.
///
/// *Of POSIX* ([`Self::open_posix`]): any user can shrink it, and then each access is SIGBUS in all
/// of them.
#[derive(Debug)]
pub struct Region {
    segment: &'static Segment,
    size: usize,
    /// Where the bytes are; `None`: in the segment.
    posix: Option<&'static Mapped>,
}

pub(super) fn whole_size([size, b, c]: Numbers) -> Option<usize> {
    let fits = (1..=REGION_MAX).contains(&size) && (b, c) == (0, 0);
    fits.then(|| DATA_AT + size.next_multiple_of(HEADER) + GUARD)
}

impl Region {
    /// Makes a region of so many bytes, 1 to [`REGION_MAX`], all zero.
    ///
    /// # Errors
    /// [`Error::Unfit`]; [`Error::System`], as ENOMEM.
    pub fn create(size: usize) -> Result<Self, Error> {
        Error::unless_fit("bytes", size, 1..=REGION_MAX)?;
        Self::of(Segment::create(Kind::Region, [size, 0, 0], whole_size)?)
    }

    /// Uses the region behind this descriptor.
    ///
    /// # Errors
    /// [`Error::OtherKind`], [`Error::Foreign`], [`Error::System`].
    pub fn open(fd: OwnedFd) -> Result<Self, Error> {
        Self::of(Segment::open(fd, Kind::Region, whole_size)?)
    }

    fn of(segment: &'static Segment) -> Result<Self, Error> {
        let size = segment.numbers()[0];
        segment.guard(HEADER)?;
        segment.guard(segment.size() - GUARD)?;
        Ok(Self { segment, size, posix: None })
    }

    /// Uses the region whose bytes are in this memory with a name, from its first byte on. What is
    /// behind `fd` says what it is.
    ///
    /// # Errors
    /// As of [`Self::open`]; [`Error::Foreign`] too where a user has made it shorter.
    pub fn open_posix(fd: OwnedFd, posix: OwnedFd) -> Result<Self, Error> {
        let region = Self::open(fd)?;
        Ok(Self { posix: Some(Mapped::of(posix, region.size)?), ..region })
    }

    /// The descriptor, for a process that will use it. The bytes begin at [`Self::OFFSET`] there,
    /// unless POSIX has them.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.segment.fd()
    }

    /// Where the bytes begin in the file: for programs that map it by themselves.
    pub const OFFSET: usize = DATA_AT;

    /// Its size, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The first byte, for those who lay out the region by themselves. Aligned to a page, valid for
    /// [`Self::size`] bytes as long as the process lives. Other processes may write at any time:
    /// make no references to what is not atomic.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.bytes(0, self.size)
    }

    #[inline]
    fn bytes(&self, offset: usize, length: usize) -> *mut u8 {
        match self.posix {
            Some(mapped) => mapped.bytes(offset, length),
            None => self.segment.bytes(DATA_AT + offset, length),
        }
    }

    /// Copies bytes out of it, from `offset` on.
    ///
    /// # Errors
    /// [`Error::BeyondEnd`].
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        self.check(offset, into.len())?;
        let from = self.bytes(offset, into.len());
        // SAFETY: checked to be within the mapping, to which there are no references but to atomics.
        unsafe { copy::out(from, into) };
        Ok(())
    }

    /// Copies bytes into it, from `offset` on.
    ///
    /// # Errors
    /// [`Error::BeyondEnd`]: nothing is written then.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), Error> {
        self.check(offset, from.len())?;
        let into = self.bytes(offset, from.len());
        // SAFETY: as above.
        unsafe { copy::into(from, into) };
        Ok(())
    }

    fn check(&self, offset: usize, length: usize) -> Result<(), Error> {
        let size = self.size;
        let is_within = offset.checked_add(length).is_some_and(|end| end <= size);
        if is_within { Ok(()) } else { Err(Error::BeyondEnd { offset, length, size }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_same_bytes_within_its_size() {
        let region = Region::create(10_000).expect("made");
        let other = Region::open(region.fd().try_clone_to_owned().expect("a descriptor"));
        let other = other.expect("opened");
        region.write(9_990, b"0123456789").expect("within");
        let mut bytes = [0; 10];
        other.read(9_990, &mut bytes).expect("within");
        assert_eq!(&bytes, b"0123456789");
        for (offset, length) in [(9_991, 10), (usize::MAX, 2), (10_001, 0)] {
            let answer = region.write(offset, &vec![1; length]);
            assert!(matches!(answer, Err(Error::BeyondEnd { .. })), "{offset} {length}");
        }
        region.write(10_000, &[]).expect("nothing at the end");
        assert!(matches!(Region::create(0), Err(Error::Unfit { .. })));
        assert!(matches!(Region::create(REGION_MAX + 1), Err(Error::Unfit { .. })));
    }

    #[test]
    fn memory_with_a_name_is_the_same_for_all_and_what_was_made_shorter_is_refused() {
        let name = format!("/supervisord-rs-test.{}.ledger", std::process::id());
        let named = crate::shared::Named::Memory { size: 10_000 };
        let file = named.make(&name).expect("made");
        let found = named.space().find(&name).expect("found");
        named.space().unlink(&name).expect("its name");
        let card = Region::create(10_000).expect("made");
        let open = |file: &OwnedFd| {
            let fd = card.fd().try_clone_to_owned().expect("a descriptor");
            Region::open_posix(fd, file.try_clone().expect("a descriptor"))
        };
        let region = open(&file).expect("opened");
        region.write(9_990, b"0123456789").expect("within");
        let mut bytes = [0; 10];
        open(&found).expect("opened").read(9_990, &mut bytes).expect("within");
        assert_eq!(&bytes, b"0123456789");
        let mut first = [7; 2];
        std::os::unix::fs::FileExt::read_exact_at(
            &std::fs::File::from(found.try_clone().expect("a descriptor")),
            &mut first,
            9_990,
        )
        .expect("from its first byte on");
        assert_eq!(&first, b"01");
        assert!(matches!(region.write(9_991, &[1; 10]), Err(Error::BeyondEnd { .. })));
        nix::unistd::ftruncate(&file, 0).expect("it has no seal");
        assert!(matches!(open(&file), Err(Error::Foreign(_))));
    }
}
