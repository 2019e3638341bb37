//! Small processes of ours: probes, stop commands, hooks, checks.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use supervision::{LaunchFailure, WorkerId};

use super::Drivers;
use crate::isolation::helper::Helper;
use crate::isolation::host;
use crate::isolation::launch::{Plan, advice, has_room};
use crate::isolation::surroundings::Failed;

/// A small process that could not be started.
#[derive(Debug)]
pub struct NotLaunched {
    /// The machine is short of something now: it says nothing about the worker.
    pub transient: bool,
    /// What went wrong, in a sentence.
    pub message: String,
}

impl Drivers {
    /// Starts a small process of ours with the surroundings of a worker, in its family.
    ///
    /// # Errors
    /// What went wrong.
    pub fn launch_helper(
        &mut self,
        worker: WorkerId,
        argv: &[String],
        extra: &[(String, String)],
    ) -> Result<Helper, NotLaunched> {
        let launch = self.launches[worker.index()].clone();
        let domain = self.domain_of[worker.index()];
        let family = self.family(domain, &launch.surroundings.limits);
        let launched = has_room().map_err(Failed::from).and(family).and_then(|family| {
            let mut prepared = self.prepare(&launch, &family)?;
            for (name, value) in extra {
                prepared.environment.insert(name.into(), value.into());
            }
            let null = host::null()?;
            let name = argv.first().map_or("", String::as_str);
            let plan = Plan::new(OsStr::new(name), argv, &prepared.path())?
                .descriptor(null.as_fd())?
                .descriptor(null.as_fd())?
                .descriptor(null.as_fd())?;
            let plan = prepared.apply(plan, &launch.surroundings)?;
            Ok(plan.cgroup(family.birthplace()?).family_mark(family.limit_mark()).launch()?)
        });
        let program = argv.first().cloned().unwrap_or_default();
        launched.map(|child| Helper::new(child, Some(worker))).map_err(|failed| NotLaunched {
            transient: failed.failure.transient,
            message: advice(failed.failure, failed.subject.as_deref().unwrap_or(&program)),
        })
    }

    /// Starts a small process of ours that belongs to no worker, with this on its standard input.
    ///
    /// # Errors
    /// What went wrong, in a sentence.
    pub fn launch_hook(&self, argv: &[String], input: &File) -> Result<Helper, String> {
        let program = argv.first().map_or("", String::as_str);
        let path = self.environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        has_room()
            .and_then(|()| self.launch_with_our_environment(OsStr::new(program), argv, &path, input.as_fd()))
            .map_err(|failure| advice(failure, program))
    }

    /// Starts a binary that is to say something with its exit status alone.
    ///
    /// # Errors
    /// What went wrong, in a sentence.
    pub fn launch_check(&self, binary: &Path, argv: &[std::ffi::OsString]) -> Result<Helper, String> {
        host::null()
            .and_then(|null| {
                self.launch_with_our_environment(binary.as_os_str(), argv, OsStr::new(""), null.as_fd())
            })
            .map_err(|failure| advice(failure, &binary.display().to_string()))
    }

    fn launch_with_our_environment(
        &self,
        program: &OsStr,
        argv: &[impl AsRef<OsStr>],
        path: &OsStr,
        input: BorrowedFd<'_>,
    ) -> Result<Helper, LaunchFailure> {
        let null = host::null()?;
        let child = Plan::new(program, argv, path)?
            .environment(self.environment.iter().map(|(name, value)| (&**name, &**value)))?
            .descriptor(input)?
            .descriptor(null.as_fd())?
            .descriptor(null.as_fd())?
            .launch()?;
        Ok(Helper::new(child, None))
    }
}
