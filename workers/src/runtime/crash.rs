//! Last words: the handler of a fatal signal writes them to the board before the process dies of
//! that same signal, and a handler of exit(3) those of a worker that calls it.
//!
//! The handler makes async-signal-safe calls only (signal-safety(7)): atomic stores into shared
//! memory, gettid, getpid, write to an eventfd, sigaction, tgkill. Whose thread it is, and whether
//! it panics, is in thread locals without destructors, which the loader has made. Rust's own
//! handler stays behind it in the chain, so that it still reports a stack overflow. It would
//! swallow the first SIGSEGV that is *sent* (rust-lang/rust issue 140662), so sent signals never
//! reach it.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, c_int, c_void};

use crate::runtime::board::{LastWords, State};
use crate::runtime::fixed_text::FixedText;
use crate::runtime::member::{self, Member};
use crate::runtime::{forked, panic_note, panics};

/// The signals that mean a fault of the program.
pub(super) const FATAL: [c_int; 7] = [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS];
/// A faulting address this near to the low end of a thread's stack is a stack overflow.
const NEAR_STACK_END: usize = 64 * 1024;

/// A further action of the handler: signal, `si_code`, address, thread. Async-signal-safe calls
/// only.
pub type OnFatal = fn(i32, i32, u64, i32);

static IS_DYING: AtomicBool = AtomicBool::new(false);
static ON_FATAL: OnceLock<OnFatal> = OnceLock::new();
static PREVIOUS: OnceLock<[libc::sigaction; FATAL.len()]> = OnceLock::new();

/// Lets the handler call `callback` after the last words of the worker. The first call counts.
pub fn on_fatal(callback: OnFatal) {
    let _ = ON_FATAL.set(callback);
}

/// Installs the handlers and the panic hook. Once per process, before the first worker; further
/// calls do nothing.
///
/// # Errors
/// Those of sigaction(2), which does not fail for these signals.
pub fn install() -> io::Result<()> {
    let mut result = Ok(());
    PREVIOUS.get_or_init(|| {
        // SAFETY: a zeroed sigaction is a valid one (SIG_DFL, empty mask, no flags).
        let mut previous: [libc::sigaction; FATAL.len()] = unsafe { std::mem::zeroed() };
        for (signal, previous) in FATAL.into_iter().zip(&mut previous) {
            let action = our_action();
            // SAFETY: both pointers are valid; the handler keeps to async-signal-safe calls and
            // does not return to code that would continue after a fault.
            let outcome = unsafe { libc::sigaction(signal, &raw const action, previous) };
            if outcome != 0 {
                result = Err(io::Error::last_os_error());
            }
        }
        forked::mark();
        panics::install_hook();
        // SAFETY: the function is there as long as the process; where there is no room for it (it
        // never is one of the 32 that POSIX grants), no record tells who called exit(3).
        unsafe { libc::atexit(on_exit) };
        previous
    });
    result
}

/// What a fatal signal is to do.
pub(super) fn our_action() -> libc::sigaction {
    // SAFETY: a zeroed sigaction is a valid one (SIG_DFL, empty mask, no flags).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler();
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    action
}

/// The handler, as the kernel has it.
pub(super) fn handler() -> usize {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
    handler as usize
}

/// Whether a fatal signal has come that this process is to die of.
pub(super) fn is_dying() -> bool {
    IS_DYING.load(Ordering::Acquire)
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo to a SA_SIGINFO handler; si_addr is meaningful for
    // faults of the program itself, which have a positive code.
    let (code, address) = unsafe {
        let code = (*info).si_code;
        (code, if code > 0 { (*info).si_addr() as usize } else { 0 })
    };
    // SAFETY: no arguments, no memory effects.
    let tid = unsafe { libc::gettid() };
    // A child that was forked is another process, which dies alone.
    if forked::is_owner() && forked::is_original() {
        IS_DYING.store(true, Ordering::Release);
        if let Some(member) = member::current() {
            leave_last_words(member, signal, code, address, tid);
        }
        if let Some(callback) = ON_FATAL.get() {
            callback(signal, code, address as u64, tid);
        }
    }
    if code > 0 && (signal == SIGSEGV || signal == SIGBUS) && chain(signal) {
        // The instruction faults again: std's handler reports a stack overflow, or the default
        // action ends the process.
        return;
    }
    // SAFETY: async-signal-safe calls with valid arguments. The signal is blocked while its handler
    // runs: the one sent here arrives at return, with the default action, so that the process dies
    // of the signal that it got.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(signal, &raw const default, ptr::null_mut());
        libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal);
    }
}

/// Has exit(3) call `callback`, on the thread that called it, before what was asked for earlier.
pub fn at_exit(callback: extern "C" fn()) {
    // SAFETY: needed because std has no form of it. A function is there as long as the process.
    unsafe { libc::atexit(callback) };
}

/// Called by exit(3) on the thread that called it.
extern "C" fn on_exit() {
    let Some(member) = member::current().filter(|_| forked::is_owner() && forked::is_original())
    else {
        return;
    };
    let board = member.shared.board();
    let state = board.read().map(|reading| reading.state);
    let is_left_behind = member.shared.is_left_behind();
    // A process that one worker has for itself is ended by its host when that has returned.
    if is_left_behind || matches!(state, Some(State::Empty | State::Launched | State::Ready)) {
        if is_left_behind {
            board.note_left_behind(member.shared.generation);
        }
        if is_left_behind || member.helper.is_some() {
            let text = member.told("it called exit(), which ends the whole process");
            board.write_text(board.generation(), text.as_bytes());
        }
        // SAFETY: no arguments, no memory effects.
        board.write_last_words(LastWords::Exit, 0, 0, 0, unsafe { libc::gettid() });
    }
}

/// On the board of the worker whose thread it is. Async-signal-safe.
fn leave_last_words(member: &Member, signal: c_int, code: c_int, address: usize, tid: i32) {
    let (shared, board) = (&member.shared, member.shared.board());
    let is_overflow = signal == SIGSEGV
        && code > 0
        && member.stack_low != 0
        && address.abs_diff(member.stack_low) <= NEAR_STACK_END;
    // std aborts where a panic cannot unwind, right after the hook. The count that it asks is that
    // of this thread, and is back at zero when a panic was caught.
    let is_panic = signal == SIGABRT && code == libc::SI_TKILL && std::thread::panicking();
    let kind = match (is_panic, is_overflow) {
        (true, _) => LastWords::PanicNoUnwind,
        (false, true) => LastWords::StackOverflow,
        (false, false) => LastWords::Signal,
    };
    if board.last_words.load(Ordering::Acquire) == LastWords::None as u32 {
        let mut text = FixedText::default();
        member.add_which(&mut text);
        if shared.is_left_behind() {
            board.note_left_behind(shared.generation);
        }
        if is_panic {
            let (noted, length, _) = panic_note::get();
            text.add_after(b": ", &noted[..length]);
        }
        board.write_text(board.generation(), text.bytes());
        board.write_last_words(kind, signal, code, address as u64, tid);
    }
    shared.poke();
}

/// Restores the previous handler. False when there was none.
fn chain(signal: c_int) -> bool {
    let index = FATAL.iter().position(|&fatal| fatal == signal);
    let previous = index.and_then(|index| PREVIOUS.get().map(|previous| &previous[index]));
    let Some(previous) = previous.filter(|previous| previous.sa_sigaction != libc::SIG_IGN) else {
        return false;
    };
    // SAFETY: async-signal-safe; the pointer is to a static.
    unsafe { libc::sigaction(signal, previous, ptr::null_mut()) == 0 }
}
