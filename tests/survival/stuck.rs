//! What hangs blocks nothing else: processes that the kernel does not let die, readers of the
//! supervisor's log and of the terminal that stopped reading.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::harness::skip::{Lack, skip};
use crate::harness::{Bed, EAGER, Stopped, find, is_alive, is_root, join_in_time, kill, text};
use nix::sys::signal::Signal;
use supervisord_rs::control::protocol::IncidentRecord;

/// A cgroup of the freezer of version 1: a process that is frozen there does not die of SIGKILL,
/// like one that waits for a dead disk.
struct Freezer {
    cgroup: PathBuf,
    thawed: PathBuf,
}

impl Freezer {
    /// `None`, and a reported skip, where this machine has none.
    fn new(bed: &Bed) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/freezer");
        if !is_root() || !root.join("cgroup.procs").exists() {
            skip(Lack::Freezer, "no freezer of cgroups version 1 that we may use");
            return None;
        }
        let name = bed.directory.path().file_name().expect("a name");
        let cgroup = root.join(name);
        fs::create_dir(&cgroup).expect("a cgroup");
        Some(Self { cgroup, thawed: bed.path("thawed") })
    }

    /// The shell command that freezes the shell itself, until the test thaws it for good.
    fn script(&self) -> String {
        let (cgroup, flag) = (self.cgroup.display(), self.thawed.display());
        format!(
            "test -e {flag} || {{ echo $$ > {cgroup}/cgroup.procs; echo FROZEN > \
                {cgroup}/freezer.state; }}"
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
        let _ =
            crate::harness::until(crate::harness::DEADLINE, || fs::remove_dir(&self.cgroup).ok());
    }
}

#[test]
fn a_probe_and_a_hook_that_cannot_be_killed_delay_no_others_and_do_not_pile_up() {
    let bed = Bed::new();
    let Some(freezer) = Freezer::new(&bed) else { return };
    let probe = serde_json::to_string(&freezer.script()).expect("a string");
    let yaml = format!(
        "version: 1\nhooks: [ {{ on: failed, command: [sh, -c, {probe}], timeout: 50ms }} ]\n\
            workers:\n  \
         w: {{ command: [sleep, 1d], ready: {{ after: 0s }}, health: {{ readiness: {{ exec: [sh, \
         -c, {probe}], every: 20ms, timeout: 50ms }} }} }}\n  \
         crash: {{ command: [sh, -c, exit 1], ready: {{ after: 1h }}, restart: {{ backoff: {{ \
         initial: 5ms, max: 5ms }}, limit: {{ restarts: 1000000, within: 60s }} }} }}\n  \
         good: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait("a frozen probe", |_| (!freezer.pids().is_empty()).then_some(()));
    supervisor.wait("a verdict", |supervisor| (!supervisor.worker("w").health.ready).then_some(()));
    // The loop turns meanwhile.
    supervisor.wait_phase("good", "running");
    let before = supervisor.status();
    supervisor
        .wait("failures", |supervisor| (supervisor.worker("crash").generation > 100).then_some(()));
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
            "version: 1\nworkers:\n  w: {{ command: [sh, -c, {script}], ready: {{ after: 0s }}, \
                stop: {{ timeout: 50ms }} }}\n  good: {{ worker: ticker }}\n"
        );
        let mut supervisor =
            bed.start_in(&yaml, &["--no-guardian"], &[("SUPERVISORD_RS_CGROUPS", how)]);
        supervisor.wait("a frozen worker", |_| {
            let state = fs::read_to_string(freezer.cgroup.join("freezer.state")).ok()?;
            (!freezer.pids().is_empty() && state.trim() == "FROZEN").then_some(())
        });
        // The supervisor may learn a moment later that it has begun.
        let pid = supervisor.wait("its number", |supervisor| supervisor.worker("w").pid);
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
fn a_stalled_reader_of_the_supervisors_log_does_not_hold_the_supervisor() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
            crash: {{ command: [\"false\"], ready: {{ after: 1h }} }}\n  \
            good: {{ worker: ticker }}\n"
    );
    let file = bed.write("supervisord-rs.yaml", &yaml);
    let mut command = bed.command(&["run", "--no-guardian", "-c"]);
    // A pipe without a reader holds 64 KiB.
    command.arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut supervisor = bed.attach(command);
    supervisor.wait("a thousand incidents", |supervisor| {
        (supervisor.worker("crash").generation > 1000).then_some(())
    });
    supervisor.client.stop(&["crash".into()], true).expect("stopped");
    assert_eq!(supervisor.worker("good").generation, 1);
    // A reader that comes back gets everything.
    let mut log = supervisor.child.stderr.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes).expect("readable");
        text(&bytes)
    });
    supervisor.stop();
    let log = join_in_time(reader);
    assert!(log.len() > 96 * 1024 && log.contains("incident 999:"), "{} bytes", log.len());
    assert!(log.trim_end().ends_with("stopped"), "the last line: {}", &log[log.len() - 200..]);
}

