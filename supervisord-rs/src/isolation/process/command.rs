//! An executable in its own process. It has no board and speaks Unix: signals, exit status, output,
//! sd_notify(3), a newline on a descriptor, passed sockets.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use supervision::Incarnation;
use workers::runtime::endowment::Named;

use crate::config::Launch;
use crate::config::settings::{FIRST_SOCKET, Ready};
use crate::isolation::contract::means::launching::death_signal;
use crate::isolation::contract::{Means, Progress};
use crate::isolation::launch::failed::Result;
use crate::isolation::launch::{failure, from_io};
use crate::isolation::live::Live;
use crate::isolation::outfit::Outfit;
use crate::isolation::sockets::Sockets;
use crate::isolation::watch::{Says, Token};
use crate::service_manager::{POSIX_NAMES, RESOURCES};
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
        shared: means.registry[worker].shared.plain().collect(),
        names: means.registry[worker]
            .shared
            .posix()
            .map(|(own, posix)| format!("{own}={posix}"))
            .collect(),
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
    /// What it shares with others.
    shared: Vec<Named<'a>>,
    /// The names of POSIX of what it shares: `NAME=/POSIX-NAME`.
    names: Vec<String>,
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
    if !given.names.is_empty() {
        set(POSIX_NAMES, given.names.join(" "));
    }
    give_shared(outfit, launch, &given.shared)?;
    outfit.sockets = (!launch.sockets.is_empty()).then(|| given.sockets.clone());
    let Ready::Newline(number) = launch.ready else { return Ok(None) };
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .map_err(|errno| failure(stages::PIPES, errno))?;
    fcntl(&theirs, FcntlArg::F_SETFL(OFlag::empty()))
        .map_err(|errno| failure(stages::PIPES, errno))?;
    outfit.descriptors.push((theirs, number));
    Ok(Some(ours))
}

/// Under the numbers after its sockets.
fn give_shared(outfit: &mut Outfit, launch: &Launch, shared: &[Named<'_>]) -> Result<()> {
    if shared.is_empty() {
        return Ok(());
    }
    let newline = if let Ready::Newline(number) = launch.ready { Some(number) } else { None };
    let free = (FIRST_SOCKET..).skip(launch.sockets.len());
    let free = free.filter(|number| Some(*number) != newline);
    let mut list = Vec::new();
    for ((name, fd), number) in shared.iter().zip(free) {
        let copy = fd.try_clone_to_owned();
        let copy = copy.map_err(|error| from_io(stages::DESCRIPTORS, &error))?;
        outfit.descriptors.push((copy, number));
        list.push(format!("{name}={number}"));
    }
    outfit.variables.push((RESOURCES.to_owned(), list.join(" ")));
    Ok(())
}
