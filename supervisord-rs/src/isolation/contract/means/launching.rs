//! What an incarnation is launched with: board, captured streams, sockets. Threads begin at once;
//! processes are started by a launcher thread, and `launched` goes on from there.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::sys::signal::Signal;
use supervision::{DomainId, Incarnation, LaunchFailure, WorkerId};
use workers::board::monotonic_ns;
use workers::mapping::Mapping;

use super::output::Outputs;
use super::{Means, Process};
use crate::config::probes::Ready;
use crate::config::settings::{CgroupLimits, Limits, Surroundings};
use crate::config::{Isolation, Launch, Program};
use crate::isolation::domain::Expected;
use crate::isolation::launch::failed::Result;
use crate::isolation::launch::{self, LAUNCH_OPENS, failure};
use crate::isolation::launcher::Queue;
use crate::isolation::live::{Live, Page, Sdk, event_fd};
use crate::isolation::notify::Notify;
use crate::isolation::outfit::{Birthplace, Outfit, Surrounded};
use crate::isolation::thread::{Order, from_io};
use crate::isolation::tree::family::Family;
use crate::isolation::watch::{Says, Token, Watched};
use crate::isolation::{command, host, thread};
use crate::stages;

const STDOUT: i32 = 1;
const STDERR: i32 = 2;
/// As `workers::host` has them.
const HOST_ORDERS: i32 = 3;
const HOST_POKE: i32 = 4;

/// How far a launch has come.
pub(in crate::isolation) enum Progress {
    /// It runs.
    Launched,
    /// A launcher thread has it.
    OnItsWay,
}

impl Means {
    /// Whether there are descriptors for one more process, which needs so many of its `own`: besides
    /// what is open, those count that launches under way and log files that nothing was written to
    /// yet will take.
    ///
    /// # Errors
    /// `Descriptors` with EMFILE.
    pub(in crate::isolation) fn has_room(
        &self,
        own: usize,
    ) -> std::result::Result<(), LaunchFailure> {
        launch::has_room(own, || self.underway.launchers.to_open() + self.logs.files_to_open())
    }

    /// How many descriptors its launch opens for its sockets and secrets.
    fn to_open(&self, incarnation: Incarnation) -> usize {
        let launch = &self.registry[incarnation.worker].launch;
        self.sockets.to_open(&launch.sockets) + launch.surroundings.secrets.len()
    }

    pub(in crate::isolation) fn try_launch(
        &mut self,
        incarnation: Incarnation,
    ) -> Result<Progress> {
        self.registry[incarnation.worker].live = None;
        self.has_room(self.to_open(incarnation))?;
        if self.hanging(incarnation.worker).is_some() || self.is_being_cleared(incarnation.worker) {
            self.underway.defer(incarnation);
            return Ok(Progress::OnItsWay);
        }
        if let Some(progress) = self.begin_before(incarnation)? {
            return Ok(progress);
        }
        let launch = Arc::clone(&self.registry[incarnation.worker].launch);
        match (&launch.program, &launch.isolation) {
            (Program::Command(argv), _) => self.launch_command(incarnation, &launch, argv),
            (Program::Worker { .. }, Isolation::Thread) => self.launch_thread(incarnation, &launch),
            (Program::Worker { .. }, Isolation::Cell(_)) => self.launch_in_cell(incarnation),
            (Program::Worker { .. }, Isolation::Process) => {
                self.launch_process(incarnation, &launch)
            }
        }
    }

    fn launch_command(
        &mut self,
        incarnation: Incarnation,
        launch: &Arc<Launch>,
        argv: &[String],
    ) -> Result<Progress> {
        let worker = incarnation.worker;
        let domain = self.registry[worker].domain;
        let outputs = self.outputs(worker, launch)?;
        self.open_notify(worker, launch)?;
        let family = self.family(domain, &launch.surroundings.limits)?;
        let is_kept = self.is_kept(worker);
        let program = argv.first().cloned().unwrap_or_default();
        let argv = argv.iter().map(Into::into).collect();
        let mut outfit = self.outfit(program.into(), argv, launch, &family);
        outfit.parent_death_signal = death_signal(is_kept);
        outfit.take_outputs(launch, outputs)?;
        let means = command::Means {
            sockets: &self.sockets,
            notify: self.registry[worker].notify.as_ref().map(|notify| notify.address()),
        };
        let newline = command::equip(&mut outfit, launch, means)?;
        let mut live = Live::new(incarnation, domain, None);
        if let Some(newline) = newline {
            let generation = incarnation.generation.0;
            self.store
                .keep(&format!("worker-{}/newline/{generation}", launch.name), &[newline.as_fd()]);
            let token = Token::Newline { worker: worker.0 };
            live.newline = Some(
                self.watch
                    .add(newline, token, Says::WhileReady)
                    .map_err(|(_, errno)| failure(stages::PIPES, errno))?,
            );
        }
        self.registry[worker].live = Some(live);
        // What it writes right after its exec counts.
        self.watch_for_line(incarnation, launch);
        self.expect(domain, incarnation, outfit, family, None);
        Ok(Progress::OnItsWay)
    }

