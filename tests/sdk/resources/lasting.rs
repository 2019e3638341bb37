//! What workers share outlives the supervisor, and a reload that does not change it.

use std::sync::atomic::{AtomicU64, Ordering};

use workers::{Context, Registry, WorkerError};

use crate::harness::Bed;
use crate::{PLACES, Test, command, start};

/// For `main`.
pub(crate) const TESTS: &[Test] = &[
    (
        "a_killed_supervisor_leaves_resources_as_they_were",
        a_killed_supervisor_leaves_resources_as_they_were,
    ),
    (
        "a_reload_makes_anew_what_has_another_definition_and_keeps_the_rest",
        a_reload_makes_anew_what_has_another_definition_and_keeps_the_rest,
    ),
];

/// Adds the workers of these tests.
pub(crate) fn register(registry: Registry) -> Registry {
    registry.function("rememberer", "counts its incarnations in a region; no args", remember)
}

/// Adds one to what it finds, and says so.
fn remember(context: &Context, (): ()) -> Result<(), WorkerError> {
    let memory = context.region("memory")?;
    // SAFETY: the memory begins at a page and has eight bytes at least; all who count there do so
    // by this atomic, and `memory` outlives it.
    let lives = unsafe { AtomicU64::from_ptr(memory.as_ptr().cast()) };
    // At once: others begin at the same time.
    let count = lives.fetch_add(1, Ordering::Relaxed) + 1;
    context.log_line(format!("life {count}"));
    context.wait_for_stop();
    Ok(())
}

fn remembers(size: &str, rest: &str) -> String {
    let workers: String = PLACES
        .into_iter()
        .enumerate()
        .map(|(index, place)| {
            format!("  w{index}: {{ worker: rememberer, {place}, uses: [memory] }}\n")
        })
        .collect();
    format!(
        "version: 1\nresources:\n  memory: {{ kind: region, size: {size} }}\n{rest}workers:\n\
         {workers}"
    )
}

/// The descriptors of resources that a process has open.
fn memfds(pid: i32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let names = links.map(|link| link.display().to_string());
    names.filter(|name| name.contains("memfd:supervisord-rs:region")).collect()
}

fn a_killed_supervisor_leaves_resources_as_they_were() {
    let bed = Bed::new();
    let supervisor = start(&bed, &remembers("4KiB", ""));
    supervisor.wait_running();
    supervisor.wait("three lives in one memory", |_| {
        let all: String = (0..3).map(|index| bed.output(&format!("w{index}"))).collect();
        ["life 1", "life 2", "life 3"].iter().all(|life| all.contains(life)).then_some(())
    });
    let before = supervisor.status().supervisor.pid;
    let killed = nix::unistd::Pid::from_raw(before);
    assert!(before > 1);
    nix::sys::signal::kill(killed, nix::sys::signal::Signal::SIGKILL).expect("our supervisor");
    supervisor.wait_successor(before);
    // The thread began again, and found what was there.
    supervisor.wait_output("w0", "life 4");
    supervisor.client.inject("w2", "exit").expect_err("not allowed");
    let output = command(&bed, &["restart", "w2"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    supervisor.wait_output("w2", "life 5");
    supervisor.stop();
}

fn a_reload_makes_anew_what_has_another_definition_and_keeps_the_rest() {
    let bed = Bed::new();
    let supervisor = start(&bed, &remembers("4KiB", ""));
    supervisor.wait_running();
    let generation = |name: &str| supervisor.worker(name).generation;
    let reload = |yaml: &str| {
        bed.write("supervisord-rs.yaml", yaml);
        let before = supervisor.status().supervisor.pid;
        let output = command(&bed, &["reload"]).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        supervisor.wait_successor(before);
        supervisor.wait_running();
    };
    // Another one beside it: processes do not notice.
    reload(&remembers("4KiB", "  more: { kind: semaphore, permits: 1 }\n"));
    supervisor.wait_output("w0", "life 4");
    assert_eq!((generation("w1"), generation("w2")), (1, 1));
    // Larger: it is another one, and all of its users begin again.
    reload(&remembers("8KiB", ""));
    let all = || -> String { (0..3).map(|index| bed.output(&format!("w{index}"))).collect() };
    supervisor.wait("a new memory", |_| {
        (all().matches("life 1\n").count() == 2 && all().matches("life 3\n").count() == 2)
            .then_some(())
    });
    assert_eq!((generation("w1"), generation("w2")), (2, 2));
    let inodes = |pid: i32| memfds(pid).len();
    // Of the first there is nothing left but in the cell, which maps it as long as it lives.
    let supervisor_pid = supervisor.status().supervisor.pid;
    supervisor.wait("the store and the supervisor to let go", |_| {
        (inodes(supervisor_pid) <= 3 && inodes(supervisor.child_pid()) == 1).then_some(())
    });
    let output = command(&bed, &["stop", "w0", "w1"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    reload("version: 1\nworkers: { w2: { worker: sleeper } }\n");
    let supervisor_pid = supervisor.status().supervisor.pid;
    supervisor.wait("nothing of it to be left", |_| {
        (inodes(supervisor_pid) == 0 && inodes(supervisor.child_pid()) == 0).then_some(())
    });
    supervisor.stop();
}
