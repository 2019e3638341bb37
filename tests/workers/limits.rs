//! Limits of cgroups: enforced where this machine delegates the controllers, and refused in plain
//! words where not. The kernel's view of the test's own cgroup decides which of the two the tests
//! assert; where it is the refusal, they say so (`NOTE`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::skip::note;
use crate::harness::{Bed, EAGER, Supervisor, cgroups, find, kill, text};
use nix::sys::signal::Signal;

/// Allocates memory and touches it, ten megabytes at a time, endlessly.
const EATER: &str = include_str!("../fixtures/eater.py");

/// The directory of this test's cgroup (version 2), and the mount point above it.
fn own_cgroup() -> Option<(PathBuf, PathBuf)> {
    Some((cgroups::mount()?, cgroups::of(std::process::id().cast_signed())?))
}

fn words(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// Whether a cgroup belongs to no unit of systemd, or to one that was delegated.
fn is_given(cgroup: &Path) -> bool {
    let name = |path: &&Path| {
        path.extension().is_some_and(|end| end == "service" || end == "scope" || end == "slice")
    };
    let Some(unit) = cgroup.ancestors().find(name) else { return true };
    let unit = std::ffi::CString::new(unit.as_os_str().as_encoded_bytes()).expect("no NUL byte");
    let mut value = [0_u8; 1];
    // SAFETY: both names are C strings, and one byte at most is written to where there is one.
    let length = unsafe {
        nix::libc::getxattr(
            unit.as_ptr(),
            c"user.delegate".as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    length == 1 && value == *b"1"
}

/// Reports that only the refusal was tested.
#[track_caller]
fn lacks_controllers() {
    note(
        "no controllers are delegated here: launches are refused, as tested; systemd's check \
         13-controllers tests the limits",
    );
}

/// A cgroup for one supervisor, with the controllers delegated to it; `None` where this machine
/// does not delegate them.
struct Ground(PathBuf);

impl Ground {
    fn new(name: &str) -> Option<Self> {
        let (mount, own) = own_cgroup()?;
        let wanted = ["memory", "cpu", "pids"];
        let has =
            |path: &Path| wanted.iter().all(|name| words(path).iter().any(|there| there == name));
        if !has(&own.join("cgroup.controllers")) {
            return None;
        }
        // Beside this test's own cgroup, since that has a process (the test); below it where it is
        // the root, which may have processes and children.
        let parent = if own == mount { mount } else { own.parent()?.to_path_buf() };
        if !has(&parent.join("cgroup.subtree_control")) || !is_given(&parent) {
            return None;
        }
        let path = parent.join(format!("supervisord-rs-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    /// Starts a supervisor there: the child moves itself between fork and exec.
    fn start<'a>(&self, bed: &'a Bed, yaml: &str, options: &[&str]) -> Supervisor<'a> {
        use std::os::unix::process::CommandExt;
        let file = bed.write("supervisord-rs.yaml", yaml);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(bed.path("supervisor.log"))
            .expect("a log");
        let mut command = bed.command(&["run", "-c"]);
        command
            .arg(file)
            .args(options)
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let procs = fs::File::options()
            .write(true)
            .open(self.0.join("cgroup.procs"))
            .expect("cgroup.procs");
        // SAFETY: write(2) is async-signal-safe; 0 stands for the writing process (cgroups(7)).
        unsafe {
            command.process_group(0).pre_exec(move || {
                use std::io::Write;
                (&procs).write_all(b"0")
            });
        }
        bed.attach(command)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for below in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(below.path());
        }
        let removed = fs::remove_dir(&self.0);
        assert!(
            removed.is_ok() || std::thread::panicking(),
            "left in {}: {removed:?}",
            self.0.display()
        );
    }
}

fn leaf(pid: i32) -> PathBuf {
    let (mount, _) = own_cgroup().expect("cgroup v2");
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a live process");
    mount.join(cgroup.lines().find_map(|line| line.strip_prefix("0::/")).expect("cgroup v2"))
}

fn content(path: PathBuf) -> String {
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}

const YAML: &str = include_str!("../fixtures/limits.yaml");

#[test]
fn limits_hold_or_the_launch_is_refused() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    bed.write("eater.py", EATER);
    let yaml = YAML.replace("EAGER", EAGER);
    match Ground::new("hold") {
        Some(ground) => enforced(&ground, &bed, &yaml.replace(", memory_high: 60MiB", "")),
        None => {
            refused(&bed, &yaml);
            lacks_controllers();
        }
    }
}

fn enforced(ground: &Ground, bed: &Bed, yaml: &str) {
    let supervisor = ground.start(bed, yaml, &[]);
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.fault.kind.as_str(), "out-of-memory", "{incident:?}");
    assert_eq!(
        (incident.worker.as_deref(), incident.lost.as_slice()),
        (Some("eater"), ["eater".to_owned()].as_slice())
    );
    assert!(
        incident.ending.message.as_deref().is_some_and(|message| message.contains("65536 KiB")),
        "{incident:?}"
    );
    let worker = supervisor.wait("the eater to be back", |supervisor| {
        let worker = supervisor.worker("eater");
        (worker.phase == "running" && worker.restarts > 0).then_some(worker)
    });
    let status = supervisor.status();
    for innocent in ["other", "boxed"] {
        assert_eq!(find(&status, innocent).restarts, 0, "{innocent} lost nothing");
    }
    // The limits in the kernel's own files.
    let limits = worker.limits.expect("limits are shown");
    assert_eq!(
        (limits.memory, limits.cpu_percent, limits.pids),
        (Some(64 << 20), Some(50), Some(16))
    );
    assert_eq!(limits.cpu_weight, Some(60));
    let cell = leaf(find(&status, "boxed").pid.expect("running"));
    assert_eq!(content(cell.join("memory.max")), (64_u64 << 20).to_string());
    assert_eq!(content(cell.join("pids.max")), "40");
    let eater = supervisor.wait("a live eater", |supervisor| {
        let pid = supervisor.worker("eater").pid?;
        let leaf = leaf(pid);
        let file = |name: &str| fs::read_to_string(leaf.join(name)).ok();
        assert_eq!(file("cpu.weight")?, "60\n");
        Some((file("memory.max")?, file("cpu.max")?, file("pids.max")?, file("memory.oom.group")?))
    });
    let expected = ((64_u64 << 20).to_string() + "\n", "50000 100000\n", "16\n", "1\n");
    assert_eq!(eater, (expected.0, expected.1.into(), expected.2.into(), expected.3.into()));
    // Killed by a person: another cause, since the counter has not changed.
    let known = supervisor.incidents().len();
    kill(find(&status, "boxed").pid.expect("running"), Signal::SIGKILL);
    let killed = supervisor.wait("the cell's end", |supervisor| {
        let all = supervisor.client.incidents(1000).ok()?;
        all.into_iter().find(|incident| incident.domain == "box")
    });
    assert_eq!(killed.fault.kind.as_str(), "killed", "{killed:?} after {known}");
    supervisor.stop();
}

/// The same without the patience of [`EAGER`]: a launch that is refused is refused again at once.
fn tired(yaml: &str) -> String {
    yaml.replace("limit: { restarts: 1000000", "limit: { restarts: 2")
}

fn refused(bed: &Bed, yaml: &str) {
    let supervisor = bed.start(&tired(yaml));
    for name in ["eater", "boxed"] {
        let worker = supervisor.wait_phase(name, "quarantined");
        let ending = worker.ending.expect("an ending");
        assert_eq!(
            (ending.status.as_str(), ending.cause.as_str()),
            ("not-launched", "launch-failure")
        );
        let message = ending.message.expect("a message");
        assert!(message.starts_with("cannot enforce its limits: "), "{message}");
        let says_what_to_do =
            ["Delegate=yes", "unified_cgroup_hierarchy", "cgroup.subtree_control"]
                .iter()
                .any(|words| message.contains(words));
        assert!(says_what_to_do, "{message}");
        // One of a worker with output is listed when its last lines are known.
        let incidents = supervisor.wait("its incident", |supervisor| {
            let mut incidents = supervisor.incidents();
            incidents.retain(|incident| incident.worker.as_deref() == Some(name));
            (!incidents.is_empty()).then_some(incidents)
        });
        let counts: Vec<_> = incidents.iter().map(|incident| incident.count).collect();
        assert_eq!(counts, [3], "one incident of all attempts: {incidents:#?}");
    }
    let other = supervisor.worker("other");
    assert_eq!((other.phase.as_str(), other.restarts), ("running", 0));
    supervisor.stop();
}

#[test]
fn without_cgroups_a_limit_is_refused_and_what_has_none_runs() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
                limited: { command: [sleep, 1d], limits: { pids: 4 }, restart: never }\n  \
                free: { command: [sleep, 1d], limits: { open_files: 100 } }\n";
    let supervisor = bed.start_in(yaml, &[], &[("SUPERVISORD_RS_CGROUPS", "off")]);
    supervisor.wait_phase("free", "running");
    let ending = supervisor.wait("the refusal", |supervisor| supervisor.worker("limited").ending);
    let message = ending.message.expect("a message");
    assert!(message.contains("cgroups are switched off"), "{message}");
    assert_eq!(supervisor.worker("free").limits, None, "only cgroups are told of");
    supervisor.stop();
}

