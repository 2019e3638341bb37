//! What workers share under a name of POSIX (`by: posix`, `by: mqueue`): the same code of workers,
//! what those lose, and foreign programs that open the names.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::process::Output;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::fstat;
use nix::unistd::Pid;
use workers::shared::{Named, Space};
use workers::{Context, Registry, WorkerError};

use crate::harness::skip::{Lack, skip};
use crate::harness::{Bed, Supervisor, repository, text};
use crate::{PLACES, Test, command, start, start_with};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "posix_keeps_the_permit_of_the_dead_and_the_incident_says_so",
        posix_keeps_the_permit_of_the_dead_and_the_incident_says_so,
    ),
    (
        "posix_memory_is_the_same_after_a_kill_and_a_reload",
        posix_memory_is_the_same_after_a_kill_and_a_reload,
    ),
    (
        "posix_memory_that_is_made_shorter_ends_its_users_and_is_made_again",
        posix_memory_that_is_made_shorter_ends_its_users_and_is_made_again,
    ),
    ("posix_names_of_a_killed_run_are_made_again", posix_names_of_a_killed_run_are_made_again),
    ("posix_names_of_others_are_not_touched", posix_names_of_others_are_not_touched),
    ("posix_limits_of_the_machine_are_said", posix_limits_of_the_machine_are_said),
    (
        "posix_names_are_opened_by_python_with_posix_ipc",
        posix_names_are_opened_by_python_with_posix_ipc,
    ),
    (
        "a_program_in_c_has_semaphores_topics_and_queues",
        a_program_in_c_has_semaphores_topics_and_queues,
    ),
    (
        "what_python_has_when_it_dies_is_in_the_incident",
        what_python_has_when_it_dies_is_in_the_incident,
    ),
    (
        "python_needs_only_its_standard_library_for_descriptors",
        python_needs_only_its_standard_library_for_descriptors,
    ),
];

/// Adds a worker to those of `resources`.
pub(super) fn register(registry: Registry) -> Registry {
    registry.function("pricer", "publishes a price; no args", price)
}

fn price(context: &Context, (): ()) -> Result<(), WorkerError> {
    context.topic("price")?.publish(b"12", &context.until_stop())?;
    context.ready();
    context.wait_for_stop();
    Ok(())
}

const GATE: &str = "kind: semaphore, by: posix, on_owner_death: lose";
const MEMORY: &str = "kind: region, by: posix, sealed: false";

/// The name of POSIX of a resource that is made.
pub(super) fn name_of(supervisor: &Supervisor<'_>, resource: &str) -> String {
    supervisor.wait("its name", |supervisor| {
        let all = supervisor.status().resources;
        all.into_iter().find(|one| one.name == resource)?.posix_name
    })
}

fn is_there(space: Space, name: &str) -> Option<u64> {
    let found: OwnedFd = space.find(name).ok()?;
    fstat(&found).ok().map(|stat| stat.st_ino)
}

fn verb(bed: &Bed, arguments: &[&str]) -> Output {
    command(bed, arguments).output().expect("it runs")
}

fn kill_dead(pid: i32) {
    assert!(pid > 1, "{pid}");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("our own");
}

