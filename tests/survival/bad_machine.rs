//! The supervisor survives a bad machine: one short of descriptors or processes, clocks that jump,
//! directories that vanish, a terminal that closes.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{Bed, Supervisor};

/// Waits for far more failed launches of a worker than its limit of restarts.
#[track_caller]
fn wait_for_tries(supervisor: &crate::harness::Supervisor<'_>) {
    supervisor.wait("many tries", |supervisor| {
        let workers = supervisor.client.status().ok()?.workers;
        workers
            .iter()
            .any(|worker| worker.phase != "running" && worker.generation > 5)
            .then_some(())
    });
}

#[test]
fn a_guardian_without_room_for_descriptors_is_called_that() {
    for (limit, is_short) in [(64, true), (1024, false)] {
        let bed = Bed::new();
        let yaml = "version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s } }\n";
        let limits = format!("--nofile={limit}:{limit}");
        let supervisor = bed.start_under(&["prlimit", &limits], yaml, &[]);
        supervisor.wait_phase("w", "running");
        // All that it says is there after its end.
        supervisor.stop();
        let said = bed.log();
        assert!(!said.contains("keeps its descriptors"), "there is a guardian: {said}");
        for words in
            ["short of descriptors: the hard limit of open files is 64", "its guardian has no room"]
        {
            assert_eq!(said.contains(words), is_short, "{said}");
        }
    }
}

#[test]
fn short_of_descriptors_it_says_so_and_continues_when_there_are_some() {
    let bed = Bed::new();
    let mut yaml = "version: 1\nsupervisor: { fault_injection: allow }\n\
        defaults: { ready: { after: 0s }, restart: { backoff: { initial: 20ms, max: 50ms }, \
        limit: { restarts: 1, within: 60s } } }\nworkers:\n"
        .to_owned();
    for index in 0..40 {
        yaml.push_str(&format!("  w{index}: {{ command: [sleep, 1d] }}\n"));
    }
    let supervisor = bed.start_under(&["prlimit", "--nofile=130:130"], &yaml, &["--no-guardian"]);
    let running = |supervisor: &crate::harness::Supervisor<'_>| {
        Some(
            supervisor
                .client
                .status()
                .ok()?
                .workers
                .iter()
                .filter(|worker| worker.phase == "running")
                .count(),
        )
    };
    let message = supervisor.wait("a worker that cannot be launched", |supervisor| {
        let workers = supervisor.client.status().ok()?.workers;
        workers.into_iter().find_map(|worker| worker.ending?.message)
    });
    assert!(message.contains("raise the limit of open files"), "{message}");
    bed.wait_log("limit of open files is 130, and 40 workers that are processes need");
    // The first to fail may be known before the first that runs.
    supervisor.wait("some to run", |supervisor| running(supervisor).filter(|some| *some > 5));
    // The supervisor reserves some for clients, however many ask at once.
    let clients: Vec<_> = (0..10)
        .map(|_| {
            std::os::unix::net::UnixStream::connect(bed.path("run/control.sock")).expect("a socket")
        })
        .collect();
    running(&supervisor).expect("an answer beside ten silent clients");
    drop(clients);
    // A shortage of the machine quarantines no worker: those that wait start as soon as there is
    // room.
    wait_for_tries(&supervisor);
    let stuck: Vec<String> = supervisor
        .status()
        .workers
        .into_iter()
        .filter(|worker| worker.phase == "quarantined")
        .map(|worker| worker.name)
        .collect();
    assert_eq!(stuck, Vec::<String>::new());
    let up: Vec<String> = supervisor
        .status()
        .workers
        .into_iter()
        .filter(|worker| worker.phase == "running")
        .map(|worker| worker.name)
        .take(20)
        .collect();
    let waiting: Vec<String> = supervisor
        .status()
        .workers
        .into_iter()
        .filter(|worker| worker.phase == "backoff")
        .map(|worker| worker.name)
        .collect();
    assert!(!waiting.is_empty());
    supervisor.client.stop(&up, true).expect("stopped");
    supervisor.wait("one that waited", |supervisor| {
        waiting.iter().any(|name| supervisor.worker(name).phase == "running").then_some(())
    });
    supervisor.stop();
}