#[test]
fn a_supervisor_in_a_cgroup_of_its_own_moves_below_and_leaves_it_as_it_was() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
                w: { command: [sleep, 1d], limits: { memory: 32MiB, cpu: 50%, pids: 8 } }\n";
    let Some(ground) = Ground::new("move") else {
        // Where it may not delegate controllers, it stays where it is.
        let supervisor = bed.start(yaml);
        let ending = supervisor.wait("the refusal", |supervisor| supervisor.worker("w").ending);
        assert_eq!(ending.cause, "launch-failure");
        let own = own_cgroup().map(|(_, own)| own);
        assert!(own.is_none_or(|own| leaf(supervisor.status().supervisor.pid) == own));
        supervisor.stop();
        lacks_controllers();
        return;
    };
    for options in [&[] as &[&str], &["--no-guardian"]] {
        let supervisor = ground.start(&bed, yaml, options);
        let worker = supervisor.wait_phase("w", "running");
        let status = supervisor.status();
        for pid in [Some(status.supervisor.pid), status.supervisor.guardian].into_iter().flatten() {
            assert_eq!(leaf(pid), ground.0.join("supervisor"));
        }
        assert_eq!(fs::read_to_string(ground.0.join("cgroup.procs")).expect("its processes"), "");
        let first = leaf(worker.pid.expect("running"));
        assert_eq!(first.parent().and_then(Path::parent), Some(ground.0.as_path()));
        // Its successor, which starts below, finds the same cgroup.
        if status.supervisor.guardian.is_some() {
            kill(status.supervisor.pid, Signal::SIGKILL);
            let successor = supervisor.wait("a successor", |supervisor| {
                let now = supervisor.client.status().ok()?;
                (now.supervisor.pid != status.supervisor.pid && find(&now, "w").phase == "running")
                    .then_some(now)
            });
            let second = leaf(find(&successor, "w").pid.expect("running"));
            assert_eq!(second.parent(), first.parent());
            assert_eq!(content(second.join("memory.max")), (32_u64 << 20).to_string());
        }
        supervisor.stop();
    }
}