/// The taker sticks at its third order with a permit, and dies; another one of two is left.
fn posix_keeps_the_permit_of_the_dead_and_the_incident_says_so() {
    for place in PLACES {
        let bed = Bed::new();
        let uses = "uses: [jobs, gate, door, ledger, fresh, price]";
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources:\n  jobs: {{ \
                 kind: queue }}\n  gate: {{ {GATE}, permits: 2 }}\n  ledger: {{ {MEMORY}, size: \
                 4KiB, guarded_by: door }}\n  door: {{ kind: mutex }}\n  fresh: {{ kind: \
                 condition, mutex: door }}\n  price: {{ kind: topic, message: 64B }}\nworkers:\n  \
                 taker: {{ worker: order-taker, {place}, args: {{ fragile: true }}, restart: {{ \
                 backoff: {{ initial: 10ms }} }}, {uses} }}\n  maker: {{ worker: order-maker, args: {{ \
                 count: 5 }}, depends_on: [taker], uses: [jobs] }}\n"
            ),
        );
        supervisor.wait_output("taker", "stuck");
        let name = name_of(&supervisor, "gate");
        let before = is_there(Space::Semaphore, &name).expect("it has a name");
        if place == PLACES[0] {
            // A thread that is contained gives its permit back as it unwinds.
            let pid = supervisor.status().supervisor.pid;
            kill_dead(pid);
            supervisor.wait_successor(pid);
        } else {
            supervisor.wait_phase("taker", "running");
            supervisor.client.inject("taker", "abort").expect("a fault");
        }
        supervisor.wait("an incident that says so", |supervisor| {
            let all = supervisor.incidents();
            all.iter().any(|one| one.sentence.contains("1 permit of gate lost")).then_some(())
        });
        supervisor.wait_output("taker", "sum 15 count 5");
        assert_eq!(is_there(Space::Semaphore, &name), Some(before), "{place}");
        // The other permit is there, and no third one.
        let inner = format!(
            "{} resource acquire gate --timeout 50ms --socket {} -- true",
            std::env::current_exe().expect("this program").display(),
            bed.path("run/control.sock").display(),
        );
        let output = verb(&bed, &["resource", "acquire", "gate", "--", "sh", "-c", &inner]);
        let said = text(&output.stderr);
        assert!(said.contains("the wait has reached its deadline"), "{place}: {said}");
        let output = verb(&bed, &["resource", "release", "gate"]);
        assert!(text(&output.stderr).contains("does not come back"), "{output:?}");
        // A reload knows it too.
        let before = supervisor.status().supervisor.pid;
        let output = verb(&bed, &["reload"]);
        assert!(output.status.success(), "{output:?}");
        supervisor.wait_successor(before);
        let output = verb(&bed, &["resource", "show", "gate"]);
        let shown = text(&output.stdout);
        assert!(shown.contains("semaphore by posix"), "{output:?}");
        assert!(shown.contains("1 permit lost"), "{place}: {shown}");
        supervisor.stop();
        assert_eq!(is_there(Space::Semaphore, &name), None, "it is left behind");
    }
}

fn remembers(size: &str, rest: &str) -> String {
    let workers = PLACES.into_iter().enumerate().map(|(index, place)| {
        format!("  w{index}: {{ worker: rememberer, {place}, uses: [memory] }}\n")
    });
    let workers: String = workers.collect();
    format!(
        "version: 1\nresources:\n  memory: {{ {MEMORY}, size: {size} }}\n{rest}workers:\n{workers}"
    )
}

fn posix_memory_is_the_same_after_a_kill_and_a_reload() {
    let bed = Bed::new();
    let supervisor = start(&bed, &remembers("4KiB", ""));
    supervisor.wait_running();
    let all = || -> String { (0..3).map(|index| bed.output(&format!("w{index}"))).collect() };
    supervisor.wait("three lives in one memory", |_| {
        ["life 1", "life 2", "life 3"].iter().all(|life| all().contains(life)).then_some(())
    });
    let name = name_of(&supervisor, "memory");
    let first = is_there(Space::Memory, &name);
    assert!(first.is_some());
    let before = supervisor.status().supervisor.pid;
    kill_dead(before);
    supervisor.wait_successor(before);
    // The thread began again, and found what was there.
    supervisor.wait_output("w0", "life 4");
    supervisor.wait_running();
    let before = supervisor.status().supervisor.pid;
    let output = verb(&bed, &["reexec"]);
    assert!(output.status.success(), "{output:?}");
    supervisor.wait_successor(before);
    supervisor.wait_output("w0", "life 5");
    supervisor.wait_running();
    assert_eq!(is_there(Space::Memory, &name), first);
    let reload = |yaml: &str| {
        bed.write("supervisord-rs.yaml", yaml);
        let before = supervisor.status().supervisor.pid;
        let output = verb(&bed, &["reload"]);
        assert!(output.status.success(), "{output:?}");
        supervisor.wait_successor(before);
        supervisor.wait_running();
    };
    reload(&remembers("4KiB", "  more: { kind: semaphore, permits: 1 }\n"));
    supervisor.wait_output("w0", "life 6");
    assert_eq!(is_there(Space::Memory, &name), first);
    let generation = |name: &str| supervisor.worker(name).generation;
    assert_eq!((generation("w1"), generation("w2")), (1, 1));
    // Larger: another one has the name.
    reload(&remembers("8KiB", ""));
    supervisor.wait("a new memory", |_| (all().matches("life 1\n").count() == 2).then_some(()));
    assert_ne!(is_there(Space::Memory, &name), first);
    let output = verb(&bed, &["stop", "w0", "w1"]);
    assert!(output.status.success(), "{output:?}");
    reload("version: 1\nworkers: { w2: { worker: sleeper } }\n");
    supervisor
        .wait("its name to be gone", |_| is_there(Space::Memory, &name).is_none().then_some(()));
    supervisor.stop();
}