#[test]
fn short_of_processes_it_tries_again_and_does_not_fail() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    let mut yaml = "version: 1\ndefaults: { ready: { after: 0s }, restart: { backoff: { initial: \
        20ms, max: 50ms }, limit: { restarts: 1, within: 60s } } }\nworkers:\n"
        .to_owned();
    for index in 0..12 {
        yaml.push_str(&format!("  w{index}: {{ command: [sleep, 1d] }}\n"));
    }
    bed.give_to(4711);
    // The supervisor with its few threads, and some workers (RLIMIT_NPROC counts threads,
    // setrlimit(2)).
    let few = ["prlimit", "--nproc=16:16"];
    let user = ["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"];
    let supervisor = bed.start_under(&[&few[..], &user].concat(), &yaml, &["--no-guardian"]);
    let message = supervisor.wait("a worker that cannot be launched", |supervisor| {
        let workers = supervisor.client.status().ok()?.workers;
        workers.into_iter().find_map(|worker| worker.ending?.message)
    });
    assert!(message.contains("raise the limit of processes"), "{message}");
    wait_for_tries(&supervisor);
    assert!(supervisor.status().workers.iter().all(|worker| worker.phase != "quarantined"));
    let up = supervisor.wait("some to run", |supervisor| {
        let workers = supervisor.client.status().ok()?.workers;
        let up = workers.into_iter().filter(|worker| worker.phase == "running");
        Some(up.map(|worker| worker.name).collect::<Vec<_>>()).filter(|up| !up.is_empty())
    });
    let down: Vec<String> = supervisor
        .status()
        .workers
        .into_iter()
        .filter(|worker| worker.phase != "running")
        .map(|worker| worker.name)
        .collect();
    supervisor.client.stop(&up[..1], true).expect("stopped");
    supervisor.wait("one that waited", |supervisor| {
        down.iter().any(|name| supervisor.worker(name).phase == "running").then_some(())
    });
    supervisor.stop();
}

#[test]
fn clocks_that_jump_a_day_disturb_no_schedule() {
    let Some(library) = faketime() else { return };
    let bed = Bed::new();
    let jump = bed.write("jump", "+0\n");
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        steady: { worker: ticker, heartbeat: 20s }\n  \
        back: { command: [sh, -c, exit 1], ready: { after: 1h }, restart: { backoff: { initial: \
        300ms, factor: 1, max: 300ms, jitter: 0 }, limit: { restarts: 1000, within: 60s } } }\n";
    let supervisor = bed.start_in(
        yaml,
        &["--no-guardian"],
        &[
            ("LD_PRELOAD", &library),
            ("FAKETIME_TIMESTAMP_FILE", jump.to_str().expect("UTF-8")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_NO_CACHE", "1"),
        ],
    );
    let steady = supervisor.wait_phase("steady", "running");
    let begun = supervisor.status().supervisor.started_at;
    for offset in ["+1d", "-2d", "+0"] {
        bed.write("jump", &format!("{offset}\n"));
        let at = std::time::Instant::now();
        let before = supervisor.worker("back").generation;
        supervisor.wait("the schedule to go on", |supervisor| {
            (supervisor.worker("back").generation >= before + 3).then_some(())
        });
        let passed = at.elapsed();
        assert!(passed >= Duration::from_millis(500), "{offset}: {passed:?}");
        let shown = supervisor.worker("back").since;
        assert_eq!(
            shown[..10] == begun[..10],
            offset == "+0",
            "the wall clock is shown as it is: {shown}"
        );
    }
    assert_eq!(supervisor.worker("steady").pid, steady.pid);
    assert!(
        supervisor.incidents().iter().all(|incident| incident.worker.as_deref() == Some("back"))
    );
    supervisor.stop();
}

#[test]
fn vanished_directories_come_back_and_the_control_socket_with_them() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'while :; do echo x; sleep 0.01; \
        done'], ready: { after: 0s } }\n  \
                crash: { command: [sh, -c, 'sleep 0.05; exit 1'], ready: { after: 1h }, restart: \
                { backoff: { initial: 10ms, max: 10ms }, limit: { restarts: 100000, within: 60s } \
                } }\n";
    let supervisor = bed.start_with(yaml, &["--no-guardian"]);
    let worker = supervisor.wait_phase("w", "running");
    for directory in ["logs", "state", "run"] {
        std::fs::remove_dir_all(bed.path(directory)).expect("removed");
    }
    supervisor.wait_output("w", "x\n");
    supervisor.wait("incidents on the disk", |supervisor| {
        supervisor.bed.path("state/incidents.jsonl").exists().then_some(())
    });
    supervisor.wait("the control socket", |supervisor| {
        supervisor.bed.path("run/control.sock").exists().then_some(())
    });
    assert_eq!(supervisor.worker("w").pid, worker.pid);
    supervisor.stop();
}

