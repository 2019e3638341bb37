//! The last that happens on a thread of a worker. The C library runs the destructors of thread
//! locals (Rust's and those of C++) before those of its keys (pthread_key_create(3)), and calls the
//! latter in rounds as long as they ask for it: the last round is ours.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::OnceLock;

use crate::runtime::{forked, member, run, threads};

/// Rounds of destructors: `PTHREAD_DESTRUCTOR_ITERATIONS` of the GNU C library.
const ROUNDS: u32 = 4;

static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();

thread_local! {
    // Has no destructor.
    static ROUND: Cell<u32> = const { Cell::new(0) };
}

/// Has this thread leave its worker when it ends. Without a key left, a thread that ends does not
/// report it, and the supervisor sees that it is gone.
pub(super) fn arm() {
    let key = *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: a valid pointer, and a function that is there as long as the process.
        let made = unsafe { libc::pthread_key_create(&raw mut key, Some(on_end)) };
        (made == 0).then_some(key)
    });
    if let Some(key) = key {
        // SAFETY: the key is valid; what is stored is no pointer, it only must not be null.
        unsafe { libc::pthread_setspecific(key, std::ptr::without_provenance(1)) };
    }
}

unsafe extern "C" fn on_end(_: *mut c_void) {
    let round = ROUND.get() + 1;
    ROUND.set(round);
    if round < ROUNDS {
        return arm();
    }
    while let Some(member) = member::current() {
        // First: none looks at a member whose thread has no entry.
        if let Some(ticket) = &member.ticket
            && forked::is_original()
        {
            threads::let_go(ticket);
        }
        let Some(left) = member::leave(true) else { return };
        if let Some(end) = left.end {
            run::report(&left.shared, end);
        }
        drop(left.shared);
        if let Some(ticket) = left.ticket {
            ticket.has_ended();
        }
    }
}
