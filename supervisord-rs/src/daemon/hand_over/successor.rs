//! A process that is to take our place: how it is started, and what ends it when it does not.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use supervision::LaunchFailure;

use super::OWN;
use super::gate::{GATE, Giver};
use crate::hangup;
use crate::held_signals::HELD;
use crate::isolation::Drivers;
use crate::isolation::helper::{Helper, Summons};
use crate::isolation::launch::{self, Attempt, Child, Plan, advice, failure};
use crate::isolation::passed;
use crate::service_manager::{self, HAND_OVER, Passed, READ_ANEW, environment};
use crate::stages;
use crate::waiting::Limit;

/// One that runs, and where it is heard. Dropped, it is killed, with whatever it has started: all
/// of that has what we have given.
#[derive(Debug)]
pub(in crate::daemon) struct Successor {
    process: Helper,
    pub(super) gate: Giver,
}

impl Successor {
    /// Starts one, and waits until it is prepared, while we wait for nothing.
    ///
    /// # Errors
    /// What went wrong already, in a sentence.
    pub(super) fn prepare(
        drivers: &Drivers,
        binary: &Path,
        limit: Limit,
    ) -> Result<impl Future<Output = Result<Self, String>> + Send + use<>, String> {
        let (gate, theirs) = Giver::pair().map_err(|error| error.to_string())?;
        let start = Start::of(binary, theirs, true);
        let summons = drivers.launch_successor(binary, move |attempt| start.launch(attempt));
        Ok(prepared(summons, gate, limit))
    }

    /// Starts one that goes on with the configuration in force, and waits for it.
    pub(super) async fn begin(binary: &Path, limit: &mut Limit) -> Result<Self, String> {
        let (gate, theirs) = Giver::pair().map_err(|error| error.to_string())?;
        let child = Start::of(binary, theirs, false).launch(&Attempt::default());
        let child = child.map_err(|failure| advice(failure, &binary.display().to_string()))?;
        let mut successor = Self { process: Helper::new(child, None), gate };
        successor.gate.expect_prepared(limit).await?;
        Ok(successor)
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.child().map_or(0, |child| child.pid)
    }

    /// Lets it live. It hears that we are gone when our end is closed, which is when we are.
    pub(super) fn leave(self) {
        std::mem::forget(self);
    }
}

async fn prepared(summons: Summons, gate: Giver, mut limit: Limit) -> Result<Successor, String> {
    let process = summons.arrive(&mut limit).await.map_err(|failed| failed.message)?;
    let mut successor = Successor { process, gate };
    successor.gate.expect_prepared(&mut limit).await.map_err(|why| {
        let whole = limit.whole();
        if limit.is_over() {
            format!("it is not prepared to take over after {whole:?}")
        } else {
            why
        }
    })?;
    Ok(successor)
}

/// What one is started with: the gate, and secrets that are read before anything else.
struct Start {
    binary: PathBuf,
    gate: OwnedFd,
    is_anew: bool,
}

impl Start {
    fn of(binary: &Path, gate: OwnedFd, is_anew: bool) -> Self {
        Self { binary: binary.into(), gate, is_anew }
    }

    fn launch(self, attempt: &Attempt) -> Result<Child, LaunchFailure> {
        let secrets: Vec<(String, BorrowedFd<'_>)> =
            passed::all().map(|(name, secret)| (name, secret.as_fd())).collect();
        let given = secrets
            .iter()
            .map(|(name, secret)| (name.as_str(), *secret))
            .chain([(GATE, self.gate.as_fd())])
            .collect();
        let no_table = |error: io::Error| {
            let errno =
                error.raw_os_error().map_or(nix::errno::Errno::EIO, nix::errno::Errno::from_raw);
            failure(stages::DESCRIPTORS, errno)
        };
        let passed = Passed::new(given).map_err(no_table)?;
        let own = self.variables(&passed);
        let environment = environment::of_another(&own);
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Plan::new(self.binary.as_os_str(), &arguments, OsStr::new(""))?
            .environment(environment::borrowed(&environment).collect())?
            .standard_streams()?
            .pass(&passed.descriptors())
            .listen_pid()
            // Until it stands alone: a supervisor that starts after this one's death then finds no
            // half-ready other.
            .parent_death_signal(Some(Signal::SIGKILL))
            .supervisor(&HELD)
            .launch_as(attempt)
    }

    /// What its environment tells it; an empty field is not there.
    fn variables(&self, passed: &Passed<'_>) -> Vec<(&'static str, OsString)> {
        let read_anew = if self.is_anew { "1" } else { "" };
        let mut variables = vec![
            (HAND_OVER, std::process::id().to_string().into()),
            (service_manager::PREDECESSOR, OsString::new()),
            (service_manager::PROGRAM, place_of(&self.binary).into_os_string()),
            (READ_ANEW, read_anew.into()),
            (hangup::NO_HANGUP, hangup::handed_on().into()),
            (service_manager::PURPOSE, OsString::new()),
        ];
        variables.extend(passed.variables());
        variables.extend(launch::told());
        variables
    }
}

/// The path of its binary, for a successor.
fn place_of(binary: &Path) -> PathBuf {
    if binary == Path::new(OWN) {
        return service_manager::program();
    }
    std::env::current_dir().unwrap_or_default().join(binary)
}