/// A run that was started at a terminal, whose other side is the second. Its log goes there, or to
/// this file of the bed.
fn run_at_a_terminal<'a>(
    bed: &'a Bed,
    options: &[&str],
    hangup: nix::sys::signal::SigHandler,
    log: Option<&str>,
) -> (Supervisor<'a>, std::os::fd::OwnedFd) {
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'while :; do echo x; sleep 0.005; \
        done'], ready: { after: 0s } }\n  \
                crash: { command: [sh, -c, 'sleep 0.05; exit 1'], ready: { after: 1h }, restart: \
                { backoff: { initial: 10ms, max: 10ms }, limit: { restarts: 100000, within: 60s } \
                } }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    let terminal = crate::harness::terminal(None);
    let slave = std::fs::File::from(terminal.slave);
    let mut command = bed.command(&["run", "-c"]);
    command.arg(file).args(options);
    command
        .stdin(slave.try_clone().expect("a handle"))
        .stdout(slave.try_clone().expect("a handle"))
        .stderr(log.map_or(slave, |log| std::fs::File::create(bed.path(log)).expect("a log")));
    // SAFETY: setsid, signal and this ioctl are async-signal-safe; they make the terminal the
    // child's own.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            nix::sys::signal::signal(nix::sys::signal::Signal::SIGHUP, hangup)?;
            nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0);
            Ok(())
        });
    }
    (bed.attach(command), terminal.master)
}

#[test]
fn a_terminal_that_closes_ends_nothing_under_nohup() {
    let bed = Bed::new();
    let (supervisor, master) =
        run_at_a_terminal(&bed, &[], nix::sys::signal::SigHandler::SigIgn, None);
    let before = supervisor.wait_phase("w", "running");
    let own = supervisor.status().supervisor.pid;
    drop(master);
    // It has much to write now, and no reader.
    let known = supervisor.incidents().len();
    supervisor.wait("more incidents", |supervisor| {
        (supervisor.incidents().len() > known + 10).then_some(())
    });
    assert_eq!(supervisor.status().supervisor.pid, own, "it died");
    assert_eq!(supervisor.worker("w").pid, before.pid);
    assert_eq!(supervisor.worker("w").lost_output, 0);
    supervisor.stop();
}

#[test]
fn a_terminal_that_closes_ends_the_run_that_was_started_there_in_order() {
    for options in [&[][..], &["--no-guardian"]] {
        let bed = Bed::new();
        let (mut supervisor, master) =
            run_at_a_terminal(&bed, options, nix::sys::signal::SigHandler::SigDfl, Some("own.log"));
        supervisor.wait_phase("w", "running");
        drop(master);
        let status = supervisor.wait_exit();
        assert_eq!(status.code(), Some(0), "{options:?}: {status}");
        assert_eq!(bed.processes(), Vec::<i32>::new(), "{options:?}");
        let log = std::fs::read_to_string(bed.path("own.log")).expect("its log");
        assert!(log.contains("shutting down, since the terminal has closed"), "{options:?}: {log}");
        assert!(!log.contains("SIGTERM"), "no signal that did not come is named: {log}");
    }
}

#[test]
fn closed_descriptors_and_jumping_clocks_cost_no_processor_time() {
    let Some(library) = faketime() else { return };
    let bed = Bed::new();
    let jump = bed.write("jump", "+0\n");
    // Everything that could be polled again and again: output that ends, a readiness pipe that is
    // closed unused, a probe without a server, a client that has gone, and the supervisor's own
    // output without a reader.
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        mute: { command: [sh, -c, 'exec sleep 1d >&- 2>&-'] }\n  \
        never: { command: [sh, -c, 'exec sleep 1d 5>&-'], ready: { fd: 5, timeout: 1h } }\n  \
        asked: { command: [sleep, 1d], health: { readiness: { tcp: '127.0.0.1:1', every: 10s } } \
        }\n  told: { command: [sleep, 1d], ready: { notify: true, timeout: 1h } }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    let mut command = bed.command(&["run", "--no-guardian", "-c"]);
    command
        .arg(file)
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &jump)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_NO_CACHE", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut supervisor = bed.attach(command);
    drop((supervisor.child.stdout.take(), supervisor.child.stderr.take()));
    for name in ["mute", "asked"] {
        supervisor.wait_phase(name, "running");
    }
    drop(supervisor.client.events().expect("events"));
    let pid = supervisor.status().supervisor.pid;
    for offset in ["+0", "+1d", "-2d"] {
        bed.write("jump", &format!("{offset}\n"));
        // The measurement itself: a spin would take all of this second.
        let before = processor_time(pid);
        std::thread::sleep(Duration::from_secs(1));
        let spent = processor_time(pid) - before;
        assert!(spent < Duration::from_millis(200), "{offset}: {spent:?} of a second");
    }
    supervisor.stop();
}

/// The processor time of a process up to now.
fn processor_time(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a live process");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    // utime and stime, in hundredths of a second on every Linux (proc_pid_stat(5)).
    let ticks: u64 =
        fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// The library that fakes the wall clock (Debian: faketime); `None`, and a skipped test, where it
/// is not installed.
fn faketime() -> Option<String> {
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    if found.is_none() {
        crate::harness::skip::skip_without("faketime");
    }
    found
}
