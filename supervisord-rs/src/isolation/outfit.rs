//! What a process is launched with: everything that the loop has to give, without a reference to
//! anything of the loop's. Another thread reads its files, which may not answer, and makes it a
//! process.

use std::ffi::{OsStr, OsString};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use supervision::LaunchFailure;

use super::execution::{self, Prepared};
use super::exits::reaper;
use super::helper::Number;
use super::host::null;
use super::launch::failed::{Failed, Result};
use super::launch::into_cgroup::IntoCgroup;
use super::launch::{Attempt, BaseEnvironment, Child, Environment, Plan, failure};
use super::sockets::Sockets;
use super::tree::cgroup::{Leaf, Newcomer};
use super::tree::marks::{MARK, Mark};
use super::tree::process_tree::ProcessTree;
use crate::config::Launch;
use crate::config::settings::{ExecutionEnvironment, FIRST_SOCKET};
use crate::stages;

/// Whose execution environment it has.
pub(super) enum Whose {
    /// A worker's, with all that is to be looked up.
    Worker(Arc<Launch>),
    /// The supervisor's own, but for its limits: a cell.
    Cell(Box<ExecutionEnvironment>),
}

/// See above.
pub(super) struct Outfit {
    /// Looked up in the `PATH` of its own environment, unless it has a slash.
    pub(super) program: OsString,
    pub(super) argv: Vec<OsString>,
    pub(super) execution_of: Whose,
    /// What we have to pass on.
    pub(super) environment: Arc<BaseEnvironment>,
    /// What it gets besides.
    pub(super) variables: Vec<(String, String)>,
    /// By the numbers that they get in it; standard input is none of them, and is empty.
    pub(super) descriptors: Vec<(OwnedFd, RawFd)>,
    /// Where its sockets come from, sd_listen_fds(3); `None`: it has none.
    pub(super) sockets: Option<Sockets>,
    /// Our pipes among its descriptors, which it may open by name (`/dev/stderr`).
    pub(super) pipes: Vec<RawFd>,
    pub(super) birthplace: Birthplace,
    /// What it gets when we end; `None`: it goes on.
    pub(super) parent_death_signal: Option<Signal>,
}

/// What makes a process one of a process tree.
pub(super) struct Birthplace {
    mark: Mark,
    /// Whether it is a helper.
    is_helper: bool,
    /// To be born in it.
    leaf: Option<Arc<Leaf>>,
    newcomer: Newcomer,
}

impl Birthplace {
    /// In this process tree, where somebody lives already or not.
    pub(super) fn of(process_tree: &ProcessTree, newcomer: Newcomer) -> Self {
        let mark = process_tree.mark().clone();
        Self { mark, is_helper: false, leaf: process_tree.leaf(), newcomer }
    }

    /// Of a helper with this number.
    pub(super) fn for_helper(&mut self, number: &Number) {
        self.mark = self.mark.of_helper(number.get());
        self.is_helper = true;
    }
}

impl Birthplace {
    /// Where others live already.
    fn guest_of(&self) -> Option<Arc<Leaf>> {
        self.leaf.clone().filter(|leaf| self.newcomer == Newcomer::Another && !leaf.is_missing())
    }

    /// Has the child born there, with the marks that tell whose it is. May wait, as the making of
    /// its cgroup.
    pub(super) fn apply(self, plan: Plan, environment: &mut Environment) -> Result<Plan> {
        let Self { mark, is_helper, leaf, newcomer } = self;
        environment.set(OsStr::new(MARK), OsStr::new(&mark.variable));
        let Some(leaf) = leaf else { return Ok(plan.tree_mark(Some(mark.limit))) };
        let directory = leaf.directory(newcomer)?;
        // A cgroup does not tell what a helper leaves behind from what the worker has started.
        let limit_mark = (directory.is_none() || is_helper).then_some(mark.limit);
        let another = move || {
            leaf.spend();
            leaf.directory(newcomer).map_err(|refusal| Failed::from(refusal).failure)
        };
        let cgroup = match newcomer {
            Newcomer::First => IntoCgroup::with_another(directory, another),
            // Those that live in it stay there.
            Newcomer::Another => IntoCgroup::only(directory),
        };
        Ok(plan.born_in(cgroup).tree_mark(limit_mark))
    }
}

