//! Closing what strangers have sent: it may wait for as long as they chose, and then threads of
//! ours wait, and not the loop. Where all of them are held up, what is to be closed stays open, and
//! counts against our own limit of descriptors.

use std::os::fd::OwnedFd;

use nix::sys::socket::{setsockopt, sockopt};

use crate::pool::Pool;

static CLOSERS: Pool = Pool::new("closer", 16);

/// Has the first thread started.
pub(crate) fn begin() {
    CLOSERS.begin();
}

/// Closes descriptors that strangers sent. None of them is to wait for what it has not sent yet:
/// whoever has asked for that has given it away.
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
