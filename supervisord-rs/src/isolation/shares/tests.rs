//! Which are made, and which a successor has.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use workers::runtime::endowment::Named;

use super::*;
use crate::config::memory;
use crate::config::settings::{Carrier, Mechanism};

/// Names of a directory that is gone: none is left behind.
pub(super) fn names() -> Names {
    let directory = tempfile::tempdir().expect("a directory");
    Names::new(directory.path(), std::iter::empty())
}

/// Where the bytes of a region begin.
const REGION_AT: u64 = 8192;

fn resource(name: &str, kind: ResourceKind) -> Arc<Resource> {
    Arc::new(Resource { name: name.into(), kind })
}

fn queue(capacity: usize) -> ResourceKind {
    ResourceKind::Queue { capacity, message: 64, by: Carrier::Ring }
}

/// The files themselves, by name.
fn files(shares: &Shares, resources: &[Arc<Resource>]) -> Vec<(String, u64)> {
    let handed = shares.ready(resources).expect("all are made");
    let file = |(name, fd): Named<'_>| (name.to_owned(), fstat(fd).expect("open").st_ino);
    handed.plain().map(file).collect()
}

#[test]
fn a_successor_has_the_same_ones_and_another_definition_is_another_one() {
    let (_manager, store) = FdStore::unread();
    let shares = Shares::new(store.clone(), names());
    let all = [
        resource("jobs", queue(8)),
        resource("wake", ResourceKind::Semaphore { permits: 2, by: Mechanism::Own }),
    ];
    assert!(shares.ready(&all).is_none() && shares.to_open(&all) == 4);
    shares.make(&all).expect("made");
    let first = files(&shares, &all);
    shares.make(&all).expect("made already");
    assert_eq!((files(&shares, &all), shares.to_open(&all)), (first.clone(), 0));

    let inherit = || {
        let mut inherited = InheritedDescriptors::default();
        for (name, kept) in store.kept_after(None, 10) {
            inherited.add(name, kept.try_clone().expect("a copy"));
        }
        inherited
    };
    let successor = Shares::new(store.clone(), names());
    successor.adopt(all.iter().map(Arc::as_ref), &mut inherit());
    assert_eq!(files(&successor, &all), first);
    // A reload: one has more room, the other is gone.
    let larger = [resource("jobs", queue(16))];
    let successor = Shares::new(store.clone(), names());
    successor.adopt(larger.iter().map(Arc::as_ref), &mut inherit());
    assert!(successor.ready(&larger).is_none());
    successor.make(&larger).expect("made");
    assert_ne!(files(&successor, &larger)[0], first[0]);
}

#[test]
fn a_renewed_resource_is_other_memory_once_for_all_that_saw_it_in_doubt() {
    let (_manager, store) = FdStore::unread();
    let shares = Shares::new(store, names());
    let all = [resource(
        "ledger",
        ResourceKind::Region { size: 4096, guarded_by: None, by: Mechanism::Own },
    )];
    shares.make(&all).expect("made");
    let old = File::from(
        shares
            .ready(&all)
            .expect("made")
            .plain()
            .next()
            .expect("one")
            .1
            .try_clone_to_owned()
            .expect("a copy"),
    );
    old.write_all_at(b"half a change", REGION_AT).expect("written");
    let first = files(&shares, &all);
    let seen = [shares.doubtful(&all[0])];
    shares.renew(&seen).expect("renewed");
    let second = files(&shares, &all);
    assert_ne!(first, second);
    // Two users were about to be launched.
    shares.renew(&seen).expect("renewed already");
    assert_eq!(files(&shares, &all), second);
    // One that goes on in the old memory has that for itself.
    let mut bytes = [0; 13];
    old.read_exact_at(&mut bytes, REGION_AT).expect("read");
    assert_eq!(&bytes, b"half a change");
}

#[test]
fn what_could_never_be_had_is_refused_before_it_takes_memory() {
    let shares = Shares::new(FdStore::none(), names());
    let huge = ResourceKind::Queue { capacity: 1 << 16, message: 16 << 20, by: Carrier::Ring };
    let failed = shares.make(&[resource("huge", huge)]).expect_err("1 TiB");
    assert_eq!(failed.failure.stage, stages::RESOURCE);
    assert_eq!(failed.failure.errno, Errno::E2BIG as i32);
    // Each alone would fit.
    let memory = memory::machine().expect("known");
    let size = usize::try_from(memory / 3 * 2).expect("a size");
    let part =
        |name| resource(name, ResourceKind::Region { size, guarded_by: None, by: Mechanism::Own });
    shares.make(&[part("one")]).expect("made");
    let failed = shares.make(&[part("two")]).expect_err("more than there is");
    assert_eq!(failed.failure.errno, Errno::E2BIG as i32);
}
