//! The memory of a shared thing: a sealed memfd, with a header that says what it is.
//!
//! It cannot be shrunk (a truncated mapping is SIGBUS for all that use it: memfd_create(2),
//! `F_SEAL_SHRINK`) and has no name that could be left behind: who has the descriptor has the
//! thing. It is mapped once in each process and never unmapped: a thread that is left behind may use
//! it at any time, and would write to what has taken its place.
//!
//! All of it is hostile input. The sizes in the header are checked and copied when it is opened,
//! and never read again; what is read later is checked at each use.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect};
use nix::sys::stat::{FileStat, fstat};
use nix::unistd::ftruncate;

use super::holder::own_namespaces;
use super::{Error, OnOwnerDeath, copy};

/// First word of a segment: `SVSHARE` and the version of all layouts.
const MAGIC: u64 = u64::from_be_bytes(*b"SVSHARE\x02");
/// The header has a page of its own, so that no layout depends on its length.
pub(crate) const HEADER: usize = 4096;
/// A cache line, or two that are fetched together: what different processes write lies apart.
pub(crate) const LINE: usize = 64;
/// No segment is larger: 1 TiB.
const SIZE_MAX: usize = 1 << 40;

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// [`Region`](super::Region).
    Region = 1,
    /// [`Mutex`](super::Mutex).
    Mutex = 2,
    /// [`Semaphore`](super::Semaphore).
    Semaphore = 3,
    /// [`Condition`](super::Condition).
    Condition = 4,
    /// [`RwLock`](super::RwLock).
    RwLock = 5,
    /// [`Queue`](super::Queue).
    Queue = 6,
    /// [`Topic`](super::Topic).
    Topic = 7,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Region,
        Self::Mutex,
        Self::Semaphore,
        Self::Condition,
        Self::RwLock,
        Self::Queue,
        Self::Topic,
    ];

    fn of(word: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u64 == word)
    }
}

/// The numbers that a thing was made with (places, slots, bytes); what they mean is up to its kind.
pub(crate) type Numbers = [usize; 3];

/// Words in shared memory: valid with any bits, and changed through shared references only.
///
/// # Safety
/// A type implements it if it is `repr(C)` and consists of atomics, or of memory that it only
/// hands out as raw pointers (`UnsafeCell`), and if its alignment is [`HEADER`] at most.
pub(crate) unsafe trait Words {}

// SAFETY: an atomic.
unsafe impl Words for AtomicU32 {}
// SAFETY: an atomic.
unsafe impl Words for AtomicU64 {}

#[repr(C)]
struct Header {
    magic: AtomicU64,
    kind: AtomicU64,
    size: AtomicU64,
    numbers: [AtomicU64; 3],
    namespaces: AtomicU64,
    /// What follows when an owner dies ([`OnOwnerDeath::word`]), for users that the supervisor does
    /// not tell otherwise.
    on_owner_death: AtomicU64,
}

// SAFETY: atomics, in the order of C.
unsafe impl Words for Header {}

/// Memory that all processes with its descriptor share. Lives as long as this process.
#[derive(Debug)]
pub struct Segment {
    base: NonNull<u8>,
    size: usize,
    numbers: Numbers,
    namespaces: u64,
    kind: Kind,
    fd: OwnedFd,
}

// SAFETY: plain shared memory, which is never unmapped; it is only accessed by atomics and by
// copies that may be raced.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

/// How the size of a segment follows from its numbers; none where they do not fit its kind.
pub(crate) type SizeOf = fn(Numbers) -> Option<usize>;

impl Segment {
    /// Makes one with zeros behind the header.
    ///
    /// # Errors
    /// [`Error::System`]: mostly EMFILE, ENFILE, ENOMEM or ENOSPC.
    pub(crate) fn create(
        kind: Kind,
        numbers: Numbers,
        whole_size: SizeOf,
    ) -> Result<&'static Self, Error> {
        let size = whole_size(numbers).filter(|size| *size <= SIZE_MAX);
        let size = size.ok_or(Error::Foreign("its size is out of range"))?;
        let name = format!("supervisord-rs:{kind:?}").to_lowercase();
        let fd = memfd_create(name.as_str(), MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
            .map_err(Error::of("memfd_create"))?;
        ftruncate(&fd, size as i64).map_err(Error::of("ftruncate"))?;
        if kind != Kind::Region {
            // Else a store could meet a machine without memory, whose answer is a signal. A region
            // may be much larger than what is used of it.
            nix::fcntl::posix_fallocate(&fd, 0, size as i64).map_err(Error::of("fallocate"))?;
        }
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(Error::of("sealing"))?;
        let base = map(&fd, size)?;
        let segment = Self { base, size, numbers, namespaces: own_namespaces(), kind, fd };
        let header = segment.at::<Header>(0);
        header.kind.store(kind as u64, Ordering::Relaxed);
        header.size.store(size as u64, Ordering::Relaxed);
        header.namespaces.store(segment.namespaces, Ordering::Relaxed);
        for (word, number) in header.numbers.iter().zip(numbers) {
            word.store(number as u64, Ordering::Relaxed);
        }
        header.magic.store(MAGIC, Ordering::Release);
        segment.keep()
    }