#[test]
fn one_with_a_lower_weight_gets_less_of_its_processor() {
    let bed = Bed::new();
    let burner = |weight: u32| {
        format!(
            "{{ worker: cpu-burner, cpus: [0], limits: {{ cpu_weight: {weight} }}, restart: never }}"
        )
    };
    let yaml = format!("version: 1\nworkers:\n  much: {}\n  little: {}\n", burner(200), burner(20));
    let Some(ground) = Ground::new("weight") else {
        let supervisor = bed.start(&yaml);
        for name in ["much", "little"] {
            let ending =
                supervisor.wait("the refusal", |supervisor| supervisor.worker(name).ending);
            let message = ending.message.expect("a message");
            assert!(message.starts_with("cannot enforce its limits: "), "{message}");
        }
        supervisor.stop();
        lacks_controllers();
        return;
    };
    let supervisor = ground.start(&bed, &yaml, &[]);
    let status = supervisor.wait_running();
    let used = || {
        ["much", "little"].map(|name| {
            let file = leaf(find(&status, name).pid.expect("running")).join("cpu.stat");
            let text = content(file);
            let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
            used.and_then(|used| used.parse::<u64>().ok()).expect("microseconds")
        })
    };
    let first = used();
    let [much, little] = supervisor.wait("both to have run", |_| {
        let now = used();
        let grown = [now[0] - first[0], now[1] - first[1]];
        (grown[0] + grown[1] > 800_000).then_some(grown)
    });
    assert!(much > 3 * little, "ten times the weight: {much} and {little} us");
    supervisor.stop();
}

/// Waits for a signal, and then allocates.
const PATIENT: &str = include_str!("../fixtures/patient.py");

