//! Last words: the handler of a fatal signal writes them to the board before the process dies of
//! that same signal, and a handler of exit(3) those of a worker that calls it.
//!
//! The handler makes async-signal-safe calls only (signal-safety(7)): atomic stores into shared
//! memory, gettid, write to an eventfd, sigaction, tgkill. Rust's own handler stays behind it in
//! the chain, so that it still reports a stack overflow. It would swallow the first SIGSEGV that is
//! *sent* (rust-lang/rust issue 140662), so sent signals never reach it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, c_int, c_void};

use crate::board::{Board, LastWords, State};
use crate::context::{Shared, ring};

/// The signals that mean a fault of the program.
const FATAL: [c_int; 7] = [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS];
/// Worker threads of one process that can leave last words; further ones die without them.
const SLOTS: usize = 4096;
/// Stack of the handler: more than the 8 KiB of std, of which AVX-512 state leaves less than 5 KiB.
const ALTERNATE_STACK: usize = 64 * 1024;
/// A faulting address this near to the low end of a thread's stack is a stack overflow.
const NEAR_STACK_END: usize = 64 * 1024;

/// One worker thread. `tid` 0: free; -1: being filled.
struct Slot {
    tid: AtomicI32,
    poke: AtomicI32,
    board: AtomicPtr<Board>,
    stack_low: AtomicUsize,
}

static THREADS: [Slot; SLOTS] = [const {
    Slot {
        tid: AtomicI32::new(0),
        poke: AtomicI32::new(-1),
        board: AtomicPtr::new(ptr::null_mut()),
        stack_low: AtomicUsize::new(0),
    }
}; SLOTS];

/// A further action of the handler: signal, `si_code`, address, thread. Async-signal-safe calls
/// only.
pub type OnFatal = fn(i32, i32, u64, i32);

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
            // SAFETY: as above; both pointers are valid; the handler keeps to async-signal-safe
            // calls and does not return to code that would continue after a fault.
            let outcome = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
                action.sa_sigaction = handler as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(signal, &raw const action, previous)
            };
            if outcome != 0 {
                result = Err(io::Error::last_os_error());
            }
        }
        crate::run::install_panic_hook();
        // SAFETY: the function is there as long as the process; where there is no room for it (it
        // never is one of the 32 that POSIX grants), no record tells who called exit(3).
        unsafe { libc::atexit(on_exit) };
        previous
    });
    result
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
    leave_last_words(signal, code, address, tid);
    if let Some(callback) = ON_FATAL.get() {
        callback(signal, code, address as u64, tid);
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

/// Called by exit(3) on the thread that called it.
extern "C" fn on_exit() {
    // SAFETY: no arguments, no memory effects.
    let tid = unsafe { libc::gettid() };
    let Some(slot) = slot_of(tid) else { return };
    // SAFETY: as in `leave_last_words`.
    let Some(board) = (unsafe { slot.board.load(Ordering::Acquire).as_ref() }) else { return };
    let state = board.read().map(|reading| reading.state);
    // One that has returned is ended by its host.
    if matches!(state, Some(State::Empty | State::Launched | State::Ready)) {
        board.write_last_words(LastWords::Exit, 0, 0, 0, tid);
    }
}

fn slot_of(tid: i32) -> Option<&'static Slot> {
    THREADS.iter().find(|slot| slot.tid.load(Ordering::Acquire) == tid)
}

fn leave_last_words(signal: c_int, code: c_int, address: usize, tid: i32) {
    let Some(slot) = slot_of(tid) else { return };
    let board = slot.board.load(Ordering::Acquire);
    let stack_low = slot.stack_low.load(Ordering::Relaxed);
    let is_overflow = signal == SIGSEGV
        && code > 0
        && stack_low != 0
        && address.abs_diff(stack_low) <= NEAR_STACK_END;
    let kind = if is_overflow { LastWords::StackOverflow } else { LastWords::Signal };
    // SAFETY: a slot with our own tid was filled by this very thread, which holds the mapping until
    // it empties it.
    if let Some(board) = unsafe { board.as_ref() } {
        board.write_last_words(kind, signal, code, address as u64, tid);
    }
    let poke = slot.poke.load(Ordering::Relaxed);
    if poke >= 0 {
        // SAFETY: the descriptor is held open by this very thread as long as the slot is filled.
        ring(unsafe { BorrowedFd::borrow_raw(poke) });
    }
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

/// This thread's place among those that can leave last words, and its alternate stack. Dropping it
/// frees both.
pub(crate) struct Registered {
    slot: Option<&'static Slot>,
    stack: Option<AlternateStack>,
    _shared: Arc<Shared>,
}

/// Registers the calling thread.
pub(crate) fn register(shared: &Arc<Shared>) -> Registered {
    let stack = AlternateStack::install();
    let slot = THREADS
        .iter()
        .find(|slot| slot.tid.compare_exchange(0, -1, Ordering::AcqRel, Ordering::Relaxed).is_ok());
    if let Some(slot) = slot {
        slot.board.store(ptr::from_ref(shared.board()).cast_mut(), Ordering::Relaxed);
        slot.poke.store(shared.poke.as_raw_fd(), Ordering::Relaxed);
        slot.stack_low.store(stack_low(), Ordering::Relaxed);
        slot.tid.store(nix::unistd::gettid().as_raw(), Ordering::Release);
    }
    Registered { slot, stack, _shared: Arc::clone(shared) }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.tid.store(0, Ordering::Release);
        }
        self.stack.take();
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

/// A stack for the handler, with a guard page below.
struct AlternateStack {
    base: *mut c_void,
    previous: libc::stack_t,
}

impl AlternateStack {
    const GUARD: usize = 4096;

    /// `None` when there is no memory for it: then std's smaller one serves.
    fn install() -> Option<Self> {
        let size = ALTERNATE_STACK + Self::GUARD;
        // SAFETY: a fresh private mapping; its lowest page is made inaccessible; sigaltstack gets
        // the rest, which stays mapped until `drop` has taken it out of use.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
            let base =
                libc::mmap(ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return None;
            }
            libc::mprotect(base, Self::GUARD, libc::PROT_NONE);
            let stack = libc::stack_t {
                ss_sp: base.byte_add(Self::GUARD),
                ss_flags: 0,
                ss_size: ALTERNATE_STACK,
            };
            let mut previous: libc::stack_t = std::mem::zeroed();
            libc::sigaltstack(&raw const stack, &raw mut previous);
            Some(Self { base, previous })
        }
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // SAFETY: std's own stack comes back into use (std frees it), and then nothing uses this
        // one.
        unsafe {
            libc::sigaltstack(&raw const self.previous, ptr::null_mut());
            libc::munmap(self.base, ALTERNATE_STACK + Self::GUARD);
        }
    }
}
