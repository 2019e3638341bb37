//! `logs`: last lines and new ones, of workers, groups or all, in the order of their times, through
//! every rotation.

use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Stdio};

use supervisord_rs::control::protocol::{LogItem, LogLine, LogsRequest};

use crate::harness::{Bed, join_in_time, read_in_time, text};

/// `logs -f`, and what it has printed so far.
struct Follower {
    child: Child,
    output: ChildStdout,
    seen: Vec<u8>,
}

impl Follower {
    fn new(bed: &Bed, arguments: &[&str]) -> Self {
        let mut child = bed.command(arguments).stdout(Stdio::piped()).spawn().expect("it runs");
        let output = child.stdout.take().expect("piped");
        Self { child, output, seen: Vec::new() }
    }

    /// Reads until this text comes.
    fn until(&mut self, is_enough: impl Fn(&str) -> bool) -> String {
        let mut buffer = [0; 4096];
        while !is_enough(&text(&self.seen)) {
            let count = read_in_time(&mut self.output, &mut buffer);
            assert!(count > 0, "it ended; it has printed:\n{}", text(&self.seen));
            self.seen.extend_from_slice(&buffer[..count]);
        }
        text(&self.seen)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers of its lines `line N`.
fn numbers(shown: &str) -> Vec<u32> {
    shown.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect()
}

/// Prints a line each time that the file `WORKER.NUMBER` appears.
fn on_demand(name: &str) -> String {
    format!(
        "[sh, -c, 'n=1; while :; do while [ ! -e {name}.$n ]; do sleep 0.005; done; echo \
            {name}$n; n=$((n+1)); done']"
    )
}

#[test]
fn lines_of_several_workers_are_shown_in_the_order_in_which_they_were_written() {
    for format in ["timestamps: true", "format: json"] {
        let bed = Bed::new();
        let yaml = format!(
            "version: 1\ngroups: {{ g: {{ workers: [a, b] }} }}\n\
                defaults: {{ cwd: ., ready: {{ after: 0s }}, logs: {{ {format} }} }}\nworkers:\n  \
                a: {{ command: {} }}\n  b: {{ command: {} }}\n  c: {{ command: {} }}\n",
            on_demand("a"),
            on_demand("b"),
            on_demand("c"),
        );
        let supervisor = bed.start(&yaml);
        let mut expected = Vec::new();
        let say = |name: &str, number: u32| {
            bed.write(&format!("{name}.{number}"), "");
            supervisor.wait_output(name, &format!("{name}{number}"));
            // Times have milliseconds.
            let said = std::time::Instant::now();
            supervisor.wait("the clock", |_| (said.elapsed().as_millis() >= 2).then_some(()));
            format!("{name}{number}")
        };
        for (name, number) in [("b", 1), ("a", 1), ("c", 1), ("b", 2), ("a", 2)] {
            expected.push(say(name, number));
        }
        let order = |shown: &str| -> Vec<String> {
            let is_name = |at: usize| {
                let rest = &shown.as_bytes()[at..];
                let before = at.checked_sub(1).map(|at| shown.as_bytes()[at]);
                matches!(rest, [b'a'..=b'c', b'1'..=b'9', ..])
                    && matches!(before, Some(b' ' | b'"'))
            };
            (0..shown.len().saturating_sub(1))
                .filter(|at| is_name(*at))
                .map(|at| shown[at..at + 2].to_owned())
                .collect()
        };
        let shown = text(&bed.verb(&["logs"]).stdout);
        assert_eq!(order(&shown), expected, "{format}: {shown}");
        let group = text(&bed.verb(&["logs", "g:", "-n", "1"]).stdout);
        assert_eq!(order(&group), ["b2", "a2"], "{format}: {group}");
        let mut follower = Follower::new(&bed, &["logs", "-f", "g:", "-n", "1"]);
        follower.until(|seen| seen.contains("a2"));
        say("a", 3);
        say("c", 2);
        say("b", 3);
        let seen = follower.until(|seen| seen.contains("b3"));
        assert_eq!(order(&seen), ["b2", "a2", "a3", "b3"], "{format}: {seen}");
        drop(follower);
        supervisor.stop();
    }
}

#[test]
fn last_lines_reach_back_through_rotation_and_following_continues_through_it() {
    for compress in [false, true] {
        let bed = Bed::new();
        let yaml = format!(
            "version: 1\nworkers:\n  w:\n    \
                command: [sh, -c, 'seq -f \"line %.0f\" 1000; while [ ! -e go ]; do sleep 0.01; \
                done; seq -f \"line %.0f\" 1001 30000; exec sleep 1d']\n    \
             cwd: .\n    ready: {{ after: 0s }}\n    \
             logs: {{ rotate: {{ size: 4KiB, keep: 10000, compress: {compress} }} }}\n"
        );
        let supervisor = bed.start(&yaml);
        // That line may be in a rotated file by now.
        supervisor.wait("the last line", |supervisor| {
            (text(&supervisor.bed.verb(&["logs", "w", "-n", "1"]).stdout) == "line 1000\n")
                .then_some(())
        });
        let shown = text(&bed.verb(&["logs", "w", "-n", "900"]).stdout);
        assert_eq!(numbers(&shown), (101..=1000).collect::<Vec<_>>(), "compress: {compress}");
        let mut follower = Follower::new(&bed, &["logs", "-f", "w", "-n", "2"]);
        follower.until(|seen| seen.contains("line 1000\n"));
        bed.write("go", "");
        let seen = follower.until(|seen| seen.contains("line 30000\n"));
        let numbers = numbers(&seen);
        if compress {
            // A file can be compressed, and removed, before the follower opens it: a hole, but
            // nothing twice, and nothing before what is older.
            assert_eq!(numbers[..2], [999, 1000], "compress: {compress}");
            assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        } else {
            assert_eq!(numbers, (999..=30_000).collect::<Vec<_>>(), "a hole");
        }
        drop(follower);
        supervisor.stop();
    }
}

#[test]
fn a_reader_that_goes_away_disturbs_nothing_and_unknown_names_are_reported() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'while :; do echo x; sleep 0.001; \
        done'], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_output("w", "x\nx\n");
    let mut follower = Follower::new(&bed, &["logs", "-f", "w"]);
    follower.until(|seen| seen.contains('x'));
    // Its reader closes the pipe: it ends by itself, without an error.
    let Follower { output, .. } = &mut follower;
    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    *output = ChildStdout::from(std::os::fd::OwnedFd::from(null));
    supervisor.wait("its end", |_| follower.child.try_wait().expect("our child"));
    assert_eq!(supervisor.worker("w").generation, 1);
    assert_eq!(bed.verb(&["logs", "nobody"]).status.code(), Some(5));
    supervisor.stop();
}