    /// Maps the one behind this descriptor, or finds the mapping that this process has.
    ///
    /// # Errors
    /// [`Error::Foreign`] for what is no segment of this version, could be shrunk, or contradicts
    /// itself; [`Error::OtherKind`]; [`Error::System`].
    pub(crate) fn open(
        fd: OwnedFd,
        expected: Kind,
        whole_size: SizeOf,
    ) -> Result<&'static Self, Error> {
        let segment = Self::find_or_map(fd)?;
        if segment.kind != expected {
            return Err(Error::OtherKind { found: Some(segment.kind), expected });
        }
        segment.checked(whole_size)
    }

    /// The same, whatever its kind.
    pub(super) fn open_any(
        fd: OwnedFd,
        size_of: impl Fn(Kind) -> SizeOf,
    ) -> Result<&'static Self, Error> {
        let segment = Self::find_or_map(fd)?;
        segment.checked(size_of(segment.kind))
    }

    fn find_or_map(fd: OwnedFd) -> Result<&'static Self, Error> {
        let stat = fstat(&fd).map_err(Error::of("fstat"))?;
        match find(&stat) {
            Some(known) => Ok(known),
            None => Self::map_foreign(fd, &stat)?.keep(),
        }
    }

    fn checked(&'static self, whole_size: SizeOf) -> Result<&'static Self, Error> {
        if whole_size(self.numbers) != Some(self.size) {
            return Err(Error::Foreign("its sizes contradict each other"));
        }
        Ok(self)
    }

    fn map_foreign(fd: OwnedFd, stat: &FileStat) -> Result<Self, Error> {
        let seals = fcntl(&fd, FcntlArg::F_GET_SEALS)
            .map_err(|_| Error::Foreign("a file that has no seals"))?;
        if !SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_SHRINK) {
            return Err(Error::Foreign("it is not sealed against shrinking"));
        }
        let size = usize::try_from(stat.st_size).unwrap_or(0);
        if !(HEADER..=SIZE_MAX).contains(&size) {
            return Err(Error::Foreign("its size is out of range"));
        }
        // Looked at before it is mapped: what is refused leaves no mapping behind.
        let mut bytes = [0; size_of::<Header>()];
        let length = nix::sys::uio::pread(&fd, &mut bytes, 0).map_err(Error::of("pread"))?;
        let word = |index: usize| {
            let bytes = bytes[..length].get(index * 8..index * 8 + 8)?;
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        };
        let number = |index| word(index).and_then(|word| usize::try_from(word).ok());
        if word(0) != Some(MAGIC) {
            return Err(Error::Foreign("it does not begin as one"));
        }
        let kind = word(1).and_then(Kind::of);
        let kind = kind.ok_or(Error::Foreign("a kind that this version does not know"))?;
        if number(2) != Some(size) {
            return Err(Error::Foreign("it has another size than it says"));
        }
        let (Some(a), Some(b), Some(c), Some(namespaces)) =
            (number(3), number(4), number(5), word(6))
        else {
            return Err(Error::Foreign("its header is too short"));
        };
        let base = map(&fd, size)?;
        Ok(Self { base, size, numbers: [a, b, c], namespaces, kind, fd })
    }

    /// For the rest of the process's life.
    fn keep(self) -> Result<&'static Self, Error> {
        let stat = fstat(&self.fd).map_err(Error::of("fstat"))?;
        let mut known = known().lock().unwrap_or_else(PoisonError::into_inner);
        Ok(*known.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| Box::leak(Box::new(self))))
    }

    /// The descriptor, for a process that will use it.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The size of the whole, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers
    }

    pub(crate) fn namespaces(&self) -> u64 {
        self.namespaces
    }

    /// Says for all users what follows when an owner dies.
    pub fn agree_on_owner_death(&self, on_owner_death: OnOwnerDeath) {
        self.at::<Header>(0).on_owner_death.store(on_owner_death.word(), Ordering::Relaxed);
    }

    /// What was said so; [`OnOwnerDeath::Repair`] where nothing was.
    pub(super) fn on_owner_death(&self) -> OnOwnerDeath {
        OnOwnerDeath::of_word(self.at::<Header>(0).on_owner_death.load(Ordering::Relaxed))
    }

    /// The words at this place.
    #[inline]
    pub(crate) fn at<T: Words>(&self, offset: usize) -> &T {
        &self.list(offset, 1)[0]
    }

    /// So many words from this place on.
    #[inline]
    pub(crate) fn list<T: Words>(&self, offset: usize, count: usize) -> &[T] {
        let end = count.checked_mul(size_of::<T>()).and_then(|length| length.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.size), "{count} words at {offset}");
        // SAFETY: within the mapping, as was checked, which lives as long as the process.
        let place = unsafe { self.base.add(offset) }.cast::<T>();
        assert!(place.is_aligned(), "words at {offset}");
        // SAFETY: aligned and within the mapping. Words are valid with any bits, and only changed
        // by atomic operations.
        unsafe { std::slice::from_raw_parts(place.as_ptr(), count) }
    }

    /// Copies bytes out of it; others may write them meanwhile.
    #[inline]
    pub(crate) fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let from = self.bytes(offset, into.len());
        // SAFETY: checked to be within the mapping, to which there are no references but to atomics.
        unsafe { copy::out(from, into) };
    }

    /// Copies bytes into it; others may read or write them meanwhile.
    #[inline]
    pub(crate) fn copy_into(&self, offset: usize, from: &[u8]) {
        let into = self.bytes(offset, from.len());
        // SAFETY: as above.
        unsafe { copy::into(from, into) };
    }

    /// Has these bytes fetched, which are about to be written: a hint. None that are not there.
    #[inline]
    pub(crate) fn fetch_to_write(&self, offset: usize, length: usize) {
        copy::fetch_to_write(
            self.bytes(offset, length.min(self.size.saturating_sub(offset))),
            length,
        );
    }

    /// Writes over all behind the header, as a process that has lost its way: a fault.
    pub(crate) fn scribble(&self, byte: u8) {
        let garbage = [byte; HEADER];
        for offset in (HEADER..self.size).step_by(HEADER) {
            self.copy_into(offset, &garbage[..HEADER.min(self.size - offset)]);
        }
    }

    /// Gives back what this process has of its memory, which reads as zeros here from now on. For
    /// one that only looks at it, and whose threads have not used it: what others have stays
    /// theirs, and goes with the last of them.
    ///
    /// # Errors
    /// [`Error::System`]; then it stays as it was.
    pub fn retire(&self) -> Result<(), Error> {
        let stat = fstat(&self.fd).map_err(Error::of("fstat"))?;
        let nothing = std::fs::File::open("/dev/null").map_err(Error::of("open"))?;
        let size = NonZeroUsize::new(self.size).ok_or(Error::Foreign("it is empty"))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        let mut known = known().lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: needed because the mapping has no owner that could end it. It takes the place of
        // all of that, and is as large, readable and writable: references to words of it stay good.
        unsafe { mmap_anonymous(Some(self.base.addr()), size, access, flags) }
            .map_err(Error::of("mmap"))?;
        // The next file may have this number of an inode.
        known.remove(&(stat.st_dev, stat.st_ino));
        // SAFETY: the number stays an open descriptor of this segment; only its file is another.
        let copied =
            unsafe { libc::dup3(nothing.as_raw_fd(), self.fd.as_raw_fd(), libc::O_CLOEXEC) };
        nix::errno::Errno::result(copied).map(drop).map_err(Error::of("dup3"))
    }

    /// The address of these bytes.
    #[inline]
    pub(crate) fn bytes(&self, offset: usize, length: usize) -> *mut u8 {
        let end = offset.checked_add(length);
        assert!(end.is_some_and(|end| end <= self.size), "{length} bytes at {offset}");
        // SAFETY: within the mapping.
        unsafe { self.base.add(offset) }.as_ptr()
    }

    /// Takes a page out of reach of this process: what runs over its edge is SIGSEGV there.
    pub(crate) fn guard(&self, offset: usize) -> Result<(), Error> {
        let page = NonNull::new(self.bytes(offset, HEADER)).expect("within the mapping");
        // SAFETY: a page of the mapping, of which nothing is used: only regions have such pages.
        unsafe { mprotect(page.cast(), HEADER, ProtFlags::PROT_NONE) }
            .map_err(Error::of("mprotect"))
    }
}

