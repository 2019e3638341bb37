//! The threads that the SDK has started, each from its start to its end. One that vanishes
//! (`SYS_exit` without the C library) leaves its stack, its signal stack and its descriptors: they
//! are taken back once the kernel says that the thread is gone.

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use crate::context::Shared;
use crate::runtime::member::Member;

/// So often one that waits for a thread looks whether it has vanished.
const LOOK: Duration = Duration::from_millis(500);

/// What a thread and those who wait for its end share.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    member: AtomicPtr<Member>,
    /// The number of its thread; 0: it has not begun.
    tid: AtomicI32,
    has_ended: Mutex<bool>,
    changed: Condvar,
}

impl Ticket {
    pub(super) fn show(&self, member: *const Member) {
        self.member.store(member.cast_mut(), Ordering::Release);
        self.tid.store(nix::unistd::gettid().as_raw(), Ordering::Release);
    }

    /// Whether its thread has ended, or is gone without having said so: then what it has left may
    /// still be borrowed, and is there.
    fn is_over(&self) -> bool {
        *lock(&self.has_ended) || self.is_gone()
    }

    /// As far as the kernel knows.
    fn is_gone(&self) -> bool {
        let tid = self.tid.load(Ordering::Acquire);
        // SAFETY: no memory effects; signal 0 asks whether there is such a thread.
        tid > 0 && unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), tid, 0) } != 0
    }

    pub(super) fn has_ended(&self) {
        *lock(&self.has_ended) = true;
        self.changed.notify_all();
    }
}

/// A thread that was started.
#[derive(Clone, Debug)]
pub struct Started(Arc<Ticket>);

impl Started {
    /// Whether it has ended, with the destructors of its thread locals.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_over()
    }

    /// Waits until it has ended.
    pub fn join(&self) {
        let mut has_ended = lock(&self.0.has_ended);
        while !*has_ended {
            let waited = self.0.changed.wait_timeout(has_ended, LOOK);
            let is_over;
            (has_ended, is_over) = waited.unwrap_or_else(PoisonError::into_inner);
            if is_over.timed_out() && !*has_ended {
                drop(has_ended);
                sweep();
                if self.0.is_over() {
                    return;
                }
                has_ended = lock(&self.0.has_ended);
            }
        }
    }
}

struct Entry {
    thread: libc::pthread_t,
    ticket: Arc<Ticket>,
}

// SAFETY: the identifier of a thread may be used on any other.
unsafe impl Send for Entry {}

/// Those that live, and those that have vanished.
static ENTRIES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// Starts a thread of this worker, and takes back what vanished ones have left.
pub(crate) fn start(
    shared: &Shared,
    builder: Builder,
    body: impl FnOnce(Arc<Ticket>) + Send + 'static,
) -> io::Result<Started> {
    sweep();
    let ticket = Arc::new(Ticket::default());
    let its = Arc::clone(&ticket);
    // Held meanwhile: the thread looks for its entry when it ends.
    let mut entries = lock(&ENTRIES);
    shared.thread_begins();
    let spawned = builder.spawn(move || body(its)).inspect_err(|_| shared.thread_ended());
    let thread = spawned?.into_pthread_t();
    entries.push(Entry { thread, ticket: Arc::clone(&ticket) });
    Ok(Started(ticket))
}

/// The calling thread ends now, and leaves nothing.
pub(super) fn let_go(ticket: &Arc<Ticket>) {
    let mut entries = lock(&ENTRIES);
    if let Some(index) = entries.iter().position(|entry| Arc::ptr_eq(&entry.ticket, ticket)) {
        let entry = entries.swap_remove(index);
        // SAFETY: this very thread, which lives, and which none joins, since its entry is gone.
        unsafe { libc::pthread_detach(entry.thread) };
    }
}

/// Takes back what threads have left that are gone without having said so.
fn sweep() {
    lock(&ENTRIES).retain(|entry| {
        let member: *const Member = entry.ticket.member.load(Ordering::Acquire);
        // SAFETY: freed by its thread after it has removed the entry, or below.
        let is_free = unsafe { member.as_ref() }.is_some_and(may_be_joined);
        // SAFETY: a thread that was neither joined nor detached. The kernel has cleared its number
        // when it was gone, so that this does not wait.
        let is_gone =
            is_free && unsafe { libc::pthread_tryjoin_np(entry.thread, ptr::null_mut()) } == 0;
        if is_gone {
            // SAFETY: it is gone, and `may_be_joined` says that nothing borrows from its stack.
            unsafe { Member::reclaim(member) };
            entry.ticket.has_ended();
        }
        !is_gone
    });
}

/// Whether nothing can borrow from the stack of this thread, which is unmapped when it is joined,
/// or use what its run shares. A worker that has cloned its context may have done so for a scoped
/// thread: what that one has stays.
fn may_be_joined(member: &Member) -> bool {
    let shared = &member.shared;
    let is_alone = member.helper.is_some() || shared.members.load(Ordering::Acquire) == 1;
    let is_lent =
        shared.is_shared.load(Ordering::Acquire) || shared.lent.load(Ordering::Acquire) > 0;
    is_alone && !is_lent
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
