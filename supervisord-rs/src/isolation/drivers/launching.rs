//! From an incarnation to something that runs: board, captured streams, thread or process, and what watches them.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use supervision::spec::DomainKind;
use supervision::{DomainId, Incarnation, LaunchFailure, LaunchStage, WorkerId};
use workers::mapping::Mapping;

use super::{Drivers, Process, Resident};
use crate::config::probes::Ready;
use crate::config::settings::{Limits, Surroundings};
use crate::config::{Isolation, Launch, Program};
use crate::isolation::family::{Family, MARK};
use crate::isolation::host::{self, Host};
use crate::isolation::launch::{failure, has_room};
use crate::isolation::live::{Live, Page, Sdk, event_fd};
use crate::isolation::notify::Notify;
use crate::isolation::surroundings::{self, Prepared, Result};
use crate::isolation::thread::{Order, from_io};
use crate::isolation::watch::Token;
use crate::isolation::{command, reaper, thread};

impl Drivers {
    pub(super) fn try_launch(&mut self, incarnation: Incarnation) -> Result<()> {
        self.live[incarnation.worker.index()] = None;
        has_room()?;
        let launch = self.launches[incarnation.worker.index()].clone();
        match (&launch.program, &launch.isolation) {
            (Program::Command(argv), _) => self.launch_command(incarnation, &launch, argv),
            (Program::Worker { kind, args }, isolation) => {
                let order = Order {
                    name: &launch.name,
                    kind,
                    generation: incarnation.generation.0,
                    args,
                    on_panic: launch.on_panic,
                };
                match isolation {
                    Isolation::Thread => self.launch_thread(incarnation, &launch, &order),
                    Isolation::Cell(_) => self.launch_in_cell(incarnation, &launch, &order),
                    Isolation::Process => self.launch_process(incarnation, &launch, &order),
                }
            }
        }
    }

    fn launch_command(&mut self, incarnation: Incarnation, launch: &Launch, argv: &[String]) -> Result<()> {
        let domain = self.domain_of[incarnation.worker.index()];
        self.sockets.open(&launch.sockets)?;
        let outputs = self.outputs(incarnation.worker, launch)?;
        self.open_notify(incarnation.worker, launch)?;
        let family = self.family(domain, &launch.surroundings.limits)?;
        let is_kept = self.is_kept(incarnation.worker);
        let started = command::launch(command::Setting {
            parent_death_signal: death_signal(is_kept),
            argv,
            launch,
            prepared: self.prepare(launch, &family)?,
            family: &family,
            sockets: &self.sockets,
            notify: self.notify[incarnation.worker.index()].as_ref().map(Notify::address),
            stdout: outputs.stdout.as_fd(),
            stderr: outputs.stderr().as_fd(),
        })?;
        let mut live = Live::new(incarnation, domain, None);
        if let Some(newline) = started.newline {
            let (worker, generation) = (incarnation.worker.0, incarnation.generation.0);
            self.store.keep(&format!("worker-{}/newline/{generation}", launch.name), &[newline.as_fd()]);
            if let Err(errno) = self.watch.add(newline.as_fd(), Token::Newline { worker }) {
                // It runs already, and nobody would know.
                family.kill(&started.child);
                reaper::discard(&started.child.pidfd);
                return Err(failure(LaunchStage::Pipes, errno).into());
            }
            live.newline = Some(newline);
        }
        self.house(domain, Process::Command(started.child), family)?;
        self.live[incarnation.worker.index()] = Some(live);
        self.watch_for_line(incarnation, launch);
        self.commit(incarnation, is_kept);
        Ok(())
    }

    fn launch_process(&mut self, incarnation: Incarnation, launch: &Launch, order: &Order<'_>) -> Result<()> {
        let domain = self.domain_of[incarnation.worker.index()];
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let outputs = self.outputs(incarnation.worker, launch)?;
        let poke = self.poke(domain)?;
        let family = self.family(domain, &launch.surroundings.limits)?;
        let is_kept = self.is_kept(incarnation.worker) && self.keep_wake(incarnation, &launch.name, &sdk);
        let setting = host::Setting {
            parent_death_signal: death_signal(is_kept),
            title: &launch.name,
            prepared: self.prepare(launch, &family)?,
            surroundings: &launch.surroundings,
            family: &family,
            stdout: outputs.stdout.as_fd(),
            stderr: outputs.stderr().as_fd(),
        };
        let host = Host::launch(setting, &poke)?;
        if let Err(failed) = host.order(order, true, &sdk, outputs.stdout.as_fd()) {
            family.kill(&host.child);
            reaper::discard(&host.child.pidfd);
            return Err(failed.into());
        }
        self.house(domain, Process::Host(host), family)?;
        self.settle(incarnation, domain, sdk);
        self.commit(incarnation, is_kept);
        Ok(())
    }

