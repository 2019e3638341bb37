//! Shared pages: the memory of a [`Board`].
//!
//! A process worker's board is a sealed memfd: no process, the worker included, can shrink it while
//! the supervisor reads it (a truncated mapping is SIGBUS for every reader; memfd_create(2),
//! F_SEAL_SHRINK). Boards of the supervisor's own threads are pages of the black box, a file that
//! no worker process ever gets.

use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::ftruncate;

use crate::runtime::board::{Board, SIZE};

/// Some boards in shared memory. Unmapped when dropped: a thread that uses one must hold an `Arc`
/// of it.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<Board>,
    pages: NonZeroUsize,
    fd: OwnedFd,
}

/// A page without a type: all of it may change at any time.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Page(UnsafeCell<[u8; SIZE]>);

// SAFETY: the pages are plain shared memory, valid from every thread until drop.
unsafe impl Send for Mapping {}
// SAFETY: every field of a Board is atomic, so shared references may be used from many threads at
// once.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Creates one zeroed board in a memfd that can neither shrink nor grow.
    ///
    /// # Errors
    /// Those of memfd_create(2), ftruncate(2), fcntl(2) or mmap(2): usually EMFILE, ENFILE or
    /// ENOMEM.
    pub fn sealed(name: &str) -> io::Result<Self> {
        let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        ftruncate(&fd, SIZE as i64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        Self::map(fd, NonZeroUsize::MIN)
    }

    /// Maps the one board of a memfd that the supervisor handed over.
    ///
    /// # Errors
    /// Those of fstat(2) or mmap(2); `InvalidData` when the file is smaller than a board.
    pub fn inherited(fd: OwnedFd) -> io::Result<Self> {
        if nix::sys::stat::fstat(&fd)?.st_size < SIZE as i64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "smaller than a board"));
        }
        Self::map(fd, NonZeroUsize::MIN)
    }

    /// Maps the one board that an earlier supervisor made.
    ///
    /// # Errors
    /// As of [`Self::inherited`]; `InvalidData` when another process could shrink it.
    pub fn adopted(fd: OwnedFd) -> io::Result<Self> {
        let seals = SealFlag::from_bits_truncate(fcntl(&fd, FcntlArg::F_GET_SEALS)?);
        if !seals.contains(SealFlag::F_SEAL_SHRINK) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not sealed against shrinking"));
        }
        Self::inherited(fd)
    }

    /// Sets the length of a file to `pages` boards, and maps it. No other process may shrink it
    /// while it is mapped.
    ///
    /// # Errors
    /// Those of ftruncate(2), posix_fallocate(3) or mmap(2); ENOSPC when the file system is full
    /// (the blocks are reserved here, so that a store to the page can never be SIGBUS later).
    pub fn file(file: File, pages: NonZeroUsize) -> io::Result<Self> {
        let fd = OwnedFd::from(file);
        let length = (pages.get() * SIZE) as i64;
        ftruncate(&fd, length)?;
        nix::fcntl::posix_fallocate(&fd, 0, length)?;
        Self::map(fd, pages)
    }

    /// Maps `pages` zeroed boards that no other process gets. A mapping of `/dev/zero` is memory
    /// without a file (mmap(2)), so that no limit on the size of files concerns it.
    ///
    /// # Errors
    /// Those of open(2); ENOMEM.
    pub fn private(pages: NonZeroUsize) -> io::Result<Self> {
        let zero = File::options().read(true).write(true).open("/dev/zero")?;
        Self::map(zero.into(), pages)
    }

    /// With zeros in all of it: a file may have had another content. Not by write(2), which a limit
    /// on the size of files refuses even where the file has that size (setrlimit(2)).
    #[must_use]
    pub fn cleared(self) -> Self {
        // SAFETY: needed because a board has no safe way to be overwritten whole. The mapping is
        // that long and writable, and zeros are valid boards. It is owned here, so that no
        // reference into it exists in this process.
        unsafe { self.base.cast::<u8>().write_bytes(0, self.pages.get() * SIZE) };
        self
    }

    fn map(fd: OwnedFd, pages: NonZeroUsize) -> io::Result<Self> {
        let length = pages.saturating_mul(NonZeroUsize::MIN.saturating_add(SIZE - 1));
        // SAFETY: needed because shared memory has no safe form. The kernel chooses the address of
        // a fresh mapping, so that it replaces no object of this process; the length is that of
        // whole boards, checked or set by the callers; a zeroed or garbage page is a valid Board,
        // since every bit pattern is valid for its atomics.
        let base = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                &fd,
                0,
            )?
        };
        Ok(Self { base: base.cast(), pages, fd })
    }

    /// The first (mostly the only) board.
    #[must_use]
    pub fn board(&self) -> &Board {
        self.nth(0)
    }

    /// Board number `index`.
    ///
    /// # Panics
    /// When there are not that many.
    #[must_use]
    pub fn nth(&self, index: usize) -> &Board {
        assert!(index < self.pages.get(), "board {index} of {}", self.pages);
        // SAFETY: `base` points to `pages` boards of SIZE bytes each, page-aligned, alive as long
        // as `self`.
        unsafe { self.base.byte_add(index * SIZE).as_ref() }
    }

    /// Page number `index`, for who keeps more in it than a board.
    ///
    /// # Panics
    /// When there are not that many.
    #[must_use]
    pub fn page(&self, index: usize) -> &Page {
        assert!(index < self.pages.get(), "page {index} of {}", self.pages);
        // SAFETY: as in `nth`; a page has SIZE bytes, and any bytes are one.
        unsafe { self.base.cast::<Page>().add(index).as_ref() }
    }

    /// How many boards there are.
    #[must_use]
    pub fn pages(&self) -> NonZeroUsize {
        self.pages
    }

    /// The file behind it, for the process that will use it.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `self` owns the whole mapping, and no reference to it outlives `self`. Failure
        // would leak a page.
        let _ = unsafe { munmap(self.base.cast(), self.pages.get() * SIZE) };
    }
}
