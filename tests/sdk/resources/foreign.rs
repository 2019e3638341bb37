//! Programs and shells that use what workers share: descriptors, `supervisord-rs resource`, C.

use std::time::Duration;

use workers::shared::Locked;
use workers::{Context, Registry, WorkerError};

use super::{set, unless_stopped, word};
use crate::harness::{Bed, repository};
use crate::{Test, command, start};

/// For `main`.
pub(crate) const TESTS: &[Test] = &[
    ("a_program_in_c_shares_a_mutex_and_memory", a_program_in_c_shares_a_mutex_and_memory),
    ("a_shell_uses_what_workers_share", a_shell_uses_what_workers_share),
    ("a_command_has_descriptors_and_their_names", a_command_has_descriptors_and_their_names),
];

/// Adds the workers of these tests.
pub(crate) fn register(registry: Registry) -> Registry {
    registry.function("adds", "adds to two words of a ledger; no args", adds).function(
        "peeper",
        "waits for a byte of a region; no args",
        peep,
    )
}

/// Adds 1 to both words whenever they are equal; says when it was told of a death.
fn adds(context: &Context, (): ()) -> Result<(), WorkerError> {
    unless_stopped(add(context))
}

fn add(context: &Context) -> Result<(), WorkerError> {
    let (door, ledger) = (context.mutex("door")?, context.region("ledger")?);
    context.ready();
    loop {
        let mut guard = match door.lock(&context.until_stop())? {
            Locked::Clean(guard) => guard,
            Locked::OwnerDied(recovery) => {
                context.log_line(format!("torn: {}", recovery.is_torn()));
                set(&ledger, 1, word(&ledger, 0)?)?;
                recovery.repaired()
            }
        };
        let (first, second) = (word(&ledger, 0)?, word(&ledger, 1)?);
        if first != second {
            return Err(format!("{first} is not {second}").into());
        }
        guard.change(|| {
            set(&ledger, 0, first + 1)?;
            context.tick();
            set(&ledger, 1, first + 1)
        })?;
        drop(guard);
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            return Ok(());
        }
    }
}