    fn launch_process(
        &mut self,
        incarnation: Incarnation,
        launch: &Arc<Launch>,
    ) -> Result<Progress> {
        let domain = self.registry[incarnation.worker].domain;
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let outputs = self.outputs(incarnation.worker, launch)?;
        let poke = self.poke(domain)?;
        let family = self.family(domain, &launch.surroundings.limits)?;
        let is_kept =
            self.is_kept(incarnation.worker) && self.keep_wake(incarnation, &launch.name, &sdk);
        let mut outfit =
            self.outfit(host::PROGRAM.into(), host::argv(&launch.name), launch, &family);
        outfit.parent_death_signal = death_signal(is_kept);
        let (way, theirs) = host::way()?;
        host::order(way.as_fd(), &order(launch, incarnation), true, &sdk, outputs.stdout.as_fd())?;
        outfit.take_outputs(launch, outputs)?;
        outfit.take_way(theirs, &poke)?;
        self.settle(incarnation, domain, sdk);
        self.expect(domain, incarnation, outfit, family, Some(way));
        Ok(Progress::OnItsWay)
    }

    fn launch_in_cell(&mut self, incarnation: Incarnation) -> Result<Progress> {
        let domain = self.registry[incarnation.worker].domain;
        // One that has died and was not looked at yet would take no orders, again and again.
        self.reap(domain);
        if self.is_dying(domain) {
            self.underway.defer(incarnation);
            return Ok(Progress::OnItsWay);
        }
        let slot = &mut self.registry[domain];
        match (&slot.resident, &mut slot.expected) {
            (Some(_), _) => self.enter_cell(domain, incarnation).map(|()| Progress::Launched),
            (None, Some(expected)) => {
                expected.members.push(incarnation);
                Ok(Progress::OnItsWay)
            }
            (None, None) => self.bring_up_cell(domain, incarnation),
        }
    }

    /// Hands a worker to its cell, which is up.
    pub(in crate::isolation) fn enter_cell(
        &mut self,
        domain: DomainId,
        incarnation: Incarnation,
    ) -> Result<()> {
        let launch = Arc::clone(&self.registry[incarnation.worker].launch);
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let outputs = self.outputs(incarnation.worker, &launch)?;
        let resident = self.registry[domain].resident.as_ref().expect("every caller has looked");
        let Process::Host(host) = &*resident.process else {
            unreachable!("a cell's process is a host: bring_up_cell makes no other");
        };
        host::order(host.way(), &order(&launch, incarnation), false, &sdk, outputs.stdout.as_fd())?;
        let is_kept =
            self.is_kept(incarnation.worker) && self.keep_wake(incarnation, &launch.name, &sdk);
        self.settle(incarnation, domain, sdk);
        self.commit(incarnation, is_kept);
        Ok(())
    }

    fn launch_thread(&mut self, incarnation: Incarnation, launch: &Launch) -> Result<Progress> {
        let domain = self.registry[incarnation.worker].domain;
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let outputs = self.outputs(incarnation.worker, launch)?;
        let poke = self.poke(domain)?;
        thread::launch(&sdk, &order(launch, incarnation), &self.code, &poke, outputs.stdout)?;
        self.settle(incarnation, domain, sdk);
        Ok(Progress::Launched)
    }

    /// With the surroundings of a worker, in its family, and without descriptors yet.
    pub(in crate::isolation) fn outfit(
        &self,
        program: std::ffi::OsString,
        argv: Vec<std::ffi::OsString>,
        launch: &Arc<Launch>,
        family: &Family,
    ) -> Outfit {
        let surrounded = Surrounded::Worker(Arc::clone(launch));
        Outfit::new(program, argv, surrounded, &self.environment, Birthplace::of(family))
    }

    /// Has a launcher thread start the process of a domain, and waits for it.
    fn expect(
        &mut self,
        domain: DomainId,
        incarnation: Incarnation,
        outfit: Outfit,
        family: Rc<Family>,
        way: Option<OwnedFd>,
    ) {
        let is_kept = outfit.parent_death_signal.is_none();
        let pledge = is_kept.then(|| self.pledge(domain, way.as_ref()));
        let is_again = self.registry[incarnation.worker].is_failing;
        let queue = match incarnation.generation.0 {
            _ if is_again => Queue::Again,
            0 | 1 => Queue::First,
            _ => Queue::Renewed,
        };
        let attempt =
            self.submit(domain, outfit, pledge, (queue, LAUNCH_OPENS + self.to_open(incarnation)));
        let members = vec![incarnation];
        let expected = Expected { attempt, family, way, members, has_spoken: false };
        self.registry[domain].expected = Some(expected);
    }