    fn launch_in_cell(&mut self, incarnation: Incarnation, launch: &Launch, order: &Order<'_>) -> Result<()> {
        let domain = self.domain_of[incarnation.worker.index()];
        self.bring_up_cell(domain)?;
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let outputs = self.outputs(incarnation.worker, launch)?;
        let resident = self.domains[domain.index()].resident.as_ref().expect("brought up above");
        let Process::Host(host) = &resident.process else {
            unreachable!("a cell's process is a host: bring_up_cell makes no other");
        };
        host.order(order, false, &sdk, outputs.stdout.as_fd())?;
        let is_kept = self.is_kept(incarnation.worker) && self.keep_wake(incarnation, &launch.name, &sdk);
        self.settle(incarnation, domain, sdk);
        self.commit(incarnation, is_kept);
        Ok(())
    }

    fn launch_thread(&mut self, incarnation: Incarnation, launch: &Launch, order: &Order<'_>) -> Result<()> {
        let domain = self.domain_of[incarnation.worker.index()];
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let outputs = self.outputs(incarnation.worker, launch)?;
        let poke = self.poke(domain)?;
        thread::launch(&sdk, order, &self.registry, &poke, outputs.stdout)?;
        self.settle(incarnation, domain, sdk);
        Ok(())
    }

    pub(super) fn prepare(&self, launch: &Launch, family: &Family) -> Result<Prepared> {
        let mut prepared = surroundings::prepare(launch, &self.environment)?;
        prepared.environment.insert(MARK.into(), family.mark().into());
        Ok(prepared)
    }

    /// The family of a domain, made when it is first needed.
    pub(super) fn family(&mut self, domain: DomainId, limits: &Limits) -> Result<Rc<Family>> {
        if let Some(family) = &self.domains[domain.index()].family {
            return Ok(Rc::clone(family));
        }
        let name = self.family_name(domain);
        let leaf = self.cgroups.leaf(&name, &limits.cgroup)?;
        let family = Rc::new(Family::new(leaf, &self.house, &name));
        self.domains[domain.index()].family = Some(Rc::clone(&family));
        Ok(family)
    }

    /// Writes down which SDK code lives now.
    fn settle(&mut self, incarnation: Incarnation, domain: DomainId, sdk: Sdk) {
        if self.domains[domain.index()].kind != DomainKind::Supervisor {
            self.black_box.mirror(incarnation.worker.index(), Some(sdk.board()));
        }
        self.live[incarnation.worker.index()] = Some(Live::new(incarnation, domain, Some(sdk)));
    }

    /// Gives a domain its process, and watches it. A process that cannot be watched is ended at once.
    fn house(&mut self, domain: DomainId, process: Process, family: Rc<Family>) -> Result<()> {
        let watched = self.watch.add(process.child().pidfd.as_fd(), Token::Exit { domain: domain.0 });
        if let Err(errno) = watched {
            family.kill(process.child());
            reaper::discard(&process.child().pidfd);
            return Err(failure(LaunchStage::Descriptors, errno).into());
        }
        let resident = Resident { process, family, recycled_for: None, exited: None, unsettled_since: None };
        self.domains[domain.index()].resident = Some(resident);
        Ok(())
    }

