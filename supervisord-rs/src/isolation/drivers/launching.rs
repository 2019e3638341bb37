//! From an incarnation to something that runs: board, captured streams, thread or process, and what watches them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use supervision::spec::DomainKind;
use supervision::{DomainId, Incarnation, LaunchFailure, LaunchStage, WorkerId};
use workers::mapping::Mapping;

use super::{Drivers, Process, Resident};
use crate::config::{Isolation, Launch, Program};
use crate::isolation::host::{Host, Surroundings};
use crate::isolation::launch::failure;
use crate::isolation::live::{Live, Page, Sdk, event_fd};
use crate::isolation::thread::{Order, from_io};
use crate::isolation::watch::Token;
use crate::isolation::{command, reaper, thread};
use crate::record::log_capture::StreamId;

impl Drivers {
    pub(super) fn try_launch(&mut self, incarnation: Incarnation) -> Result<(), LaunchFailure> {
        self.capture.close_all(self.live[incarnation.worker.index()].take().map(|live| live.streams));
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

    pub(super) fn launch_command(
        &mut self,
        incarnation: Incarnation,
        launch: &Launch,
        argv: &[String],
    ) -> Result<(), LaunchFailure> {
        let (streams, stdout, stderr) = self.open_streams(launch)?;
        let environment = self.environment_of(launch);
        let child = command::launch(
            argv,
            &environment,
            launch.cwd.as_deref(),
            stdout.as_fd(),
            stderr.as_ref().unwrap_or(&stdout).as_fd(),
        );
        self.settle(incarnation, streams, None, Some(child.map(Process::Command)))
    }

    pub(super) fn launch_process(
        &mut self,
        incarnation: Incarnation,
        launch: &Launch,
        order: &Order<'_>,
    ) -> Result<(), LaunchFailure> {
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let (streams, stdout, stderr) = self.open_streams(launch)?;
        let poke = self.poke(self.domain_of[incarnation.worker.index()])?;
        let surroundings = Surroundings {
            title: &launch.name,
            environment: &self.environment_of(launch),
            directory: launch.cwd.as_deref(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_ref().unwrap_or(&stdout).as_fd(),
        };
        let host = Host::launch(&surroundings, &poke).and_then(|host| {
            let ordered = host.order(order, true, &sdk, stdout.as_fd());
            ordered.map(|()| host)
        });
        self.settle(incarnation, streams, Some(sdk), Some(host.map(Process::Host)))
    }

    pub(super) fn launch_in_cell(
        &mut self,
        incarnation: Incarnation,
        launch: &Launch,
        order: &Order<'_>,
    ) -> Result<(), LaunchFailure> {
        let domain = self.domain_of[incarnation.worker.index()];
        self.bring_up_cell(domain)?;
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let (streams, stdout, _stderr) = self.open_streams(launch)?;
        let resident = self.domains[domain.index()].resident.as_ref().expect("brought up above");
        let Process::Host(host) = &resident.process else {
            unreachable!("a cell's process is a host: bring_up_cell makes no other");
        };
        if let Err(failure) = host.order(order, false, &sdk, stdout.as_fd()) {
            self.capture.close_all(Some(streams));
            return Err(failure);
        }
        self.settle(incarnation, streams, Some(sdk), None)
    }

    pub(super) fn launch_thread(
        &mut self,
        incarnation: Incarnation,
        launch: &Launch,
        order: &Order<'_>,
    ) -> Result<(), LaunchFailure> {
        let sdk = self.prepare_board(incarnation, &launch.name)?;
        let (streams, stdout, _stderr) = self.open_streams(launch)?;
        let poke = self.poke(self.domain_of[incarnation.worker.index()])?;
        if let Err(failure) = thread::launch(&sdk, order, &self.registry, &poke, stdout) {
            self.capture.close_all(Some(streams));
            return Err(failure);
        }
        self.settle(incarnation, streams, Some(sdk), None)
    }

    /// Writes down who lives now, with the process of its own that it may have.
    pub(super) fn settle(
        &mut self,
        incarnation: Incarnation,
        streams: Vec<StreamId>,
        sdk: Option<Sdk>,
        process: Option<Result<Process, LaunchFailure>>,
    ) -> Result<(), LaunchFailure> {
        let domain = self.domain_of[incarnation.worker.index()];
        let housed = process.map_or(Ok(()), |process| self.house(domain, process?, Vec::new()));
        if let Err(failure) = housed {
            self.capture.close_all(Some(streams));
            return Err(failure);
        }
        self.watch_streams(&streams);
        let is_thread = self.domains[domain.index()].kind == DomainKind::Supervisor;
        if let Some(sdk) = sdk.as_ref().filter(|_| !is_thread) {
            self.black_box.mirror(incarnation.worker.index(), Some(sdk.board()));
        }
        let live = Live { incarnation, domain, sdk, streams, struck_at: None, is_ready: false };
        self.live[incarnation.worker.index()] = Some(live);
        Ok(())
    }

    /// Gives a domain its process, and watches it. A process that cannot be watched is ended at once.
    pub(super) fn house(
        &mut self,
        domain: DomainId,
        process: Process,
        streams: Vec<StreamId>,
    ) -> Result<(), LaunchFailure> {
        let watched = self.watch.add(process.child().pidfd.as_fd(), Token::Exit { domain: domain.0 });
        if let Err(errno) = watched {
            reaper::signal_group(process.child(), nix::libc::SIGKILL);
            reaper::discard(&process.child().pidfd);
            self.capture.close_all(Some(streams));
            return Err(failure(LaunchStage::Descriptors, errno));
        }
        self.domains[domain.index()].resident = Some(Resident { process, streams, recycled_for: None });
        Ok(())
    }

    pub(super) fn bring_up_cell(&mut self, domain: DomainId) -> Result<(), LaunchFailure> {
        if self.domains[domain.index()].resident.is_some() {
            return Ok(());
        }
        let name = self.domains[domain.index()].name.clone();
        let (stream, output) = self.capture.open_cell(&name).map_err(|errno| from_pipes(&errno))?;
        let poke = self.poke(domain)?;
        let surroundings = Surroundings {
            title: &format!("cell {name}"),
            environment: &self.environment,
            directory: None,
            stdout: output.as_fd(),
            stderr: output.as_fd(),
        };
        let host = Host::launch(&surroundings, &poke).inspect_err(|_| self.capture.close(stream))?;
        self.watch_streams(&[stream]);
        self.house(domain, Process::Host(host), vec![stream])
    }

    pub(super) fn prepare_board(
        &mut self,
        incarnation: Incarnation,
        name: &str,
    ) -> Result<Sdk, LaunchFailure> {
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

    pub(super) fn open_streams(
        &mut self,
        launch: &Launch,
    ) -> Result<(Vec<StreamId>, OwnedFd, Option<OwnedFd>), LaunchFailure> {
        let opened = self.capture.open(&launch.name, &launch.stdout);
        let (first, stdout) = opened.map_err(|errno| from_pipes(&errno))?;
        if launch.stdout == launch.stderr {
            return Ok((vec![first], stdout, None));
        }
        match self.capture.open(&launch.name, &launch.stderr) {
            Ok((second, stderr)) => Ok((vec![first, second], stdout, Some(stderr))),
            Err(errno) => {
                self.capture.close(first);
                Err(from_pipes(&errno))
            }
        }
    }

    pub(super) fn watch_streams(&self, streams: &[StreamId]) {
        for &stream in streams {
            if let Some(fd) = self.capture.fd(stream) {
                let _ = self.watch.add(fd, Token::Output { stream: stream.0 });
            }
        }
    }

    pub(super) fn unwatch(&mut self, stream: StreamId) {
        if let Some(fd) = self.capture.fd(stream) {
            self.watch.remove(fd);
        }
    }

    pub(super) fn poke(&mut self, domain: DomainId) -> Result<Arc<OwnedFd>, LaunchFailure> {
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

    pub(super) fn environment_of(&self, launch: &Launch) -> BTreeMap<OsString, OsString> {
        let mut environment = self.environment.clone();
        environment.extend(launch.env.iter().map(|(name, value)| (name.into(), value.into())));
        environment
    }

    pub(super) fn program(&self, worker: WorkerId) -> String {
        match &self.launches[worker.index()].program {
            Program::Command(argv) => argv.first().cloned().unwrap_or_default(),
            Program::Worker { kind, .. } => format!("worker {kind}"),
        }
    }
}

fn from_pipes(errno: &Errno) -> LaunchFailure {
    failure(LaunchStage::Pipes, *errno)
}