#[test]
fn a_fifo_in_place_of_a_log_is_refused_and_not_waited_for() {
    let bed = Bed::new();
    let fifo = bed.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    // A link whose name does not show it.
    let device = bed.path("device");
    std::os::unix::fs::symlink("/dev/full", &device).expect("a link");
    let yaml = format!(
        "version: 1\nworkers:\n  good: {{ command: [sh, -c, 'echo line; exec sleep 1d'], ready: \
            {{ after: 0s }} }}\n  \
         own: {{ command: [sleep, 1d], ready: {{ after: 0s }}, logs: {{ stdout: {} }} }}\n  \
         nuls: {{ command: [sleep, 1d], ready: {{ after: 0s }}, logs: {{ stdout: {} }} }}\n  \
         swapped: {{ command: [sh, -c, 'echo line; exec sleep 1d'], ready: {{ after: 0s }} }}\n",
        fifo.display(),
        device.display()
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_output("good", "line\n");
    supervisor.wait_output("swapped", "line\n");
    // A worker that may write to the directory can do this.
    let swapped = bed.path("logs/swapped.log");
    std::fs::remove_file(&swapped).expect("there");
    nix::unistd::mkfifo(&swapped, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let shown = |arguments: &[&str]| {
        let mut command = bed.command(arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        supervisor.wait("its end", |_| child.try_wait().expect("our child"));
        child.wait_with_output().expect("our child")
    };
    for (name, path) in [("own", &fifo), ("nuls", &device), ("swapped", &swapped)] {
        for follow in [None, Some("-f")] {
            let arguments: Vec<&str> = ["logs", name].into_iter().chain(follow).collect();
            let output = shown(&arguments);
            let said = text(&output.stderr);
            let expected =
                format!("cannot show {}, the output of {name}: no regular file", path.display());
            assert!(said.contains(&expected), "{said}");
            assert_eq!(output.status.code(), Some(1));
        }
    }
    // `logs` still shows the others.
    let all = shown(&["logs"]);
    assert!(text(&all.stdout).contains("line\n") && all.status.success(), "{all:?}");
    supervisor.stop();
}

/// The output of a verb on a terminal.
fn on_a_terminal(bed: &Bed, arguments: &[&str]) -> String {
    let terminal = crate::harness::terminal(None);
    let slave = terminal.slave.try_clone().expect("a second handle");
    let mut child = bed.command(arguments).stdout(Stdio::from(slave)).spawn().expect("it runs");
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut master = std::fs::File::from(terminal.master);
        let mut buffer = [0; 4096];
        // EIO once no process has the other side open (pty(7)).
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            seen.extend_from_slice(&buffer[..count]);
        }
        text(&seen)
    });
    child.wait().expect("our child");
    drop(terminal.slave);
    join_in_time(reader)
}