    fn bring_up_cell(&mut self, domain: DomainId) -> Result<()> {
        // One that has died and was not looked at yet would take no orders, again and again.
        self.reap(domain);
        if let Some(resident) = &self.domains[domain.index()].resident {
            return match resident.exited {
                None => Ok(()),
                Some(_) => Err(failure(LaunchStage::Cell, Errno::EAGAIN).into()),
            };
        }
        let name = self.domains[domain.index()].name.clone();
        let output = self.cell_output(domain, &name)?;
        let poke = self.poke(domain)?;
        let limits = self.cells.get(&name).cloned().unwrap_or_default();
        let family = self.family(domain, &limits)?;
        // A cell has the supervisor's surroundings, but for its limits.
        let surroundings = Surroundings { own_session: true, limits, ..Surroundings::default() };
        let mut prepared = Prepared::inherited(&self.environment);
        prepared.environment.insert(MARK.into(), family.mark().into());
        let is_kept = self.domains[domain.index()]
            .output
            .is_some_and(|output| self.logs.keep(output, &format!("cell-{name}/stdout"), &self.store))
            && self.store.keep(&format!("cell-{name}/poke"), &[poke.as_fd()]);
        let setting = host::Setting {
            parent_death_signal: death_signal(is_kept),
            title: &format!("cell {name}"),
            prepared,
            surroundings: &surroundings,
            family: &family,
            stdout: output.as_fd(),
            stderr: output.as_fd(),
        };
        let host = Host::launch(setting, &poke)?;
        self.house(domain, Process::Host(host), family)
    }

    fn prepare_board(
        &mut self,
        incarnation: Incarnation,
        name: &str,
    ) -> std::result::Result<Sdk, LaunchFailure> {
        let index = incarnation.worker.index();
        let domain = &self.domains[self.domain_of[index].index()];
        let page = match (domain.kind, &self.pages[index]) {
            (DomainKind::Supervisor, _) => {
                Page { mapping: self.black_box.mapping(), number: self.black_box.page(index) }
            }
            (DomainKind::Cell | DomainKind::Process, Some(page)) => page.clone(),
            (DomainKind::Cell | DomainKind::Process, None) => {
                let mapping = Mapping::sealed(name).map_err(|error| from_io(LaunchStage::Board, &error))?;
                Page { mapping: Arc::new(mapping), number: 0 }
            }
        };
        self.pages[index] = Some(page.clone());
        Sdk::new(page, name, incarnation)
    }

    /// A worker that is to speak gets its socket; what was said to its predecessor is forgotten.
    fn open_notify(&mut self, worker: WorkerId, launch: &Launch) -> Result<()> {
        let speaks = launch.ready == Ready::Notify || launch.watchdog.is_some();
        if !speaks {
            return Ok(());
        }
        if let Some(notify) = &self.notify[worker.index()] {
            notify.drain();
            return Ok(());
        }
        let notify = Notify::new().map_err(|error| from_io(LaunchStage::Descriptors, &error))?;
        self.watch
            .add(notify.as_fd(), Token::Notify { worker: worker.0 })
            .map_err(|errno| failure(LaunchStage::Descriptors, errno))?;
        self.notify[worker.index()] = Some(notify);
        Ok(())
    }

    /// Has the output looked at for the line that says that it is ready.
    fn watch_for_line(&self, incarnation: Incarnation, launch: &Launch) {
        let Ready::Log(pattern) = &launch.ready else { return };
        // Checked when the configuration was read.
        let Ok(pattern) = regex::bytes::Regex::new(pattern) else { return };
        for stream in self.streams[incarnation.worker.index()].iter().flatten() {
            self.logs.watch_for(*stream, &pattern, line_token(incarnation));
        }
    }

    fn poke(&mut self, domain: DomainId) -> std::result::Result<Arc<OwnedFd>, LaunchFailure> {
        if let Some(poke) = &self.domains[domain.index()].poke {
            return Ok(Arc::clone(poke));
        }
        let poke = Arc::new(event_fd()?);
        self.watch
            .add(poke.as_fd(), Token::Poke { domain: domain.0 })
            .map_err(|errno| failure(LaunchStage::Board, errno))?;
        self.domains[domain.index()].poke = Some(Arc::clone(&poke));
        Ok(poke)
    }

    pub(super) fn program(&self, worker: WorkerId) -> String {
        match &self.launches[worker.index()].program {
            Program::Command(argv) => argv.first().cloned().unwrap_or_default(),
            Program::Worker { kind, .. } => format!("worker {kind}"),
        }
    }
}

/// What a process gets when we end: nothing, if somebody takes it over.
fn death_signal(is_kept: bool) -> Option<Signal> {
    (!is_kept).then_some(Signal::SIGKILL)
}

/// What a matched line is told with: of whom it was. Generations beyond 2^32 are the same as far lower ones, which is
/// no worse than a line that matches twice.
fn line_token(incarnation: Incarnation) -> u64 {
    u64::from(incarnation.worker.0) << 32 | (incarnation.generation.0 & u64::from(u32::MAX))
}