fn posix_memory_that_is_made_shorter_ends_its_users_and_is_made_again() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources: {{ memory: {{ \
             {MEMORY}, size: 8KiB }} }}\ndefaults: {{ uses: [memory], restart: {{ policy: always, \
             backoff: {{ initial: 10ms }} }} }}\nworkers:\n  a: {{ worker: peeper }}\n  b: {{ \
             worker: peeper, isolation: thread, cell: box }}\n  c: {{ worker: sleeper }}\n"
        ),
    );
    supervisor.wait_running();
    let name = name_of(&supervisor, "memory");
    let before = is_there(Space::Memory, &name);
    supervisor.client.inject("a", "truncate-region").expect("a fault");
    for worker in ["a", "b"] {
        supervisor.wait_generation(worker, 2);
        let incidents = supervisor.wait("how it ended", |supervisor| {
            let all = supervisor.incidents().into_iter();
            let own: Vec<_> = all.filter(|one| one.worker.as_deref() == Some(worker)).collect();
            (!own.is_empty()).then_some(own)
        });
        assert!(incidents[0].sentence.contains("SIGBUS"), "{}", incidents[0].sentence);
    }
    supervisor.wait("an incident that says so", |supervisor| {
        let all = supervisor.incidents();
        let words = "8192 bytes of memory cut off: it is made again";
        all.iter().any(|one| one.sentence.contains(words)).then_some(())
    });
    // One that does not touch it goes on, and the supervisor too.
    assert_eq!(supervisor.worker("c").generation, 1);
    supervisor.wait_running();
    assert_ne!(is_there(Space::Memory, &name), before);
    // Without making it shorter first, as a shell would.
    let memory = std::fs::File::from(Space::Memory.find(&name).expect("it has a name"));
    memory.write_all_at(b"x", 0).expect("another program writes");
    for worker in ["a", "b"] {
        supervisor.wait_output(worker, "found x");
    }
    supervisor.stop();
}

/// A thread and no guardian: all of it dies at once, and nothing keeps its descriptors.
fn posix_names_of_a_killed_run_are_made_again() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nresources: {{ memory: {{ {MEMORY}, size: 4KiB }}, gate: {{ {GATE}, permits: 1 \
         }}, jobs: {{ kind: queue, by: mqueue, delivery: at-most-once, message: 64 }} }}\nworkers: \
         {{ w: {{ worker: rememberer, isolation: thread, uses: [memory, gate, jobs] }} }}\n"
    );
    let file = bed.write("supervisord-rs.yaml", &yaml);
    let run = || {
        let mut command = command(&bed, &["run", "--no-guardian", "-c"]);
        command.arg(&file);
        start_with(&bed, command)
    };
    let mut killed = run();
    killed.wait_output("w", "life 1");
    let named = [("memory", Space::Memory), ("gate", Space::Semaphore), ("jobs", Space::Queue)];
    let named = named.map(|(resource, space)| (space, name_of(&killed, resource)));
    kill_dead(killed.child_pid());
    killed.wait_exit();
    drop(killed);
    let files = || named.each_ref().map(|(space, name)| is_there(*space, name));
    let before = files();
    assert!(before.iter().all(Option::is_some), "{before:?}");
    let successor = run();
    successor.wait_running();
    successor
        .wait("a new memory", |_| (bed.output("w").matches("life 1\n").count() == 2).then_some(()));
    let after = files();
    for (old, new) in before.iter().zip(&after) {
        assert!(new.is_some() && old != new, "{before:?} {after:?}");
    }
    successor.stop();
    assert_eq!(files(), [None; 3]);
}

