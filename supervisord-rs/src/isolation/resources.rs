//! What registered code is handed besides its board, its wake and its output: descriptors of its
//! worker's own, which it [claims](workers::Context::claim) by name, in every isolation. They are
//! made for the first incarnation and stay for all that follow, under each supervisor: the fd
//! store keeps them for a successor.
//!
//! A new one is a file in `resources/`, and a line in [`STANDARD`].

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use supervision::LaunchFailure;
use workers::runtime::endowment::Named;

use super::launch::from_io;
use crate::config::{Launch, Program};
use crate::service_manager::{FdStore, InheritedDescriptors};
use crate::stages;

/// One kind of resource.
pub trait Resource: fmt::Debug + Sync {
    /// By which its worker claims it; it has no slash. The store keeps it by this, and another
    /// release finds it so: it never changes.
    fn name(&self) -> &'static str;

    /// Whether a worker has one.
    fn is_for(&self, launch: &Launch) -> bool;

    /// Makes that of a worker. Called on the loop: it never waits.
    ///
    /// # Errors
    /// Those of the system call: the launch fails with `descriptors`.
    fn make(&self, launch: &Launch) -> io::Result<OwnedFd>;
}

/// Several kinds, no two of one name.
pub type Resources = &'static [&'static dyn Resource];

/// Those that there are. Another one is a line here.
pub static STANDARD: Resources = &[];

/// In the names under which the store keeps them: `worker-NAME/handed/RESOURCE`.
pub(super) const KEPT: &str = "handed";

/// What one worker is handed, by name.
#[derive(Debug, Default)]
pub(super) struct Handed(Vec<(&'static str, OwnedFd)>);

impl Handed {
    /// What a predecessor has kept for this worker.
    pub(super) fn adopted(
        resources: Resources,
        launch: &Launch,
        inherited: &mut InheritedDescriptors,
    ) -> Self {
        let claimed = of(resources, launch).filter_map(|resource| {
            let name = resource.name();
            Some((name, inherited.claim(&kept_name(&launch.name, name))?))
        });
        Self(claimed.collect())
    }

    /// Makes what is not there yet.
    ///
    /// # Errors
    /// `Descriptors`; what was made before that stays.
    pub(super) fn complete(
        &mut self,
        resources: Resources,
        launch: &Launch,
    ) -> Result<(), LaunchFailure> {
        for resource in of(resources, launch) {
            if !self.has(resource.name()) {
                let made = resource.make(launch);
                let made = made.map_err(|error| from_io(stages::DESCRIPTORS, &error))?;
                self.0.push((resource.name(), made));
            }
        }
        Ok(())
    }

    /// How many descriptors [`complete`](Self::complete) opens.
    pub(super) fn missing(&self, resources: Resources, launch: &Launch) -> usize {
        of(resources, launch).filter(|resource| !self.has(resource.name())).count()
    }

    /// Has the store keep them. False: a successor may not get all of them.
    pub(super) fn keep(&self, worker: &str, store: &FdStore) -> bool {
        let mut are_kept = true;
        for (name, descriptor) in &self.0 {
            are_kept &= store.keep(&kept_name(worker, name), &[descriptor.as_fd()]);
        }
        are_kept
    }

    /// For an order.
    pub(super) fn named(&self) -> Vec<Named<'_>> {
        self.0.iter().map(|(name, descriptor)| (*name, descriptor.as_fd())).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == name)
    }
}

/// Those that a worker has; a command claims nothing.
fn of(resources: Resources, launch: &Launch) -> impl Iterator<Item = &'static dyn Resource> {
    let is_sdk = matches!(launch.program, Program::Worker { .. });
    resources.iter().copied().filter(move |resource| is_sdk && resource.is_for(launch))
}

fn kept_name(worker: &str, resource: &str) -> String {
    format!("worker-{worker}/{KEPT}/{resource}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::sys::stat::fstat;

    use super::*;
    use crate::config;

    #[derive(Debug)]
    struct Memory(&'static str);

    impl Resource for Memory {
        fn name(&self) -> &'static str {
            self.0
        }

        fn is_for(&self, launch: &Launch) -> bool {
            launch.name != "without"
        }

        fn make(&self, _: &Launch) -> io::Result<OwnedFd> {
            Ok(memfd_create(c"resource", MFdFlags::MFD_CLOEXEC)?)
        }
    }

    static TWO: Resources = &[&Memory("one"), &Memory("two")];

    fn launches() -> Vec<Launch> {
        let text = "version: 1\nworkers:\n  w: { worker: ticker }\n  \
                    without: { worker: ticker }\n  c: { command: [sleep, 1d] }\n";
        let registry = workers::builtin::registry();
        config::parse(text, Path::new("/c.yaml"), &registry).expect("valid").launches
    }

    /// The files themselves, by name.
    fn files(handed: &Handed) -> Vec<(String, u64)> {
        let named = handed.named().into_iter();
        named.map(|(name, one)| (name.to_owned(), fstat(one).expect("open").st_ino)).collect()
    }

    #[test]
    fn a_worker_keeps_what_it_was_handed_and_so_does_a_successor_of_the_supervisor() {
        let launches = launches();
        let launch = launches.iter().find(|launch| launch.name == "w").expect("there");
        let mut handed = Handed::default();
        assert_eq!(handed.missing(TWO, launch), 2);
        handed.complete(&TWO[..1], launch).expect("made");
        let first = files(&handed).remove(0);
        handed.complete(TWO, launch).expect("made");
        assert_eq!((files(&handed).remove(0), handed.missing(TWO, launch)), (first, 0));

        let (_manager, store) = FdStore::unread();
        assert!(handed.keep("w", &store));
        let mut inherited = InheritedDescriptors::default();
        for (name, kept) in store.kept_after(None, 10) {
            inherited.add(name, kept.try_clone().expect("a copy"));
        }
        assert_eq!(inherited.unclaimed(), ["worker-w/handed/one", "worker-w/handed/two"]);
        let adopted = Handed::adopted(TWO, launch, &mut inherited);
        assert_eq!(files(&adopted), files(&handed));
        assert_eq!(inherited.unclaimed(), Vec::<String>::new());
    }

    #[test]
    fn what_a_worker_has_no_more_is_not_taken_over_and_a_command_has_none() {
        for launch in launches().iter().filter(|launch| launch.name != "w") {
            let mut handed = Handed::default();
            handed.complete(TWO, launch).expect("nothing to make");
            assert_eq!(handed.named().len(), 0, "{}", launch.name);
            let mut inherited = InheritedDescriptors::default();
            let any = Memory("one").make(launch).expect("made");
            inherited.add(kept_name(&launch.name, "one"), any);
            let adopted = Handed::adopted(TWO, launch, &mut inherited);
            assert_eq!((adopted.named().len(), inherited.unclaimed().len()), (0, 1));
        }
    }
}
