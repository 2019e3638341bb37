//! When workers get a processor, and which: the kernel's own view of their threads, from outside.

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use supervisord_rs::control::protocol::{EndingReport, StatusReport};

use crate::harness::skip::{Lack, note, skip};
use crate::harness::{Bed, EAGER, Supervisor, find, is_root, text};

/// Where registered code can run.
const PLACES: [(&str, &str); 3] = [
    ("thread", "isolation: thread"),
    ("cell", "isolation: thread, cell: box"),
    ("process", "isolation: process"),
];

/// What sched_getattr(2) says of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    policy: i32,
    nice: i32,
    priority: u32,
    runtime: Duration,
    period: Duration,
    is_reset_on_fork: bool,
}

fn seen(tid: i32) -> Option<Seen> {
    // SAFETY: all zero is a valid value of these numbers.
    let mut found: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes at most `size` bytes to a local that has as many.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut found, size, 0) };
    Errno::result(got).ok()?;
    Some(Seen {
        policy: found.sched_policy.cast_signed(),
        nice: found.sched_nice,
        priority: found.sched_priority,
        runtime: Duration::from_nanos(found.sched_runtime),
        period: Duration::from_nanos(found.sched_period),
        is_reset_on_fork: found.sched_flags & libc::SCHED_FLAG_RESET_ON_FORK as u64 != 0,
    })
}

/// The thread of a worker: of a command, its first one.
fn tid(status: &StatusReport, name: &str) -> i32 {
    let worker = find(status, name);
    worker.tid.or(worker.pid).expect("it runs")
}

fn cpus(tid: i32) -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(tid)).expect("it runs");
    (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect()
}

fn threads(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).expect("a live process").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[test]
fn each_worker_has_its_own_scheduling_and_no_other_thread_has_it() {
    let bed = Bed::new();
    let keys = "nice: 5, cpus: [0], scheduler: { policy: batch, slice: 20ms }";
    let defaults = format!("{EAGER}, ready: {{ after: 0s }}");
    let mut yaml = format!("version: 1\ndefaults: {{ {defaults} }}\nworkers:\n");
    yaml += &format!("  command: {{ command: [sh, -c, 'sleep 1d & wait'], {keys} }}\n");
    for (name, place) in PLACES {
        yaml += &format!("  {name}: {{ worker: sleeper, {place}, {keys} }}\n");
        yaml += &format!("  plain-{name}: {{ worker: sleeper, {place} }}\n");
    }
    let supervisor = bed.start(&yaml);
    let status = supervisor.wait_running();
    let usual = seen(std::process::id().cast_signed()).expect("ours");
    for name in ["command", "thread", "cell", "process"] {
        let own = tid(&status, name);
        let found = seen(own).expect("it runs");
        let slice = Duration::from_millis(20);
        assert_eq!(
            (found.policy, found.nice, found.runtime),
            (libc::SCHED_BATCH, 5, slice),
            "{name}"
        );
        assert_eq!(cpus(own), [0], "{name}");
        // Some kernels tell the same here.
        let text = fs::read_to_string(format!("/proc/{own}/sched")).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.starts_with("se.slice")) {
            assert!(line.ends_with(" 20000000"), "{name}: {line}");
        }
        let stat = fs::read_to_string(format!("/proc/{own}/stat")).expect("it runs");
        let fields: Vec<&str> =
            stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        assert_eq!(fields[16], "5", "{name}: {stat}");
    }
    for name in ["plain-thread", "plain-cell", "plain-process"] {
        assert_eq!(seen(tid(&status, name)), Some(usual), "{name}");
    }
    let child = supervisor.wait("the command's child", |_| {
        let pid = tid(&status, "command");
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    });
    assert_eq!(seen(child), seen(tid(&status, "command")), "it is inherited");
    for name in ["thread", "cell"] {
        let worker = find(&status, name);
        let others = threads(worker.pid.expect("it runs")).into_iter();
        for other in others.filter(|other| *other != tid(&status, name)) {
            let found = seen(other).unwrap_or(usual);
            assert_eq!((found.policy, found.nice), (usual.policy, usual.nice), "beside the {name}");
        }
    }
    supervisor.stop();
}

