//! A thread of a worker: the one that runs it, and each that the worker starts or enters. A fault
//! on it is its worker's, until the thread has really ended: destructors of thread locals run after
//! its closure, and are the worker's code.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::context::Shared;
use crate::runtime::alternate_stack::AlternateStack;
use crate::runtime::board::NAME_MAX;
use crate::runtime::fixed_text::FixedText;
use crate::runtime::run::End;
use crate::runtime::threads::Ticket;
use crate::runtime::{forked, thread_end};

/// What a thread of a worker has. It lies on the heap, so that a signal handler finds it, and what
/// follows a thread that vanished.
pub(crate) struct Member {
    pub(crate) shared: Arc<Shared>,
    /// The name of a thread beside the one that runs the worker; at most [`NAME_MAX`] bytes of it.
    pub(crate) helper: Option<Box<str>>,
    /// Its number.
    tid: i32,
    /// The lowest address of its stack; 0: not known.
    pub(crate) stack_low: usize,
    stack: Option<AlternateStack>,
    /// Whose this thread was before.
    previous: *const Member,
    /// Of a thread that the SDK started.
    pub(super) ticket: Option<Arc<Ticket>>,
    /// What it waits by; -1: it does not wait.
    waits_by: AtomicI32,
    /// What it reports when it has ended.
    end: Cell<Option<End>>,
}

thread_local! {
    // Has no destructor: it is there until the thread has ended.
    static CURRENT: Cell<*const Member> = const { Cell::new(ptr::null()) };
    static AFTER_CLOSURE: AfterClosure = const { AfterClosure };
}

/// The member that this thread is. Async-signal-safe. The reference must not outlive the call that
/// asked for it, during which none but this thread can end the membership.
pub(crate) fn current<'a>() -> Option<&'a Member> {
    // SAFETY: set by `begin` to a box that `leave` frees after it has reset it, both on this
    // thread.
    unsafe { CURRENT.get().as_ref() }
}

/// This thread is one of the worker's from now on. One with a ticket was counted when it was
/// started.
pub(crate) fn begin(shared: &Arc<Shared>, helper: Option<&str>, ticket: Option<Arc<Ticket>>) {
    let member = Box::into_raw(Box::new(Member {
        shared: Arc::clone(shared),
        helper: helper.map(|name| Box::from(&name[..name.floor_char_boundary(NAME_MAX)])),
        tid: nix::unistd::gettid().as_raw(),
        stack_low: stack_low(),
        stack: AlternateStack::install(),
        previous: CURRENT.get(),
        ticket,
        waits_by: AtomicI32::new(-1),
        end: Cell::new(None),
    }));
    // SAFETY: it was made just now, and none but `leave` on this thread frees it; of a thread that
    // is gone `threads` does.
    let made = unsafe { &*member };
    if let Some(ticket) = &made.ticket {
        ticket.show(member);
    }
    CURRENT.set(member);
    if forked::is_original() {
        shared.offspring.thread_begins();
    }
    if made.ticket.is_none() {
        shared.thread_begins();
    }
    thread_end::arm();
}

/// The thread is what it was before it became the newest member that it is. `has_ended`: it is not
/// going on. Returns what it has to report.
pub(crate) fn leave(has_ended: bool) -> Option<Left> {
    let member = CURRENT.get().cast_mut();
    if member.is_null() {
        return None;
    }
    // SAFETY: made by `begin` on this thread, and freed here alone, since nothing points to it from
    // the next line on.
    let mut member = unsafe { Box::from_raw(member) };
    CURRENT.set(member.previous);
    if let Some(stack) = member.stack.take() {
        stack.remove(!has_ended);
    }
    let shared = Arc::clone(&member.shared);
    if forked::is_original() {
        shared.offspring.thread_ends(shared.is_over());
    }
    shared.thread_ended();
    Some(Left { shared, ticket: member.ticket.take(), end: member.end.take() })
}

/// What remains of a membership.
pub(crate) struct Left {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ticket: Option<Arc<Ticket>>,
    pub(crate) end: Option<End>,
}

