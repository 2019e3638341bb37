//! Processes that take part in a measurement: this very program, started again.
//!
//! None outlives the one that measures, however that ends: each asks the kernel for SIGKILL at its
//! parent's death, and its only descriptor from it ends then too.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_raw, getppid};

use crate::peer;

/// The hidden verb: the first argument of a process that takes part.
pub const VERB: &str = "__measure";

/// What such a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Carries out orders (`peer`).
    Peer,
    /// A host of the SDK, as the product's cells and processes are.
    Host,
    /// Ends at once: what a process costs that does nothing.
    Nothing,
    /// Waits for its end: what a process takes that does nothing.
    Idle,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Host => "host",
            Self::Nothing => "nothing",
            Self::Idle => "idle",
        }
    }
}

/// The main function of a process that takes part; `None`: these are no arguments of one. Programs
/// that call [`crate::run`] call this first.
#[must_use]
pub fn main(arguments: &[OsString]) -> Option<ExitCode> {
    let mut words = arguments.iter().skip(1).map(|word| word.to_str());
    if words.next() != Some(Some(VERB)) {
        return None;
    }
    let role = words.next().flatten().unwrap_or_default();
    if role == Role::Nothing.name() {
        return Some(ExitCode::SUCCESS);
    }
    let Some(parent) = words.next().flatten().and_then(|pid| pid.parse::<i32>().ok()) else {
        eprintln!("supervisord-rs: `{VERB}` is for `measure` alone, which starts it");
        return Some(ExitCode::from(2));
    };
    let asked = prctl::set_pdeathsig(Signal::SIGKILL);
    // It may have died before this.
    if asked.is_err() || parent != getppid().as_raw() {
        return Some(ExitCode::FAILURE);
    }
    Some(match role {
        "peer" => {
            peer::serve(&input());
            ExitCode::SUCCESS
        }
        "host" => host(),
        _ => {
            // Its end, as a byte never comes.
            let _ = nix::unistd::read(input(), &mut [0]);
            ExitCode::SUCCESS
        }
    })
}

/// What the parent has given.
fn input() -> OwnedFd {
    // SAFETY: descriptor 0 of this fresh process was made for it by `start`, and nothing else here
    // uses it.
    unsafe { OwnedFd::from_raw_fd(0) }
}

/// As the product's own: its descriptors are 3, the way of orders, and 4, to poke the supervisor.
fn host() -> ExitCode {
    let put = || -> nix::Result<()> {
        // Out of the way of the two numbers, which the first ones here may have.
        let way = above(&std::io::stdin())?;
        let poke = above(&EventFd::from_flags(EfdFlags::EFD_NONBLOCK)?)?;
        for (from, number) in [(&way, 3), (&poke, 4)] {
            // SAFETY: no one has these two numbers but this function: `above` has moved what did.
            std::mem::forget(unsafe { dup2_raw(from, number) }?);
        }
        Ok(())
    };
    if let Err(error) = put() {
        eprintln!("supervisord-rs: cannot become a host: {}", error.desc());
        return ExitCode::FAILURE;
    }
    workers::runtime::host::main(&workers::builtin::registry())
}

/// The same, with a number of 10 at least.
fn above(fd: &impl std::os::fd::AsFd) -> nix::Result<OwnedFd> {
    let number = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(10))?;
    // SAFETY: fcntl has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Starts a process that takes part, with this as its input.
///
/// # Errors
/// It cannot be started: why, in words.
pub(crate) fn start(role: Role, input: impl Into<Stdio>) -> Result<Child, String> {
    Command::new("/proc/self/exe")
        // For `ps`.
        .arg0("supervisord-rs")
        .args([VERB, role.name(), &std::process::id().to_string()])
        .stdin(input)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start a process: {error}"))
}

/// Waits until it has ended by itself, or kills it.
pub(crate) fn end(child: &mut Child, patience: Duration) {
    let deadline = Instant::now() + patience;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Gives this process all the descriptors that it may have: a thousand workers need several
/// thousand.
pub(crate) fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// How many descriptors this process may have.
pub(crate) fn descriptors() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// An input that never has anything.
pub(crate) fn null() -> Result<Stdio, String> {
    File::open("/dev/null").map(Into::into).map_err(|error| format!("/dev/null: {error}"))
}

/// The number of a process.
pub(crate) fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a PID is an i32 (proc_sys_kernel(5), pid_max)")
}