/// Whether this machine gives real-time policies to no one.
fn lacks_real_time() -> bool {
    if crate::harness::skip::lacks_root() {
        return true;
    }
    let done = std::process::Command::new("chrt").args(["-f", "1", "true"]).output();
    let lacks = !done.is_ok_and(|done| done.status.success());
    if lacks {
        skip(Lack::Root, "root may use no real-time policy here");
    }
    lacks
}

#[test]
fn policies_that_need_a_right_are_those_of_the_configuration() {
    if lacks_real_time() {
        return;
    }
    let bed = Bed::new();
    let policies = [
        ("fifo", "{ policy: fifo, priority: 3 }"),
        ("rr", "{ policy: round-robin, priority: 4 }"),
        ("idle", "idle"),
        ("deadline", "{ policy: deadline, runtime: 1ms, period: 100ms }"),
    ];
    let mut yaml = "version: 1\nworkers:\n".to_owned();
    for (policy, scheduler) in policies {
        yaml +=
            &format!("  command-{policy}: {{ command: [sleep, 1d], scheduler: {scheduler} }}\n");
        for (name, place) in PLACES {
            let keys = format!("scheduler: {scheduler}");
            yaml += &format!("  {name}-{policy}: {{ worker: sleeper, {place}, {keys} }}\n");
        }
    }
    let supervisor = bed.start(&yaml);
    let status = supervisor.wait_running();
    for name in ["command", "thread", "cell", "process"] {
        let of = |policy: &str| seen(tid(&status, &format!("{name}-{policy}"))).expect("it runs");
        assert_eq!((of("fifo").policy, of("fifo").priority), (libc::SCHED_FIFO, 3), "{name}");
        assert_eq!((of("rr").policy, of("rr").priority), (libc::SCHED_RR, 4), "{name}");
        assert_eq!(of("idle").policy, libc::SCHED_IDLE, "{name}");
        let deadline = of("deadline");
        let expected = (libc::SCHED_DEADLINE, Duration::from_millis(1), Duration::from_millis(100));
        assert_eq!((deadline.policy, deadline.runtime, deadline.period), expected, "{name}");
        assert!(deadline.is_reset_on_fork, "{name}: what it starts is admitted, as `normal`");
    }
    let host = find(&status, "process-deadline");
    let first = seen(host.pid.expect("it runs")).expect("it runs");
    assert_eq!(first.policy, libc::SCHED_OTHER, "the thread that runs the worker has it alone");
    supervisor.stop();
}

/// The failed launch of a worker.
#[track_caller]
fn refusal(supervisor: &Supervisor<'_>, name: &str) -> EndingReport {
    let ending = supervisor.wait(&format!("the refusal of {name}"), |it| it.worker(name).ending);
    assert_eq!(ending.cause, "launch-failure", "{name}: {ending:?}");
    ending
}

#[test]
fn what_needs_a_right_fails_the_launch_without_it_and_says_so() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    let mut yaml = "version: 1\ndefaults: { restart: never }\nworkers:\n".to_owned();
    let wishes = [
        ("nice", "nice: -5"),
        ("fifo", "scheduler: { policy: fifo, priority: 1 }"),
        ("deadline", "scheduler: { policy: deadline, runtime: 1ms, period: 10ms }"),
        ("modest", "nice: 5, scheduler: { policy: batch, slice: 10ms }"),
    ];
    for (wish, keys) in wishes {
        yaml += &format!("  command-{wish}: {{ command: [sleep, 1d], {keys} }}\n");
        for (name, place) in PLACES {
            yaml += &format!("  {name}-{wish}: {{ worker: sleeper, {place}, {keys} }}\n");
        }
    }
    bed.give_to(65534);
    let stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let supervisor = bed.start_under(&stranger, &yaml, &[]);
    for name in ["command", "thread", "cell", "process"] {
        for (wish, what) in [
            ("nice", "cannot set its priority (setpriority): Permission denied"),
            ("fifo", "cannot set its scheduling policy (sched_setattr): Operation not permitted"),
            (
                "deadline",
                "cannot set its scheduling policy (sched_setattr): Operation not permitted",
            ),
        ] {
            let ending = refusal(&supervisor, &format!("{name}-{wish}"));
            let message = ending.message.expect("a reason");
            assert!(message.starts_with(what), "{name}: {message}");
            assert!(message.contains("CAP_SYS_NICE"), "{name}: {message}");
        }
        supervisor.wait_phase(&format!("{name}-modest"), "running");
    }
    supervisor.stop();
}

