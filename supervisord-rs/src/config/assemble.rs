//! Names become ids, defaults are filled in, contradictions are found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use supervision::spec::{
    Backoff, Condition, Dependency, DomainKind, DomainSpec, GroupSpec, InjectionSpec, Limit, OnHang,
    Readiness, Restart, RestartPolicy, Stop, Strategy, WorkerSpec,
};
use supervision::{DomainId, FaultId, Spec, WorkerId};
use workers::Registry;
use workers::fault::{Fault, Injection as Ordered};

use super::cycles;
use super::diagnostics::{Problem, nearest};
use super::document::{Document, Group, Injection, Place, Worker};
use super::places;
use super::reader::At;
use super::settings::{Isolation, Launch, Program, Settings, SupervisorSettings, default};

/// Longest name of a worker: it is the name of a file and of a thread too.
const NAME_MAX: usize = 63;

/// Joins everything. `None` when a part is missing without which the rest means nothing; else problems tell.
pub(super) fn assemble(
    document: Document,
    file: &Path,
    registry: &Registry,
    problems: &mut Vec<Problem>,
) -> Option<Settings> {
    let supervisor = supervisor(&document, file, problems);
    let fault_injection = document.supervisor.fault_injection.as_ref().is_some_and(|allowed| allowed.value);
    let names: Vec<String> = document.workers.iter().map(|worker| worker.name.value.clone()).collect();
    let mut assembly = Assembly {
        file,
        registry,
        names: &names,
        cells: document.cells.as_deref(),
        log_dir: &supervisor.log_dir,
        fault_injection,
        domains: vec![DomainSpec { name: "supervisor".into(), kind: DomainKind::Supervisor }],
        by_cell: BTreeMap::new(),
        problems,
    };
    let mut workers = Vec::new();
    let mut launches = Vec::new();
    for worker in &document.workers {
        if let Some((spec, launch)) = assembly.worker(worker) {
            workers.push(spec);
            launches.push(launch);
        }
    }
    let groups = document.groups.iter().map(|group| assembly.group(group, &document.groups)).collect();
    assembly.cycles(&document.workers, &workers);
    let domains = assembly.domains;
    let shutdown_timeout =
        document.supervisor.shutdown_timeout.map_or(default::SHUTDOWN_TIMEOUT, |timeout| timeout.value);
    let spec = Spec { workers, groups, domains, shutdown_timeout, fault_injection };
    Some(Settings { file: file.into(), supervisor, spec, launches })
}

fn supervisor(document: &Document, file: &Path, problems: &mut Vec<Problem>) -> SupervisorSettings {
    let written = &document.supervisor;
    let directory = |path: &Option<At<String>>, otherwise: fn() -> PathBuf| {
        path.as_ref().map_or_else(otherwise, |path| places::relative_to(file, Path::new(&path.value)))
    };
    let mode = written.control_mode.as_ref().and_then(|mode| {
        let bits =
            u32::from_str_radix(mode.value.trim_start_matches("0o"), 8).ok().filter(|bits| *bits <= 0o777);
        if bits.is_none() {
            let expected = Some("permission bits in octal, such as \"0660\"".into());
            problems.push(Problem { expected, ..mode.problem(format!("`{}` is no mode", mode.value)) });
        }
        bits
    });
    SupervisorSettings {
        runtime_dir: directory(&written.runtime_dir, places::runtime_dir),
        state_dir: directory(&written.state_dir, places::state_dir),
        log_dir: directory(&written.log_dir, places::log_dir),
        control_mode: mode.unwrap_or(0o600),
        control_group: written.control_group.as_ref().map(|group| group.value.clone()),
    }
}

struct Assembly<'a> {
    file: &'a Path,
    registry: &'a Registry,
    names: &'a [String],
    /// `None`: no `cells:` is written, and any name is one.
    cells: Option<&'a [At<String>]>,
    log_dir: &'a Path,
    fault_injection: bool,
    domains: Vec<DomainSpec>,
    by_cell: BTreeMap<String, DomainId>,
    problems: &'a mut Vec<Problem>,
}

