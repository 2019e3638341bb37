//! From an incarnation to something that runs: board, captured streams, thread or process, and what watches them.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use supervision::spec::DomainKind;
use supervision::{DomainId, Incarnation, LaunchFailure, LaunchStage, WorkerId};
use workers::mapping::Mapping;

use super::adopting::stream_name;
use super::{Drivers, Process, Resident};
use crate::config::probes::Ready;
use crate::config::settings::{Limits, LineFormat, Rotate, Sink, Surroundings};
use crate::config::{Isolation, Launch, Program, default};
use crate::isolation::family::{Family, MARK};
use crate::isolation::helper::Helper;
use crate::isolation::host::{self, Host};
use crate::isolation::launch::{Plan, advice, failure, has_room};
use crate::isolation::live::{Live, Page, Sdk, event_fd};
use crate::isolation::notify::Notify;
use crate::isolation::surroundings::{self, Failed, Prepared, Result};
use crate::isolation::thread::{Order, from_io};
use crate::isolation::watch::Token;
use crate::isolation::{command, reaper, thread};
use crate::record::logs::StreamPlan;

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

    /// Starts a small process of ours with the surroundings of a worker, in its family.
    ///
    /// # Errors
    /// What went wrong.
    pub fn launch_helper(
        &mut self,
        worker: WorkerId,
        argv: &[String],
        extra: &[(String, String)],
    ) -> std::result::Result<Helper, NotLaunched> {
        let launch = self.launches[worker.index()].clone();
        let domain = self.domain_of[worker.index()];
        let family = self.family(domain, &launch.surroundings.limits);
        let launched = has_room().map_err(Failed::from).and(family).and_then(|family| {
            let mut prepared = self.prepare(&launch, &family)?;
            for (name, value) in extra {
                prepared.environment.insert(name.into(), value.into());
            }
            let null = host::null()?;
            let plan = plan(argv, &prepared)?
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
    pub fn launch_hook(&self, argv: &[String], input: &File) -> std::result::Result<Helper, String> {
        let launched = (|| {
            has_room()?;
            let null = host::null()?;
            let out = null.as_fd();
            let path = self.environment.get(std::ffi::OsStr::new("PATH")).cloned().unwrap_or_default();
            let program = argv.first().map_or("", String::as_str);
            Plan::new(std::ffi::OsStr::new(program), argv, &path)?
                .environment(self.environment.iter().map(|(name, value)| (&**name, &**value)))?
                .descriptor(input.as_fd())?
                .descriptor(out)?
                .descriptor(out)?
                .launch()
        })();
        let program = argv.first().cloned().unwrap_or_default();
        launched.map(|child| Helper::new(child, None)).map_err(|failure| advice(failure, &program))
    }

    /// Whether a worker's process will be left to a successor: everything is kept that ties it to us.
    fn is_kept(&self, worker: WorkerId) -> bool {
        let launch = &self.launches[worker.index()];
        let index = worker.index();
        let is_notify_kept = self.notify[index].as_ref().is_none_or(|notify| {
            self.store.keep(&format!("worker-{}/notify", launch.name), &[notify.as_fd()])
        });
        let is_board_kept = self.pages[index].as_ref().is_none_or(|page| {
            self.store.keep(&format!("worker-{}/board", launch.name), &[page.mapping.fd()])
        });
        let domain = self.domain_of[index];
        let is_poke_kept = self.domains[domain.index()].poke.as_ref().is_none_or(|poke| {
            self.store.keep(&format!("{}/poke", self.family_name(domain)), &[poke.as_fd()])
        });
        let streams = self.streams[index].iter().flatten();
        let mut are_streams_kept = true;
        for ((stream, _), id) in launch.captured().zip(streams) {
            are_streams_kept &= self.logs.keep(*id, &stream_name(&launch.name, stream), &self.store);
        }
        self.store.is_there() && is_notify_kept && is_board_kept && is_poke_kept && are_streams_kept
    }

    fn keep_wake(&self, incarnation: Incarnation, name: &str, sdk: &Sdk) -> bool {
        self.store.keep(&format!("worker-{name}/wake/{}", incarnation.generation.0), &[sdk.wake.as_fd()])
    }

    /// The last step of a launch: from now on a successor may take the process over.
    fn commit(&mut self, incarnation: Incarnation, is_kept: bool) {
        let domain = self.domain_of[incarnation.worker.index()];
        let name = self.family_name(domain);
        let Some(resident) = self.resident(domain) else { return };
        let child = resident.process.child();
        let socket = match &resident.process {
            Process::Command(_) => None,
            Process::Host(host) => Some(host.socket()),
        };
        let is_kept = is_kept
            && socket.is_none_or(|socket| self.store.keep(&format!("{name}/host/{}", child.pid), &[socket]));
        if is_kept {
            // Not needed to find it again: it tells how it ended when nobody else can.
            self.store.keep(&format!("{name}/process/{}", child.pid), &[child.pidfd.as_fd()]);
            self.note_process(incarnation.worker);
        }
    }

    /// Starts a binary that is to say something with its exit status alone.
    ///
    /// # Errors
    /// What went wrong, in a sentence.
    pub fn launch_check(
        &self,
        binary: &std::path::Path,
        argv: &[std::ffi::OsString],
    ) -> std::result::Result<Helper, String> {
        let launched = (|| {
            let null = host::null()?;
            Plan::new(binary.as_os_str(), argv, std::ffi::OsStr::new(""))?
                .environment(self.environment.iter().map(|(name, value)| (&**name, &**value)))?
                .descriptor(null.as_fd())?
                .descriptor(null.as_fd())?
                .descriptor(null.as_fd())?
                .launch()
        })();
        launched
            .map(|child| Helper::new(child, None))
            .map_err(|failure| advice(failure, &binary.display().to_string()))
    }

    fn prepare(&self, launch: &Launch, family: &Family) -> Result<Prepared> {
        let mut prepared = surroundings::prepare(launch, &self.environment)?;
        prepared.environment.insert(MARK.into(), family.mark().into());
        Ok(prepared)
    }

    /// The family of a domain, made when it is first needed.
    fn family(&mut self, domain: DomainId, limits: &Limits) -> Result<Rc<Family>> {
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

    /// The cell's own output, which belongs to none of its workers: `cell-NAME.log`.
    pub(super) fn cell_output(&mut self, domain: DomainId, name: &str) -> Result<OwnedFd> {
        let stream = match self.domains[domain.index()].output {
            Some(stream) => stream,
            None => {
                let directory = self.log_dir.clone();
                let plan = StreamPlan {
                    name: format!("cell-{name}/stdout"),
                    worker: format!("cell {name}"),
                    stream: "stdout",
                    sink: Sink::File(directory.join(format!("cell-{name}.log"))),
                    rotate: Rotate {
                        size: Some(default::ROTATE_SIZE),
                        every: None,
                        keep: default::ROTATE_KEEP,
                        compress: false,
                    },
                    cap: None,
                    line: LineFormat::default(),
                };
                let stream = self.logs.open(&plan).map_err(from_pipes)?;
                self.domains[domain.index()].output = Some(stream);
                stream
            }
        };
        self.logs.writer(stream).ok_or_else(|| from_pipes(Errno::EMFILE).into())
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

    /// Where the output of a worker goes: into its captured streams, opened when first needed, or past us.
    pub(super) fn outputs(&mut self, worker: WorkerId, launch: &Launch) -> Result<Outputs> {
        let logs = &launch.logs;
        if self.streams[worker.index()].is_none() {
            let mut streams = Vec::new();
            for (stream, sink) in launch.captured() {
                let plan = StreamPlan {
                    name: stream_name(&launch.name, stream),
                    worker: launch.name.clone(),
                    stream,
                    sink: sink.clone(),
                    rotate: logs.rotate,
                    cap: logs.cap,
                    line: logs.line,
                };
                match self.logs.open(&plan) {
                    Ok(id) => {
                        let _ = self.logs.keep(id, &plan.name, &self.store);
                        streams.push(id);
                    }
                    Err(errno) => {
                        streams.into_iter().for_each(|stream| self.logs.close(stream));
                        return Err(from_pipes(errno).into());
                    }
                }
            }
            self.streams[worker.index()] = Some(streams);
        }
        let mut captured = self.streams[worker.index()].iter().flatten();
        let mut target = |stream: &str, sink: &Sink| -> Result<OwnedFd> {
            let opened = match sink {
                Sink::Null => File::options().write(true).open("/dev/null").map(OwnedFd::from),
                Sink::Inherit if stream == "stderr" => std::io::stderr().as_fd().try_clone_to_owned(),
                Sink::Inherit => std::io::stdout().as_fd().try_clone_to_owned(),
                Sink::File(_) | Sink::Terminal | Sink::Journald | Sink::Syslog => {
                    let stream = captured.next().copied();
                    return stream
                        .and_then(|stream| self.logs.writer(stream))
                        .ok_or_else(|| from_pipes(Errno::EMFILE).into());
                }
            };
            opened.map_err(|error| Failed::from(from_io(LaunchStage::Pipes, &error)))
        };
        let stdout = target("stdout", &logs.stdout)?;
        let stderr = logs.stderr.as_ref().map(|sink| target("stderr", sink)).transpose()?;
        Ok(Outputs { stdout, stderr })
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

/// A small process that could not be started.
#[derive(Debug)]
pub struct NotLaunched {
    /// The machine is short of something now: it says nothing about the worker.
    pub transient: bool,
    /// What went wrong, in a sentence.
    pub message: String,
}

/// The descriptors that a worker's output goes to.
pub(super) struct Outputs {
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
}

impl Outputs {
    fn stderr(&self) -> &OwnedFd {
        self.stderr.as_ref().unwrap_or(&self.stdout)
    }
}

fn plan(argv: &[String], prepared: &Prepared) -> std::result::Result<Plan, LaunchFailure> {
    let program = argv.first().map_or("", String::as_str);
    Plan::new(std::ffi::OsStr::new(program), argv, &prepared.path())
}

/// What a matched line is told with: of whom it was. Generations beyond 2^32 are the same as far lower ones, which is
/// no worse than a line that matches twice.
fn line_token(incarnation: Incarnation) -> u64 {
    u64::from(incarnation.worker.0) << 32 | (incarnation.generation.0 & u64::from(u32::MAX))
}

fn from_pipes(errno: Errno) -> LaunchFailure {
    failure(LaunchStage::Pipes, errno)
}
