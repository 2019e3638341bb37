//! What `status` shows.

use supervision::{Phase, Quarantine, WorkerId, WorkerView};

use super::naming::{fault_domain, in_words};
use super::view::View;
use super::{Daemon, now};
use crate::config::settings::CgroupLimits;
use crate::control::protocol::{
    HealthReport, IoLimitReport, LimitsReport, StatusReport, SupervisorStatus, WorkerStatus,
};
use crate::probing::Kind;
use crate::record::words;

impl Daemon {
    /// Everything there is to see now.
    pub(super) fn status(&self) -> StatusReport {
        let (drivers, view) = (&self.drivers, self.view());
        let workers: Vec<WorkerStatus> =
            view.all_workers().map(|id| view.worker_status(id)).collect();
        StatusReport {
            supervisor: SupervisorStatus {
                pid: nix::unistd::getpid().as_raw(),
                phase: if self.machine.is_shutting_down() { "stopping" } else { "running" }
                    .to_owned(),
                started_at: self.around.started_at.clone(),
                config: self.settings.source.file.display().to_string(),
                config_differs: self.upkeep.differs().cloned(),
                troubles: self.upkeep.troubles().cloned().collect(),
                guardian: self.around.guardian,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                fault_injection: self.machine.spec().fault_injection,
                stale_events: self.machine.stale_events(),
                lost_records: self.record_writer.lost(),
                lost_output: drivers.lost_output_total(),
                dropped_hooks: self.observers.hooks.dropped(),
                turns: self.turns.report(),
                usage: None,
                instances: view.scales(),
                changed_signals: drivers.changed_signals(),
                changed_limits: drivers.changed_limits(),
                changed_identity: drivers.changed_identity(),
                stray_processes: drivers.stray_processes(),
                abandoned_threads: workers
                    .iter()
                    .map(|worker| worker.abandoned)
                    .chain([drivers.stray_threads()])
                    .sum(),
            },
            workers,
            resources: view.resources(),
        }
    }
}