#[test]
fn a_terminal_that_stalls_holds_up_no_worker_that_writes_elsewhere() {
    let bed = Bed::new();
    // More workers than there are threads that carry output.
    let yaml = "version: 1\nworkers:\n  shown: { instances: 50, command: [sh, -c, 'while :; do \
        echo shown; done'], ready: { after: 0s }, logs: { stdout: terminal } }\n  \
                good: { command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo good $i; sleep 0.01; \
                done'], ready: { after: 0s } }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    let log = File::create(bed.path("supervisor.log")).expect("a log");
    let mut command = bed.command(&["run", "--no-guardian", "-c"]);
    command.arg(file).stdout(Stdio::piped()).stderr(log);
    let supervisor = bed.attach(command);
    // The supervisor finally drops what is not read, and counts it, so that its writers run on.
    supervisor.wait("a loss", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let is_counted = |name: &str| {
            status.workers.iter().any(|worker| worker.base == name && worker.lost_output > 0)
        };
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
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
            frozen: {{ worker: sleeper, heartbeat: 8s }}\n  \
            asleep: {{ worker: sleeper, heartbeat: 2s }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_running();
    let before = supervisor.worker("frozen").pid.expect("it runs");
    crate::harness::kill(before, nix::sys::signal::Signal::SIGSTOP);
    let incident = supervisor.wait_incident(0);
    assert_eq!(
        (incident.lost.as_slice(), incident.fault.kind.as_str()),
        (&["frozen".to_owned()][..], "hang")
    );
    supervisor.wait("another one", |supervisor| {
        let worker = supervisor.worker("frozen");
        (worker.phase == "running" && worker.pid != Some(before)).then_some(())
    });
    assert_eq!(supervisor.worker("asleep").generation, 1, "four of its heartbeats have passed");
    supervisor.stop();
}

#[test]
fn a_cell_that_is_suspended_and_hangs_ends_whole_and_comes_back() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER}, isolation: thread, cell: x }}\nworkers:\n  \
         watched: {{ worker: ticker, heartbeat: 3s }}\n  other: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_running();
    let before = supervisor.worker("watched").pid.expect("it runs");
    kill(before, Signal::SIGSTOP);
    let incident = supervisor.wait_incident(0);
    let mut lost = incident.lost.clone();
    lost.sort();
    assert_eq!((lost.join(" "), incident.fault.kind.as_str()), ("other watched".into(), "hang"));
    for name in ["watched", "other"] {
        supervisor.wait("it to run in another process", |supervisor| {
            let worker = supervisor.worker(name);
            (worker.phase == "running" && worker.pid != Some(before)).then_some(())
        });
    }
    assert!(!is_alive(before));
    assert_eq!(supervisor.worker("watched").abandoned, 0);
    supervisor.stop();
}

#[test]
fn a_suspended_cell_whose_worker_does_not_stop_in_time_ends_whole() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER}, isolation: thread, cell: x }}\nworkers:\n  \
         ordered: {{ worker: ticker, stop: {{ timeout: 100ms }} }}\n  other: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_running();
    let before = supervisor.worker("ordered").pid.expect("it runs");
    let _suspended = Stopped::new(before);
    supervisor.client.restart(&["ordered".into()], false).expect("ordered");
    for name in ["ordered", "other"] {
        supervisor.wait("it to run in another process", |supervisor| {
            let worker = supervisor.worker(name);
            (worker.phase == "running" && worker.pid.is_some_and(|pid| pid != before)).then_some(())
        });
    }
    supervisor.stop();
}

