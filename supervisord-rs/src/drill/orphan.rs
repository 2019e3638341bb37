//! A trial whose `compare` dies without ending it, such as of SIGKILL. It stops everything in
//! order, as after each order to end, and removes its directory.

use std::path::Path;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::bed::PREFIX;
use super::interrupt;

/// Orders this guardian to end (TERM) when its parent does. False: `compare` has ended already.
///
/// The order comes at the end of the parent's thread that started this process (prctl(2)): the main
/// one, which lives as long as `compare` does.
pub(crate) fn end_with(compare: i32) -> bool {
    prctl::set_pdeathsig(Signal::SIGTERM).is_ok() && is_there(compare)
}

/// After the end of a trial that was configured by `file`: removes what `compare` cannot.
pub(crate) fn clean_up_after(compare: i32, file: &Path) {
    let directory = file.parent().filter(|directory| {
        let name = directory.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(PREFIX))
    });
    if !is_there(compare) {
        interrupt::end(directory, false);
    }
}

fn is_there(compare: i32) -> bool {
    getppid().as_raw() == compare
}