#[test]
fn a_terminal_obeys_nothing_that_a_worker_has_written() {
    let bed = Bed::new();
    let say = include_str!("../fixtures/owned_status.py");
    let yaml = format!(
        "version: 1\nworkers:\n  w: {{ command: [printf, '\\033[2Jcleared\\n\
            '], restart: never, ready: {{ after: 1h }} }}\n  \
         says: {{ command: [python3, -c, {}], ready: {{ notify: true }} }}\n  \
         dies: {{ command: [sh, -c, 'printf \"\\033[2Jlast\\n\
         \"; exit 1'], restart: never, ready: {{ after: 1h }} }}\n",
        serde_json::to_string(say).expect("a string")
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_output("w", "cleared\n");
    supervisor.wait_phase("says", "running");
    let incident = supervisor.wait_incident(0).id.to_string();
    let shown = on_a_terminal(&bed, &["logs", "w"]);
    assert!(shown.contains("\\x1b[2Jcleared") && !shown.contains('\x1b'), "{shown:?}");
    let raw = on_a_terminal(&bed, &["logs", "w", "--raw"]);
    assert!(raw.contains("\x1b[2Jcleared"), "{raw:?}");
    let piped = text(&bed.verb(&["logs", "w"]).stdout);
    assert_eq!(piped, "\x1b[2Jcleared\n", "another program gets what was written");
    let status = text(&bed.verb(&["status", "says"]).stdout);
    assert!(status.contains("owned") && !status.contains(['\x1b', '\x07']), "{status:?}");
    let told = text(&bed.verb(&["incidents", &incident]).stdout);
    assert!(told.contains("\\x1b[2Jlast") && !told.contains('\x1b'), "{told:?}");
    supervisor.stop();
}

/// A worker that prints `line N`, one after the other.
const COUNTING: &str = "version: 1\nworkers:\n  w: { command: [sh, -c, 'i=0; while :; do \
    i=$((i+1)); echo line $i; sleep 0.002; done'], ready: { after: 0s }, logs: { rotate: { size: \
    4KiB, keep: 1000 } } }\n";

#[test]
fn a_follower_goes_on_with_each_successor_and_prints_each_line_once() {
    let bed = Bed::new();
    let mut supervisor = bed.start(COUNTING);
    supervisor.wait_output("w", "line 9\n");
    let mut follower = Follower::new(&bed, &["logs", "-f", "w", "-n", "1"]);
    let more = |follower: &mut Follower, count: usize| {
        let before = numbers(&text(&follower.seen)).len();
        numbers(&follower.until(|seen| numbers(seen).len() >= before + count))
    };
    more(&mut follower, 100);
    // A death, and a hand-over.
    let pid = supervisor.status().supervisor.pid;
    crate::harness::kill(pid, nix::sys::signal::Signal::SIGKILL);
    let successor = supervisor.wait_successor(pid).supervisor.pid;
    more(&mut follower, 100);
    assert_eq!(bed.verb(&["reload"]).status.code(), Some(0));
    supervisor.wait_successor(successor);
    let seen = more(&mut follower, 100);
    assert!(seen.windows(2).all(|two| two[1] == two[0] + 1), "a hole, or one twice: {seen:?}");
    assert_eq!(supervisor.worker("w").generation, 1);
    // After an orderly end it goes on with the files.
    assert_eq!(bed.verb(&["shutdown"]).status.code(), Some(0));
    supervisor.wait_exit();
    let log = std::fs::OpenOptions::new().append(true).open(bed.path("logs/w.log"));
    log.expect("there").write_all(b"of another writer\n").expect("written");
    follower.until(|seen| seen.contains("of another writer\n"));
    drop(follower);
    bed.wait_ended();
}

#[test]
fn the_api_serves_lines_with_their_times_and_goes_on_where_an_answer_ended() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ cwd: ., ready: {{ after: 0s }} }}\nworkers:\n  \
         a: {{ command: {}, logs: {{ timestamps: true }} }}\n  \
         b: {{ command: [printf, '\\377\\n'], restart: never }}\n",
        on_demand("a"),
    );
    let supervisor = bed.start(&yaml);
    let say = |number: u32| {
        bed.write(&format!("a.{number}"), "");
        supervisor.wait_output("a", &format!("a{number}\n"));
    };
    let answer = |request: &LogsRequest| -> Vec<LogItem> {
        let parts = supervisor.client.logs(request).expect("an answer");
        parts.collect::<Result<_, _>>().expect("all of it")
    };
    let lines = |items: &[LogItem]| -> Vec<LogLine> {
        let line = |item: &LogItem| match item {
            LogItem::Line(line) => Some(line.clone()),
            LogItem::Note { .. } | LogItem::Positions { .. } => None,
        };
        items.iter().filter_map(line).collect()
    };
    say(1);
    let mut request = LogsRequest { workers: vec!["a".into()], ..LogsRequest::default() };
    let items = answer(&request);
    let line = lines(&items).remove(0);
    assert_eq!((line.message.as_str(), line.worker.as_deref()), ("a1", Some("a")));
    assert_eq!(line.whole(), format!("{} a1", line.at.as_ref().expect("a time")).as_bytes());
    let Some(LogItem::Positions { positions }) = items.last() else { panic!("{items:?}") };
    say(2);
    request.from.clone_from(positions);
    request.follow = true;
    let mut parts = supervisor.client.logs(&request).expect("an answer");
    let mut next = || loop {
        if let LogItem::Line(line) = parts.next().expect("a part").expect("of an answer") {
            break line.message;
        }
    };
    assert_eq!(next(), "a2", "what was written meanwhile, and nothing from before");
    say(3);
    assert_eq!(next(), "a3");
    // The file with the place where an answer ended is not there any more.
    request.follow = false;
    request.from.clone_from(positions);
    request.from[0].inode += 1_000_000;
    let note = answer(&request).into_iter().find_map(|item| match item {
        LogItem::Note { note } => Some(note),
        LogItem::Line(_) | LogItem::Positions { .. } => None,
    });
    let note = note.expect("lines may be lost");
    assert!(note.contains("has been removed or compressed since"), "{note}");
    // Output need not be UTF-8.
    let of_b = || lines(&answer(&LogsRequest { workers: vec!["b".into()], ..Default::default() }));
    let found = supervisor.wait("the output of b", |_| of_b().pop());
    assert_eq!((found.whole(), found.message.as_str()), (&b"\xff"[..], "\u{fffd}"));
    let unknown = LogsRequest { workers: vec!["nobody".into()], ..Default::default() };
    let error = supervisor.client.logs(&unknown).expect_err("there is no such worker");
    assert!(error.to_string().contains("no worker or group is called nobody"), "{error}");
    supervisor.stop();
}

