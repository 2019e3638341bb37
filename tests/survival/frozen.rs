//! Frozen cgroups (`cgroup.freeze`, version 2): neither a launch nor a supervisor that starts waits
//! for one without saying so, and what is the supervisor's own is thawed when that helps.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{
    Bed, DEADLINE, EAGER, Supervisor, cgroups, is_alive, kill, kill_together, until,
};
use nix::sys::signal::Signal;

/// A cgroup that a test freezes, thawed at its end.
struct Freezing(PathBuf);

impl Freezing {
    /// Returns when all in it stand still: the order takes effect a moment later.
    fn freeze(cgroup: &Path) -> Self {
        fs::write(cgroup.join("cgroup.freeze"), "1").expect("ordered");
        let freezing = Self(cgroup.to_path_buf());
        let stands_still = || {
            let events = fs::read_to_string(cgroup.join("cgroup.events")).ok()?;
            events.contains("frozen 1").then_some(())
        };
        until(DEADLINE, stands_still).expect("frozen");
        freezing
    }

    fn is_frozen(&self) -> bool {
        fs::read_to_string(self.0.join("cgroup.freeze")).is_ok_and(|text| text.starts_with('1'))
    }

    fn thaw(&self) {
        let _ = fs::write(self.0.join("cgroup.freeze"), "0");
    }
}

impl Drop for Freezing {
    fn drop(&mut self) {
        self.thaw();
    }
}

/// The cgroup of a worker; `None`, and a reported skip, where it has none of its own.
fn leaf(supervisor: &Supervisor<'_>, worker: &str) -> Option<PathBuf> {
    let pid = supervisor.worker(worker).pid.expect("it runs");
    let leaf = cgroups::of(pid).filter(|leaf| leaf.to_string_lossy().contains("supervisord-rs-"));
    if leaf.is_none() {
        cgroups::skip_without();
    }
    leaf
}

fn parent(leaf: &Path) -> &Path {
    leaf.parent().expect("the cgroup of all workers")
}

/// One that ends in order says so.
const POLITE: &str = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done";

fn yaml() -> String {
    format!(
        "version: 1\nsupervisor: {{ watchdog: 4s }}\n\
            defaults: {{ {EAGER}, ready: {{ after: 0s }}, stop: {{ timeout: 200ms }} }}\n\
            workers:\n  \
         w: {{ command: [sh, -c, \"{POLITE}\"] }}\n  \
         sdk: {{ worker: ticker, isolation: process }}\n  other: {{ command: [sleep, 1d] }}\n"
    )
}

#[test]
fn a_launch_into_a_frozen_cgroup_says_which_and_goes_on_when_it_is_thawed() {
    let bed = Bed::new();
    let supervisor = bed.start(&yaml());
    supervisor.wait_running();
    let Some(leaf) = leaf(&supervisor, "w") else { return };
    let frozen = Freezing::freeze(parent(&leaf));
    supervisor.client.restart(&["w".into()], false).expect("ordered");
    let advice =
        format!("the cgroup {} is frozen: write 0 to its cgroup.freeze", frozen.0.display());
    supervisor.wait("both reasons", |supervisor| {
        let log = supervisor.bed.log();
        let is_told = |what: &str| log.lines().any(|l| l.contains(&advice) && l.contains(what));
        (is_told("it cannot stop by itself") && is_told("incident")).then_some(())
    });
    assert!(frozen.is_frozen(), "who freezes all workers while the supervisor runs has a reason");
    frozen.thaw();
    supervisor.wait_running();
    supervisor.stop();
}

#[test]
fn a_supervisor_that_starts_thaws_the_cgroup_of_its_workers_and_adopts_them() {
    let bed = Bed::new();
    let supervisor = bed.start(&yaml());
    let before = supervisor.wait_running();
    let Some(leaf) = leaf(&supervisor, "w") else { return };
    let frozen = Freezing::freeze(parent(&leaf));
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert!(!frozen.is_frozen(), "{}", bed.log());
    bed.wait_log("the cgroup of all workers was frozen");
    let pids = |status: &supervisord_rs::control::protocol::StatusReport| {
        status.workers.iter().map(|worker| worker.pid).collect::<Vec<_>>()
    };
    assert_eq!(pids(&after), pids(&before), "they were adopted");
    supervisor.wait_running();
    supervisor.stop();
}