fn posix_names_of_others_are_not_touched() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nresources: {{ gate: {{ {GATE}, permits: 1 }} }}\nworkers: {{ w: {{ worker: \
         sleeper, uses: [gate], restart: {{ backoff: {{ initial: 50ms, max: 100ms }}, limit: {{ \
         restarts: 100000, within: 60s }} }} }} }}\n"
    );
    let supervisor = start(&bed, &yaml);
    let name = name_of(&supervisor, "gate");
    supervisor.stop();
    let foreign = Named::Semaphore { permits: 7 }.make(&name).expect("it is free");
    let inode = fstat(&foreign).expect("open").st_ino;
    let supervisor = start(&bed, &yaml);
    bed.wait_log(&format!(
        "cannot make the resource gate: {} is there already, and this supervisor has not made it: \
         look whose it is; then remove it, or give the resource another name",
        Space::Semaphore.path(&name)
    ));
    assert_eq!(is_there(Space::Semaphore, &name), Some(inode));
    Space::Semaphore.unlink(&name).expect("it is ours");
    supervisor.wait_phase("w", "running");
    assert_ne!(is_there(Space::Semaphore, &name), Some(inode));
    supervisor.stop();
}

/// More messages than any user may have: as root by `RLIMIT_MSGQUEUE`, as another one by `msg_max`.
fn posix_limits_of_the_machine_are_said() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nresources: { jobs: { kind: queue, by: mqueue, delivery: at-most-once, \
         capacity: 65536, message: 1MiB } }\nworkers: { w: { worker: sleeper, uses: [jobs] } }\n",
    );
    supervisor.wait("the reason", |_| {
        let log = bed.log();
        let is_said = [
            "`capacity:` times `message:` is more than this user may have in message queues",
            "`capacity:` or `message:` is more than /proc/sys/fs/mqueue allows",
        ];
        let is_said = log.contains("cannot make the resource jobs: ")
            && is_said.iter().any(|words| log.contains(words));
        is_said.then_some(())
    });
    supervisor.stop();
}

/// A maker, and a taker in Python that uses the same resources.
fn python(resources: &str, python: &str, example: &str, uses: &str) -> String {
    format!(
        "version: 1\nresources: {{ {resources} }}\nworkers:\n  py: {{ command: ['{python}', '{}'], \
         uses: {uses}, ready: {{ log: ready }} }}\n  maker: {{ worker: order-maker, args: {{ \
         count: 3 }}, depends_on: {{ py: ready }}, uses: [jobs] }}\n",
        repository(example).display()
    )
}

fn posix_names_are_opened_by_python_with_posix_ipc() {
    let bed = Bed::new();
    let venv = bed.path("venv");
    let made = std::process::Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    let mut pip = std::process::Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "posix_ipc"]);
    let installed = made.ok().filter(|made| made.status.success()).and_then(|_| pip.output().ok());
    if !installed.as_ref().is_some_and(|output| output.status.success()) {
        return skip(Lack::Package, &format!("posix_ipc cannot be installed: {installed:?}"));
    }
    let resources = format!(
        "jobs: {{ kind: queue, by: mqueue, delivery: at-most-once, capacity: 8, message: 64 }}, \
         gate: {{ {GATE}, permits: 2 }}"
    );
    let interpreter = venv.join("bin/python").display().to_string();
    let example = "config/python/with_posix_ipc.py";
    let yaml = python(&resources, &interpreter, example, "[jobs, gate]");
    let supervisor = start(&bed, &yaml);
    supervisor.wait_output("py", "done {\"number\":3} with 1 permits left");
    supervisor.stop();
}