/// All that this process has mapped, by device and inode. The mapping keeps the inode from being
/// used again.
fn known() -> &'static Mutex<HashMap<(u64, u64), &'static Segment>> {
    static KNOWN: OnceLock<Mutex<HashMap<(u64, u64), &'static Segment>>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default)
}

fn find(stat: &FileStat) -> Option<&'static Segment> {
    let known = known().lock().unwrap_or_else(PoisonError::into_inner);
    known.get(&(stat.st_dev, stat.st_ino)).copied()
}

fn map(fd: &OwnedFd, size: usize) -> Result<NonNull<u8>, Error> {
    let length = NonZeroUsize::new(size).ok_or(Error::Foreign("it is empty"))?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: needed because shared memory has no safe form. The kernel chooses the address, so
    // that it replaces nothing. The file is as long as that and cannot be shrunk.
    let base = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, fd, 0) };
    Ok(base.map_err(Error::of("mmap"))?.cast())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    fn size_of_numbers(numbers: Numbers) -> Option<usize> {
        numbers[0].checked_mul(4096)?.checked_add(HEADER)
    }

    fn twin(segment: &Segment) -> OwnedFd {
        segment.fd().try_clone_to_owned().expect("a descriptor")
    }

    /// A sealed file with this header.
    fn forged(size: u64, words: &[u64]) -> OwnedFd {
        let fd = memfd_create("forged", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
            .expect("a memfd");
        ftruncate(&fd, size as i64).expect("its size");
        let file = File::from(fd);
        for (index, word) in words.iter().enumerate() {
            file.write_all_at(&word.to_ne_bytes(), index as u64 * 8).expect("written");
        }
        file.set_len(size).expect("its size");
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("sealed");
        file.into()
    }

    #[test]
    fn a_process_maps_it_once_and_nothing_can_shrink_it() {
        let made = Segment::create(Kind::Region, [2, 0, 0], size_of_numbers).expect("made");
        let opened = Segment::open(twin(made), Kind::Region, size_of_numbers).expect("opened");
        assert!(std::ptr::eq(made, opened));
        let file = File::from(twin(made));
        assert_eq!(file.set_len(0).expect_err("sealed").raw_os_error(), Some(libc::EPERM));
        assert_eq!(file.set_len(1 << 20).expect_err("sealed").raw_os_error(), Some(libc::EPERM));
        let other = Segment::open(twin(made), Kind::Mutex, size_of_numbers);
        assert!(matches!(other, Err(Error::OtherKind { .. })), "{other:?}");
        let wrong = Segment::open(twin(made), Kind::Region, |_| Some(4096));
        assert!(matches!(wrong, Err(Error::Foreign(_))), "{wrong:?}");
    }

    #[test]
    fn what_is_retired_reads_as_zeros_here_and_stays_what_it_is_for_others() {
        let made = Segment::create(Kind::Region, [2, 0, 0], size_of_numbers).expect("made");
        let file = File::from(twin(made));
        made.copy_into(HEADER, b"kept");
        made.retire().expect("retired");
        let mut bytes = [7; 4];
        made.copy_out(HEADER, &mut bytes);
        assert_eq!(bytes, [0; 4]);
        file.read_exact_at(&mut bytes, HEADER as u64).expect("read");
        assert_eq!(&bytes, b"kept");
        let again = Segment::open(file.into(), Kind::Region, size_of_numbers).expect("opened");
        assert!(!std::ptr::eq(made, again));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let open = |fd| Segment::open(fd, Kind::Region, size_of_numbers).map(|_| ());
        let whole = [MAGIC, Kind::Region as u64, 8192, 1, 0, 0, 7];
        open(forged(8192, &whole)).expect("a whole one");
        let with = |index: usize, word: u64| {
            let mut words = whole;
            words[index] = word;
            forged(8192, &words)
        };
        for (what, fd) in [
            ("magic", with(0, MAGIC + 1)),
            ("kind", with(1, 99)),
            ("size", with(2, 4096)),
            ("number", with(3, u64::MAX)),
            ("other number", with(3, 2)),
            ("empty", forged(0, &[])),
            ("short", forged(16, &whole[..2])),
            ("no header", forged(8192, &[])),
            ("a pipe", nix::unistd::pipe().expect("a pipe").0),
            ("a file", tempfile::tempfile().expect("a file").into()),
        ] {
            let answer = open(fd);
            assert!(matches!(answer, Err(Error::Foreign(_))), "{what}: {answer:?}");
        }
        let unsealed = memfd_create("unsealed", MFdFlags::MFD_ALLOW_SEALING).expect("a memfd");
        ftruncate(&unsealed, 8192).expect("its size");
        assert!(matches!(open(unsealed), Err(Error::Foreign(_))));
    }
}
