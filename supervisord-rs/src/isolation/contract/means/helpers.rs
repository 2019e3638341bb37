//! The supervisor's own small processes: probes, stop commands, checks.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use supervision::{LaunchFailure, WorkerId};

use super::Means;
use crate::isolation::helper::{NotLaunched, Number, Summons};
use crate::isolation::host;
use crate::isolation::launch::failed::{Failed, Result as Launched};
use crate::isolation::launch::{Attempt, Child, Environment, Plan, advice};
use crate::isolation::outfit::{self, Birthplace, Outfit};

impl Means {
    /// Starts a helper with the execution environment of a worker, in its process tree.
    ///
    /// # Errors
    /// What went wrong already.
    pub(in crate::isolation) fn launch_helper(
        &mut self,
        worker: WorkerId,
        argv: &[String],
        extra: &[(String, String)],
    ) -> Result<Summons, NotLaunched> {
        let program = argv.first().cloned().unwrap_or_default();
        let number = Number::new();
        let outfit = self.helper_outfit(worker, argv, extra).map(|mut outfit| {
            outfit.birthplace.for_helper(&number);
            outfit
        });
        self.summon(worker, Some(number), program, outfit)
    }

    /// Has a launcher thread start a helper.
    pub(in crate::isolation) fn summon(
        &self,
        worker: WorkerId,
        number: Option<Number>,
        program: String,
        outfit: Launched<Outfit>,
    ) -> Result<Summons, NotLaunched> {
        let outfit = outfit.map_err(|failed| NotLaunched::new(failed, &program))?;
        let launch = move |attempt: &_| outfit.launch(attempt);
        Ok(Summons::send(&self.underway.launchers, Some(worker), number, program, launch))
    }

    pub(in crate::isolation) fn helper_outfit(
        &mut self,
        worker: WorkerId,
        argv: &[String],
        extra: &[(String, String)],
    ) -> Launched<Outfit> {
        self.has_room(0)?;
        let launch = Arc::clone(&self.registry[worker].launch);
        let domain = self.registry[worker].domain;
        let process_tree = self.process_tree(domain, &launch.execution.limits)?;
        let program = argv.first().cloned().unwrap_or_default();
        let argv = argv.iter().map(Into::into).collect();
        let mut outfit = self.outfit(program.into(), argv, &launch, (domain, &process_tree));
        outfit.variables.extend_from_slice(extra);
        outfit.descriptors = outfit::nulls([1, 2])?;
        Ok(outfit)
    }

    /// Starts a binary that answers with its exit status, and with its standard output where that
    /// has somewhere to go.
    ///
    /// # Errors
    /// What went wrong already, in a sentence.
    pub(in crate::isolation) fn launch_check(
        &self,
        binary: &Path,
        argv: &[OsString],
        output: Option<OwnedFd>,
    ) -> Result<Summons, String> {
        let null =
            host::null().map_err(|failure| advice(failure, &binary.display().to_string()))?;
        Ok(self.launch_with_our_environment(
            binary.into(),
            argv.to_vec(),
            OsString::new(),
            (null.into(), output),
            None,
        ))
    }

    /// Starts what is to take our place.
    pub(in crate::isolation) fn launch_successor(
        &self,
        binary: &Path,
        launch: impl FnOnce(&Attempt) -> Result<Child, LaunchFailure> + Send + 'static,
    ) -> Summons {
        let launch = move |attempt: &_| launch(attempt).map_err(Failed::from);
        Summons::send(&self.underway.launchers, None, None, binary.display().to_string(), launch)
    }

    pub(in crate::isolation) fn launch_with_our_environment(
        &self,
        program: OsString,
        argv: Vec<OsString>,
        path: OsString,
        (input, output): (OwnedFd, Option<OwnedFd>),
        born: Option<Birthplace>,
    ) -> Summons {
        let environment = Arc::clone(&self.environment);
        let name = program.to_string_lossy().into_owned();
        Summons::send(&self.underway.launchers, None, None, name, move |attempt| {
            let null = host::null()?;
            let mut plan = Plan::new(&program, &argv, &path)?;
            let mut environment = Environment::of(&environment);
            if let Some(born) = born {
                plan = born.apply(plan, &mut environment)?;
            }
            let mut plan = plan
                .environment(environment)?
                .descriptor(input.as_fd())?
                .descriptor(output.as_ref().map_or(null.as_fd(), AsFd::as_fd))?
                .descriptor(null.as_fd())?;
            plan.launch_as(attempt).map_err(Failed::from)
        })
    }
}