/// A thread that traces a process and does not reap it after its death, like a debugger at its
/// prompt.
struct Tracer {
    end: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Tracer {
    fn attach(pid: i32) -> Self {
        Self::with(pid, 0)
    }

    /// One that holds the first thread of a process on its way out, while the others end.
    fn of_its_end(pid: i32) -> Self {
        Self::with(pid, libc::PTRACE_O_TRACEEXIT)
    }

    fn with(pid: i32, options: i32) -> Self {
        let (end, ended) = std::sync::mpsc::channel();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: the call has no memory effects in this process.
            let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, options) };
            begun.send(result).expect("a listener");
            let _ = ended.recv();
        });
        assert_eq!(has_begun.recv(), Ok(0), "it can be traced");
        Self { end, thread }
    }

    fn let_go(self) {
        drop(self.end);
        self.thread.join().expect("a tracer");
    }
}

#[test]
fn a_worker_that_dies_while_it_is_traced_is_restarted_and_the_loop_is_not_held() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER}, ready: {{ after: 0s }} }}\nworkers:\n  \
            traced: {{ command: [sleep, 1d] }}\n  good: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start_with(&yaml, &["--no-guardian"]);
    let pid = supervisor.wait_phase("traced", "running").pid.expect("it lives");
    let tracer = Tracer::attach(pid);
    kill(pid, Signal::SIGKILL);
    supervisor.wait_generation("traced", 2);
    let ending = supervisor.wait_incident(0).ending;
    assert_eq!(ending.signal.as_deref(), Some("SIGKILL"), "the process table tells");
    assert!(
        Path::new(&format!("/proc/{pid}")).exists(),
        "a zombie, as long as its tracer says nothing"
    );
    // A source that is always ready would turn the loop thousands of times.
    let turns = || supervisor.status().supervisor.turns.turns;
    let before = turns();
    supervisor.wait_progress(Some(&supervisor.status()));
    assert!(turns() - before < 1000, "{} turns", turns() - before);
    tracer.let_go();
    supervisor
        .wait("it to be reaped", |_| (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    supervisor.stop();
}

#[test]
fn none_vanishes_from_a_cell_whose_threads_end_one_after_the_other() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\ndefaults: {{ {EAGER} }}\nworkers:\n  \
         a: {{ worker: ticker, isolation: thread, cell: x, heartbeat: 2s }}\n  \
         b: {{ worker: ticker, isolation: thread, cell: x, heartbeat: 2s }}\n  \
         later: {{ worker: ticker, isolation: process, heartbeat: 5s }}\n"
    );
    let supervisor = bed.start(&yaml);
    let [_, _, pid] = ["b", "later", "a"].map(|name| supervisor.wait_phase(name, "running").pid);
    let pid = pid.expect("it runs");
    let tracer = Tracer::of_its_end(pid);
    kill(pid, Signal::SIGKILL);
    supervisor.wait("the first thread alone", |_| {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        (threads.count() == 1).then_some(())
    });
    // By then their signs of life were missed again and again.
    supervisor.client.inject("later", "hang").expect("ordered");
    supervisor.wait_generation("later", 2);
    tracer.let_go();
    let incidents = supervisor.wait("what has struck all", |supervisor| {
        let incidents = supervisor.incidents();
        let is_done = ["a", "b", "later"]
            .iter()
            .all(|name| incidents.iter().any(|known| known.lost.iter().any(|it| it == name)));
        is_done.then_some(incidents)
    });
    let of_cell = |incident: &&IncidentRecord| incident.lost != ["later"];
    let of_cell: Vec<_> = incidents.iter().filter(of_cell).collect();
    let [one] = of_cell.as_slice() else { panic!("one death: {incidents:#?}") };
    assert_eq!(one.lost, ["a", "b"], "{incidents:#?}");
    assert_eq!(one.ending.signal.as_deref(), Some("SIGKILL"), "{incidents:#?}");
    supervisor.stop();
}

