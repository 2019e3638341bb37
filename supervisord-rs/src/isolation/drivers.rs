//! What the daemon has of isolation: effects in, events out. What an effect does is a matter of the
//! driver of the worker's domain, which is lent the common means.
//!
//! | file | concept |
//! |---|---|
//! | `drivers` | the effects and the events |
//! | `collecting` | what has happened since |
//! | `input` | what workers say: notify sockets, readiness pipes, lines of output |
//! | `hooks` | hooks, and what they leave behind |
//! | `own_process` | what thread workers have done to the supervisor's process |
//! | `status` | what can be seen |
//! | `stray_processes` | processes that have outlived the thread that started them |

mod collecting;
mod hooks;
mod input;
mod own_process;
mod status;
mod stray_processes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use supervision::spec::DomainSpec;
use supervision::{DomainId, Event, FaultId, Incarnation, LaunchFailure, WorkerId};
use workers::runtime::briefing::PreviousEnding;

use super::STANDARD;
use super::contract::means::adopting::{Adopted, Past};
pub use super::contract::means::{BeforeEnded, Persistence, Remark, StartBefore};
use super::contract::{Driver, Means, Order};
use super::exits::orphans;
use super::helper::{NotLaunched, Summons};
use super::launch::{Attempt, Child};
use super::resources::Resources;
use super::watch::Token;
use crate::config::{Launch, Settings};
use crate::record::black_box::BlackBox;
use crate::record::logs::Logs;
use crate::service_manager::InheritedDescriptors;
use hooks::Hook;

/// Everything that runs, and the means to start and end it.
#[derive(Debug)]
pub struct Drivers {
    means: Means,
    /// By number: hooks that run, and what those that have ended have left.
    hooks: BTreeMap<usize, Hook>,
    next_hook: usize,
    /// What was ready when we last looked, and has not been taken yet.
    ready: VecDeque<Token>,
    /// Workers whose notify sockets wait until it is known who has spoken.
    unheard: BTreeSet<WorkerId>,
    /// Whether orphans that have exited may be left.
    may_have_dead: bool,
    patience: orphans::Patience,
}

impl Drivers {
    /// Nothing runs yet. `environment` is what processes inherit.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM from epoll_create1(2).
    pub fn new(
        settings: &Settings,
        code: workers::Registry,
        environment: BTreeMap<OsString, OsString>,
        logs: Logs,
        black_box: Rc<BlackBox>,
        persist: Persistence,
    ) -> io::Result<Self> {
        Self::with(&STANDARD, settings, code, environment, logs, black_box, persist)
    }

