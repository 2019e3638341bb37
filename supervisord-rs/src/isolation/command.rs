//! An executable in its own process. It has no board and speaks Unix: signals, exit status, output, sd_notify(3), a
//! newline on a descriptor, passed sockets.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use supervision::LaunchStage;

use super::family::Family;
use super::host::null;
use super::launch::{Child, Plan, failure};
use super::sockets::Sockets;
use super::surroundings::{Prepared, Result};
use crate::config::probes::Ready;
use crate::config::settings::Launch;

/// What a command is started with.
pub(super) struct Setting<'a> {
    pub(super) argv: &'a [String],
    pub(super) launch: &'a Launch,
    pub(super) prepared: Prepared,
    pub(super) family: &'a Family,
    pub(super) sockets: &'a Sockets,
    /// The address of its notify socket.
    pub(super) notify: Option<&'a str>,
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// What it gets when the supervisor ends; `None`: it goes on.
    pub(super) parent_death_signal: Option<Signal>,
}

/// A command that was started.
pub(super) struct Started {
    pub(super) child: Child,
    /// Where it writes a newline when it is ready, if it does.
    pub(super) newline: Option<OwnedFd>,
}

/// Starts it, looked up in the `PATH` of its own environment.
pub(super) fn launch(setting: Setting<'_>) -> Result<Started> {
    let Setting { argv, launch, mut prepared, family, sockets, notify, stdout, stderr, parent_death_signal } =
        setting;
    let path = prepared.path();
    let program = argv.first().map_or("", String::as_str);
    let mut plan = Plan::new(OsStr::new(program), argv, &path)?
        .descriptor(null()?.as_fd())?
        .descriptor(stdout)?
        .descriptor(stderr)?;
    let mut set = |name: &str, value: String| drop(prepared.environment.insert(name.into(), value.into()));
    if !launch.sockets.is_empty() {
        // sd_listen_fds(3): from 3 on, in the order of the configuration.
        for socket in launch.sockets.iter().filter_map(|spec| sockets.get(spec)) {
            plan = plan.descriptor(socket)?;
        }
        plan = plan.listen_pid();
        let names: Vec<&str> = launch.sockets.iter().map(|socket| socket.name.as_str()).collect();
        set("LISTEN_FDS", launch.sockets.len().to_string());
        set("LISTEN_FDNAMES", names.join(":"));
    }
    let mut newline = None;
    if let Ready::Newline(number) = launch.ready {
        let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .map_err(|errno| failure(LaunchStage::Pipes, errno))?;
        fcntl(&theirs, FcntlArg::F_SETFL(OFlag::empty()))
            .map_err(|errno| failure(LaunchStage::Pipes, errno))?;
        plan = plan.descriptor_at(theirs.as_fd(), number)?;
        newline = Some(ours);
    }
    if let Some(address) = notify {
        set("NOTIFY_SOCKET", address.to_owned());
    }
    if let Some(watchdog) = launch.watchdog {
        set("WATCHDOG_USEC", watchdog.as_micros().to_string());
    }
    let plan = prepared.apply(plan, &launch.surroundings)?.parent_death_signal(parent_death_signal);
    let plan = plan.cgroup(family.birthplace()?).family_mark(family.limit_mark());
    Ok(Started { child: plan.launch()?, newline })
}