#[test]
fn no_worker_is_launched_into_a_cell_that_is_dying() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\n\
         defaults: {{ {EAGER}, isolation: thread, cell: x }}\nworkers:\n  \
         hangs: {{ worker: ticker, heartbeat: 2s, on_hang: recycle }}\n  \
         restless: {{ worker: file-hasher, args: {{ directory: /nowhere }}, restart: {{ policy: \
         on-failure, backoff: {{ initial: 100ms, max: 100ms, jitter: 0 }}, limit: {{ restarts: \
         1000, within: 60s }} }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    let before = supervisor.wait_phase("hangs", "running").pid.expect("it runs");
    // Between its death and the moment at which that is known.
    let tracer = Tracer::attach(before);
    supervisor.client.inject("hangs", "hang").expect("ordered");
    supervisor.wait("its successor", |supervisor| {
        let worker = supervisor.worker("hangs");
        (worker.phase == "running" && worker.pid.is_some_and(|pid| pid != before)).then_some(())
    });
    tracer.let_go();
    let written = std::fs::read_to_string(bed.path("state/incidents.jsonl")).unwrap_or_default();
    let failed: Vec<&str> =
        written.lines().filter(|line| line.contains("launch-failure")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    supervisor.stop();
}

#[test]
fn workers_die_and_come_back_while_the_guardian_is_stopped() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER}, ready: {{ after: 0s }} }}\nworkers:\n  \
            a: {{ command: [sleep, 1d] }}\n  good: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_phase("a", "running");
    let suspended = Stopped::new(supervisor.child_pid());
    // Longer than its queue: in the end the guardian neither keeps nor releases anything.
    for generation in 1..=8 {
        let pid = supervisor.wait("it to run", |supervisor| {
            let worker = supervisor.worker("a");
            (worker.generation >= generation && worker.phase == "running")
                .then_some(worker.pid)
                .flatten()
        });
        kill(pid, Signal::SIGKILL);
    }
    supervisor.wait_generation("a", 9);
    let before = supervisor.status();
    supervisor.wait_progress(Some(&before));
    drop(suspended);
    supervisor.stop();
}

#[test]
fn a_real_time_signal_is_a_death_like_any_other() {
    let bed = Bed::new();
    // Two orphans: the one that died of the signal is first in the kernel's list, and would hide
    // the other.
    let orphans = "(sh -c 'echo a >> died; kill -40 $$' &); sleep 0.1; (sh -c 'echo b >> died' \
        &); exec sleep 1d";
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER}, ready: {{ after: 0s }} }}\nworkers:\n  \
            parent: {{ command: [sh, -c, {}], cwd: {:?} }}\n  \
         w: {{ command: [sh, -c, 'kill -41 $$'], restart: never }}\n",
        serde_json::to_string(orphans).expect("a string"),
        bed.directory.path(),
    );
    for options in [&["--no-guardian"][..], &[]] {
        let _ = fs::remove_file(bed.path("died"));
        let supervisor = bed.start_with(&yaml, options);
        let ending = supervisor.wait("an ending", |supervisor| supervisor.worker("w").ending);
        assert_eq!(
            (ending.status.as_str(), ending.signal.as_deref()),
            ("signal", Some("signal 41"))
        );
        supervisor.wait("two orphans", |_| {
            (fs::read_to_string(bed.path("died")).ok()?.lines().count() == 2).then_some(())
        });
        let own = supervisor.status().supervisor.pid;
        supervisor.wait("them to be reaped", |_| (zombies_of(own) == 0).then_some(()));
        supervisor.stop();
    }
}

fn zombies_of(parent: i32) -> usize {
    let stats = fs::read_dir("/proc").expect("/proc").flatten();
    let stats = stats.filter_map(|entry| fs::read(entry.path().join("stat")).ok());
    let is_one = |stat: &Vec<u8>| {
        let stat = String::from_utf8_lossy(stat).into_owned();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(&format!(" Z {parent} ")))
    };
    stats.filter(is_one).count()
}
