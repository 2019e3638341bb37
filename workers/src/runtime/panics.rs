//! Panics of workers: what a panic comes to is decided where its unwinding ends, at the root of the
//! thread. The hook only notes it: it does not run for `resume_unwind`, another hook may have
//! replaced it, and a panic that the worker catches concerns none but the worker.

use std::any::Any;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::context::Shared;
use crate::runtime::board::{LastWords, State};
use crate::runtime::fixed_text::fitting;
use crate::runtime::member::{self, Member};
use crate::runtime::run::OnPanic;
use crate::runtime::{forked, global_default, panic_note};

/// For a payload that is no text.
const NO_TEXT: &str = "panic without a message";

/// What a panic has come to that did not end its fault domain.
#[derive(Debug)]
pub(crate) struct Fallen {
    pub(crate) state: State,
    pub(crate) text: String,
}

/// What the payload of a panic that has reached the root of this thread comes to. Does not return
/// where it ends the fault domain.
pub(crate) fn at_root(member: &Member, payload: Box<dyn Any + Send>) -> Fallen {
    let text = payload_text(&*payload).unwrap_or(NO_TEXT).to_owned();
    let noted = panic_note::of_text(&text);
    panic_note::clear();
    let message = member.told(noted.as_deref().unwrap_or(&text));
    if noted.is_none() {
        // The hook did not run: by `resume_unwind`, or since another is in its place.
        member.print(&format!("{} panicked: {message}", member.shared.name));
        // In a process of its own it may have the hook that it likes.
        if restore_hook() && !member.shared.has_own_process() {
            member.print(&format!(
                "{}: the panic hook of this process was replaced, which all its workers share; \
                 that of the supervisor is in front again. Give a worker with a panic hook of \
                 its own `isolation: process`",
                member.shared.name
            ));
        }
    }
    let fallen = fall(member, message);
    drop_payload(payload);
    fallen
}

/// The same for a panic that passes by: its payload is out of reach.
pub(crate) fn passing(member: &Member) -> Fallen {
    let (bytes, length, _) = panic_note::get();
    let noted = String::from_utf8_lossy(&bytes[..length]).into_owned();
    fall(member, member.told(if noted.is_empty() { NO_TEXT } else { &noted }))
}

fn fall(member: &Member, text: String) -> Fallen {
    let shared = &member.shared;
    if let Some(text) = global_default::explained(&text) {
        return Fallen { state: State::FailedForGood, text };
    }
    if shared.on_panic == OnPanic::Abort {
        if forked::is_original() {
            leave_last_words(shared, &text);
        }
        std::process::abort();
    }
    Fallen { state: State::Panicked, text }
}

fn leave_last_words(shared: &Shared, text: &str) {
    let (board, tid) = (shared.board(), nix::unistd::gettid().as_raw());
    if shared.is_left_behind() {
        board.note_left_behind(shared.generation);
        board.write_text(board.generation(), fitting(text).as_bytes());
        board.write_last_words(LastWords::Panic, 0, 0, 0, tid);
    } else {
        shared.write_text(text);
        board.write_last_words_of(shared.generation, LastWords::Panic, tid);
    }
    shared.poke();
}

fn payload_text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// A payload's destructor may panic, with another payload.
fn drop_payload(mut payload: Box<dyn Any + Send>) {
    const ATTEMPTS: usize = 8;
    for _ in 0..ATTEMPTS {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => {
                panic_note::clear();
                return;
            }
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// Where our hook is.
static OURS: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
/// One changes it at a time.
static CHANGES: Mutex<()> = Mutex::new(());

/// Installs the panic hook for workers in front of the one that is there. Once per process, see
/// [`crash::install`](crate::runtime::crash::install).
pub(crate) fn install_hook() {
    restore_hook();
}

/// Puts our hook in front, unless it is there. True: it was not.
fn restore_hook() -> bool {
    let _alone = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let there = std::panic::take_hook();
    let is_ours = place_of(&there) == OURS.load(Ordering::Relaxed);
    let hook = if is_ours { there } else { in_front_of(there) };
    OURS.store(place_of(&hook), Ordering::Relaxed);
    std::panic::set_hook(hook);
    !is_ours
}

fn place_of(hook: &Hook) -> *mut () {
    ptr::from_ref::<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>(&**hook).cast_mut().cast()
}

fn in_front_of(previous: Hook) -> Hook {
    Box::new(move |info| match member::current() {
        Some(member) => note(info, member),
        // Not a worker's thread.
        None => previous(info),
    })
}

/// Must not panic itself: a panic in the hook aborts.
fn note(info: &PanicHookInfo<'_>, member: &Member) {
    let place =
        info.location().map_or_else(String::new, |at| format!("{}:{}: ", at.file(), at.line()));
    let text = info.payload_as_str().unwrap_or(NO_TEXT);
    panic_note::set(&place, text);
    member.print(&format!(
        "{} panicked {}",
        member.shared.name,
        member.told(&format!("at {place}{text}"))
    ));
}