#[test]
fn a_processor_that_is_not_there_fails_the_launch() {
    let bed = Bed::new();
    let mut yaml = "version: 1\ndefaults: { restart: never }\nworkers:\n".to_owned();
    for (name, place) in PLACES {
        yaml += &format!("  {name}: {{ worker: sleeper, {place}, cpus: [1023] }}\n");
    }
    let supervisor = bed.start(&yaml);
    for (name, _) in PLACES {
        let message = refusal(&supervisor, name).message.expect("a reason");
        assert!(message.ends_with("none of these processors is there"), "{name}: {message}");
    }
    supervisor.stop();
}

/// Nanoseconds that a worker's thread has run.
fn run_ns(supervisor: &Supervisor<'_>, name: &str) -> u64 {
    let status = supervisor.status();
    let (pid, tid) = (find(&status, name).pid.expect("it runs"), tid(&status, name));
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).expect("it runs");
    text.split_whitespace().next().and_then(|run| run.parse().ok()).expect("a number")
}

#[test]
fn one_with_a_higher_nice_value_gets_less_of_its_processor() {
    // Steps of a quarter: 1024 to 110. Bounds are wide, since others use the processor too.
    const EXPECTED: std::ops::Range<f64> = 3.0..40.0;
    for (name, place) in PLACES {
        if name == "process" && !is_root() {
            // The kernel may take no change of a session's nice value so soon after another's.
            note("without root, nice values are compared within a process alone");
            continue;
        }
        let bed = Bed::new();
        let burner =
            |nice: i32| format!("{{ worker: cpu-burner, {place}, cpus: [0], nice: {nice} }}");
        let yaml =
            format!("version: 1\nworkers:\n  much: {}\n  little: {}\n", burner(0), burner(10));
        let supervisor = bed.start(&yaml);
        supervisor.wait_running();
        let first = ["much", "little"].map(|worker| run_ns(&supervisor, worker));
        let ratio = supervisor.wait("both to have run", |supervisor| {
            let now = ["much", "little"].map(|worker| run_ns(supervisor, worker));
            let [much, little] = [now[0] - first[0], now[1] - first[1]];
            #[expect(clippy::cast_precision_loss, reason = "a ratio")]
            (much + little > 800_000_000).then(|| much as f64 / little as f64)
        });
        assert!(EXPECTED.contains(&ratio), "{name}: {ratio}");
        supervisor.stop();
    }
}

#[test]
fn a_changed_scheduler_restarts_the_worker_at_the_next_reload() {
    let bed = Bed::new();
    let yaml = |scheduler: &str| {
        let mut yaml = "version: 1\nworkers:\n  kept: { worker: sleeper }\n".to_owned();
        for (name, place) in PLACES {
            yaml += &format!("  {name}: {{ worker: sleeper, {place}, scheduler: {scheduler} }}\n");
        }
        yaml
    };
    let supervisor = bed.start(&yaml("normal"));
    let before = supervisor.wait_running();
    bed.write("supervisord-rs.yaml", &yaml("batch"));
    let said = bed.verb(&["reload"]);
    assert!(said.status.success(), "{said:?}");
    let after = supervisor.wait_running();
    for (name, _) in PLACES {
        let found = seen(tid(&after, name)).expect("it runs");
        assert_eq!(found.policy, libc::SCHED_BATCH, "{name}");
        assert_ne!(tid(&after, name), tid(&before, name), "{name} is another one");
    }
    assert_eq!(find(&after, "kept").pid, find(&before, "kept").pid);
    supervisor.stop();
}

#[test]
fn a_slice_below_the_tick_is_said_once() {
    if workers::runtime::scheduling::tick().is_none() {
        note("slices end between ticks here: nothing is to be said");
        return;
    }
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { worker: sleeper, scheduler: { slice: 200us } }\n  \
        b: { worker: sleeper, isolation: thread, scheduler: { slice: 100us } }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    let output = bed.verb(&["check", "--world", file.to_str().expect("UTF-8")]);
    let said = text(&output.stderr);
    let words = "this slice is shorter than the tick of this kernel";
    assert_eq!((output.status.code(), said.matches(words).count()), (Some(0), 1), "{said}");
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    let log = bed.wait_log(words);
    assert_eq!(log.matches(words).count(), 1, "{log}");
    supervisor.stop();
}
