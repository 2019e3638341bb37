//! From what is kept to a supervisor that has it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::orderly_end::ORDERLY_END;
use super::watchdog::Watchdog;
use super::{Guardian, now, store};
use crate::hangup;
use crate::held_signals::{GUARDIAN_GONE, HELD};
use crate::isolation::exits::exit_record::EXIT_RECORDS;
use crate::isolation::launch::{self, Child, Plan, advice, failure};
use crate::isolation::passed;
use crate::service_manager::{self, OWN, Passed, Predecessor, SHUT_DOWN, environment, unescape};
use crate::stages;

/// What a supervisor is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Supervise,
    /// To take over what there is and stop it.
    ShutDown,
}

impl Guardian {
    /// Starts one. What is kept stays kept, whatever comes of it.
    pub(super) fn launch(
        &mut self,
        predecessor: Option<Predecessor>,
        purpose: Purpose,
    ) -> Result<Child, String> {
        self.unsent.clear();
        launch::raise_file_size();
        self.orderly_end.reset();
        // Descriptors may be short: these have been saved for this.
        self.spare.clear();
        let program = self.program();
        let launched = self.try_launch(&program, predecessor, purpose);
        self.spare = spare();
        let child = launched.map_err(|failure| advice(failure, &program.display().to_string()))?;
        self.notify.listen_to(child.pid);
        self.watchdog = Watchdog::begin(now(), self.policy.rules().watchdog, false);
        Ok(child)
    }

    fn try_launch(
        &self,
        program: &Path,
        predecessor: Option<Predecessor>,
        purpose: Purpose,
    ) -> Result<Child, LaunchFailure> {
        let secrets: Vec<(String, BorrowedFd<'_>)> =
            passed::all().map(|(name, secret)| (name, secret.as_fd())).collect();
        let kept: Vec<(String, BorrowedFd<'_>)> =
            self.notify.store().iter().map(|(name, kept)| (unescape(name), kept.as_fd())).collect();
        let given = kept
            .iter()
            .chain(&secrets)
            .map(|(name, descriptor)| (name.as_str(), *descriptor))
            .chain([
                (EXIT_RECORDS, self.exit_records.reader()),
                (ORDERLY_END, self.orderly_end.page()),
            ])
            .collect();
        let passed = Passed::new(given).map_err(|error| of_io(&error))?;
        let own = self.variables(&passed, predecessor, purpose);
        let environment = environment::of_another(&own);
        Plan::new(program.as_os_str(), &self.arguments, OsStr::new(""))?
            // Where we die meanwhile, our number leads nowhere.
            .or(OsStr::new(OWN))?
            .environment(environment::borrowed(&environment).collect())?
            .standard_streams()?
            .pass(&passed.descriptors())
            .listen_pid()
            // A supervisor without its guardian stops in order, and takes its workers along.
            .parent_death_signal(Some(GUARDIAN_GONE))
            .supervisor(&HELD)
            .launch()
    }

    /// Its variables of the environment; an empty one is left out.
    fn variables(
        &self,
        passed: &Passed<'_>,
        predecessor: Option<Predecessor>,
        purpose: Purpose,
    ) -> Vec<(&'static str, OsString)> {
        let watchdog = self.policy.rules().watchdog.into_iter().chain(self.upstream_watchdog).min();
        let micros = watchdog.map(|limit| limit.as_micros().max(1).to_string());
        let shut_down = if purpose == Purpose::ShutDown { SHUT_DOWN } else { "" };
        let mut variables = vec![
            (service_manager::GUARDIAN, std::process::id().to_string().into()),
            (service_manager::NOTIFY_SOCKET, self.notify.address().to_owned().into()),
            (
                service_manager::PREDECESSOR,
                predecessor.map(|past| past.to_string()).unwrap_or_default().into(),
            ),
            (service_manager::PURPOSE, shut_down.into()),
            (service_manager::PROGRAM, service_manager::program().into_os_string()),
            (service_manager::FDSTORE, store::most().to_string().into()),
            (service_manager::FDSTORE_OF_UNIT, OsString::new()),
            ("WATCHDOG_USEC", micros.unwrap_or_default().into()),
            (hangup::NO_HANGUP, hangup::handed_on().into()),
            ("WATCHDOG_PID", OsString::new()),
        ];
        variables.extend(passed.variables());
        variables.extend(launch::told());
        variables
    }

    /// What to execute: our own binary, or that of the last supervisor that took another's place.
    fn program(&self) -> PathBuf {
        match &self.binary {
            // By our own number: in the child it is closed before it executes.
            Some(binary) => {
                format!("/proc/{}/fd/{}", std::process::id(), binary.as_raw_fd()).into()
            }
            None => OWN.into(),
        }
    }
}

/// A handful of descriptors, so that a guardian that is full can still start a supervisor.
pub(super) fn spare() -> Vec<File> {
    const SPARE: usize = 8;
    (0..SPARE).filter_map(|_| File::open("/dev/null").ok()).collect()
}

fn of_io(error: &io::Error) -> LaunchFailure {
    failure(stages::DESCRIPTORS, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}
