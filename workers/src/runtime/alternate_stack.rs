//! A thread's stack for the handler of fatal signals.

use std::ffi::c_void;
use std::ptr;

/// More than the 8 KiB of std, of which AVX-512 state leaves less than 5 KiB.
const SIZE: usize = 64 * 1024;
const GUARD: usize = 4096;

/// A stack for the handler, with a guard page below. Of the thread that has installed it.
pub(crate) struct AlternateStack {
    base: *mut c_void,
    previous: libc::stack_t,
}

impl AlternateStack {
    /// `None` when there is no memory for it: then std's smaller one serves.
    pub(crate) fn install() -> Option<Self> {
        // SAFETY: a fresh private mapping; its lowest page is made inaccessible; sigaltstack gets
        // the rest, which stays mapped until `remove` has taken it out of use.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let base = libc::mmap(ptr::null_mut(), GUARD + SIZE, access, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return None;
            }
            libc::mprotect(base, GUARD, libc::PROT_NONE);
            let stack = of(base);
            let mut previous: libc::stack_t = std::mem::zeroed();
            libc::sigaltstack(&raw const stack, &raw mut previous);
            Some(Self { base, previous })
        }
    }

    /// Takes it into use again: std has none in use from the end of a thread's closure on.
    pub(crate) fn resume(&self) {
        let stack = of(self.base);
        // SAFETY: the stack is mapped as long as `self`, and this thread's.
        unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    }

    /// Takes it out of use. `has_previous`: the one before it is still there, and comes back.
    pub(crate) fn remove(self, has_previous: bool) {
        // SAFETY: the calls get valid stacks of this thread. Another one that came into use
        // meanwhile stays in use.
        unsafe {
            let mut now: libc::stack_t = std::mem::zeroed();
            libc::sigaltstack(ptr::null(), &raw mut now);
            if now.ss_sp == of(self.base).ss_sp {
                let mut next = self.previous;
                if !has_previous {
                    next.ss_flags = libc::SS_DISABLE;
                }
                libc::sigaltstack(&raw const next, ptr::null_mut());
            }
        }
        self.unmap();
    }

    /// Gives back the memory of a thread that is gone: this one, and the one that std had given it.
    pub(crate) fn reclaim(self) {
        let previous = self.previous;
        self.unmap();
        if previous.ss_flags & libc::SS_DISABLE != 0 || previous.ss_sp.is_null() {
            return;
        }
        let start = previous.ss_sp as usize;
        // std puts a guard page below it; what else lies there is another's.
        let guard = if is_inaccessible(start - GUARD) { GUARD } else { 0 };
        // SAFETY: the thread that used the stack as its signal stack is gone, and nothing else
        // knows of it; std would have unmapped the same at the end of the thread.
        unsafe { libc::munmap((start - guard) as *mut c_void, previous.ss_size + guard) };
    }

    fn unmap(self) {
        // SAFETY: its own mapping, which no thread uses any more.
        unsafe { libc::munmap(self.base, GUARD + SIZE) };
    }
}

fn of(base: *mut c_void) -> libc::stack_t {
    libc::stack_t { ss_sp: base.wrapping_byte_add(GUARD), ss_flags: 0, ss_size: SIZE }
}

/// Whether the page at this address is memory without a file that cannot be accessed
/// (proc_pid_maps(5)).
fn is_inaccessible(page: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().any(|line| {
        let mut columns = line.split_ascii_whitespace();
        let Some((start, end)) = columns.next().and_then(|range| range.split_once('-')) else {
            return false;
        };
        let number = |text| usize::from_str_radix(text, 16).unwrap_or(0);
        let is_here = (number(start)..number(end)).contains(&page);
        is_here && columns.next() == Some("---p") && columns.nth(2) == Some("0")
    })
}