#[test]
fn a_new_run_is_not_held_by_what_a_dead_one_left_frozen() {
    let bed = Bed::new();
    let mut supervisor = bed.start(&yaml());
    let before = supervisor.wait_running();
    let Some(leaf) = leaf(&supervisor, "w") else { return };
    let frozen = Freezing::freeze(parent(&leaf));
    kill_together(&mut supervisor, true);
    assert!(frozen.is_frozen(), "the dead run left it frozen");
    let next = bed.start(&yaml());
    next.wait_running();
    assert!(!frozen.is_frozen());
    let left = before.workers.iter().filter_map(|worker| worker.pid).filter(|pid| is_alive(*pid));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<i32>::new(), "of the dead run");
    next.stop();
}

#[test]
fn the_end_does_not_wait_for_a_frozen_cgroup() {
    let bed = Bed::new();
    let supervisor = bed.start(&yaml());
    supervisor.wait_running();
    let Some(leaf) = leaf(&supervisor, "w") else { return };
    let _frozen = Freezing::freeze(parent(&leaf));
    supervisor.stop();
    assert!(!parent(&leaf).exists(), "its cgroups are removed; {}", bed.log());
}

#[test]
fn a_worker_whose_own_cgroup_is_frozen_is_asked_to_stop_and_replaced_in_order() {
    let bed = Bed::new();
    let patient = yaml().replace("timeout: 200ms", "timeout: 1h");
    let supervisor = bed.start(&patient);
    let before = supervisor.wait_running();
    supervisor.wait_output("w", "up");
    let Some(first) = leaf(&supervisor, "w") else { return };
    let _frozen = Freezing::freeze(&first);
    supervisor.client.restart(&["w".into()], false).expect("ordered");
    supervisor.wait_output("w", "bye");
    supervisor.wait_generation("w", 2);
    supervisor.wait_running();
    // The next finds nothing of that: also where the frozen one was killed.
    let second = leaf(&supervisor, "w").expect("as before");
    let _frozen = Freezing::freeze(&second);
    kill(supervisor.worker("w").pid.expect("it runs"), Signal::SIGKILL);
    supervisor.wait_generation("w", 3);
    supervisor.wait_running();
    // One that is taken over stays frozen, and is asked as any other.
    let third = leaf(&supervisor, "w").expect("as before");
    let frozen = Freezing::freeze(&third);
    kill(before.supervisor.pid, Signal::SIGKILL);
    supervisor.wait_successor(before.supervisor.pid);
    assert!(frozen.is_frozen(), "it is not the supervisor's to thaw before it must act");
    supervisor.client.stop(&["w".into()], true).expect("stopped");
    supervisor.wait("its last word", |supervisor| {
        (supervisor.bed.output("w").matches("bye").count() == 2).then_some(())
    });
    supervisor.stop();
}

/// Freezes whatever cgroup a worker gets, again and again, until a process hangs in it that has not
/// executed its program yet.
fn freeze_at_birth(supervisor: &Supervisor<'_>, all: &Path) -> Freezing {
    supervisor.wait("a launch that hangs", |supervisor| {
        for entry in fs::read_dir(all).expect("readable").flatten() {
            if !entry.file_name().to_string_lossy().starts_with("worker-c") {
                continue;
            }
            let _ = fs::write(entry.path().join("cgroup.freeze"), "1");
            let pids = fs::read_to_string(entry.path().join("cgroup.procs")).unwrap_or_default();
            let is_unborn = |pid: &str| {
                let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                let own = fs::read_link(format!("/proc/{}/exe", supervisor.child.id()));
                own.is_ok_and(|own| own == exe)
            };
            if pids.lines().any(is_unborn) && supervisor.worker("c").phase == "launching" {
                return Some(Freezing(entry.path()));
            }
            // It was not caught, or after it had executed its program.
            let _ = fs::write(entry.path().join("cgroup.freeze"), "0");
        }
        None
    })
}

#[test]
fn a_launch_that_is_frozen_in_its_birth_holds_up_no_successor() {
    let bed = Bed::new();
    let yaml = format!(
        "{}  c: {{ command: [sh, -c, exit 1], ready: {{ after: 1h, timeout: 1h }} }}\n",
        yaml()
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_phase("other", "running");
    let Some(leaf) = leaf(&supervisor, "other") else { return };
    let _frozen = freeze_at_birth(&supervisor, parent(&leaf));
    let before = supervisor.status().supervisor.pid;
    kill(before, Signal::SIGKILL);
    supervisor.wait_successor(before);
    assert!(!bed.log().contains("another supervisor"), "{}", bed.log());
    supervisor.client.stop(&["c".into()], true).expect("stopped");
    supervisor.stop();
}