#[test]
fn limits_hold_for_an_adopted_worker_and_are_refused_where_they_never_held() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    bed.write("patient.py", &format!("{PATIENT}{EATER}"));
    let yaml = format!(
        "version: 1\nsupervisor: {{ on_death: keep }}\n\
            defaults: {{ ready: {{ after: 0s }}, {EAGER} }}\nworkers:\n  \
         eater: {{ command: [python3, patient.py], cwd: ., limits: {{ memory: 64MiB, cpu: 100%, \
         pids: 9 }} }}\n  \
         other: {{ command: [sleep, 1d] }}\n"
    );
    let Some(ground) = Ground::new("adopt") else {
        let supervisor = bed.start(&tired(&yaml));
        let ending = supervisor.wait_phase("eater", "quarantined").ending.expect("an ending");
        assert!(
            ending
                .message
                .is_some_and(|message| message.starts_with("cannot enforce its limits: "))
        );
        let other = supervisor.wait_phase("other", "running");
        kill(supervisor.status().supervisor.pid, Signal::SIGKILL);
        supervisor.wait("the other to be kept", |supervisor| {
            let status = supervisor.client.status().ok()?;
            (find(&status, "other").pid == other.pid).then_some(())
        });
        supervisor.stop();
        lacks_controllers();
        return;
    };
    let supervisor = ground.start(&bed, &yaml, &[]);
    let before = supervisor.wait_running();
    let pid = find(&before, "eater").pid.expect("running");
    // Before its handler is installed, the signal would end it.
    supervisor.wait("python to wait", |_| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & 1 << (nix::libc::SIGUSR1 - 1) != 0).then_some(())
    });
    let place = leaf(pid);
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(
        (find(&after, "eater").pid, leaf(pid)),
        (Some(pid), place.clone()),
        "it was taken over"
    );
    assert_eq!(content(place.join("memory.max")), (64_u64 << 20).to_string());
    let other = find(&after, "other").pid;
    kill(pid, Signal::SIGUSR1);
    let incident = supervisor.wait("the eater's incident", |supervisor| {
        let all = supervisor.client.incidents(1000).ok()?;
        all.into_iter().find(|incident| incident.worker.as_deref() == Some("eater"))
    });
    assert_eq!(incident.fault.kind, "out-of-memory", "{incident:?}");
    assert_eq!(supervisor.worker("other").pid, other, "no other worker was affected");
    supervisor.stop();
}

#[test]
fn limits_that_make_no_sense_are_refused_with_their_place() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    let yaml = "version: 1\ncells: { box: { limits: { cpu: half }, cwd: / } }\nworkers:\n  \
                a: { command: [sleep, 1d], limits: { memory: 256, memory_high: 2MiB, cpu: 0.5, \
                pids: 0 } }\n  \
                b: { command: [sleep, 1d], limits: { memory: 2MiB, memory_high: 3MiB, io: { sda: \
                { read_bytes: 1MiB }, /dev/sda: { reads: 5 } } } }\n  \
                c: { worker: ticker, isolation: thread, limits: { memory: 2MiB } }\n";
    let file = bed.write("bad.yaml", yaml);
    let output = bed.verb(&["check", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(78));
    let message = text(&output.stderr);
    for words in [
        "cells.box.limits.cpu: invalid value `half`",
        "cells.box.cwd: this key is not supported yet",
        "workers.a.limits.memory: 256 bytes are too few for any program",
        "workers.a.limits.cpu: invalid value `0.5`",
        "workers.a.limits.pids",
        "workers.b.limits.memory_high: `memory_high` is above `memory`, and would never be reached",
        "workers.b.limits.io.sda: `sda` is not the path of a device",
        "reads",
        "workers.c.limits: a thread has the limits of its process",
        "cells: { NAME: { limits: ... } }",
    ] {
        assert!(message.contains(words), "`{words}` is not in:\n{message}");
    }
}

#[test]
fn unlimited_cancels_a_limit_of_the_defaults() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s }, limits: { memory: 64MiB, pids: 8 } \
        }\nworkers:\n  \
                free: { command: [sleep, 1d], limits: { memory: unlimited, pids: unlimited } }\n  \
                thread: { worker: ticker, isolation: thread }\n";
    let supervisor = bed.start(yaml);
    assert_eq!(supervisor.wait_phase("free", "running").limits, None);
    supervisor.wait_phase("thread", "running");
    supervisor.stop();
}

#[test]
fn an_end_at_once_under_limits_that_are_too_small_is_said_to_be_theirs() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\ndefaults: { restart: never, ready: { after: 1h } }\nworkers:\n  \
         small: { command: [sleep, 1d], limits: { stack: 4KiB } }\n  \
         full: { command: [sh, -c, 'head -c 9000 /dev/zero > file'], cwd: ., limits: { file_size: \
         1KiB } }\n  \
         other: { command: [sh, -c, 'exit 127'], limits: { stack: 8MiB } }\n",
    );
    for (name, why) in [
        ("small", Some("most likely its `limits: { stack: 4KiB }` are too small to start it")),
        ("full", Some("it has used up its limit `file_size`")),
        ("other", None),
    ] {
        supervisor.wait_phase(name, "finished");
        let ending = supervisor.worker(name).ending.expect("it has ended");
        assert_eq!(ending.message.as_deref(), why, "{name}: {ending:?}");
    }
    let incident =
        supervisor.incidents().into_iter().find(|it| it.worker.as_deref() == Some("small"));
    let sentence = incident.expect("of it").sentence;
    assert!(sentence.contains("limits: { stack: 4KiB }"), "{sentence}");
    supervisor.stop();
}