impl View<'_> {
    /// One worker.
    pub(super) fn worker_status(&self, id: WorkerId) -> WorkerStatus {
        let view = self.machine.worker(id).expect("ids come from the machine's own spec");
        let drivers = self.drivers;
        let launch = drivers.launch_of(id);
        let cell = launch.isolation.cell().map(str::to_owned);
        let (status_text, reloading) = drivers.said(id);
        let verdict = |kind| self.probing.verdict(id, kind).unwrap_or(true);
        let reading = drivers.reading(id);
        let pid = drivers.pid(id);
        let now = now();
        let has_succeeded = self.has_succeeded(id);
        WorkerStatus {
            name: launch.name.clone(),
            phase: words::phase(view.phase).to_owned(),
            isolation: launch.isolation.capabilities().label.to_owned(),
            cell,
            domain: fault_domain(self.names, self.machine, id).to_owned(),
            pid,
            tid: pid.and(reading.as_ref().map(|reading| reading.tid)).filter(|&tid| tid > 0),
            generation: view.generation.0,
            restarts: view.restarts,
            progress: reading.as_ref().map(|reading| reading.progress),
            in_flight: pid.and(reading.as_ref().map(|reading| reading.in_flight)),
            failed: reading.as_ref().map(|reading| reading.failed).filter(|&failed| failed > 0),
            since: crate::record::wall_time::wall(self.histories.since(id)),
            retry_in_ms: view
                .retry_at
                .map(|at| u64::try_from(at.saturating_sub(now).as_millis()).unwrap_or(u64::MAX)),
            waits_for: view.waits_for.iter().map(|&on| self.names.worker(on).to_owned()).collect(),
            in_vain: view.in_vain.map(|on| self.names.worker(on).to_owned()),
            blocked: self.is_blocked(id, &view),
            waits_why: self.why_waiting(id, &view),
            without: view.without.iter().map(|&on| self.names.worker(on).to_owned()).collect(),
            stopped: view.stopped,
            autostart: self.machine.spec().workers[id.index()].autostart,
            quarantine: self.why_in_quarantine(id, &view),
            wanted: view.wanted,
            succeeded: (view.phase == Phase::Finished).then_some(has_succeeded),
            ok: is_ok(&view, has_succeeded),
            ending: self.histories.ending(id).cloned(),
            last_incident: view.last_incident.map(|id| id.0),
            own_threads: drivers.own_threads(id),
            abandoned: drivers.left_behind(id).unwrap_or(view.abandoned),
            base: launch.base.clone(),
            group: launch.group.clone(),
            paused: view.paused,
            health: HealthReport {
                ready: verdict(Kind::Readiness),
                alive: verdict(Kind::Liveness),
            },
            status_text,
            reloading,
            main_pid: drivers.main_pid(id),
            lost_output: drivers.lost_output(id),
            remains: self.remains(id, view.phase),
            changed_signals: drivers.changed_signals_of(id),
            usage: None,
            limits: self.limits(id),
            stdout: launch.logs.stdout.to_string(),
            stderr: launch.logs.stderr.as_ref().unwrap_or(&launch.logs.stdout).to_string(),
        }
    }

    /// Why it is in quarantine, and what to do.
    fn why_in_quarantine(&self, id: WorkerId, view: &WorkerView) -> Option<String> {
        if view.phase != Phase::Quarantined {
            return None;
        }
        let limit = self.machine.spec().workers[id.index()].restart.limit;
        let group = &self.drivers.launch_of(id).group;
        let why = match view.quarantine {
            Some(Quarantine::Limit) if limit.restarts == 0 => "no restart is allowed".to_owned(),
            Some(Quarantine::Limit) => {
                let restarts = if limit.restarts == 1 { "restart" } else { "restarts" };
                let within = humantime::format_duration(limit.within);
                format!("{} {restarts} in {within}", limit.restarts)
            }
            Some(Quarantine::NeverOn) => "`never_on` names its ending".to_owned(),
            Some(Quarantine::PermanentError) => "its error is permanent".to_owned(),
            Some(Quarantine::Group) => format!("group {group} failed too often"),
            None => "failed too often".to_owned(),
        };
        let name = &self.drivers.launch_of(id).name;
        Some(if view.retry_at.is_some() { why } else { format!("{why}; `start {name}`") })
    }

    /// What its cgroup may use, and where the kernel counts what it does use.
    fn limits(&self, id: WorkerId) -> Option<LimitsReport> {
        let limits = self.drivers.limits_of(id).filter(|limits| !limits.is_empty())?;
        let CgroupLimits { memory, memory_high, cpu, cpu_weight, pids, io } = limits;
        let io = io.iter().map(|limit| IoLimitReport {
            device: limit.device.display().to_string(),
            read_bytes: limit.read_bytes,
            write_bytes: limit.write_bytes,
            read_operations: limit.read_operations,
            write_operations: limit.write_operations,
        });
        Some(LimitsReport {
            memory: *memory,
            memory_high: *memory_high,
            cpu_percent: *cpu,
            cpu_weight: *cpu_weight,
            pids: *pids,
            io: io.collect(),
            memory_current: None,
            memory_peak: None,
            cgroup: self.drivers.cgroup_of(id),
        })
    }

    /// What would not die, where the worker is being killed.
    fn remains(&self, id: WorkerId, phase: Phase) -> Vec<String> {
        if phase != Phase::Killing {
            return Vec::new();
        }
        self.drivers.tree_of(id).iter().map(in_words).collect()
    }
}

/// Whether nothing is wrong with a worker: it runs, or it is a job that has done its work, between
/// two runs too.
fn is_ok(view: &WorkerView, has_succeeded: bool) -> bool {
    match view.phase {
        Phase::Running => true,
        Phase::Finished => has_succeeded,
        Phase::Backoff | Phase::Launching | Phase::Starting => has_succeeded && view.wanted,
        Phase::Idle => has_succeeded && view.wanted && view.in_vain.is_none(),
        Phase::Stopping | Phase::Killing | Phase::Quarantined => false,
    }
}
