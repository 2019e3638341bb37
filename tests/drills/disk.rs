//! `fill:`: the disk of a run is full, and that of no other.

use std::process::Command;

use crate::harness::skip::lacks_root;
use crate::harness::{self, Bed, program, text};
use crate::{beside_others, command, run};

/// A worker that writes, and ends where it cannot; two that do not. `lost`: by the full disk.
fn scenario(lost: &str) -> String {
    format!(
        "version: 1
scenario: a full disk costs the one that must write, and no other
configuration:
  defaults: {{ restart: {{ backoff: {{ initial: 2s, max: 2s }}, limit: {{ restarts: 1000, within: 60s }} }} }}
  workers:
    ledger:
      command: [sh, -c, 'while head -c 8192 /dev/zero >> \"$SUPERVISORD_RS_TRIAL/ledger\"; do sleep 0.05; done; exit 28']
      ready: {{ after: 500ms }}
    index: {{ worker: ticker }}
    thread: {{ worker: ticker, isolation: thread }}
steps:
  - wait: {{ running: all }}
  - mark: before
  - fill: disk
  - expect:
      lost: [{lost}]
      supervisor: alive
      phase: {{ ledger: backoff }}
      incident: {{ worker: ledger, exit: 28 }}
      within: 60s
  - fill: nothing
  - wait: {{ running: [ledger], within: 60s }}
  - wait: {{ for: 1s }}
  - mark: after
  - wait: {{ progress: {{ index: 5, thread: 5 }}, within: 60s }}
  - expect: {{ lost: [], phase: {{ ledger: running }}, incident: none, silent_damage: none, within: 60s }}
"
    )
}

#[test]
fn a_full_disk_costs_the_one_that_must_write_and_is_gone_with_the_run() {
    if lacks_root() {
        return;
    }
    let bed = Bed::new();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let (code, told) = run(&bed, &scenario("ledger"));
    assert_eq!(code, Some(0), "{told}");
    let tmp = bed.path("tmp").display().to_string();
    assert!(!mounts().contains(&tmp), "{}", mounts());
}

#[test]
fn a_scenario_that_expects_a_full_disk_to_cost_nothing_fails() {
    if lacks_root() {
        return;
    }
    let bed = Bed::new();
    let (code, told) = run(&bed, &scenario(""));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("expected: lost: none") && told.contains("lost: ledger"), "{told}");
}

#[test]
fn a_kept_directory_has_what_was_on_the_disk() {
    if lacks_root() {
        return;
    }
    let _others = beside_others();
    let bed = Bed::new();
    bed.write("drill.yaml", &scenario("ledger"));
    let output = command(&bed, &["run", "drill.yaml", "--keep"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(bed.processes(), Vec::<i32>::new());
    let kept: Vec<_> = std::fs::read_dir(bed.path("tmp")).expect("readable").flatten().collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].path().join("supervisor.log").exists());
    assert!(!kept[0].path().join("filler").exists(), "what filled it is no part of it");
}

#[test]
fn a_drill_that_is_killed_leaves_no_disk() {
    if lacks_root() {
        return;
    }
    let _others = beside_others();
    let bed = Bed::new();
    bed.write("drill.yaml", &scenario("ledger").replace("for: 1s", "for: 60s"));
    for signal in [nix::sys::signal::Signal::SIGKILL, nix::sys::signal::Signal::SIGTERM] {
        let mut child = command(&bed, &["run", "drill.yaml"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the program runs");
        let writes = |pid: &i32| {
            let stat = supervisord_rs::process_table::stat(*pid);
            stat.is_some_and(|stat| ["head", "sleep"].contains(&stat.name_lossy().as_ref()))
        };
        bed.wait("the ledger to be written", || bed.processes().iter().any(writes).then_some(()));
        harness::kill(child.id() as i32, signal);
        child.wait().expect("our child");
        bed.wait("nothing to be left", || {
            let is_empty = std::fs::read_dir(bed.path("tmp")).expect("readable").count() == 0;
            (bed.processes().is_empty() && is_empty).then_some(())
        });
    }
}

#[test]
fn without_the_right_it_is_refused_before_anything_is_broken() {
    const NOBODY: u32 = 65534;
    if lacks_root() {
        return;
    }
    let bed = Bed::new();
    bed.write("drill.yaml", &scenario("ledger"));
    bed.give_to(NOBODY);
    let mut command = Command::new("setpriv");
    let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    let output = command
        .args(ids)
        .arg("--clear-groups")
        .arg(bed.path("supervisord-rs"))
        .args(["drill", "run", "drill.yaml"])
        .envs(program().get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TMPDIR", bed.directory.path())
        .current_dir(bed.directory.path())
        .output()
        .expect("setpriv");
    let told = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("UNSTEADY") && told.contains("run the drill as root"), "{told}");
}
