//! SDK code in a child process: the same binary, started as `__host`. A cell gets several workers,
//! a worker's own process gets one; to the host it is the same.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use supervision::{Incarnation, LaunchFailure};
use workers::runtime::briefing::{Briefing, PreviousEnding};
use workers::runtime::endowment::Named;
use workers::runtime::host::{BOARD, HostOrder, OUTPUT, WAKE};
use workers::runtime::run::OnPanic;
use workers::runtime::scheduling::Scheduling;

use super::launch::{Child, failure, from_io};
use super::live::Sdk;
use crate::config::settings::{OnOwnerDeath, Resource};
use crate::config::{Launch, Program};
use crate::service_manager::OWN;
use crate::stages;

/// A child that runs SDK code.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) child: Child,
    /// Orders go down here; its end tells the host that the supervisor is gone.
    way: OwnedFd,
}

/// What it executes.
pub(super) const PROGRAM: &str = OWN;

/// Its arguments; `title` is what it is called in `ps`: `cell batch`, `worker b`.
pub(super) fn argv(title: &str) -> Vec<OsString> {
    ["supervisord-rs", "__host", title].map(OsString::from).to_vec()
}

/// The way for its orders: our end, and its own.
pub(super) fn way() -> Result<(OwnedFd, OwnedFd), LaunchFailure> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| failure(stages::CELL, errno))?;
    // Ours only: the loop never waits for a worker. The two ends have flags of their own.
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(|errno| failure(stages::CELL, errno))?;
    // Nothing comes back: what a worker sent would be closed with our end, and that can wait
    // (`SO_LINGER`).
    shutdown(ours.as_raw_fd(), Shutdown::Read).map_err(|errno| failure(stages::CELL, errno))?;
    Ok((ours, theirs))
}

/// Hands a worker to a host, which may not be there yet: it finds the order when it comes.
/// Does not block: a host that reads no orders is a failed launch.
pub(super) fn order(
    way: BorrowedFd<'_>,
    order: &Order<'_>,
    is_single: bool,
    sdk: &Sdk,
    output: BorrowedFd<'_>,
) -> Result<(), LaunchFailure> {
    let &Order { name, kind, generation, args, on_panic, scheduling, ref briefing, ref handed } =
        order;
    let single = is_single;
    let order = HostOrder { name, kind, generation, args, on_panic, single, scheduling, briefing };
    let usual = [(BOARD, sdk.page.mapping.fd()), (WAKE, sdk.wake.as_fd()), (OUTPUT, output)];
    let sent = if handed.is_empty() {
        workers::runtime::host::send(way, &order, &usual)
    } else {
        workers::runtime::host::send(way, &order, &[&usual[..], handed].concat())
    };
    sent.map_err(|error| from_io(stages::CELL, &error))
}

impl Host {
    /// One that runs, and the way to it.
    pub(super) fn new(child: Child, way: OwnedFd) -> Self {
        Self { child, way }
    }

    /// Where orders go down.
    pub(super) fn way(&self) -> BorrowedFd<'_> {
        self.way.as_fd()
    }
}

/// What SDK code is to run, and how: the same for thread, cell and process.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    pub(super) generation: u64,
    pub(super) args: &'a serde_json::Value,
    pub(super) on_panic: OnPanic,
    pub(super) scheduling: &'a Scheduling,
    pub(super) briefing: Briefing,
    /// What it is handed besides its board, its wake and its output, by name.
    pub(super) handed: Vec<Named<'a>>,
}

impl<'a> Order<'a> {
    /// What this incarnation is to run.
    ///
    /// # Panics
    /// It is a command.
    pub(super) fn of(
        launch: &'a Launch,
        incarnation: Incarnation,
        previous_ending: Option<PreviousEnding>,
        handed: Vec<Named<'a>>,
    ) -> Self {
        let Program::Worker { kind, args } = &launch.program else {
            unreachable!("a command is no SDK code: drivers tell them apart");
        };
        // What is not written is what the SDK does by itself.
        let policy = |resource: &Arc<Resource>| {
            let policy = resource.on_owner_death().filter(|policy| *policy != OnOwnerDeath::Repair);
            Some((resource.name.clone(), policy?))
        };
        let on_owner_death = launch.uses.iter().filter_map(policy).collect();
        Self {
            name: &launch.name,
            kind,
            generation: incarnation.generation.0,
            args,
            on_panic: launch.on_panic,
            scheduling: &launch.scheduling,
            briefing: Briefing { stack_size: launch.stack_size, previous_ending, on_owner_death },
            handed,
        }
    }
}

/// `/dev/null` as standard input: a worker that reads from the supervisor's terminal would fight it
/// for the keys.
pub(super) fn null() -> Result<File, LaunchFailure> {
    File::open("/dev/null").map_err(|error| from_io(stages::DESCRIPTORS, &error))
}
