//! Memory of a file with a name, which any of its users can make shorter: then each access is
//! SIGBUS, in all of them. It is mapped once in each process, between two pages that are out of
//! reach, and never unmapped.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use nix::sys::stat::fstat;

use super::Error;
use super::segment::HEADER as PAGE;

/// See the module.
#[derive(Debug)]
pub(super) struct Mapped {
    base: NonNull<u8>,
    size: usize,
    /// Keeps the number of its file from being used again.
    _fd: OwnedFd,
}

// SAFETY: plain shared memory, which is never unmapped; it is only accessed by copies that may be
// raced, and by atomic operations.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps so many bytes of the file, or finds the mapping that this process has.
    ///
    /// # Errors
    /// [`Error::Foreign`]: it has fewer; [`Error::System`].
    pub(super) fn of(fd: OwnedFd, size: usize) -> Result<&'static Self, Error> {
        let stat = fstat(&fd).map_err(Error::of("fstat"))?;
        if u64::try_from(stat.st_size).unwrap_or(0) < size as u64 {
            return Err(Error::Foreign("a user has made it shorter"));
        }
        let mut known = known().lock().unwrap_or_else(PoisonError::into_inner);
        let place = (stat.st_dev, stat.st_ino);
        if let Some(mapped) = known.get(&place).filter(|mapped| mapped.size >= size) {
            return Ok(mapped);
        }
        let mapped: &'static Self = Box::leak(Box::new(Self::map(fd, size)?));
        known.insert(place, mapped);
        Ok(mapped)
    }

    fn map(fd: OwnedFd, size: usize) -> Result<Self, Error> {
        let whole = size.checked_next_multiple_of(PAGE).and_then(|size| size.checked_add(2 * PAGE));
        let whole = whole.and_then(NonZeroUsize::new).ok_or(Error::Foreign("it is too large"))?;
        let length = NonZeroUsize::new(size).ok_or(Error::Foreign("it is empty"))?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: needed because shared memory has no safe form. The kernel chooses the address, so
        // that it replaces nothing.
        let around = unsafe { mmap_anonymous(None, whole, ProtFlags::PROT_NONE, flags) };
        let around = around.map_err(Error::of("mmap"))?.cast::<u8>();
        // SAFETY: within what was mapped just now.
        let middle = unsafe { around.add(PAGE) };
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: needed as above. It takes the place of the middle of that, which nothing else
        // knows yet.
        let base = unsafe { mmap(Some(middle.addr()), length, access, flags, &fd, 0) };
        Ok(Self { base: base.map_err(Error::of("mmap"))?.cast(), size, _fd: fd })
    }

    /// The address of these bytes; that of the first one is aligned to a page.
    pub(super) fn bytes(&self, offset: usize, length: usize) -> *mut u8 {
        let end = offset.checked_add(length);
        assert!(end.is_some_and(|end| end <= self.size), "{length} bytes at {offset}");
        // SAFETY: within the mapping.
        unsafe { self.base.add(offset) }.as_ptr()
    }
}

/// All that this process has mapped, by device and inode.
fn known() -> &'static Mutex<HashMap<(u64, u64), &'static Mapped>> {
    static KNOWN: OnceLock<Mutex<HashMap<(u64, u64), &'static Mapped>>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default)
}