    /// Its process, which is its own, has come.
    pub(in crate::isolation) fn begin_alone(&mut self, incarnation: Incarnation, is_kept: bool) {
        if let Some(live) = self.registry.live_mut(incarnation) {
            live.said.alive_at = monotonic_ns();
        }
        self.commit(incarnation, is_kept);
    }

    /// The family of a domain, made when it is first needed.
    pub(in crate::isolation) fn family(
        &mut self,
        domain: DomainId,
        limits: &Limits,
    ) -> Result<Rc<Family>> {
        if let Some(family) = &self.registry[domain].family {
            return Ok(Rc::clone(family));
        }
        let name = self.family_name(domain);
        let leaf = self.cgroups.leaf(&name, &limits.cgroup)?;
        let family = Rc::new(Family::new(leaf, &self.house, &name, &self.census));
        self.registry[domain].family = Some(Rc::clone(&family));
        Ok(family)
    }

    /// The limits of the cgroup that a worker runs in: its own, or its cell's. `None` for a thread
    /// of the supervisor.
    pub(in crate::isolation) fn limits_of(&self, worker: WorkerId) -> Option<&CgroupLimits> {
        let launch = &self.registry[worker].launch;
        match &launch.isolation {
            Isolation::Thread => None,
            Isolation::Cell(cell) => self.cells.get(cell).map(|limits| &limits.cgroup),
            Isolation::Process => Some(&launch.surroundings.limits.cgroup),
        }
    }

    /// Writes down which SDK code lives now.
    fn settle(&mut self, incarnation: Incarnation, domain: DomainId, sdk: Sdk) {
        if !self.registry[domain].capabilities.is_of_supervisor() {
            self.black_box.mirror(incarnation.worker.index(), Some(sdk.board()));
        }
        self.registry[incarnation.worker].live = Some(Live::new(incarnation, domain, Some(sdk)));
    }

    fn bring_up_cell(&mut self, domain: DomainId, incarnation: Incarnation) -> Result<Progress> {
        let name = self.registry[domain].name.clone();
        let output = self.cell_output(domain, &name)?;
        let poke = self.poke(domain)?;
        let limits = self.cells.get(&name).cloned().unwrap_or_default();
        let family = self.family(domain, &limits)?;
        // A cell has the supervisor's surroundings, but for its limits.
        let surroundings = Surroundings { own_session: true, limits, ..Surroundings::default() };
        let surrounded = Surrounded::Cell(Box::new(surroundings));
        let argv = host::argv(&format!("cell {name}"));
        let birthplace = Birthplace::of(&family);
        let mut outfit =
            Outfit::new(host::PROGRAM.into(), argv, surrounded, &self.environment, birthplace);
        let is_kept = self.registry[domain].output.is_some_and(|output| {
            self.logs.keep(output, &format!("cell-{name}/stdout"), &self.store)
        }) && self.store.keep(&format!("cell-{name}/poke"), &[poke.as_fd()]);
        outfit.parent_death_signal = death_signal(is_kept);
        let (way, theirs) = host::way()?;
        let same = output.try_clone().map_err(|error| from_io(stages::PIPES, &error))?;
        outfit.descriptors.extend([(output, STDOUT), (same, STDERR)]);
        outfit.take_way(theirs, &poke)?;
        self.expect(domain, incarnation, outfit, family, Some(way));
        Ok(Progress::OnItsWay)
    }

    fn prepare_board(
        &mut self,
        incarnation: Incarnation,
        name: &str,
    ) -> std::result::Result<Sdk, LaunchFailure> {
        let worker = incarnation.worker;
        let domain = &self.registry.home(worker);
        let page = match &self.registry[worker].page {
            _ if domain.capabilities.is_of_supervisor() => Page {
                mapping: self.black_box.mapping(),
                number: self.black_box.page(worker.index()),
            },
            Some(page) => page.clone(),
            None => {
                let mapping =
                    Mapping::sealed(name).map_err(|error| from_io(stages::BOARD, &error))?;
                Page { mapping: Arc::new(mapping), number: 0 }
            }
        };
        self.registry[worker].page = Some(page.clone());
        Sdk::new(page, name, incarnation)
    }

    /// A worker that is to speak gets its socket; what was said to its predecessor is forgotten.
    fn open_notify(&mut self, worker: WorkerId, launch: &Launch) -> Result<()> {
        let speaks = launch.ready == Ready::Notify || launch.watchdog.is_some();
        if !speaks {
            return Ok(());
        }
        if let Some(notify) = &self.registry[worker].notify {
            if !notify.drain() {
                self.take_elsewhere(worker);
            }
            return Ok(());
        }
        let notify = Notify::new().map_err(|error| from_io(stages::DESCRIPTORS, &error))?;
        let notify = self
            .watch
            .add(notify, Token::Notify { worker: worker.0 }, Says::WhileReady)
            .map_err(|(_, errno)| failure(stages::DESCRIPTORS, errno))?;
        self.registry[worker].notify = Some(notify);
        Ok(())
    }

