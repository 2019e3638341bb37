//! An executable in its own process. It has no board and speaks Unix: signals, exit status, output,
//! sd_notify(3), a newline on a descriptor, passed sockets.

use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::launch::failed::Result;
use super::launch::failure;
use super::outfit::Outfit;
use super::sockets::Sockets;
use crate::config::probes::Ready;
use crate::config::settings::Launch;
use crate::stages;

/// What a command gets beside its surroundings.
pub(super) struct Means<'a> {
    /// Those of the configuration are among them.
    pub(super) sockets: &'a Sockets,
    /// The address of its notify socket.
    pub(super) notify: Option<&'a str>,
}

/// Adds to an outfit what tells a command what it was given. Gives back the pipe on which it writes
/// a newline when it is ready, if it does.
pub(super) fn equip(
    outfit: &mut Outfit,
    launch: &Launch,
    means: Means<'_>,
) -> Result<Option<OwnedFd>> {
    let mut set = |name: &str, value: String| outfit.variables.push((name.to_owned(), value));
    if !launch.sockets.is_empty() {
        let names: Vec<&str> = launch.sockets.iter().map(|socket| socket.name.as_str()).collect();
        set("LISTEN_FDS", launch.sockets.len().to_string());
        set("LISTEN_FDNAMES", names.join(":"));
    }
    if let Some(address) = means.notify {
        set("NOTIFY_SOCKET", address.to_owned());
    }
    if let Some(watchdog) = launch.watchdog {
        set("WATCHDOG_USEC", watchdog.as_micros().to_string());
    }
    outfit.sockets = (!launch.sockets.is_empty()).then(|| means.sockets.clone());
    let Ready::Newline(number) = launch.ready else { return Ok(None) };
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .map_err(|errno| failure(stages::PIPES, errno))?;
    fcntl(&theirs, FcntlArg::F_SETFL(OFlag::empty()))
        .map_err(|errno| failure(stages::PIPES, errno))?;
    outfit.descriptors.push((theirs, number));
    Ok(Some(ours))
}