impl Outfit {
    /// Without descriptors.
    pub(super) fn new(
        program: OsString,
        argv: Vec<OsString>,
        execution_of: Whose,
        environment: &Arc<BaseEnvironment>,
        birthplace: Birthplace,
    ) -> Self {
        Self {
            program,
            argv,
            execution_of,
            environment: Arc::clone(environment),
            variables: Vec::new(),
            descriptors: Vec::new(),
            sockets: None,
            pipes: Vec::new(),
            birthplace,
            parent_death_signal: Some(Signal::SIGKILL),
        }
    }

    /// Looks up what is to be looked up, for its launch. May block.
    pub(super) fn plan(mut self, attempt: &Attempt) -> Result<Plan> {
        self.open_sockets(attempt)?;
        let mut prepared = self.prepare(attempt)?;
        prepared.own(self.pipes.iter().filter_map(|pipe| self.descriptor(*pipe)));
        let path = prepared.path();
        let mut plan = Plan::new(&self.program, &self.argv, &path)?.give_nothing(0)?;
        for (descriptor, number) in self.descriptors {
            plan = plan.give(descriptor, number)?;
        }
        if self.sockets.is_some() {
            plan = plan.listen_pid();
        }
        let plan = self.birthplace.apply(plan, &mut prepared.environment)?;
        for (name, value) in self.variables {
            prepared.environment.set(OsStr::new(&name), OsStr::new(&value));
        }
        let plan = prepared.apply(plan, self.execution_of.execution())?;
        Ok(plan.parent_death_signal(self.parent_death_signal))
    }

    /// Looks up what is to be looked up, and starts it. May block.
    pub(super) fn launch(self, attempt: &Attempt) -> Result<Child> {
        let guest_of = self.birthplace.guest_of();
        let child = self.plan(attempt)?.launch_as(attempt)?;
        if guest_of.is_some_and(|leaf| leaf.end_latecomers()) {
            let _ = reaper::signal(&child, libc::SIGKILL);
            reaper::discard(&child.pidfd);
            return Err(failure(stages::CGROUP, Errno::EAGAIN).into());
        }
        Ok(child)
    }

    fn open_sockets(&mut self, attempt: &Attempt) -> Result<()> {
        if let (Some(sockets), Whose::Worker(launch)) = (&self.sockets, &self.execution_of) {
            let opened = sockets.open(&launch.sockets, attempt)?;
            self.descriptors.extend(opened.into_iter().zip(FIRST_SOCKET..));
        }
        Ok(())
    }

    fn prepare(&self, attempt: &Attempt) -> Result<Prepared> {
        match &self.execution_of {
            Whose::Worker(launch) => execution::prepare(launch, &self.environment, attempt),
            Whose::Cell(_) => Ok(Prepared::inherited(&self.environment)),
        }
    }

    fn descriptor(&self, wanted: RawFd) -> Option<&OwnedFd> {
        self.descriptors
            .iter()
            .find(|(_, number)| *number == wanted)
            .map(|(descriptor, _)| descriptor)
    }
}

impl Whose {
    fn execution(&self) -> &ExecutionEnvironment {
        match self {
            Self::Worker(launch) => &launch.execution,
            Self::Cell(execution) => execution,
        }
    }
}

/// `/dev/null`, as many times as it takes.
pub(super) fn nulls<const N: usize>(
    numbers: [RawFd; N],
) -> std::result::Result<Vec<(OwnedFd, RawFd)>, LaunchFailure> {
    numbers.into_iter().map(|number| Ok((null()?.into(), number))).collect()
}
