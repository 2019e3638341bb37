//! What the kernel keeps for a thread and need not be its whole process's: working directory, file
//! mode creation mask, root directory.

use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread copies of them, which the threads that it starts from now on share with
/// it, and no others: a worker that changes them changes nothing of its host (unshare(2),
/// `CLONE_FS`). That takes no privilege, but the filter of a container may refuse it: the threads
/// of the process share them then, and what one changes stays changed for all.
pub(crate) fn separate() {
    let _ = unshare(CloneFlags::CLONE_FS);
}

#[cfg(test)]
mod tests {
    use std::env::{current_dir, set_current_dir};
    use std::path::Path;

    use super::*;

    #[test]
    fn a_thread_that_changes_its_directory_leaves_that_of_the_others() {
        let before = current_dir().expect("a directory");
        let worker = std::thread::spawn(|| {
            separate();
            set_current_dir("/proc").expect("it is there");
            let helper = std::thread::spawn(|| current_dir().expect("a directory"));
            (current_dir().expect("a directory"), helper.join().expect("no panic"))
        });
        let (own, of_helper) = worker.join().expect("no panic");
        assert_eq!((own.as_path(), of_helper.as_path()), (Path::new("/proc"), Path::new("/proc")));
        assert_eq!(current_dir().expect("a directory"), before);
    }
}