#[test]
fn an_answer_goes_on_where_an_earlier_one_has_come_to_also_without_following() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nworkers:\n  a: {{ command: {}, cwd: ., logs: {{ rotate: {{ size: 4B, keep: \
         9 }} }} }}\n",
        on_demand("a")
    );
    let supervisor = bed.start(&yaml);
    let said = |number: u32| {
        bed.write(&format!("a.{number}"), "");
        let line = format!("a{number}\n");
        supervisor.wait("its line", |supervisor| {
            text(&supervisor.bed.verb(&["logs"]).stdout).contains(&line).then_some(())
        });
    };
    let mut request = LogsRequest::default();
    let mut ask = || {
        let mut lines = Vec::new();
        for item in supervisor.client.logs(&request).expect("an answer") {
            match item.expect("whole") {
                LogItem::Line(line) => lines.push(line.message),
                LogItem::Positions { positions } if !positions.is_empty() => {
                    request.from = positions;
                }
                LogItem::Positions { .. } | LogItem::Note { .. } => {}
            }
        }
        lines
    };
    said(1);
    assert_eq!(ask(), ["a1"]);
    assert_eq!(ask(), Vec::<String>::new());
    said(2);
    said(3);
    assert_eq!(ask(), ["a2", "a3"]);
    assert_eq!(ask(), Vec::<String>::new());
    supervisor.stop();
}

#[test]
fn a_follower_outlives_an_orderly_end_and_shows_what_the_next_run_writes() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sh, -c, 'echo x >> runs; echo run $(wc -l < \
                runs); exec sleep 1d'], cwd: . }\n";
    let mut supervisors = vec![bed.start(yaml)];
    let file = bed.path("supervisord-rs.yaml");
    let mut follower = Follower::new(&bed, &["logs", "-f", "-c", file.to_str().expect("UTF-8")]);
    follower.until(|shown| shown == "run 1\n");
    for lines in ["run 1\nrun 2\n", "run 1\nrun 2\nrun 3\n"] {
        assert_eq!(bed.verb(&["shutdown"]).status.code(), Some(0));
        supervisors.last_mut().expect("one").wait_exit();
        supervisors.push(bed.start(yaml));
        follower.until(|shown| shown == lines);
    }
    assert_eq!(bed.verb(&["shutdown"]).status.code(), Some(0));
    // It is a process of this test too.
    drop(follower);
    drop(supervisors);
}