impl Assembly<'_> {
    fn report(&mut self, problem: Problem, expected: &str) {
        self.problems.push(Problem { expected: Some(expected.to_owned()), ..problem });
    }

    fn worker(&mut self, worker: &Worker) -> Option<(WorkerSpec, Launch)> {
        self.name(&worker.name);
        // Everything is looked at before anything is given up: all problems at once.
        let is_sdk = worker.kind.is_some();
        let keys = &worker.keys;
        let restart = self.restart(worker);
        let depends_on = self.dependencies(worker);
        let stop_signal = self.stop_signal(worker);
        let injections =
            keys.inject.iter().filter_map(|injection| self.injection(injection, is_sdk)).collect();
        let program = self.program(worker);
        let place = self.isolation(worker, is_sdk);
        let (program, (domain, isolation)) = (program?, place?);
        self.check_fit(worker, is_sdk, &isolation);
        let spec = WorkerSpec {
            name: worker.name.value.clone(),
            domain,
            autostart: keys.autostart.as_ref().is_none_or(|autostart| autostart.value),
            restart,
            readiness: if is_sdk {
                Readiness::Notified { timeout: value(keys.ready_timeout.as_ref(), default::READY_TIMEOUT) }
            } else {
                Readiness::After(value(keys.ready_after.as_ref(), default::READY_AFTER))
            },
            depends_on,
            stop: Stop { timeout: value(keys.stop_timeout.as_ref(), default::STOP_TIMEOUT) },
            heartbeat: keys.heartbeat.as_ref().filter(|_| is_sdk).map(|heartbeat| heartbeat.value),
            on_hang: keys.on_hang.as_ref().map_or(OnHang::Abandon, |on_hang| on_hang.value),
            injections,
        };
        let stdout = self.log(keys.stdout.as_ref(), &worker.name.value);
        let launch = Launch {
            name: worker.name.value.clone(),
            isolation,
            program,
            env: keys.env.as_ref().map(|env| env.value.clone()).unwrap_or_default(),
            cwd: keys.cwd.as_ref().map(|cwd| places::relative_to(self.file, Path::new(&cwd.value))),
            on_panic: keys.on_panic.as_ref().map(|on_panic| on_panic.value).unwrap_or_default(),
            stop_signal,
            stderr: keys
                .stderr
                .as_ref()
                .map_or_else(|| stdout.clone(), |path| self.log_dir.join(&path.value)),
            stdout,
        };
        Some((spec, launch))
    }

    fn log(&self, written: Option<&At<String>>, name: &str) -> PathBuf {
        written
            .map_or_else(|| self.log_dir.join(format!("{name}.log")), |path| self.log_dir.join(&path.value))
    }

    fn name(&mut self, name: &At<String>) {
        let is_good = !name.value.is_empty()
            && name.value.len() <= NAME_MAX
            && name.value.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
            && name.value != "all"
            && !name.value.starts_with(['.', '-']);
        if !is_good {
            let message = format!("`{}` cannot be the name of a worker", name.value);
            let expected = "letters, digits, `-`, `_` and `.`, at most 63 of them, not `all`, not beginning with `.` or `-`";
            self.report(name.problem(message), expected);
        }
    }

    fn program(&mut self, worker: &Worker) -> Option<Program> {
        match (&worker.command, &worker.kind) {
            (Some(command), None) => {
                if command.value.is_empty() {
                    self.report(
                        command.problem("the command has no words"),
                        "a program and its arguments, such as [sleep, 1d]",
                    );
                    return None;
                }
                if let Some(args) = &worker.args {
                    self.report(
                        args.problem("`args:` belongs to `worker:`"),
                        "arguments as further words of `command:`",
                    );
                }
                Some(Program::Command(command.value.iter().map(|word| word.value.clone()).collect()))
            }
            (None, Some(kind)) => self.registered(worker, kind),
            (Some(_), Some(kind)) => {
                self.report(kind.problem("a worker has both `command:` and `worker:`"), "one of them");
                None
            }
            (None, None) => {
                self.report(
                    worker.name.problem("it is not said what this worker runs"),
                    "`command: [PROGRAM, ...]`, or `worker: NAME` for registered code",
                );
                None
            }
        }
    }

    fn registered(&mut self, worker: &Worker, kind: &At<String>) -> Option<Program> {
        let known: Vec<&str> = self.registry.names().map(|(name, _)| name).collect();
        if !self.registry.has(&kind.value) {
            self.problems.push(Problem {
                expected: Some(format!("one of: {}", known.join(", "))),
                nearest: nearest(&kind.value, known.iter().copied()),
                ..kind.problem(format!("no worker is registered as `{}`", kind.value))
            });
            return None;
        }
        let args = worker.args.as_ref().map_or_else(|| serde_json::json!({}), |args| args.value.clone());
        if let Err(error) = self.registry.create(&kind.value, &args) {
            let place = worker.args.as_ref().map_or_else(|| kind.problem(""), |args| args.problem(""));
            self.problems.push(Problem { message: error.to_string(), ..place });
        }
        Some(Program::Worker { kind: kind.value.clone(), args })
    }

    fn isolation(&mut self, worker: &Worker, is_sdk: bool) -> Option<(DomainId, Isolation)> {
        let place = worker.keys.isolation.as_ref();
        match (place.map_or(Place::Process, |place| place.value), &worker.keys.cell) {
            (Place::Thread, _) if !is_sdk => {
                // Where the key comes from `defaults:`, its place is there, and the worker's name says who it hits.
                let at = place.expect("process is the default");
                let message = format!("{}: a thread cannot run an executable", worker.name.value);
                self.report(at.problem(message), "`isolation: process` for a `command:`");
                None
            }
            (Place::Thread, None) => Some((DomainId(0), Isolation::Thread)),
            (Place::Thread, Some(cell)) => Some((self.cell(cell), Isolation::Cell(cell.value.clone()))),
            (Place::Process, Some(cell)) if cell.path.starts_with("workers.") => {
                self.report(
                    cell.problem("only threads live in a cell"),
                    "`isolation: thread` beside `cell:`",
                );
                None
            }
            (Place::Process, _) => {
                let id = self.domain(worker.name.value.clone(), DomainKind::Process);
                Some((id, Isolation::Process))
            }
        }
    }

    fn cell(&mut self, cell: &At<String>) -> DomainId {
        if let Some(cells) = self.cells
            && !cells.iter().any(|known| known.value == cell.value)
        {
            let known: Vec<&str> = cells.iter().map(|known| known.value.as_str()).collect();
            self.problems.push(Problem {
                expected: Some(format!("one of `cells:`: {}", known.join(", "))),
                nearest: nearest(&cell.value, known),
                ..cell.problem(format!("no cell is called `{}`", cell.value))
            });
        }
        if let Some(&id) = self.by_cell.get(&cell.value) {
            return id;
        }
        self.name(cell);
        let id = self.domain(cell.value.clone(), DomainKind::Cell);
        self.by_cell.insert(cell.value.clone(), id);
        id
    }

    fn domain(&mut self, name: String, kind: DomainKind) -> DomainId {
        self.domains.push(DomainSpec { name, kind });
        DomainId(u32::try_from(self.domains.len() - 1).unwrap_or(u32::MAX))
    }

    /// What an isolation cannot enforce, or a program cannot have, is refused where the worker itself says it. From
    /// `defaults:` it applies to those that can have it.
    fn check_fit(&mut self, worker: &Worker, is_sdk: bool, isolation: &Isolation) {
        let keys = &worker.keys;
        let own = |path: &str| path.starts_with("workers.");
        let mut refuse = |at: Option<At<()>>, message: &str, expected: &str| {
            if let Some(at) = at.filter(|at| own(&at.path)) {
                self.problems.push(Problem { expected: Some(expected.into()), ..at.problem(message) });
            }
        };
        if is_sdk {
            refuse(
                place(keys.ready_after.as_ref()),
                "registered code says itself when it is ready",
                "`ready: { timeout: ... }`",
            );
            refuse(
                place(keys.stop_signal.as_ref()),
                "registered code is asked to stop through its board, not by a signal",
                "only `timeout` in `stop:`",
            );
        } else {
            refuse(
                place(keys.heartbeat.as_ref()),
                "a command has no heartbeat",
                "`heartbeat:` for registered code only",
            );
            refuse(
                place(keys.on_panic.as_ref()),
                "`on_panic:` is for registered code",
                "no `on_panic:` for a command",
            );
            refuse(
                place(keys.ready_timeout.as_ref()),
                "a command cannot say when it is ready yet",
                "`ready: { after: ... }`",
            );
        }
        if *isolation != Isolation::Process {
            refuse(
                place(keys.env.as_ref()),
                "a thread has the environment of its process",
                "`isolation: process` for an `env:` of its own",
            );
            refuse(
                place(keys.cwd.as_ref()),
                "a thread has the working directory of its process",
                "`isolation: process` for a `cwd:` of its own",
            );
        } else {
            refuse(
                place(keys.on_hang.as_ref()),
                "a process that hangs is killed",
                "`on_hang:` for threads only",
            );
        }
    }

    fn restart(&mut self, worker: &Worker) -> Restart {
        let keys = &worker.keys;
        let initial = value(keys.backoff_initial.as_ref(), Duration::from_millis(100));
        let max = value(keys.backoff_max.as_ref(), Duration::from_secs(30));
        if initial > max
            && let Some(at) = keys.backoff_initial.as_ref().or(keys.backoff_max.as_ref())
        {
            self.report(
                at.problem("the first delay is longer than the longest"),
                "`initial` no longer than `max`",
            );
        }
        Restart {
            policy: keys.policy.as_ref().map_or(RestartPolicy::OnFailure, |policy| policy.value),
            backoff: Backoff {
                initial,
                factor_permille: keys.backoff_factor.as_ref().map_or(2000, |factor| factor.value),
                max,
                jitter_permille: keys.backoff_jitter.as_ref().map_or(100, |jitter| jitter.value),
            },
            limit: limit(&keys.limit),
            reset_after: value(keys.reset_after.as_ref(), Duration::from_secs(60)),
            slow_retry: keys.slow_retry.as_ref().map(|retry| retry.value),
        }
    }

    fn stop_signal(&mut self, worker: &Worker) -> i32 {
        let Some(signal) = &worker.keys.stop_signal else { return libc::SIGTERM };
        let name = signal.value.to_ascii_uppercase();
        let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
        match name.parse::<nix::sys::signal::Signal>() {
            Ok(signal) => signal as i32,
            Err(_) => {
                self.report(
                    signal.problem(format!("`{}` is no signal", signal.value)),
                    "a name such as TERM, INT or QUIT",
                );
                libc::SIGTERM
            }
        }
    }

    fn id(&mut self, name: &At<String>) -> Option<WorkerId> {
        let found = self.names.iter().position(|known| *known == name.value);
        if found.is_none() {
            self.problems.push(Problem {
                expected: Some(format!("one of: {}", self.names.join(", "))),
                nearest: nearest(&name.value, self.names.iter().map(String::as_str)),
                ..name.problem(format!("no worker is called `{}`", name.value))
            });
        }
        found.and_then(|index| u32::try_from(index).ok()).map(WorkerId)
    }

    fn dependencies(&mut self, worker: &Worker) -> Vec<Dependency> {
        let written = &worker.keys.depends_on;
        written
            .iter()
            .filter_map(|(name, condition)| {
                let condition = condition.as_ref().map_or(Condition::Ready, |condition| condition.value);
                Some(Dependency { on: self.id(name)?, condition })
            })
            .collect()
    }

    fn injection(&mut self, injection: &Injection, is_sdk: bool) -> Option<InjectionSpec> {
        let fault = match injection.fault.value.parse::<Ordered>() {
            Ok(fault) => fault,
            Err(error) => {
                self.problems.push(Problem {
                    nearest: nearest(&injection.fault.value, Fault::all().map(Fault::name)),
                    ..injection.fault.problem(error.to_string())
                });
                return None;
            }
        };
        if !self.fault_injection {
            self.report(
                injection.fault.problem("crash injection is off, so this would never happen"),
                "`supervisor: { fault_injection: allow }`",
            );
        }
        if !is_sdk && fault.fault.signal().is_none() {
            let outside = Fault::all().filter(|fault| fault.signal().is_some()).map(Fault::name);
            let message = format!("a command cannot commit `{}` itself", fault.fault.name());
            self.report(
                injection.fault.problem(message),
                &format!("one from outside: {}", outside.collect::<Vec<_>>().join(", ")),
            );
        }
        Some(InjectionSpec {
            fault: FaultId { code: fault.fault.code(), parameter: fault.parameter },
            after: value(injection.after.as_ref(), Duration::ZERO),
            every: injection.every.as_ref().map(|every| every.value),
            times: injection.times.as_ref().map(|times| u32::try_from(times.value).unwrap_or(u32::MAX)),
            probability_permille: injection
                .probability
                .as_ref()
                .map_or(1000, |probability| probability.value),
            seed: injection.seed.as_ref().map_or(0, |seed| seed.value),
        })
    }

    fn group(&mut self, group: &Group, all: &[Group]) -> GroupSpec {
        let mut workers = Vec::new();
        for member in &group.workers {
            let first = all.iter().find(|other| other.workers.iter().any(|name| name.value == member.value));
            if let Some(first) = first.filter(|first| first.name.value != group.name.value) {
                let message = format!("`{}` is in group `{}` already", member.value, first.name.value);
                self.report(member.problem(message), "each worker in one group at most");
            }
            if let Some(id) = self.id(member) {
                workers.push(id);
            }
        }
        if group.workers.is_empty() {
            self.report(group.name.problem("the group has no workers"), "`workers: [one, two]`");
        }
        GroupSpec {
            name: group.name.value.clone(),
            strategy: group.strategy.as_ref().map_or(Strategy::OneForOne, |strategy| strategy.value),
            workers,
            limit: group.limit.as_ref().map(limit),
            escalate: group.escalate.as_ref().is_some_and(|escalate| escalate.value),
        }
    }

    /// Each cycle is named in full, once.
    fn cycles(&mut self, written: &[Worker], workers: &[WorkerSpec]) {
        // With problems before, ids may not be positions: the names are not complete.
        if workers.len() != self.names.len() {
            return;
        }
        for cycle in cycles::find(workers) {
            let names: Vec<&str> = cycle.iter().map(|&index| workers[index].name.as_str()).collect();
            let message = format!("these wait for each other for ever: {}", names.join(" → "));
            self.report(written[cycle[0]].name.problem(message), "dependencies without a circle");
        }
    }
}

fn limit(written: &super::document::Limit) -> Limit {
    let restarts =
        written.restarts.as_ref().map_or(5, |restarts| u32::try_from(restarts.value).unwrap_or(u32::MAX));
    Limit { restarts, within: value(written.within.as_ref(), Duration::from_secs(60)) }
}

fn value(written: Option<&At<Duration>>, otherwise: Duration) -> Duration {
    written.map_or(otherwise, |at| at.value)
}

/// Where a key was written, whatever its value.
fn place<T>(written: Option<&At<T>>) -> Option<At<()>> {
    written.map(|at| At { value: (), path: at.path.clone(), span: at.span.clone() })
}
