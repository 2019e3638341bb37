//! Targets of captured output besides files: log collectors, the terminal; and the bounds of all.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::harness::skip::{Lack, lacks_root, skip};
use crate::harness::{Bed, read_in_time, text};
use crate::weight::weight;

/// A collector's socket of this test; removed at the end. `None`, and a reported skip, where a real
/// collector listens.
struct Collector {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Collector {
    fn new(path: &str) -> Option<Self> {
        if lacks_root() {
            return None;
        }
        let path = Path::new(path);
        if UnixDatagram::unbound().and_then(|socket| socket.connect(path)).is_ok() {
            skip(Lack::Collector, &format!("another program listens on {}", path.display()));
            return None;
        }
        let _ = fs::remove_file(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(crate::harness::DEADLINE)).expect("a timeout");
        Some(Self { socket, path: path.into() })
    }

    fn next(&self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let count = self.socket.recv(&mut buffer).expect("a line");
        buffer[..count].to_vec()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Two lines, the second written in two pieces; the second piece follows when `go` is there.
const PIECES: &str =
    "echo one; printf tw; while [ ! -e go ]; do sleep 0.01; done; echo o; exec sleep 1d";

#[test]
fn syslog_gets_whole_lines_under_the_workers_name() {
    let Some(collector) = Collector::new("/dev/log") else { return };
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nworkers:\n  w: {{ command: [sh, -c, '{PIECES}'], cwd: ., ready: {{ after: 0s \
            }}, logs: {{ stdout: syslog }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    assert_eq!(text(&collector.next()), "<30>w: one");
    bed.write("go", "");
    assert_eq!(text(&collector.next()), "<30>w: two", "however many pieces it came in");
    supervisor.stop();
}

/// Journald's socket is one for the machine: the tests that want it there, and not there, take
/// turns.
static JOURNALD: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn journald_gets_whole_lines_with_the_worker_as_a_field() {
    let _turn = JOURNALD.lock();
    let Some(collector) = Collector::new("/run/systemd/journal/socket") else { return };
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nworkers:\n  w: {{ command: [sh, -c, '{PIECES}'], cwd: ., ready: {{ after: 0s \
            }}, logs: {{ stdout: journald }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    let expected = |line: &str| {
        let mut message = b"PRIORITY=6\nSYSLOG_IDENTIFIER=w\nWORKER=w\nMESSAGE\n".to_vec();
        message.extend((line.len() as u64).to_le_bytes());
        message.extend(line.as_bytes());
        message.push(b'\n');
        message
    };
    assert_eq!(collector.next(), expected("one"));
    bed.write("go", "");
    assert_eq!(collector.next(), expected("two"));
    supervisor.stop();
}

#[test]
fn a_collector_that_is_not_there_costs_lines_that_are_counted_and_nothing_else() {
    let _turn = JOURNALD.lock();
    if Path::new("/run/systemd/journal/socket").exists() {
        skip(Lack::Collector, "journald runs here");
        return;
    }
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'while :; do echo line; sleep \
        0.01; done'], ready: { after: 0s }, logs: { stdout: journald } }\n";
    let supervisor = bed.start(yaml);
    supervisor
        .wait("a loss", |supervisor| (supervisor.worker("w").lost_output >= 10).then_some(()));
    supervisor.bed.wait_log("cannot be written to journald");
    assert_eq!(supervisor.worker("w").generation, 1);
    supervisor.stop();
}

#[test]
fn lines_of_workers_do_not_mix_on_the_terminal() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { cwd: ., ready: { after: 0s }, logs: { stdout: terminal } \
        }\nworkers:\n  \
        a: { command: [sh, -c, 'printf begun; while [ ! -e go ]; do sleep 0.01; done; echo \
        -and-ended; exec sleep 1d'] }\n  \
        b: { command: [sh, -c, 'while [ ! -e between ]; do sleep 0.01; done; echo between; exec \
        sleep 1d'] }\n";
    let supervisor = bed.start(yaml);
    let log = || fs::read_to_string(bed.path("supervisor.log")).expect("the supervisor's output");
    supervisor.wait_running();
    bed.write("between", "");
    supervisor.wait("the other's line", |_| log().contains("between\n").then_some(()));
    bed.write("go", "");
    supervisor.wait("the end of the line", |_| log().contains("-and-ended\n").then_some(()));
    assert!(log().contains("begun-and-ended\n"), "{}", log());
    supervisor.stop();
}

#[test]
fn an_error_of_the_device_is_counted_logged_once_and_disturbs_no_other_output() {
    let bed = Bed::new();
    // A write to the unmapped start of a process's memory fails with EIO.
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'while :; do echo line; sleep \
        0.01; done'], ready: { after: 0s }, logs: { stdout: /proc/self/mem } }\n  \
         good: { command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo good $i; sleep 0.01; \
         done'], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    supervisor
        .wait("a loss", |supervisor| (supervisor.worker("w").lost_output > 100).then_some(()));
    supervisor.bed.wait_log("Input/output error");
    let good = bed.output("good").lines().count();
    supervisor.wait_output("good", &format!("good {}\n", good + 20));
    assert_eq!((supervisor.worker("good").lost_output, supervisor.worker("w").generation), (0, 1));
    supervisor.stop();
    assert_eq!(bed.log().matches("Input/output error").count(), 1, "said once: {}", bed.log());
}

#[test]
fn a_device_gets_output_as_it_is() {
    let bed = Bed::new();
    let terminal = crate::harness::terminal(None);
    let path = nix::unistd::ttyname(&terminal.slave).expect("its name");
    let yaml = format!(
        "version: 1\nworkers:\n  w: {{ command: [sh, -c, 'echo to the device; exec sleep 1d'], \
            ready: {{ after: 0s }}, logs: {{ stdout: {} }} }}\n",
        path.display()
    );
    let supervisor = bed.start(&yaml);
    let master = File::from(terminal.master);
    let mut buffer = [0; 4096];
    let mut seen = String::new();
    while !seen.contains("to the device\r\n") {
        let count = read_in_time(&master, &mut buffer);
        seen.push_str(&text(&buffer[..count]));
    }
    assert_eq!(supervisor.worker("w").lost_output, 0);
    supervisor.stop();
}

#[test]
fn caps_hold_for_each_file_and_for_all_together() {
    let bed = Bed::new();
    // By their own rules none of the files would be rotated.
    let yaml = "version: 1\nsupervisor: { log_cap: 4MiB }\n\
        defaults: { restart: never, ready: { after: 1h }, logs: { rotate: { size: 1GiB, keep: 100 \
        } } }\nworkers:\n  \
        w: { instances: 4, command: [sh, -c, 'seq -f \"line %.0f\" 1000000; touch \
        done.${instance}; exec sleep 1d'], cwd: . }\n  \
        capped: { command: [sh, -c, 'seq -f \"line %.0f\" 1000000; touch done.5; exec sleep 1d'], \
        cwd: ., logs: { stdout: ../own/capped.log, cap: 1MiB } }\n";
    let supervisor = bed.start(yaml);
    let (mut most, mut most_own) = (0, 0);
    supervisor.wait("all to have written", |supervisor| {
        most = most.max(weight(&bed.path("logs")).unwrap_or(0));
        most_own = most_own.max(weight(&bed.path("own")).unwrap_or(0));
        (1..=5).all(|number| supervisor.bed.path(&format!("done.{number}")).exists()).then_some(())
    });
    supervisor.stop();
    // A thread that may have to wait checks the cap after each sixteenth, and others write while it
    // removes what is too much: on a busy disk that is a few MiB. Without it there would be 50.
    assert!(most <= 16 * 1024 * 1024, "{most} bytes at worst");
    let final_weight = |name: &str| weight(&bed.path(name)).expect("its writers have ended");
    let (all, own) = (final_weight("logs"), final_weight("own"));
    assert!((1024 * 1024..=8 * 1024 * 1024).contains(&all), "{all} bytes");
    // None in the end where all together exceeded the cap: rotated files go first, and this one may
    // just have been rotated.
    assert!(own <= 1024 * 1024 + 128 * 1024, "{own} bytes");
    assert!(most_own > 0, "a worker whose file lies elsewhere writes to it");
    // The last writer's last line is still there; its file may have been rotated after that line.
    let ends = (1..=4).filter(|number| {
        let aside = fs::read(bed.path(&format!("logs/w.{number}.log.1")))
            .map(|bytes| text(&bytes))
            .unwrap_or_default();
        let present = bed.output(&format!("w.{number}"));
        let last = if present.is_empty() { aside } else { present };
        last.ends_with("line 1000000\n")
    });
    assert!(ends.count() > 0, "the newest are kept");
}

#[test]
fn a_file_that_cannot_be_rotated_loses_nothing_and_is_logged_once() {
    let bed = Bed::new();
    // A directory is in the way.
    fs::create_dir_all(bed.path("logs/w.log.1/in-the-way")).expect("a directory");
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'seq -f \"line %.0f\" 20000; \
        printf unfinished; exec sleep 1d'], ready: { after: 0s }, logs: { rotate: { size: 10KiB, \
        keep: 1 } } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_output("w", "unfinished");
    supervisor.bed.wait_log("cannot rotate");
    let output = bed.output("w");
    assert_eq!(output.lines().count(), 20_001, "nothing is cut off");
    assert_eq!(supervisor.worker("w").lost_output, 0);
    supervisor.stop();
    assert_eq!(bed.log().matches("cannot rotate").count(), 1, "{}", bed.log());
}

#[test]
fn the_last_lines_of_an_incident_are_there_right_after_a_rotation() {
    let bed = Bed::new();
    // The line before the last fills the file, so that the last is alone in the next.
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'seq 1 12; head -c 2000 /dev/zero \
        | tr \"\\0\" x; echo; while [ ! -e go ]; do sleep 0.01; done; echo the very last; kill \
        -SEGV $$'], cwd: ., restart: never, ready: { after: 0s }, logs: { rotate: { size: 1KiB, \
        keep: 3 } } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait("a rotation", |supervisor| {
        supervisor.bed.path("logs/w.log.1").exists().then_some(())
    });
    bed.write("go", "");
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.last_output.last().map(String::as_str), Some("the very last"));
    assert_eq!(incident.last_output.len(), 10, "{:?}", incident.last_output);
    assert_eq!(incident.last_output[7], "12", "{:?}", incident.last_output);
    supervisor.stop();
}

#[test]
fn a_reader_of_standard_output_that_is_slow_loses_nothing() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'seq -f \"line %.0f\" 20000; exec \
        sleep 1d'], ready: { after: 0s }, logs: { stdout: terminal } }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    // Like node and some shells leave it.
    fcntl(&theirs, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("ours");
    let mut command = bed.command(&["run", "--no-guardian", "-c"]);
    let log = File::create(bed.path("supervisor.log")).expect("a log");
    command.arg(file).stdout(Stdio::from(theirs)).stderr(log);
    let supervisor = bed.attach(command);
    let reader = File::from(ours);
    let mut seen = Vec::new();
    let mut buffer = [0; 512];
    while !seen.ends_with(b"line 20000\n") {
        // Slower than it is written.
        std::thread::sleep(std::time::Duration::from_micros(200));
        let count = read_in_time(&reader, &mut buffer);
        assert!(count > 0, "it ended");
        seen.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(text(&seen).lines().count(), 20_000);
    assert_eq!(supervisor.worker("w").lost_output, 0);
    supervisor.stop();
}

#[test]
fn standard_output_that_is_closed_ends_nothing() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'while :; do echo x; sleep 0.01; \
        done'], ready: { after: 0s }, logs: { stdout: terminal } }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    let mut command = bed.command(&["run", "--no-guardian", "-c"]);
    let log = File::create(bed.path("supervisor.log")).expect("a log");
    command.arg(file).stdout(Stdio::piped()).stderr(log);
    let mut supervisor = bed.attach(command);
    supervisor.wait_running();
    drop(supervisor.child.stdout.take());
    supervisor.wait("a loss", |supervisor| (supervisor.worker("w").lost_output > 10).then_some(()));
    assert_eq!(supervisor.worker("w").generation, 1);
    supervisor.stop();
}
