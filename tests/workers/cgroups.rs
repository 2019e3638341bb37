//! What a worker, or somebody else, does to its cgroup holds no successor up and hides no process.

use std::path::PathBuf;

use crate::harness::{Bed, Supervisor};
use crate::process_trees::{lacks_cgroup, sleepers, sleepers_at_once};

/// The directory of the cgroup that a worker lives in; `None`: not one of the supervisor's.
fn leaf(supervisor: &Supervisor<'_>, worker: &str) -> Option<PathBuf> {
    let pid = supervisor.worker(worker).pid.expect("running");
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("readable");
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).expect("version 2");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("version 2");
    let mount = PathBuf::from(mount.split(' ').nth(4).expect("a mount point"));
    path.contains("/supervisord-rs-").then(|| mount.join(path.trim_start_matches('/')))
}

const PLAIN: &str = "version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s }, \
                     restart: { backoff: { initial: 0s } } }\n";

#[test]
fn a_removed_cgroup_is_made_again() {
    let bed = Bed::new();
    let supervisor = bed.start(PLAIN);
    supervisor.wait_phase("w", "running");
    let Some(before) = leaf(&supervisor, "w") else {
        lacks_cgroup();
        supervisor.stop();
        return;
    };
    for parents_too in [false, true] {
        supervisor.client.stop(&["w".into()], true).expect("stopped");
        supervisor.bed.wait("the leaf to be empty", || {
            std::fs::remove_dir(&before).ok().or((!before.exists()).then_some(()))
        });
        if parents_too {
            std::fs::remove_dir(before.parent().expect("ours")).expect("empty");
        }
        supervisor.client.start(&["w".into()], true).expect("started");
        assert_eq!(supervisor.worker("w").phase, "running");
        assert_eq!(leaf(&supervisor, "w").as_deref(), Some(before.as_path()), "in ours");
    }
    supervisor.stop();
}

/// Linux 6.12 and later kill what is born in a cgroup that was killed as a whole.
#[test]
fn one_whose_cgroup_somebody_kills_is_started_again() {
    let bed = Bed::new();
    let supervisor = bed.start(PLAIN);
    supervisor.wait_phase("w", "running");
    if leaf(&supervisor, "w").is_none() {
        lacks_cgroup();
        supervisor.stop();
        return;
    }
    for generation in 1..4 {
        let leaf = leaf(&supervisor, "w").expect("ours");
        std::fs::write(leaf.join("cgroup.kill"), "1").expect("killed");
        supervisor.wait("its successor", |supervisor| {
            let worker = supervisor.worker("w");
            (worker.phase == "running" && worker.generation > generation).then_some(())
        });
    }
    let incidents = supervisor.incidents();
    let sentences: Vec<&str> = incidents.iter().map(|one| one.sentence.as_str()).collect();
    assert_eq!(sentences.len(), 3, "each death is one incident: {sentences:?}");
    assert!(sentences.iter().all(|sentence| sentence.contains("SIGKILL")), "{sentences:?}");
    supervisor.stop();
}

/// Bounds, an owner, a mode: none of them is there for the next incarnation to find.
#[test]
fn what_one_incarnation_did_to_its_cgroup_ends_with_it() {
    let bed = Bed::new();
    let supervisor = bed.start(PLAIN);
    supervisor.wait_phase("w", "running");
    if leaf(&supervisor, "w").is_none() {
        lacks_cgroup();
        supervisor.stop();
        return;
    }
    let spoil: [fn(&PathBuf); 4] = [
        |leaf| std::fs::write(leaf.join("cgroup.max.descendants"), "0").expect("written"),
        |leaf| std::fs::write(leaf.join("cgroup.max.depth"), "0").expect("written"),
        |leaf| std::os::unix::fs::chown(leaf, Some(65534), None).expect("given away"),
        |leaf| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(leaf, PermissionsExt::from_mode(0o777)).expect("opened");
        },
    ];
    for spoil in spoil {
        spoil(&leaf(&supervisor, "w").expect("ours"));
        supervisor.client.restart(&["w".into()], true).expect("restarted");
        let leaf = leaf(&supervisor, "w").expect("ours");
        std::fs::create_dir(leaf.join("below")).expect("as many as one likes");
        std::fs::remove_dir(leaf.join("below")).expect("empty");
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(&leaf).expect("there");
        let ours = std::fs::metadata(leaf.parent().expect("ours")).expect("there");
        assert_eq!((found.uid(), found.mode()), (ours.uid(), ours.mode()));
    }
    supervisor.stop();
}

/// A readiness probe starts processes in the cgroup of a worker that is just dying, one after the
/// other: it leaves with the whole of its incarnation, and no two of them are there at once.
#[test]
fn probes_of_one_that_dies_hide_none_of_its_processes() {
    if crate::harness::hides_cgroups() {
        return;
    }
    let bed = Bed::new();
    bed.write(
        "worker.py",
        r#"import os, signal, subprocess, sys, time
relative = [l for l in open("/proc/self/cgroup") if l.startswith("0::")][0][3:].strip()
mount = [l.split()[4] for l in open("/proc/self/mountinfo") if " - cgroup2 " in l][0]
below = mount + relative + "/below"
try:
    os.mkdir(below)
    child = subprocess.Popen(["sleep", "30303"], start_new_session=True)
    open(below + "/cgroup.procs", "w").write(str(child.pid))
except OSError as error:
    print(error, flush=True)
time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"#,
    );
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    command: [python3, {}]\n    start_before: ['true']\n    \
         ready: {{ exec: ['false'], every: 10ms }}\n    \
         restart: {{ policy: always, limit: {{ restarts: 10000, within: 1s }}, \
         backoff: {{ initial: 1ms, max: 1ms }} }}\n",
        bed.path("worker.py").display()
    );
    let supervisor = bed.start(&yaml);
    let most = std::cell::Cell::new(0);
    supervisor.wait("fifty incarnations", |supervisor| {
        most.set(most.get().max(sleepers_at_once("30303")));
        (supervisor.worker("w").generation >= 50).then_some(())
    });
    supervisor.client.stop(&["w".into()], true).expect("stopped");
    // What the kernel has killed takes a moment to go.
    supervisor.wait("the last one to end", |_| (sleepers("30303") == 0).then_some(()));
    assert!(most.get() <= 1, "two incarnations at once");
    supervisor.stop();
}