    /// Has a thread take a datagram with descriptors, and hears no more until it has.
    pub(in crate::isolation) fn take_elsewhere(&mut self, worker: WorkerId) {
        if let Some(notify) = &mut self.registry[worker].notify {
            notify.take_elsewhere(&self.bell);
            notify.rest();
        }
    }

    /// Has the output looked at for the line that says that it is ready.
    fn watch_for_line(&self, incarnation: Incarnation, launch: &Launch) {
        let Ready::Log(pattern) = &launch.ready else { return };
        for stream in self.registry[incarnation.worker].streams() {
            self.logs.watch_for(*stream, pattern.regex(), line_token(incarnation));
        }
    }

    /// Listens to the notify sockets of a domain again.
    pub(in crate::isolation) fn listen(&mut self, domain: DomainId) {
        for worker in self.registry[domain].workers.clone() {
            if let Some(notify) = &mut self.registry[worker].notify {
                notify.go_on();
            }
        }
    }

    fn poke(&mut self, domain: DomainId) -> std::result::Result<Arc<OwnedFd>, LaunchFailure> {
        if let Some(poke) = &self.registry[domain].poke {
            return Ok(Arc::clone(poke));
        }
        let poke = Arc::new(event_fd()?);
        self.registry[domain].poke = Some(
            self.watch_poke(Arc::clone(&poke), domain)
                .map_err(|errno| failure(stages::BOARD, errno))?,
        );
        Ok(poke)
    }

    /// Never read: its workers share its flags and what it has counted, and a read could wait for
    /// ever.
    pub(in crate::isolation) fn watch_poke(
        &self,
        poke: Arc<OwnedFd>,
        domain: DomainId,
    ) -> nix::Result<Watched<Arc<OwnedFd>>> {
        self.watch
            .add(poke, Token::Poke { domain: domain.0 }, Says::Once)
            .map_err(|(_, errno)| errno)
    }

    pub(in crate::isolation) fn program(&self, worker: WorkerId) -> String {
        match &self.registry[worker].launch.program {
            Program::Command(argv) => argv.first().cloned().unwrap_or_default(),
            Program::Worker { kind, .. } => format!("worker {kind}"),
        }
    }
}

impl Outfit {
    /// Standard output and error.
    pub(in crate::isolation) fn take_outputs(
        &mut self,
        launch: &Launch,
        outputs: Outputs,
    ) -> Result<()> {
        let Outputs { stdout, stderr } = outputs;
        let stderr = stderr.map_or_else(|| stdout.try_clone(), Ok);
        let stderr = stderr.map_err(|error| from_io(stages::PIPES, &error))?;
        let is_captured = |wanted: &str| launch.captured().any(|(stream, _)| stream == wanted);
        let with_stdout = launch.logs.stderr.is_none();
        if is_captured("stdout") {
            self.pipes.push(STDOUT);
        }
        if is_captured(if with_stdout { "stdout" } else { "stderr" }) {
            self.pipes.push(STDERR);
        }
        self.descriptors.extend([(stdout, STDOUT), (stderr, STDERR)]);
        Ok(())
    }

    /// Where a host's orders come from, and what it pokes.
    fn take_way(&mut self, way: OwnedFd, poke: &OwnedFd) -> Result<()> {
        let poke = poke.try_clone().map_err(|error| from_io(stages::DESCRIPTORS, &error))?;
        self.descriptors.extend([(way, HOST_ORDERS), (poke, HOST_POKE)]);
        Ok(())
    }
}

/// What SDK code is to run.
fn order(launch: &Launch, incarnation: Incarnation) -> Order<'_> {
    let Program::Worker { kind, args } = &launch.program else {
        unreachable!("a command is no SDK code: `try_launch` tells them apart");
    };
    Order {
        name: &launch.name,
        kind,
        generation: incarnation.generation.0,
        args,
        on_panic: launch.on_panic,
        handed: &[],
    }
}

/// The signal that a process gets when the supervisor ends: none, if a successor can adopt it.
pub(in crate::isolation) fn death_signal(is_kept: bool) -> Option<Signal> {
    (!is_kept).then_some(Signal::SIGKILL)
}

/// What a matched line is told with: of whom it was. Generations beyond 2^32 are the same as far
/// lower ones, which is no worse than a line that matches twice.
fn line_token(incarnation: Incarnation) -> u64 {
    u64::from(incarnation.worker.0) << 32 | (incarnation.generation.0 & u64::from(u32::MAX))
}