fn python_needs_only_its_standard_library_for_descriptors() {
    for by in ["pipe", "socket"] {
        let bed = Bed::new();
        let resources = format!(
            "jobs: {{ kind: queue, by: {by}, delivery: at-most-once, message: 64 }}, ledger: {{ \
             kind: region, size: 4KiB }}"
        );
        let example = "config/python/standard_library.py";
        let yaml = python(&resources, "python3", example, "[jobs, ledger]");
        let supervisor = start(&bed, &yaml);
        supervisor.wait_output("py", "done {\"number\":3}");
        let all = supervisor.status().resources;
        let ledger = all.into_iter().find(|one| one.name == "ledger").and_then(|one| one.path);
        let bytes = std::fs::read(ledger.expect("it is made")).expect("its bytes");
        assert_eq!(&bytes[8192..8200], &3_u64.to_le_bytes(), "{by}");
        supervisor.stop();
    }
}

/// It notes what the kernel does not say: see `config/python/notes.py`.
fn what_python_has_when_it_dies_is_in_the_incident() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nresources:\n  jobs: {{ kind: queue, by: pipe, delivery: at-most-once, \
             message: 64 }}\n  gate: {{ {GATE}, permits: 2 }}\nworkers:\n  py: {{ command: \
             [python3, '{}'], env: {{ PYTHONPATH: '{}', PYTHONDONTWRITEBYTECODE: '1' }}, uses: \
             [jobs, gate] }}\n",
            repository("tests/fixtures/keeper.py").display(),
            repository("config/python").display(),
        ),
    );
    supervisor.wait_output("py", "stuck");
    supervisor.wait_phase("py", "running");
    let killed = verb(&bed, &["signal", "py", "KILL"]);
    assert!(killed.status.success(), "{killed:?}");
    supervisor.wait("an incident that says so", |supervisor| {
        let lost = ["1 message of jobs lost", "1 permit of gate lost"];
        let is_told = |sentence: &str| lost.iter().all(|words| sentence.contains(words));
        supervisor.incidents().iter().any(|one| is_told(&one.sentence)).then_some(())
    });
    supervisor.stop();
}

/// It dies with a permit, which comes back, and with an order of a pipe, which is lost.
fn a_program_in_c_has_semaphores_topics_and_queues() {
    for by in ["pipe", "socket", "mqueue"] {
        let bed = Bed::new();
        let (source, program) = (repository("tests/fixtures/orders.c"), bed.path("orders"));
        let compiled = std::process::Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-O2", "-pthread", "-I"])
            .args([repository("workers/include"), source, "-o".into(), program.clone()])
            .output()
            .expect("a compiler, as Rust itself needs one to link");
        assert!(compiled.status.success(), "{}", text(&compiled.stderr));
        let queue = format!("kind: queue, by: {by}, delivery: at-most-once, message: 64");
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nresources:\n  jobs: {{ {queue} }}\n  done: {{ {queue} }}\n  gate: {{ \
                 kind: semaphore, permits: 1 }}\n  price: {{ kind: topic, message: 64 }}\n  posix: \
                 {{ {GATE}, permits: 2 }}\nworkers:\n  pricer: {{ worker: pricer, uses: [price] \
                 }}\n  c: {{ command: ['{}'], uses: [jobs, done, gate, price, posix], depends_on: \
                 {{ pricer: ready }}, ready: {{ log: begun }}, restart: {{ policy: always, \
                 backoff: {{ initial: 10ms }} }} }}\n  maker: {{ worker: order-maker, args: {{ count: 5 \
                 }}, depends_on: {{ c: ready }}, uses: [jobs] }}\n",
                program.display()
            ),
        );
        let output = supervisor.wait_output("c", "stuck");
        assert!(
            output.contains("named") && output.contains("done {\"number\":2} at 12"),
            "{output}"
        );
        supervisor.wait_phase("c", "running");
        let killed = verb(&bed, &["signal", "c", "KILL"]);
        assert!(killed.status.success(), "{killed:?}");
        supervisor.wait("an incident that says so", |supervisor| {
            let lost =
                ["1 message of jobs lost", "1 permit of gate back", "1 permit of posix lost"];
            let is_told = |sentence: &str| lost.iter().all(|words| sentence.contains(words));
            let all = supervisor.incidents();
            all.iter().any(|one| is_told(&one.sentence)).then_some(())
        });
        let output = supervisor.wait_output("c", "done {\"number\":5} at 12");
        assert_eq!(output.matches("stuck").count(), 1, "{by}: {output}");
        supervisor.stop();
    }
}
