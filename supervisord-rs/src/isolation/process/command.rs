//! An executable in its own process. It has no board and speaks Unix: signals, exit status, output,
//! sd_notify(3), a newline on a descriptor, passed sockets.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use supervision::Incarnation;

use crate::config::Launch;
use crate::config::settings::Ready;
use crate::isolation::contract::means::launching::death_signal;
use crate::isolation::contract::{Means, Progress};
use crate::isolation::launch::failed::Result;
use crate::isolation::launch::failure;
use crate::isolation::live::Live;
use crate::isolation::outfit::Outfit;
use crate::isolation::sockets::Sockets;
use crate::isolation::watch::{Says, Token};
use crate::stages;

pub(super) fn launch(
    means: &mut Means,
    incarnation: Incarnation,
    launch: &Arc<Launch>,
    argv: &[String],
) -> Result<Progress> {
    let worker = incarnation.worker;
    let domain = means.registry[worker].domain;
    let outputs = means.outputs(worker, launch)?;
    means.open_notify(worker, launch)?;
    let process_tree = means.process_tree(domain, &launch.execution.limits)?;
    let is_kept = means.is_kept(worker);
    let program = argv.first().cloned().unwrap_or_default();
    let argv = argv.iter().map(Into::into).collect();
    let mut outfit = means.outfit(program.into(), argv, launch, (domain, &process_tree));
    outfit.parent_death_signal = death_signal(is_kept);
    outfit.take_outputs(launch, outputs)?;
    let given = Given {
        sockets: &means.sockets,
        notify: means.registry[worker].notify.as_ref().map(|notify| notify.address()),
    };
    let newline = equip(&mut outfit, launch, given)?;
    let mut live = Live::new(incarnation, domain, None);
    if let Some(newline) = newline {
        let generation = incarnation.generation.0;
        means
            .store
            .keep(&format!("worker-{}/newline/{generation}", launch.name), &[newline.as_fd()]);
        let token = Token::Newline { worker: worker.0 };
        live.newline = Some(
            means
                .watch
                .add(newline, token, Says::WhileReady)
                .map_err(|(_, errno)| failure(stages::PIPES, errno))?,
        );
    }
    means.registry[worker].live = Some(live);
    // What it writes right after its exec counts.
    means.watch_for_line(incarnation, launch);
    means.expect(domain, incarnation, outfit, process_tree, None);
    Ok(Progress::OnItsWay)
}

/// What a command gets beside its execution environment.
struct Given<'a> {
    /// Those of the configuration are among them.
    sockets: &'a Sockets,
    /// The address of its notify socket.
    notify: Option<&'a str>,
}

/// Adds to an outfit what tells a command what it was given. Gives back the pipe on which it writes
/// a newline when it is ready, if it does.
fn equip(outfit: &mut Outfit, launch: &Launch, given: Given<'_>) -> Result<Option<OwnedFd>> {
    let mut set = |name: &str, value: String| outfit.variables.push((name.to_owned(), value));
    if !launch.sockets.is_empty() {
        let names: Vec<&str> = launch.sockets.iter().map(|socket| socket.name.as_str()).collect();
        set("LISTEN_FDS", launch.sockets.len().to_string());
        set("LISTEN_FDNAMES", names.join(":"));
    }
    if let Some(address) = given.notify {
        set("NOTIFY_SOCKET", address.to_owned());
    }
    if let Some(watchdog) = launch.watchdog {
        set("WATCHDOG_USEC", watchdog.as_micros().to_string());
    }
    outfit.sockets = (!launch.sockets.is_empty()).then(|| given.sockets.clone());
    let Ready::Newline(number) = launch.ready else { return Ok(None) };
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .map_err(|errno| failure(stages::PIPES, errno))?;
    fcntl(&theirs, FcntlArg::F_SETFL(OFlag::empty()))
        .map_err(|errno| failure(stages::PIPES, errno))?;
    outfit.descriptors.push((theirs, number));
    Ok(Some(ours))
}