fn a_program_in_c_shares_a_mutex_and_memory() {
    let bed = Bed::new();
    let (source, program) = (repository("tests/fixtures/ledger.c"), bed.path("ledger"));
    let compiled = std::process::Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O2", "-I"])
        .args([repository("workers/include"), source, "-o".into(), program.clone()])
        .output()
        .expect("a compiler, as Rust itself needs one to link");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let restart = "restart: { policy: always, backoff: { initial: 50ms } }, uses: [door, ledger]";
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources: {{ door: {{ kind: \
             mutex }}, ledger: {{ kind: region, size: 4KiB, guarded_by: door }} }}\nworkers:\n  \
             rust: {{ worker: adds, {restart} }}\n  c: {{ command: ['{0}'], {restart}, depends_on: \
             [rust] }}\n  dies: {{ command: ['{0}', die], autostart: false, restart: \
             never, uses: [door, ledger] }}\n",
            program.display()
        ),
    );
    supervisor.wait_output("c", "begun");
    // Each tells the other of its death within a change.
    supervisor.client.inject("rust", "die-within-change").expect("a fault");
    supervisor.wait("someone to mend it", |_| {
        (bed.output("c").contains("repaired") || bed.output("rust").contains("torn: true"))
            .then_some(())
    });
    let output = command(&bed, &["stop", "c"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    supervisor.wait_phase("rust", "running");
    let before = bed.output("rust").matches("torn: true").count();
    let output = command(&bed, &["start", "dies", "--no-wait"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    supervisor.wait_output("dies", "within a change");
    let output = command(&bed, &["signal", "dies", "KILL"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    supervisor.wait("the worker to be told", |_| {
        (bed.output("rust").matches("torn: true").count() > before).then_some(())
    });
    let wrong = supervisor.incidents().into_iter().find(|one| one.sentence.contains("is not"));
    assert!(wrong.is_none(), "{wrong:?}");
    supervisor.stop();
}

fn a_shell_uses_what_workers_share() {
    let bed = Bed::new();
    let program = std::env::current_exe().expect("this program");
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nresources: {{ jobs: {{ kind: queue, message: 64 }}, gate: {{ kind: \
             semaphore, permits: 1 }}, door: {{ kind: mutex }}, late: {{ kind: queue }}, memory: {{ \
             kind: region, size: 4KiB }} }}\nworkers:\n  user: {{ worker: sleeper, uses: [jobs, \
             gate, door] }}\n  sh: {{ command: [sh, -c, '\"$0\" resource send jobs \"from a \
             command\" --socket /none; exec sleep 1d', '{}'], uses: [jobs], depends_on: [user] \
             }}\n  py: {{ command: [python3, -c, 'import mmap, os, time; uses = dict(one.split(\"=\") \
             for one in os.environ[\"SUPERVISORD_RS_RESOURCES\"].split()); memory = \
             mmap.mmap(int(uses[\"memory\"]), 0); memory[8192:8193] = b\"x\"; time.sleep(9999)'], \
             uses: [memory] }}\n  b: {{ worker: peeper, uses: [memory] }}\n",
            program.display()
        ),
    );
    supervisor.wait_running();
    let verb = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["resource"].iter().chain(arguments).copied().collect();
        let output = command(&bed, &arguments).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let receive = ["receive", "jobs", "--timeout", "60s"];
    assert_eq!(verb(&receive), (Some(0), "from a command\n".into(), String::new()));
    assert_eq!(verb(&["send", "jobs", "one"]).0, Some(0));
    assert_eq!(verb(&["send", "jobs", "two"]).0, Some(0));
    let both = verb(&["receive", "jobs", "-n", "2", "--timeout", "60s"]);
    assert_eq!(both, (Some(0), "one\ntwo\n".into(), String::new()));
    let (code, _, why) = verb(&["receive", "jobs", "--timeout", "10ms"]);
    assert_eq!(
        (code, why.as_str()),
        (Some(1), "supervisord-rs: jobs: the wait has reached its deadline\n")
    );
    let (code, _, why) = verb(&["send", "jobs", &"x".repeat(65)]);
    assert!(code == Some(1) && why.contains("a message of 65 bytes; it takes at most 64"), "{why}");
    assert_eq!(verb(&["acquire", "gate", "--", "sh", "-c", "exit 3"]).0, Some(3));
    let (code, _, why) = verb(&["acquire", "gate", "--", "no-such-program"]);
    assert!(code == Some(127) && why.contains("cannot run no-such-program"), "{why}");
    assert_eq!(verb(&["acquire", "gate", "--", "/"]).0, Some(126));
    let (code, _, why) = verb(&["acquire", "jobs", "--", "true"]);
    assert!(code == Some(4) && why.contains("jobs is a queue: `acquire` is for"), "{why}");
    let (code, _, why) = verb(&["receive", "gate"]);
    assert_eq!(
        (code, why.as_str()),
        (Some(4), "supervisord-rs: gate: a semaphore, where a queue is needed\n")
    );
    let inside = verb(&["acquire", "door", "--", "echo", "inside"]);
    assert_eq!((inside.0, inside.1.as_str()), (Some(0), "inside\n"));
    let (code, shown, _) = verb(&["show"]);
    assert!(code == Some(0) && shown.contains("gate") && shown.contains("not made yet"), "{shown}");
    let (code, _, why) = verb(&["send", "late", "x"]);
    assert!(code == Some(1) && why.contains("late is not made yet"), "{why}");
    let (code, _, why) = verb(&["show", "jobbs"]);
    assert!(code == Some(4) && why.contains("there are: jobs, gate, door"), "{why}");
    let (code, said, _) = verb(&["release", "gate"]);
    assert_eq!((code, said.as_str()), (Some(0), "the dead had nothing\n"));
    // One that is killed with a permit: it comes back.
    let mut holder = command(&bed, &["resource", "acquire", "gate", "--", "cat"]);
    // What it runs ends with this end of its input.
    let mut holder = holder.stdin(std::process::Stdio::piped()).spawn().expect("it runs");
    supervisor.wait("a permit to be taken", |supervisor| {
        let gate = supervisor.status().resources.into_iter().find(|one| one.name == "gate")?;
        (gate.holders.len() == 1).then_some(())
    });
    holder.kill().expect("our child");
    holder.wait().expect("our child");
    let after = verb(&["acquire", "gate", "--timeout", "60s", "--", "echo", "back"]);
    assert_eq!((after.0, after.1.as_str()), (Some(0), "back\n"));
    supervisor.wait_output("b", "found x");
    supervisor.stop();
}

fn a_command_has_descriptors_and_their_names() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nresources: { jobs: { kind: queue }, memory: { kind: region, size: 4KiB }, \
         price: { kind: topic } }\nworkers:\n  a: { command: [sh, -c, 'echo \
         \"$SUPERVISORD_RS_RESOURCES\"; readlink /proc/self/fd/4; ls /proc/self/fd | wc -l; printf \
         x | dd of=/proc/self/fd/4 bs=1 seek=8192 conv=notrunc 2> /dev/null; exec sleep 1d'], \
         sockets: [ { listen: '127.0.0.1:0' } ], uses: [memory, price] }\n  b: { worker: peeper, \
         depends_on: [a], uses: [memory] }\n",
    );
    supervisor.wait_output("b", "found x");
    supervisor.stop();
    let output = bed.output("a");
    // Standard streams, the socket, two resources, and the directory that `ls` reads.
    assert_eq!(output, "memory=4 price=5\n/memfd:supervisord-rs:region (deleted)\n7\n",);
}

/// Waits until a command has written to its memory.
fn peep(context: &Context, (): ()) -> Result<(), WorkerError> {
    let memory = context.region("memory")?;
    let mut byte = [0];
    while byte == [0] && context.sleep(Duration::from_millis(5)) {
        memory.read(0, &mut byte)?;
    }
    context.log_line(format!("found {}", char::from(byte[0])));
    context.wait_for_stop();
    Ok(())
}
