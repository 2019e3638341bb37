//! A launch that fails: it is answered once, with its advice, and nothing is left of it.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use supervision::{Incarnation, WorkerId};
use supervisord_rs::process_table;

use super::{LIMIT, World, run};
use crate::harness::until;

/// Another worker: what is wrong with it, if anything, is in the table of cases.
const BROKEN: WorkerId = WorkerId(2);

impl World {
    /// A launch that would find no descriptor does not begin, whatever its driver needs.
    pub(super) fn fails_where_there_is_no_descriptor(&mut self) {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        let next = File::open("/dev/null").expect("a descriptor").as_raw_fd();
        let next = u64::try_from(next).expect("it is open");
        setrlimit(Resource::RLIMIT_NOFILE, next, hard).expect("it may be lowered");
        let advice = self.fail(run(BROKEN, 1));
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("it was so high");
        assert!(advice.contains("raise the limit of open files"), "{advice}");
    }

    /// By what is wrong with the worker itself; where nothing can be, the next launch of the same
    /// one comes through.
    pub(super) fn fails_by_what_is_missing(&mut self, missing: Option<&str>) {
        let second = run(BROKEN, 2);
        if let Some(missing) = missing {
            let advice = self.fail(second);
            assert!(advice.contains(missing), "{advice}");
        } else {
            self.launch(second);
            self.drivers.stop(second, LIMIT);
            self.hear("stopped", |world| world.ended.contains_key(&second));
        }
    }

    /// Launches one that cannot be, as the first of all. The advice.
    fn fail(&mut self, incarnation: Incarnation) -> String {
        self.drivers.launch(incarnation, false);
        self.hear("answered", |world| {
            world.failed.contains_key(&incarnation) || world.launched.contains_key(&incarnation)
        });
        assert!(!self.launched.contains_key(&incarnation), "it cannot run");
        assert!(!self.drivers.is_live(incarnation), "it does not live");
        let is_gone = until(LIMIT, || {
            // A child that is still dying when its launch is answered is an orphan; the daemon
            // hears of it by SIGCHLD.
            self.drivers.reap_orphans();
            process_table::children().is_empty().then_some(())
        });
        assert!(is_gone.is_some(), "no process of it is left");
        // It takes no orders.
        self.drivers.stop(incarnation, LIMIT);
        self.drivers.kill(incarnation);
        let evidence = self.drivers.evidence(incarnation).expect("what is known of it");
        evidence.message.clone().expect("why, and what to do")
    }
}
