//! What hangs holds up nobody: processes that the kernel does not let die, readers of our own log and of the terminal
//! that stopped reading.

mod harness;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use harness::{Bed, EAGER, find, is_alive, is_root, text};

/// A cgroup of the first version's freezer: what is frozen there does not die of SIGKILL, as what waits for a dead disk.
struct Freezer {
    cgroup: PathBuf,
    thawed: PathBuf,
}

impl Freezer {
    /// `None`, and said, where this machine has none.
    fn new(bed: &Bed) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/freezer");
        if !is_root() || !root.join("cgroup.procs").exists() {
            eprintln!("SKIPPED: no freezer of cgroups version 1 on this machine");
            return None;
        }
        let name = bed.directory.path().file_name().expect("a name");
        let cgroup = root.join(name);
        fs::create_dir(&cgroup).expect("a cgroup");
        Some(Self { cgroup, thawed: bed.path("thawed") })
    }

    /// What a shell says to freeze itself, until everyone is thawed for good.
    fn script(&self) -> String {
        let (cgroup, flag) = (self.cgroup.display(), self.thawed.display());
        format!(
            "test -e {flag} || {{ echo $$ > {cgroup}/cgroup.procs; echo FROZEN > {cgroup}/freezer.state; }}"
        )
    }

    fn pids(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.cgroup.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    fn thaw(&self) {
        fs::write(&self.thawed, "").expect("a flag");
        fs::write(self.cgroup.join("freezer.state"), "THAWED").expect("thawed");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = fs::write(self.cgroup.join("freezer.state"), "THAWED");
        let _ = harness::until(harness::DEADLINE, || fs::remove_dir(&self.cgroup).ok());
    }
}