impl Member {
    /// A message about this thread: it says which it is, if it is not the one that runs the worker,
    /// or that run is over.
    pub(crate) fn told(&self, message: &str) -> String {
        let mut which = FixedText::default();
        self.add_which(&mut which);
        match which.bytes() {
            [] => message.to_owned(),
            which => format!("{}: {message}", String::from_utf8_lossy(which)),
        }
    }

    /// Which thread it is, in the same cases. Async-signal-safe.
    pub(crate) fn add_which(&self, text: &mut FixedText) {
        let is_left_behind = self.shared.is_left_behind();
        match &self.helper {
            Some(name) => {
                text.add(if is_left_behind { b"in thread `" } else { b"in its thread `" });
                text.add(name.as_bytes());
                text.add(b"`");
            }
            None if is_left_behind => text.add(b"in the thread"),
            None => {}
        }
        if is_left_behind {
            text.add(b" that an earlier run of ");
            text.add(self.shared.name.as_bytes());
            text.add(b" left behind");
        }
    }

    /// A line into the worker's output.
    pub(crate) fn print(&self, line: &str) {
        self.shared.write_line(line);
    }

    /// What it reports when it has ended.
    pub(super) fn will_report(&self, end: End) {
        self.end.set(Some(end));
    }

    /// Notes by what it waits, so that this is found if the thread vanishes there; -1: it waits no
    /// longer.
    pub(crate) fn waits_by(&self, fd: RawFd) {
        self.waits_by.store(fd, Ordering::Relaxed);
    }

    /// Gives back what a thread that is gone had: it can do so no more.
    ///
    /// # Safety
    /// Its thread is gone, and no other looks at it or borrows from its stack.
    pub(super) unsafe fn reclaim(member: *const Self) {
        // SAFETY: made by `begin`, and `leave` was not called, since that shows on the ticket.
        let mut member = unsafe { Box::from_raw(member.cast_mut()) };
        if let Some(stack) = member.stack.take() {
            stack.reclaim();
        }
        let fd = member.waits_by.load(Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: the thread owned it and cannot close it any more.
            unsafe { libc::close(fd) };
        }
        member.shared.offspring.thread_is_gone(member.tid);
        let is_helper = member.helper.is_some();
        if is_helper {
            // Of the worker's own thread the supervisor sees that it is gone.
            member.shared.board().thread_ended(member.shared.generation);
        }
        let is_last = member.shared.members.fetch_sub(1, Ordering::AcqRel) == 1;
        if !is_helper && is_last {
            let shared = Arc::into_raw(member.shared).cast_mut();
            // SAFETY: references to it remain on the stack of the thread that is gone alone (the
            // caller has seen that there is no clone of its context), and none of them is used or
            // dropped any more: its parts are dropped here, in their stead. Its own memory stays.
            unsafe { ptr::drop_in_place(shared) };
        }
    }
}

/// Called when the closure of a thread is about to return: what destructors of thread locals do is
/// the worker's doing too, and std takes the signal stack away before they run. Registered last,
/// its own destructor runs first.
pub(crate) fn before_destructors() {
    AFTER_CLOSURE.with(|_| {});
}

/// A thread local whose destructor runs after std has taken the signal stack out of use.
struct AfterClosure;

impl Drop for AfterClosure {
    fn drop(&mut self) {
        if let Some(stack) = current().and_then(|member| member.stack.as_ref()) {
            stack.resume();
        }
    }
}

/// The lowest address of this thread's stack; 0 when the C library does not report it. Not for the
/// handler: it allocates.
fn stack_low() -> usize {
    let mut low = ptr::null_mut();
    let mut size = 0;
    // SAFETY: the attributes are initialised by pthread_getattr_np before they are read, and
    // destroyed after.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return 0;
        }
        libc::pthread_attr_getstack(&raw const attributes, &raw mut low, &raw mut size);
        libc::pthread_attr_destroy(&raw mut attributes);
    }
    low as usize
}
