//! Closing descriptors that strangers have sent: a close may block for as long as they chose, and
//! then separate threads wait, not the loop. Where all of them are blocked, further descriptors
//! stay open, and count against the supervisor's own limit.

use std::os::fd::OwnedFd;

use nix::sys::socket::{setsockopt, sockopt};

use crate::pool::Pool;

static CLOSERS: Pool = Pool::new("closer", 16);

/// Has the first thread started.
pub(crate) fn begin() {
    CLOSERS.begin();
}

/// Closes descriptors that strangers sent. None of these closes needs to wait for unsent data: a
/// sender that wanted that has given the socket away.
pub(crate) fn close(descriptors: Vec<OwnedFd>) {
    if !descriptors.is_empty() {
        run(move || {
            for descriptor in descriptors {
                let off = libc::linger { l_onoff: 0, l_linger: 0 };
                let _ = setsockopt(&descriptor, sockopt::Linger, &off);
            }
        });
    }
}

/// Has something done that may wait. False: there is no thread for it, and none can be had.
pub(crate) fn run(job: impl FnOnce() + Send + 'static) -> bool {
    CLOSERS.run(job)
}
