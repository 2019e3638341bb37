//! A fault domain, and the process in it with all that it started.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use supervision::{Capabilities, Incarnation, Status, WorkerId};
use workers::runtime::board::monotonic_ns;

use super::host::Host;
use super::launch::{Attempt, Child};
use super::tree::process_tree::ProcessTree;
use super::tree::relative::Relative;
use super::watch::Watched;
use crate::config::settings::Limits;
use crate::record::culprit::Outsider;
use crate::record::logs::StreamId;
use crate::waiting::Looks;

/// A fault domain as it is now.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) name: String,
    pub(super) capabilities: &'static Capabilities,
    /// Who lives here, in the order of the file.
    pub(super) workers: Vec<WorkerId>,
    /// What it may use, where it is shared and that is limited.
    pub(super) limits: Option<Limits>,
    /// Why it lets others pass, if it does. It has one worker then.
    pub(super) yields: Option<Yields>,
    /// Written to by threads that want their boards looked at; made when first needed.
    pub(super) poke: Option<Watched<Arc<OwnedFd>>>,
    /// Its process and all that it starts; made when first needed, since it may be a cgroup.
    pub(super) process_tree: Option<Rc<ProcessTree>>,
    /// Where a cell's own output goes.
    pub(super) output: Option<StreamId>,
    /// Its process, as long as that is being launched.
    pub(super) expected: Option<Expected>,
    pub(super) resident: Option<Resident>,
    /// Who ended it last, if that is none of those that lived in it.
    pub(super) outsider: Option<Outsider>,
    /// Signals of which code in its process has changed what they do, as bits from the lowest.
    pub(super) changed_signals: u32,
}

/// Why what happens to a worker lets others pass.
#[derive(Clone, Copy, Debug)]
pub(super) enum Yields {
    /// It has failed since it was last stable.
    Failing,
    /// It runs for the first time, until this moment, in monotonic nanoseconds: many that are
    /// started together may end together.
    Until(u64),
}

/// For one that was just launched to prove that it runs.
const PROOF: Duration = Duration::from_secs(1);

impl Yields {
    pub(super) fn until_proven() -> Self {
        Self::Until(monotonic_ns() + u64::try_from(PROOF.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Whether it does so now.
    pub(super) fn holds(&self) -> bool {
        match self {
            Self::Failing => true,
            Self::Until(until) => monotonic_ns() < *until,
        }
    }
}

/// The process of a domain while it is being launched.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) attempt: Arc<Attempt>,
    pub(super) process_tree: Rc<ProcessTree>,
    /// Where orders for a host go down; `None`: a command.
    pub(super) way: Option<OwnedFd>,
    /// Whose launches are answered with it.
    pub(super) members: Vec<Incarnation>,
    /// Whether a message waits on its notify socket, which we read when we know its process.
    pub(super) has_spoken: bool,
}

/// The process of a domain.
#[derive(Debug)]
pub(super) struct Resident {
    pub(super) process: Watched<Process>,
    pub(super) process_tree: Rc<ProcessTree>,
    /// The worker for which it was last to end whole.
    pub(super) recycled_for: Option<Incarnation>,
    /// Whether its process stood still when it was ended for that.
    pub(super) was_stopped: bool,
    /// How the main process ended, when it is not known yet whether anything of its process tree is
    /// left, and whether that is news.
    pub(super) gone: Option<(Status, bool)>,
    /// How the main process ended, when something of its process tree is left.
    pub(super) exited: Option<Status>,
    /// Who of its process tree was found by the last look, besides the main process.
    pub(super) others: Vec<Relative>,
    /// Set when all of it is gone.
    pub(super) is_over: Arc<AtomicBool>,
    /// Whether all of the process tree is to be killed, with those that are still born into it.
    pub(super) is_killed: bool,
    /// For how long it is known that it has exited, and not how.
    pub(super) unsettled: Option<Looks>,
}

impl Resident {
    pub(super) fn new(process: Watched<Process>, process_tree: Rc<ProcessTree>) -> Self {
        Self {
            process,
            process_tree,
            recycled_for: None,
            was_stopped: false,
            gone: None,
            exited: None,
            others: Vec::new(),
            is_over: Arc::default(),
            is_killed: false,
            unsettled: None,
        }
    }

    /// Kills all of the process tree; who is born meanwhile is killed by the next look. False: a
    /// look has to find all but the main process.
    pub(super) fn kill(&mut self) -> bool {
        self.is_killed = true;
        self.process_tree.kill(self.process.child())
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(super) enum Process {
    Command(Child),
    Host(Host),
}

impl Process {
    pub(super) fn child(&self) -> &Child {
        match self {
            Self::Command(child) => child,
            Self::Host(host) => &host.child,
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child().pidfd.as_fd()
    }
}

impl Domain {
    pub(super) fn new(spec: &supervision::spec::DomainSpec) -> Self {
        Self {
            name: spec.name.clone(),
            capabilities: spec.capabilities,
            workers: Vec::new(),
            limits: None,
            yields: None,
            poke: None,
            process_tree: None,
            output: None,
            expected: None,
            resident: None,
            outsider: None,
            changed_signals: 0,
        }
    }
}
