//! Page 0: the supervisor's own.
#![expect(unsafe_code, reason = "a mapped page has no type")]

use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

use workers::runtime::board::SIZE;
use workers::runtime::mapping::Mapping;

use super::carried::{CARRIERS, Carried, PAST_HANDS};

/// First word: `SVBLBOX` and the version of the layout.
pub(in crate::record) const MAGIC: u64 = u64::from_be_bytes(*b"SVBLBOX\x05");

/// Page 0.
#[repr(C, align(64))]
pub(in crate::record) struct Header {
    pub(in crate::record) magic: AtomicU64,
    /// A hash of the boot id: monotonic times mean nothing after a reboot.
    pub(in crate::record) boot: AtomicU64,
    pub(in crate::record) pid: AtomicI32,
    pub(in crate::record) workers: AtomicU32,
    /// Not 0 after an orderly end.
    pub(in crate::record) is_clean: AtomicU32,
    /// The supervisor's own last words; stored last. 0: none.
    pub(in crate::record) signal: AtomicI32,
    pub(in crate::record) started_at: AtomicU64,
    pub(in crate::record) last_incident: AtomicU64,
    pub(in crate::record) code: AtomicI32,
    pub(in crate::record) tid: AtomicI32,
    pub(in crate::record) address: AtomicU64,
    pub(in crate::record) died_at: AtomicU64,
    /// Not 0: it gives way to another, which is no death.
    pub(in crate::record) gives_way: AtomicU32,
    /// Not 0: it was stopping everything.
    pub(in crate::record) is_stopping: AtomicU32,
    /// Which file its binary is, as a number.
    pub(in crate::record) binary: AtomicU64,
    /// Not 0: from now on it is this one that counts, and no longer the predecessor's.
    pub(in crate::record) is_published: AtomicU32,
    /// What the threads that carry output have in their own pipes: whose it is, and how far it has
    /// come.
    pub(in crate::record) carried: [Carried; CARRIERS + PAST_HANDS],
    /// What is counted over all supervisors.
    pub(in crate::record) counts: [AtomicU64; 3],
    /// The first page of the accounts of endings; 0: it has none.
    pub(in crate::record) accounts: AtomicU32,
    /// Of the counts too; at the end, where an earlier release has zeros.
    pub(in crate::record) stale_events: AtomicU64,
}

const _: () = assert!(size_of::<Header>() <= SIZE);

pub(super) fn header(mapping: &Mapping) -> &Header {
    let page = ptr::from_ref(mapping.page(0));
    // SAFETY: as in `note`; page 0 is used as a header only.
    unsafe { &*page.cast::<Header>() }
}
