//! The adoption of workers that live: a supervisor in another process launches them and dies, and
//! the drivers of this one take them over, where their capabilities say that they can be.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use supervision::{Checkpoint, Fate, Generation, Marks, Phase, WorkerId};
use supervisord_rs::isolation::contract::means::adopting::Past;
use supervisord_rs::process_table;
use supervisord_rs::record::post_mortem::PostMortem;
use supervisord_rs::service_manager::{FdStore, InheritedDescriptors};

use super::{CASE, Case, LIMIT, ONE, OTHER, World, run, signatures};
use crate::harness::until;

/// If this variable is set beside [`CASE`], the program is the supervisor that dies: its directory.
pub(super) const PREDECESSOR: &str = "CONFORMANCE_PREDECESSOR";
/// Descriptors that a message has at most.
const DESCRIPTORS: usize = 8;

/// What the predecessor does: it ends without having ended its workers.
pub(super) fn be_the_predecessor(case: &Case, directory: PathBuf) {
    let store = FdStore::from_env(BTreeMap::new(), false);
    let mut world = World::begun(case, directory, store.clone());
    let nothing = InheritedDescriptors::default();
    world.drivers.begin(&nothing);
    for worker in [ONE, OTHER] {
        world.launch(run(worker, 1));
        world.black_box.note(worker.index()).remember(&running());
    }
    world.black_box.publish().expect("its directory is there");
    store.flush(LIMIT);
    std::process::exit(0);
}

/// Where a worker stands that runs for the first time.
fn running() -> Checkpoint {
    Checkpoint {
        phase: Phase::Running,
        generation: Generation(1),
        since: Duration::ZERO,
        due: None,
        restarts: 0,
        attempt: 0,
        failures: Vec::new(),
        order: None,
        marks: Marks::default(),
        abandoned: 0,
        last_ending: None,
        last_incident: None,
        injected: None,
        injections: Vec::new(),
        group_failures: Vec::new(),
        losses: Vec::new(),
    }
}

/// Workers of a predecessor are taken over where they have outlived it, and only there.
pub(super) fn takes_over_what_outlived_its_supervisor(case: &Case) {
    let directory = super::directory("successor");
    // Its orphans come to us, as they come to the guardian.
    set_child_subreaper(true).expect("it is allowed");
    let store = Store::listen(&directory);
    let this = std::env::current_exe().expect("it runs");
    let predecessor = Command::new(this)
        .env(CASE, case.name)
        .env(PREDECESSOR, &directory)
        .env("NOTIFY_SOCKET", store.place())
        .env("FDSTORE", "500")
        .spawn()
        .expect("it can be started");
    let mut inherited = store.keep_until_the_end_of(predecessor);
    let story = PostMortem::read(&directory).expect("it can be read").expect("a black box");
    let past: Past<'_> = (0..).map(WorkerId).zip(&story.workers).take(2).collect();
    let mut world = World::begun(case, directory, FdStore::none());
    let handed = inherited.peek("worker-one/handed/signed");
    let handed = handed.map(|one| File::from(one.try_clone().expect("a copy")));
    assert_eq!(handed.is_some(), world.is_sdk, "what a worker was handed is kept");
    let adopted = world.drivers.adopt(&mut inherited, &past);
    let outlives = world.capabilities.outlives_supervisor;
    for worker in [ONE, OTHER] {
        let expected = if outlives { Fate::Resumed } else { Fate::Lost };
        assert_eq!(adopted.fates[&worker], expected, "{worker:?}");
        assert_eq!(world.drivers.is_live(run(worker, 1)), outlives, "{worker:?}");
        if outlives {
            let process = past[&worker].process.expect("the process that it had").0.pid;
            assert_eq!(world.drivers.pid(worker), Some(process), "the same one");
            assert!(process_table::is_alive(process), "and it lives");
        }
    }
    world.drivers.begin(&inherited);
    if outlives {
        world.ends_when_it_is_asked_to();
        // Its next run is launched by us.
        world.launch(run(ONE, 2));
        if let Some(handed) = &handed {
            world.hear("signed again", |_| signatures(handed) == 2);
        }
        world.drivers.stop(run(ONE, 2), LIMIT);
        world.hear("stopped", |world| world.ended.contains_key(&run(ONE, 2)));
        world.leaves_nothing_behind();
    } else {
        world.holds_nothing();
    }
}

/// What keeps descriptors for a supervisor, as a service manager does.
struct Store {
    socket: UnixDatagram,
    place: PathBuf,
}

impl Store {
    fn listen(directory: &Path) -> Self {
        let place = directory.join("notify");
        let socket = UnixDatagram::bind(&place).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        Self { socket, place }
    }

    fn place(&self) -> &Path {
        &self.place
    }

    /// What it has in the end.
    fn keep_until_the_end_of(self, mut supervisor: Child) -> InheritedDescriptors {
        let mut kept = BTreeMap::new();
        let status = until(LIMIT, || {
            let status = supervisor.try_wait().expect("our child");
            // What was said before its end is there by now.
            while self.hear(&mut kept) {}
            status
        });
        assert!(status.expect("it ends in time").success(), "the predecessor failed");
        let mut inherited = InheritedDescriptors::default();
        for (name, descriptors) in kept {
            descriptors.into_iter().for_each(|one| inherited.add(name.clone(), one));
        }
        inherited
    }

    /// Does what one message says. False: there is none.
    fn hear(&self, kept: &mut BTreeMap<String, Vec<OwnedFd>>) -> bool {
        let mut text = [0; 4096];
        let mut parts = [IoSliceMut::new(&mut text)];
        let mut room = cmsg_space!([RawFd; DESCRIPTORS]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut room), flags);
        let message = match received {
            Err(Errno::EAGAIN) => return false,
            received => received.expect("a message"),
        };
        let mut descriptors = Vec::new();
        for control in message.cmsgs().expect("whole") {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                #[expect(unsafe_code, reason = "descriptors in messages are numbers")]
                // SAFETY: the kernel has just made it, for us alone.
                let owned = |number: RawFd| unsafe { OwnedFd::from_raw_fd(number) };
                descriptors.extend(numbers.into_iter().map(owned));
            }
        }
        let length = message.bytes;
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let name = name.unwrap_or_default().to_owned();
        if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
            kept.remove(&name);
        } else if text.lines().any(|line| line == "FDSTORE=1") {
            kept.insert(name, descriptors);
        }
        true
    }
}