    /// The same with these drivers: every domain of the specification has the capabilities of one.
    ///
    /// # Errors
    /// As above.
    pub fn with(
        drivers: &'static [&'static dyn Driver],
        settings: &Settings,
        code: workers::Registry,
        environment: BTreeMap<OsString, OsString>,
        logs: Logs,
        black_box: Rc<BlackBox>,
        persist: Persistence,
    ) -> io::Result<Self> {
        Ok(Self {
            means: Means::new(drivers, settings, code, environment, logs, black_box, persist)?,
            hooks: BTreeMap::new(),
            next_hook: 0,
            ready: VecDeque::new(),
            unheard: BTreeSet::new(),
            may_have_dead: false,
            patience: orphans::Patience::default(),
        })
    }

    /// Workers are handed these resources, and not the standard ones. Call it before any other.
    pub fn hand(&mut self, resources: Resources) {
        self.means.resources = resources;
    }

    /// More workers, each with what it is launched with. Their domains are appended likewise.
    pub fn extend(&mut self, workers: &[(DomainId, Launch)], domains: &[DomainSpec]) {
        let workers = workers.iter().map(|(domain, launch)| (*domain, launch));
        self.means.registry.extend(workers, domains);
    }

    /// Takes over what can be, and ends the rest. Says what became of each worker.
    pub fn adopt(&mut self, inherited: &mut InheritedDescriptors, past: &Past<'_>) -> Adopted {
        self.means.adopt(inherited, past)
    }

    /// Completes the adoption: output is carried, and the store releases everything that no worker
    /// has claimed. Only when it is sure that no successor needs it any more.
    pub fn begin(&mut self, inherited: &InheritedDescriptors) {
        self.means.begin(inherited);
    }

    /// Launches an incarnation: at once where that waits for nothing, else on a launcher thread.
    /// Answered by `Launched` or `LaunchFailed`. `is_again`: the worker has failed since it was
    /// last stable; others may pass it.
    pub fn launch(&mut self, incarnation: Incarnation, is_again: bool) {
        self.means.launch(incarnation, is_again);
    }

    /// Lets go of a launch that takes too long. Answered at once, by `Launched` if it has come
    /// through meanwhile.
    pub fn withdraw(&mut self, incarnation: Incarnation) {
        self.means.withdraw(incarnation);
    }

    /// Lets go of every launch: for the end, and before another takes over.
    pub fn withdraw_all(&mut self) {
        self.means.withdraw_all();
    }

    /// A worker that is being launched is to stop: its `start_before:` command is asked to, and a
    /// launch that waits in line is dropped. One that has begun goes on, and is stopped then.
    pub fn stop_launch(&mut self, incarnation: Incarnation) {
        self.means.stop_launch(incarnation);
    }

    /// No launch of a worker begins any more: everything ends. Each that waits in line is yet to be
    /// [stopped](Self::stop_launch).
    pub fn close_launches(&mut self) {
        self.means.close_launches();
    }

    /// Answers a launch that has not begun.
    pub fn drop_launch(&mut self, incarnation: Incarnation) {
        self.means.drop_launch(incarnation);
    }

    /// Reaps every exit; then says that the incarnation lives, unless it has just turned out not
    /// to.
    pub fn confirm(&mut self, incarnation: Incarnation) {
        self.means.confirm(incarnation);
    }

    /// Tells the next incarnation of a worker how the one before it ended.
    pub fn brief(&mut self, worker: WorkerId, previous_ending: Option<PreviousEnding>) {
        self.means.registry[worker].previous_ending = previous_ending;
    }

    /// Asks an incarnation to stop, which has so long for it.
    pub fn stop(&mut self, incarnation: Incarnation, patience: Duration) {
        self.means.stop(incarnation, patience);
    }

    /// Orders an incarnation of registered code to reload. False: it asks for no such orders.
    pub fn reload(&mut self, incarnation: Incarnation) -> bool {
        self.means.reload(incarnation)
    }

    /// A stop command has ended, or could not be started: what follows it comes now.
    pub fn stop_command_ended(&mut self, incarnation: Incarnation, error: Option<&str>) {
        self.means.stop_command_ended(incarnation, error);
    }

    /// Ends an incarnation without asking: alone, where it can be killed alone; else it is left
    /// behind, or ends with its domain.
    pub fn kill(&mut self, incarnation: Incarnation) {
        self.means.kill(incarnation);
    }

    /// Ends a domain whole. For the supervisor's own domain this does not return.
    pub fn recycle(&mut self, domain: DomainId, culprit: Incarnation) {
        self.means.recycle(domain, culprit);
    }

    /// Suspends all that belongs to an incarnation.
    pub fn pause(&mut self, incarnation: Incarnation) {
        self.means.order(incarnation, Order::Pause);
    }

    /// Lets it go on.
    pub fn resume(&mut self, incarnation: Incarnation) {
        self.means.resume(incarnation);
    }

    /// Reads the last sign of life. Answered by `Heartbeat`, by the ending of one that is gone
    /// without a word, or by that of its domain, which is dying.
    pub fn read_heartbeat(&mut self, incarnation: Incarnation) {
        self.means.read_heartbeat(incarnation);
    }

    /// Commits a fault: SDK code does it itself, at its next checkpoint; a command gets a signal.
    pub fn inject(&mut self, incarnation: Incarnation, fault: FaultId) {
        self.means.inject(incarnation, fault);
    }

    /// The fault that an incarnation has when it is launched.
    #[must_use]
    pub fn fault_at_launch(&self, incarnation: Incarnation) -> Option<FaultId> {
        let (whose, fault) = self.means.registry[incarnation.worker].at_launch?;
        (whose == incarnation).then_some(fault)
    }

    /// Sends a signal to the main process of an incarnation; a fault from outside in a thread
    /// strikes its domain's process.
    pub fn signal(&mut self, incarnation: Incarnation, signal: i32) {
        self.means.order(incarnation, Order::Signal(signal));
    }

    /// A `start_before:` command has ended: the launch goes on, or has failed, as soon as nothing
    /// is left of it.
    pub fn go_on_after(&mut self, ended: BeforeEnded) {
        self.means.go_on_after(ended);
    }

    /// Starts a helper with the execution environment of a worker, in its process tree.
    ///
    /// # Errors
    /// What went wrong already.
    pub fn launch_helper(
        &mut self,
        worker: WorkerId,
        argv: &[String],
        extra: &[(String, String)],
    ) -> Result<Summons, NotLaunched> {
        self.means.launch_helper(worker, argv, extra)
    }

    /// Ends what helpers that are over have left behind.
    pub fn end_leftovers(&self) {
        self.means.end_leftovers();
    }

    /// Starts a binary that answers with its exit status, and with its standard output where that
    /// has somewhere to go.
    ///
    /// # Errors
    /// What went wrong already, in a sentence.
    pub fn launch_check(
        &self,
        binary: &Path,
        argv: &[OsString],
        output: Option<OwnedFd>,
    ) -> Result<Summons, String> {
        self.means.launch_check(binary, argv, output)
    }

    /// Starts what is to take our place.
    pub fn launch_successor(
        &self,
        binary: &Path,
        launch: impl FnOnce(&Attempt) -> Result<Child, LaunchFailure> + Send + 'static,
    ) -> Summons {
        self.means.launch_successor(binary, launch)
    }

    /// Asks those to stop that end with the supervisor, which have so long for it: another
    /// supervisor starts them again.
    pub fn stop_mortal(&mut self, patience: Duration) {
        self.means.stop_mortal(patience);
    }

    /// Whether one of those has not ended yet.
    #[must_use]
    pub fn has_mortal(&self) -> bool {
        self.means.has_mortal()
    }

    /// Ends every process that is left, and waits for it. For the very end: everything has been
    /// stopped before, and what is left are cells without workers, and orphans that belong to no
    /// worker. False: some do not die.
    #[must_use]
    pub fn end_all(&mut self) -> bool {
        self.means.end_residents();
        self.hooks.clear();
        self.means.end_orphans()
    }

    /// Takes no more output, and waits until what was taken is written. False: it hangs.
    pub fn hold_logs(&self, limit: Duration) -> bool {
        self.means.logs.hold(limit)
    }

    /// What [`hold_logs`](Self::hold_logs) waits for: whose output, and where it goes.
    #[must_use]
    pub fn logs_in_hand(&self) -> Vec<String> {
        self.means.logs.in_hand()
    }

    /// Where the guardian writes down how orphans ended.
    #[must_use]
    pub fn exit_records(&self) -> Option<BorrowedFd<'_>> {
        self.means.exit_records.pipe()
    }

    /// The next event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.means.news.next_event()
    }

    /// The next remark.
    pub fn next_remark(&mut self) -> Option<Remark> {
        self.means.news.next_remark()
    }

    /// A stop command that has begun, to be waited for in the background; then
    /// [`stop_command_ended`](Self::stop_command_ended).
    pub fn next_stop_command(&mut self) -> Option<(Incarnation, Summons)> {
        self.means.news.next_stop_command()
    }

    /// A `start_before:` command that has begun; then [`go_on_after`](Self::go_on_after).
    pub fn next_start_before(&mut self) -> Option<StartBefore> {
        self.means.news.next_start_before()
    }
}
