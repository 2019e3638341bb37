//! SDK code in a child process: the same binary, started as `__host`. A cell gets several workers, a worker's own
//! process gets one; to the host it is the same.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use supervision::{LaunchFailure, LaunchStage};
use workers::host::HostOrder;

use super::family::Family;
use super::launch::{Child, Plan, failure};
use super::live::Sdk;
use super::surroundings::{Prepared, Result};
use super::thread::{Order, from_io};
use crate::config::settings::Surroundings;

/// A child that runs SDK code.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) child: Child,
    /// Orders go down here; its end tells the host that the supervisor is gone.
    socket: OwnedFd,
}

/// What surrounds a host.
pub(super) struct Setting<'a> {
    /// `cell batch`, `worker b`: what it is called in `ps`.
    pub(super) title: &'a str,
    pub(super) prepared: Prepared,
    pub(super) surroundings: &'a Surroundings,
    pub(super) family: &'a Family,
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// What it gets when the supervisor ends; `None`: it goes on.
    pub(super) parent_death_signal: Option<Signal>,
}

impl Host {
    /// Starts the child. It waits for orders.
    pub(super) fn launch(setting: Setting<'_>, poke: &Arc<OwnedFd>) -> Result<Self> {
        let (socket, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| failure(LaunchStage::Cell, errno))?;
        // Ours only: the loop never waits for a worker. The two ends have flags of their own.
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| failure(LaunchStage::Cell, errno))?;
        let program = OsStr::new("/proc/self/exe");
        let argv = ["supervisord-rs", "__host", setting.title];
        let plan = Plan::new(program, &argv, OsStr::new(""))?
            .descriptor(null()?.as_fd())?
            .descriptor(setting.stdout)?
            .descriptor(setting.stderr)?
            .descriptor(theirs.as_fd())?
            .descriptor(poke.as_fd())?;
        let plan = setting
            .prepared
            .apply(plan, setting.surroundings)?
            .parent_death_signal(setting.parent_death_signal)
            .cgroup(setting.family.birthplace()?)
            .family_mark(setting.family.limit_mark());
        Ok(Self { child: plan.launch()?, socket })
    }

    /// One that a predecessor had started.
    pub(super) fn adopted(child: Child, socket: OwnedFd) -> Self {
        Self { child, socket }
    }

    /// Where orders go down.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Hands a worker to the host. Does not block: a host that reads no orders is a failed launch.
    pub(super) fn order(
        &self,
        order: &Order<'_>,
        is_single: bool,
        sdk: &Sdk,
        output: BorrowedFd<'_>,
    ) -> std::result::Result<(), LaunchFailure> {
        let order = HostOrder {
            name: order.name.to_owned(),
            kind: order.kind.to_owned(),
            generation: order.generation,
            args: order.args.clone(),
            on_panic: order.on_panic,
            single: is_single,
        };
        workers::host::send(self.socket.as_fd(), &order, [sdk.page.mapping.fd(), sdk.wake.as_fd(), output])
            .map_err(|error| from_io(LaunchStage::Cell, &error))
    }
}

/// `/dev/null` as standard input: a worker that reads from the supervisor's terminal would fight it for the keys.
pub(super) fn null() -> std::result::Result<File, LaunchFailure> {
    File::open("/dev/null").map_err(|error| from_io(LaunchStage::Descriptors, &error))
}