#[test]
fn a_probe_and_a_hook_that_cannot_be_killed_hold_up_nobody_and_do_not_pile_up() {
    let bed = Bed::new();
    let Some(freezer) = Freezer::new(&bed) else { return };
    let probe = serde_json::to_string(&freezer.script()).expect("a string");
    let yaml = format!(
        "version: 1\nhooks: [ {{ on: failed, command: [sh, -c, {probe}], timeout: 50ms }} ]\nworkers:\n  \
         w: {{ command: [sleep, 1d], ready: {{ after: 0s }}, health: {{ readiness: {{ exec: [sh, -c, {probe}], every: 20ms, timeout: 50ms }} }} }}\n  \
         crash: {{ command: [sh, -c, exit 1], ready: {{ after: 1h }}, restart: {{ backoff: {{ initial: 5ms, max: 5ms }}, limit: {{ restarts: 1000000, within: 60s }} }} }}\n  good: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait("a frozen probe", |_| (!freezer.pids().is_empty()).then_some(()));
    supervisor.wait("a verdict", |supervisor| (!supervisor.worker("w").health.ready).then_some(()));
    // The loop goes on meanwhile.
    supervisor.wait_phase("good", "running");
    let before = supervisor.status();
    supervisor.wait("failures", |supervisor| (supervisor.worker("crash").generation > 100).then_some(()));
    let after = find(&supervisor.status(), "good");
    assert!(after.progress > find(&before, "good").progress);
    let frozen = freezer.pids();
    assert!(frozen.len() <= 1 + 8, "one probe and eight hooks at most: {frozen:?}");
    freezer.thaw();
    supervisor.client.stop(&["crash".into()], true).expect("stopped");
    supervisor.wait("them to be reaped", |_| {
        frozen.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    supervisor.stop();
}

#[test]
fn what_does_not_die_is_named_with_its_pid_and_state_and_does_not_hold_up_the_end() {
    for how in ["on", "off"] {
        let bed = Bed::new();
        let Some(freezer) = Freezer::new(&bed) else { return };
        let script = serde_json::to_string(&freezer.script()).expect("a string");
        let yaml = format!(
            "version: 1\nworkers:\n  w: {{ command: [sh, -c, {script}], ready: {{ after: 0s }}, stop: {{ timeout: 50ms }} }}\n  good: {{ worker: ticker }}\n"
        );
        let mut supervisor = bed.start_in(&yaml, &["--no-guardian"], &[("SUPERVISORD_RS_CGROUPS", how)]);
        supervisor.wait("a frozen worker", |_| {
            let state = fs::read_to_string(freezer.cgroup.join("freezer.state")).ok()?;
            (!freezer.pids().is_empty() && state.trim() == "FROZEN").then_some(())
        });
        let pid = supervisor.worker("w").pid.expect("it lives");
        supervisor.client.stop(&["w".into()], false).expect("ordered");
        supervisor.wait_phase("w", "killing");
        supervisor.wait("its name", |supervisor| {
            let log = supervisor.bed.log();
            (log.contains("still there") && log.contains(&format!("{pid} sh D"))).then_some(())
        });
        assert_eq!(supervisor.worker("w").phase, "killing", "what lives is not called stopped");
        assert_eq!(supervisor.worker("good").phase, "running");
        supervisor.client.shutdown(false).expect("ordered");
        let status = supervisor.wait_exit();
        assert_eq!(status.code(), Some(1), "an end that is not in order; {}", bed.log());
        assert!(is_alive(pid), "how could it die?");
        freezer.thaw();
        supervisor.wait("it to be gone at last", |_| (!is_alive(pid)).then_some(()));
    }
}

#[test]
fn a_reader_of_our_own_log_that_stalls_does_not_hold_up_the_supervisor() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  crash: {{ command: [\"false\"], ready: {{ after: 1h }} }}\n  good: {{ worker: ticker }}\n"
    );
    let file = bed.write("supervisord-rs.yaml", &yaml);
    let mut command = bed.command(&["run", "--no-guardian", "-c"]);
    // Nobody reads: a pipe holds 64 KiB.
    command.arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut supervisor = bed.attach(command);
    supervisor.wait("a thousand incidents", |supervisor| {
        (supervisor.worker("crash").generation > 1000).then_some(())
    });
    supervisor.client.stop(&["crash".into()], true).expect("stopped");
    assert_eq!(supervisor.worker("good").generation, 1);
    // Whoever reads again gets everything.
    let mut log = supervisor.child.stderr.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes).expect("readable");
        text(&bytes)
    });
    supervisor.stop();
    let log = reader.join().expect("a reader");
    assert!(log.len() > 96 * 1024 && log.contains("incident 999:"), "{} bytes", log.len());
    assert!(log.trim_end().ends_with("stopped"), "the last line: {}", &log[log.len() - 200..]);
}

#[test]
fn a_terminal_that_stalls_holds_up_no_worker_that_writes_elsewhere() {
    let bed = Bed::new();
    // More of them than there are threads that carry output.
    let yaml = "version: 1\nworkers:\n  shown: { instances: 50, command: [sh, -c, 'while :; do echo shown; done'], ready: { after: 0s }, logs: { stdout: terminal } }\n  \
                good: { command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo good $i; sleep 0.01; done'], ready: { after: 0s } }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    let log = File::create(bed.path("supervisor.log")).expect("a log");
    let mut command = bed.command(&["run", "--no-guardian", "-c"]);
    command.arg(file).stdout(Stdio::piped()).stderr(log);
    let supervisor = bed.attach(command);
    // What is not read is lost in the end, and counted, so that those who write it go on.
    supervisor.wait("a loss", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let is_counted =
            |name: &str| status.workers.iter().any(|worker| worker.base == name && worker.lost_output > 0);
        is_counted("shown").then_some(())
    });
    let before = bed.output("good").lines().count();
    supervisor.wait_output("good", &format!("good {}\n", before + 200));
    assert_eq!(supervisor.worker("good").lost_output, 0);
    supervisor.stop();
}

#[test]
fn sdk_code_that_is_frozen_in_its_sleep_is_found_and_one_that_sleeps_is_not_disturbed() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  frozen: {{ worker: sleeper, heartbeat: 1s }}\n  asleep: {{ worker: sleeper, heartbeat: 100ms }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_running();
    let before = supervisor.worker("frozen").pid.expect("it runs");
    harness::kill(before, nix::sys::signal::Signal::SIGSTOP);
    let incident = supervisor.wait_incident(0);
    assert_eq!(
        (incident.lost.as_slice(), incident.fault.kind.as_str()),
        (&["frozen".to_owned()][..], "hang")
    );
    supervisor.wait("another one", |supervisor| {
        let worker = supervisor.worker("frozen");
        (worker.phase == "running" && worker.pid != Some(before)).then_some(())
    });
    assert_eq!(supervisor.worker("asleep").generation, 1, "twenty of its heartbeats have passed");
    supervisor.stop();
}
