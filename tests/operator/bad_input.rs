//! Bad input yields a clear error, and disturbs nothing else.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::harness::{Bed, DEADLINE, EAGER, find, join_in_time, text};

const ONE: &str = "version: 1\nworkers:\n  a: { worker: ticker }\n";

#[track_caller]
pub(crate) fn refused(yaml: &str, expected: &[&str]) {
    let bed = Bed::new();
    let file = bed.write("bad.yaml", yaml);
    for verb in ["check", "run"] {
        let mut command = bed.command(&[verb]);
        command.args(if verb == "run" { vec!["-c"] } else { vec![] }).arg(&file);
        let output = command.output().expect("the program runs");
        assert_eq!(output.status.code(), Some(78), "{verb}: {}", text(&output.stderr));
        let message = text(&output.stderr);
        for words in expected {
            assert!(message.contains(words), "{verb}: `{words}` is not in:\n{message}");
        }
    }
    assert!(!bed.path("run").exists(), "nothing was touched");
}

#[test]
fn every_problem_of_a_configuration_is_reported_at_once_with_its_place() {
    let yaml = "version: 1\nworkers:\n  api:\n    comand: [sleep, 1d]\n    restart: sometimes\n  \
        db:\n    \
                command: [sleep, 1d]\n    isolation: thread\n    heartbeat: 10\n    \
                depends_on: { dbb: ready }\n  db: {}\n";
    refused(
        yaml,
        &[
            "bad.yaml:4:5",
            "comand",
            "did you mean `command`?",
            "bad.yaml:5:14",
            "workers.api.restart",
            "one of: always, on-failure, never",
            "a command cannot run as a thread",
            "bad.yaml:8:16",
            "a duration with its unit",
            "duplicate key `db`",
        ],
    );
}

#[test]
fn invalid_yaml_is_reported_with_its_place() {
    refused("version: 1\nworkers: [\n", &["the list that `[` opens is never closed"]);
    refused("", &["the file is empty"]);
    refused("just a word\n", &["invalid value `just a word`", "expected a mapping"]);
    refused("version: 2\nworkers: {}\n", &["unknown version 2"]);
    let compose = "version: \"3.8\"\nworkers: {}\n";
    refused(compose, &["unknown version 3.8", "expected `version: 1`, the only one"]);
}

#[test]
fn what_is_written_elsewhere_is_refused_with_what_to_write_here() {
    let yaml = "version: 1\nsupervisor: { log_cap: 2GB }\nworkers:\n  a:\n    \
        command: [sleep, 1d]\n    restart: unless-stopped\n    stop: 10\n    env: [A=1]\n    \
        limits: { mem: 64M, stack: 64k }\n    schedule: daily\n    timeout: 5\n  b:\n    \
        command: [sleep, 1d]\n    restart: { policy: no }\n    stop: QUIT\n    \
        depends_on: { a: { condition: service_healthy } }\n  c:\n    command: [sleep, 1d]\n    \
        depends_on: { a: healthy }\n";
    refused(
        yaml,
        &[
            "did you mean `2GiB`?",
            "workers.a.restart: invalid value `unless-stopped`",
            "did you mean `always`?",
            "write `stop: { timeout: 10s }`",
            "write a mapping: { A: \"1\" }",
            "`mem` is a key of other programs: write `memory: 64M`",
            "did you mean `64KiB`?",
            "`schedule` is a key of other programs: write `autostart: false`",
            "`timeout` is a key of other programs: write `stop: { timeout: DURATION }`",
            "did you mean `never`?",
            "write `stop: { signal: QUIT }`",
            "`condition` is a key of Compose: write `is: ready`",
            "workers.c.depends_on.a: invalid value `healthy`",
            "did you mean `ready`?",
        ],
    );
}

#[test]
fn a_key_beside_its_worker_belongs_below_it() {
    let yaml = "version: 1\nworkers:\n  a:\n  command: [sleep, 1d]\n  restart: always\n";
    refused(
        yaml,
        &[
            "workers.command: `command` is a key of a worker",
            "workers.restart: `restart` is a key of a worker",
            "indent it below the worker's name",
        ],
    );
}

#[test]
fn each_mapping_with_an_unknown_key_says_which_there_are() {
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], qqqq: 1 }\n  \
        b: { command: [sleep, 1d], qqqq: 1 }\n";
    let bed = Bed::new();
    let file = bed.write("bad.yaml", yaml);
    let said = text(&bed.verb(&["check", file.to_str().expect("UTF-8")]).stderr);
    assert_eq!(said.matches("expected one of: command,").count(), 2, "{said}");
}

#[test]
fn keys_of_later_versions_are_refused_and_never_ignored() {
    let yaml = "version: 1\nsupervisor: { metrics: on }\nworkers:\n  a:\n    \
        command: [sleep, 1d]\n    plugin: x.so\n    sandbox: {}\n  \
        b: { command: [sleep, 1d], isolation: sandbox }\n";
    refused(
        yaml,
        &[
            "workers.a.plugin: this key is not supported yet",
            "leave it out, and run a program by `command:`",
            "workers.a.sandbox: this key is not supported yet",
            "leave it out, and confine it by `user:`, `limits:`",
            "supervisor.metrics: this key is not supported yet",
            "leave it out, and read `status --json` and `events`",
            "workers.b.isolation: `sandbox` is not supported yet",
            "write `isolation: process`, and confine it by `user:`",
        ],
    );
}

/// Its output; it ends by itself, and soon.
fn ends(bed: &Bed, arguments: &[&str]) -> std::process::Output {
    let mut command = bed.command(arguments);
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program runs");
    let ended =
        crate::harness::until(crate::harness::DEADLINE / 4, || child.try_wait().expect("ours"));
    if ended.is_none() {
        child.kill().expect("ours");
    }
    assert!(ended.is_some(), "{arguments:?} waits for ever");
    child.wait_with_output().expect("ours")
}

#[test]
fn a_configuration_that_is_no_regular_file_is_refused_and_not_waited_for() {
    let bed = Bed::new();
    let fifo = bed.path("fifo.yaml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let fifo = fifo.to_str().expect("ASCII");
    for (file, what) in
        [(fifo, "it is a FIFO"), ("/dev/zero", "it is a device"), ("/", "it is a directory")]
    {
        for verb in [&["check"][..], &["status", "-c"], &["run", "-c"]] {
            let output = ends(&bed, &[verb, &[file]].concat());
            assert_eq!(output.status.code(), Some(78), "{verb:?} {file}");
            let message = text(&output.stderr);
            assert!(message.contains(what), "{verb:?} {file}: {message}");
        }
    }
    // A file that the caller has opened already is read to its end.
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(ONE.as_bytes()).expect("room");
    drop(writer);
    let output =
        bed.command(&["check", "/dev/stdin"]).stdin(reader).output().expect("the program runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_fifo_or_a_link_in_the_place_of_the_black_box_holds_up_no_start() {
    let bed = Bed::new();
    bed.start(ONE).stop();
    let private = nix::sys::stat::Mode::S_IRWXU;
    for name in ["blackbox", "blackbox.new"] {
        let _ = std::fs::remove_file(bed.path("run").join(name));
        nix::unistd::mkfifo(&bed.path("run").join(name), private).expect("a FIFO");
    }
    let supervisor = bed.start(ONE);
    supervisor.wait_running();
    let metadata = std::fs::symlink_metadata(bed.path("run/blackbox")).expect("there");
    assert!(metadata.is_file(), "ours is in its place");
    bed.wait_log("it is not a regular file");
    supervisor.stop();
    // The supervisor does not follow a link: its target may belong to another program.
    let theirs = bed.write("theirs", "precious");
    let _ = std::fs::remove_file(bed.path("run/blackbox.new"));
    std::os::unix::fs::symlink(&theirs, bed.path("run/blackbox.new")).expect("a link");
    let supervisor = bed.start(ONE);
    supervisor.wait_running();
    supervisor.stop();
    assert_eq!(std::fs::read_to_string(&theirs).expect("there"), "precious");
}

#[test]
fn a_lock_that_is_no_regular_file_is_refused() {
    let bed = Bed::new();
    bed.start(ONE).stop();
    let lock = bed.path("run/supervisor.lock");
    std::fs::remove_file(&lock).expect("there");
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let file = bed.path("supervisord-rs.yaml");
    let output = ends(&bed, &["run", "--no-guardian", "-c", file.to_str().expect("ASCII")]);
    assert!(!output.status.success());
    let message = text(&output.stderr);
    assert!(
        message.contains("supervisor.lock there is not a regular file: remove it"),
        "{message}"
    );
}

#[test]
fn a_supervisor_whose_queue_is_full_is_waited_for_and_then_called_busy() {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
    };
    let bed = Bed::new();
    let path = bed.path("full.sock");
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .expect("a socket");
    bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &UnixAddr::new(&path).expect("short"))
        .expect("free");
    listen(&listener, Backlog::new(0).expect("allowed")).expect("ours");
    let first = UnixStream::connect(&path).expect("room for one");
    let arguments = ["status", "--socket", path.to_str().expect("ASCII")];
    let output = ends(&bed, &arguments);
    let message = text(&output.stderr);
    assert!(message.contains("is busy") && !message.contains("start one"), "{message}");
    // As soon as there is room, it connects.
    let listener = std::os::unix::net::UnixListener::from(listener);
    let late = std::thread::spawn(move || {
        drop(first);
        let (_gone, _) = listener.accept().expect("the first");
        // It ends with the answer.
        listener.accept().expect("the next");
    });
    let message = text(&ends(&bed, &arguments).stderr);
    join_in_time(late);
    assert!(!message.contains("is busy"), "{message}");
}

#[test]
fn a_cycle_is_named_in_full() {
    let yaml = "version: 1\ndefaults: {}\nworkers:\n  a: { worker: sleeper, depends_on: [b] }\n  \
                b: { worker: sleeper, depends_on: [c] }\n  \
                c: { worker: sleeper, depends_on: [a] }\n";
    refused(yaml, &["a → b → c → a"]);
}

#[test]
fn a_line_that_cannot_be_seen_is_no_way_to_be_ready() {
    for sink in ["'null'", "inherit"] {
        refused(
            &format!(
                "version: 1\nworkers:\n  \
                    w: {{ command: [x], ready: {{ log: READY }}, logs: {{ stdout: {sink} }} }}\n"
            ),
            &["`ready: { log: }` needs captured output"],
        );
    }
}

#[test]
fn a_thread_has_no_execution_environment_for_a_command_before_its_start() {
    for isolation in ["isolation: thread", "isolation: thread, cell: c"] {
        refused(
            &format!(
                "version: 1\nworkers:\n  a: {{ worker: ticker, {isolation}, start_before: [id] }}\n"
            ),
            &["only a process has `start_before:`", "`isolation: process`, or a worker of its own"],
        );
    }
    refused("version: 1\nworkers:\n  a: { command: [x], start_before: id }\n", &["write [id]"]);
}

#[test]
fn arguments_and_faults_are_checked_before_anything_runs() {
    let yaml = "version: 1\nworkers:\n  a: { worker: ticker, args: { intervall: 5ms } }\n  \
        b: { worker: tickr }\n  \
                c: { worker: ticker, inject: [ { fault: segfalt } ] }\n  \
                d: { worker: ticker, inject: [ { fault: segfault } ] }\n";
    refused(
        yaml,
        &[
            "intervall",
            "did you mean `ticker`?",
            "did you mean `segfault`?",
            "crash injection is off",
        ],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_reported() {
    let bed = Bed::new();
    for (file, words) in [("/nowhere/x.yaml", "No such file"), ("/", "it is a directory")] {
        let output = bed.verb(&["check", file]);
        assert_eq!(output.status.code(), Some(78));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
    let file = bed.path("latin1.yaml");
    std::fs::write(&file, b"version: 1\nworkers: { \xe4: 1 }\n").expect("a file");
    let output = bed.verb(&["check", file.to_str().expect("UTF-8")]);
    assert!(text(&output.stderr).contains("line 2 is not UTF-8"), "{}", text(&output.stderr));
}

/// What a file names is relative to its directory, and is text.
#[test]
fn a_file_below_a_name_that_is_not_utf_8_is_refused_before_anything_runs() {
    let bed = Bed::new();
    let directory = bed.directory.path().join(std::ffi::OsStr::from_bytes(b"d\xff"));
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::write(directory.join("x.yaml"), ONE).expect("a file");
    for arguments in [&["check", "x.yaml"][..], &["run", "-c", "x.yaml"], &["check", "-"]] {
        let mut command = bed.command(arguments);
        let output =
            command.current_dir(&directory).stdin(Stdio::null()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let said = text(&output.stderr);
        let words = [r"d\xFF", "is not UTF-8", "rename what has such a name"];
        assert!(words.iter().all(|words| said.contains(words)), "{arguments:?}: {said}");
    }
    // A file elsewhere does not depend on the working directory.
    let elsewhere = bed.write("good.yaml", ONE);
    let mut command = bed.command(&["check"]);
    let output = command.arg(&elsewhere).current_dir(&directory).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_missing_executable_is_an_incident_that_says_what_to_do_and_disturbs_no_other_worker() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  good: { worker: ticker }\n  bad:\n    \
        command: [no-such-program-anywhere]\n    \
                restart: { backoff: { initial: 1ms }, limit: { restarts: 2, within: 60s } }\n  \
                dir: { command: [\"true\"], cwd: /no/such/directory, restart: never }\n";
    let supervisor = bed.start(yaml);
    let status = supervisor.wait("quarantine", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let is_known = find(&status, "bad").phase == "quarantined"
            && find(&status, "good").phase == "running"
            && find(&status, "dir").ending.is_some();
        is_known.then_some(status)
    });
    let message = find(&status, "bad").ending.and_then(|ending| ending.message).expect("a message");
    assert_eq!(
        message,
        "cannot execute no-such-program-anywhere: No such file or directory: install it, or write \
            its full path in `command:`"
    );
    let message = find(&status, "dir").ending.and_then(|ending| ending.message).expect("a message");
    assert!(
        message.contains("cannot enter its working directory") && message.contains("cwd:"),
        "{message}"
    );
    assert_eq!(find(&status, "good").generation, 1);
    supervisor.stop();
}

#[test]
fn a_directory_of_path_that_may_not_be_searched_is_not_taken_for_a_program() {
    let bed = Bed::new();
    let locked = bed.path("locked");
    std::fs::create_dir(&locked).expect("a directory");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&locked, mode(0o000)).expect("ours");
    // No mode keeps root out.
    let user = if crate::harness::is_root() { ", user: nobody" } else { "" };
    let yaml = format!(
        "version: 1\nworkers:\n  bad: {{ command: [no-such-program-anywhere], restart: never, \
         env: {{ PATH: '{}:/usr/bin:/bin' }}{user} }}\n",
        locked.display()
    );
    let supervisor = bed.start(&yaml);
    let ending = supervisor.wait_phase("bad", "finished").ending.expect("it has ended");
    assert_eq!((ending.errno.as_deref(), ending.exit_code), (Some("ENOENT"), Some(127)));
    assert!(ending.message.is_some_and(|message| message.contains("install it")));
    supervisor.stop();
    std::fs::set_permissions(&locked, mode(0o700)).expect("ours");
}

#[test]
fn a_directory_that_cannot_be_made_is_reported() {
    let bed = Bed::new();
    let file = bed.write("one.yaml", ONE);
    let output = bed
        .command(&["run", "--no-guardian", "-c"])
        .arg(file)
        .env("RUNTIME_DIRECTORY", "/proc/no-place-for-directories")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains("/proc/no-place-for-directories")
            && message.contains("supervisor.runtime_dir"),
        "{message}"
    );
}

#[test]
fn a_second_supervisor_on_the_same_directory_is_refused_and_the_first_runs_on() {
    let bed = Bed::new();
    let supervisor = bed.start(ONE);
    let before = supervisor.wait_progress(None);
    let output = bed
        .command(&["run", "-c"])
        .arg(bed.path("supervisord-rs.yaml"))
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains(&format!("another supervisor (pid {})", before.supervisor.pid)),
        "{message}"
    );
    let after = supervisor.wait_progress(Some(&before));
    assert_eq!(find(&after, "a").pid, find(&before, "a").pid);
    supervisor.stop();
}

#[test]
fn a_bad_black_box_is_set_aside_and_reported() {
    for garbage in [&b"not a black box"[..], &[0xff; 8192], &[0; 4096]] {
        let bed = Bed::new();
        std::fs::create_dir(bed.path("run")).expect("a directory");
        std::fs::write(bed.path("run/blackbox"), garbage).expect("a file");
        let supervisor = bed.start(ONE);
        supervisor.wait_running();
        bed.wait_log("set aside as blackbox.bad");
        assert!(supervisor.incidents().is_empty());
        supervisor.stop();
    }
}

#[test]
fn a_board_full_of_garbage_is_no_sign_of_life_and_harms_only_its_worker() {
    // The board is descriptor 5 of a worker's own process: the first one passed to its host.
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ heartbeat: 2s, {EAGER} }}\nworkers:\n  \
            a: {{ worker: ticker }}\n  b: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    let before = supervisor.wait_progress(None);
    let pid = find(&before, "b").pid.expect("running");
    let board = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a live process")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            std::fs::read_link(path)
                .is_ok_and(|target| target.to_string_lossy().contains("memfd:b"))
        })
        .expect("the board of b");
    let garbage: Vec<u8> =
        (0..4096_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::OpenOptions::new()
        .write(true)
        .open(board)
        .and_then(|mut file| file.write_all(&garbage))
        .expect("written");
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.lost, ["b"], "{}", incident.sentence);
    let after = supervisor.wait_progress(None);
    assert_eq!(find(&after, "a").pid, find(&before, "a").pid);
    supervisor.stop();
}

#[test]
fn a_client_that_sends_half_a_request_and_stays_disturbs_no_other() {
    let bed = Bed::new();
    let supervisor = bed.start(ONE);
    let socket = bed.path("run/control.sock");
    let mut stuck: Vec<UnixStream> =
        (0..32).map(|_| UnixStream::connect(&socket).expect("a connection")).collect();
    for (index, client) in stuck.iter_mut().enumerate() {
        let half: &[u8] = match index % 4 {
            0 => b"GET /v1/sta",
            1 => b"POST /v1/stop HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"wor",
            2 => b"\x00\xff\xfe garbage \r\n\r\n",
            _ => b"",
        };
        client.write_all(half).expect("written");
    }
    for _ in 0..20 {
        supervisor.client.status().expect("others are served");
    }
    // The supervisor gives the half request up, not this test.
    stuck[0].set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let mut rest = Vec::new();
    stuck[0].read_to_end(&mut rest).expect("the supervisor closes it");
    assert_eq!(supervisor.worker("a").phase, "running");
    drop(stuck);
    supervisor.stop();
}

#[test]
fn requests_that_make_no_sense_are_answered_with_what_is_wrong() {
    let bed = Bed::new();
    let supervisor = bed.start(ONE);
    supervisor.wait_running();
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(bed.path("run/control.sock")).expect("a connection");
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let post = |path: &str, body: &str| {
        ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n\
                {body}",
            body.len()
        ))
    };
    assert!(post("/v1/stop", "{nonsense").starts_with("HTTP/1.1 400"));
    assert!(post("/v1/stop", "{\"workers\":[\"zz\"]}").starts_with("HTTP/1.1 404"));
    assert!(
        post("/v1/stop", &format!("{{\"workers\":[\"{}\"]}}", "x".repeat(100_000)))
            .starts_with("HTTP/1.1 413")
    );
    assert!(post("/v2/stop", "{}").starts_with("HTTP/1.1 404"));
    assert!(
        post("/v1/inject", "{\"worker\":\"a\",\"fault\":\"panic\"}").starts_with("HTTP/1.1 403")
    );
    assert!(post("/v1/signal", "{\"worker\":\"a\",\"signal\":99}").starts_with("HTTP/1.1 400"));
    assert_eq!(supervisor.worker("a").phase, "running");
    supervisor.stop();
}

#[test]
fn injection_is_impossible_unless_the_configuration_allows_it() {
    let bed = Bed::new();
    let supervisor = bed.start(ONE);
    supervisor.wait_running();
    let output = bed.verb(&["inject", "a", "segfault"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("fault_injection: allow"), "{}", text(&output.stderr));
    assert_eq!(supervisor.worker("a").generation, 1);
    supervisor.stop();
}

#[test]
fn exit_statuses_are_those_that_are_documented() {
    let bed = Bed::new();
    assert_eq!(bed.verb(&["status"]).status.code(), Some(4), "no supervisor");
    assert_eq!(bed.verb(&["stop", "a"]).status.code(), Some(7), "no supervisor");
    assert_eq!(bed.verb(&["fly"]).status.code(), Some(2), "no such verb");
    let supervisor = bed.start(ONE);
    supervisor.wait_running();
    assert_eq!(bed.verb(&["status"]).status.code(), Some(0));
    assert_eq!(bed.verb(&["status", "zz"]).status.code(), Some(4));
    assert_eq!(bed.verb(&["stop", "zz"]).status.code(), Some(5));
    for (name, known) in [
        ("zz", "no worker is called zz; there are: a"),
        ("zz:", "no group is called zz; there are: none"),
    ] {
        let output = bed.verb(&["status", name]);
        assert_eq!(output.status.code(), Some(4));
        assert_eq!(
            (text(&output.stdout).as_str(), text(&output.stderr).contains(known)),
            ("", true),
            "{output:?}"
        );
    }
    assert_eq!(bed.verb(&["signal", "a", "NOPE"]).status.code(), Some(2));
    assert_eq!(bed.verb(&["stop", "a"]).status.code(), Some(0));
    assert_eq!(bed.verb(&["status"]).status.code(), Some(3), "stopped");
    assert_eq!(bed.verb(&["start", "a"]).status.code(), Some(0));
    let json: serde_json::Value =
        serde_json::from_slice(&bed.verb(&["status", "--json"]).stdout).expect("JSON");
    for key in [
        "name",
        "phase",
        "isolation",
        "cell",
        "domain",
        "pid",
        "tid",
        "generation",
        "restarts",
        "progress",
        "in_flight",
        "since",
        "ending",
        "last_incident",
    ] {
        assert!(json["workers"][0].get(key).is_some(), "{key} is missing in {json}");
    }
    for key in ["pid", "phase", "started_at", "config", "guardian"] {
        assert!(json["supervisor"].get(key).is_some(), "{key} is missing in {json}");
    }
    supervisor.stop();
    let bed = Bed::new();
    let supervisor = bed.start(&format!("{ONE}groups: {{ g: {{ workers: [a] }} }}\n"));
    let renewed = bed.verb(&["restart", "g:"]);
    assert_eq!(text(&renewed.stdout), "restart g: done\n", "{renewed:?}");
    let output = bed.verb(&["status", "zz:"]);
    assert!(text(&output.stderr).contains("no group is called zz; there are: g:"), "{output:?}");
    supervisor.stop();
}

#[test]
fn what_this_machine_does_not_have_is_reported_before_anything_runs() {
    let yaml = "version: 1\nhooks: [ { on: exploded, command: [x] }, { on: failed } ]\n\
        workers:\n  a:\n    command: [sleep, 1d]\n    \
                user: no-such-user\n    group: no-such-group\n    \
                limits: { open_file: 3, core: lots, stack: { soft: 2MiB, hard: 1MiB } }\n    \
                nice: 40\n    cpus: [x]\n    umask: \"999\"\n    \
                sockets: [ nowhere, { listen: '127.0.0.1:80', mode: \"0600\" } ]\n    \
                ready: { tcp: 'example.org:80', log: '(' }\n    \
                health: { liveness: { every: 1s } }\n    depends_on: { b: ready }\n    \
                logs: { rotate: { size: big } }\n";
    refused(
        yaml,
        &[
            "did you mean `open_files`?",
            "invalid value `lots`",
            "the soft limit is above the hard one",
            "a whole number from -20 to 19",
            "`x` is not a processor",
            "permission bits in octal",
            "invalid address `nowhere`",
            "only a Unix socket has a mode",
            "an IP address and a port",
            "`log` is not a valid regular expression",
            "missing `tcp:`, `http:` or `exec:`",
            "unknown worker `b`",
            "a size, such as 512KiB",
            "one of: failed, recovered",
            "missing `command:`",
        ],
    );
}

#[test]
fn a_fraction_is_counted_in_full_thousandths() {
    let yaml = |probability: &str| {
        format!(
            "version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n  \
                a: {{ command: [sleep, 1d], \
             inject: [ {{ fault: signal-kill, after: 1d, probability: {probability} }} ] }}\n"
        )
    };
    for (wrong, nearest) in [
        ("0.0005", "0 or 0.001"),
        ("0.0015", "0.001 or 0.002"),
        ("0.5001", "0.5 or 0.501"),
        ("0.9999", "0.999 or 1"),
    ] {
        let expected = format!("a number from 0 to 1, in full thousandths: {nearest}");
        refused(&yaml(wrong), &[&format!("invalid value `{wrong}`"), &expected]);
    }
    refused(&yaml("1.001"), &["a number from 0 to 1"]);
    let bed = Bed::new();
    let every: Vec<String> = (0..=1000)
        .map(|permille| {
            let probability = format!("{}.{:03}", permille / 1000, permille % 1000);
            format!("{{ fault: signal-kill, after: 1d, probability: {probability} }}")
        })
        .collect();
    let yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n  \
            a: {{ command: [sleep, 1d], inject: [ {} ] }}\n",
        every.join(", ")
    );
    let file = bed.write("good.yaml", &yaml);
    let output = bed.verb(&["check", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn keys_that_a_thread_or_registered_code_cannot_have_are_refused_in_its_entry() {
    let yaml = "version: 1\ndefaults: { user: nobody, env: { A: b }, sockets: [ '127.0.0.1:1' ] \
        }\nworkers:\n  \
                fine: { worker: ticker, isolation: thread }\n  \
                t: { worker: ticker, isolation: thread, user: nobody, env: { A: b } }\n  \
                s: { worker: ticker, sockets: [ '127.0.0.1:1' ], stop: { signal: INT }, ready: { \
                tcp: '127.0.0.1:1' } }\n  \
                i: { command: [sleep, 1d], instances: 2, logs: { stdout: same.log } }\n";
    refused(
        yaml,
        &[
            "workers.t.user: a thread has the user of its process",
            "workers.t.env: a thread has the environment of its process",
            "a `worker:` asks for its sockets by name, and this one has none",
            "through its board, not by a signal",
            "a `worker:` reports by itself that it is ready",
        ],
    );
}

#[test]
fn only_those_who_may_can_reach_the_control_socket() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    let supervisor = bed.start(&format!("{ONE}supervisor: {{ control: {{ mode: \"0666\" }} }}\n"));
    // Even where the mode and the directories would let them in.
    for path in [bed.directory.path().to_path_buf(), bed.path("run")] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("ours");
    }
    let mut stranger = std::process::Command::new("setpriv");
    stranger
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c"])
        .arg(
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
            s.sendall(b'GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n\
            '); print(s.makefile().read())",
        );
    let answer = stranger.arg(bed.path("run/control.sock")).output().expect("it runs");
    let answer = text(&answer.stdout);
    assert!(
        answer.starts_with("HTTP/1.1 403")
            && answer.contains("may not use the API of this supervisor"),
        "{answer}"
    );
    supervisor.stop();
}

#[test]
fn what_workers_cannot_share_is_refused_before_anything_is_made() {
    let resources = "version: 1\nresources:\n  jobs: { kind: queue, capacity: 0, message: 32MiB }\n  \
        gate: { kind: semaphore, permits: 0 }\n  none: { kind: semaphore }\n  door: { kind: \
        mutx }\n  two: { kind: queue }\n  two: { kind: mutex }\n  fresh: { kind: condition, mutex: \
        dor }\n  far: { kind: region, size: 1TiB, guarded_by: jobz }\n  odd: { kind: region, \
        size: 1MiB, guarded_by: two }\n  old: { kind: semaphore, permits: 1, by: sysv }\n  key: { kind: topic, permits: 3 }\n  bare: {}\n";
    let workers = "workers:\n  a: { command: [sleep, 1d], uses: [jbos, gate, key, gate] }\n";
    refused(
        &format!("{resources}{workers}"),
        &[
            "bad.yaml:3:34",
            "resources.jobs.capacity",
            "a whole number from 1 to 65536",
            "a message of 33554432 bytes",
            "expected from 1 to 16MiB",
            "resources.gate.permits",
            "a whole number from 1 to 4096",
            "missing `permits:`",
            "did you mean `mutex`?",
            "duplicate key `two`",
            "no resource `dor`",
            "did you mean `door`?",
            "a region of 1099511627776 bytes",
            "no resource `jobz`",
            "`gate` is listed twice",
            "`two` is a queue, where a mutex or rw-lock is needed",
            "one of: tracked, posix",
            "resources.key.permits",
            "missing `kind:`",
            "unknown resource `jbos`",
            "did you mean `jobs`?",
        ],
    );
}

#[test]
fn what_a_carrier_cannot_promise_is_refused_where_it_is_asked_for() {
    let queues = "version: 1\nresources:\n  silent: { kind: queue, by: pipe }\n  asked: { kind: queue, \
        by: mqueue, delivery: at-least-once }\n  ring: { kind: queue, delivery: at-most-once }\n  long: { \
        kind: queue, by: pipe, delivery: at-most-once, message: 8KiB }\n  many: { kind: queue, by: \
        pipe, delivery: at-most-once, capacity: 257 }\n  sized: { kind: queue, by: socket, delivery: \
        at-most-once, capacity: 8 }\n  foreign: { kind: queue, by: kafka }\nworkers: {}\n";
    refused(
        queues,
        &[
            "resources.silent: `by: pipe` cannot deliver again what a dead taker had",
            "write `delivery: at-most-once`",
            "resources.asked.delivery: `by: mqueue` cannot deliver again",
            "resources.ring.delivery: `by: ring` delivers at least once",
            "a message of 8192 bytes",
            "expected from 1 to 4KiB",
            "a whole number from 1 to 256",
            "`by: socket` has no `capacity:`",
            "one of: ring, pipe, socket, mqueue",
        ],
    );
}

#[test]
fn a_resource_that_is_called_as_a_part_of_another_one_is_refused() {
    refused(
        "version: 1\nresources:\n  jobs: { kind: queue, by: pipe, delivery: at-most-once }\n  \
         jobs.take: { kind: mutex }\n  gate: { kind: semaphore, permits: 1, by: posix, \
         on_owner_death: lose }\n  gate.object: { kind: mutex }\nworkers: {}\n",
        &[
            "`jobs.take` is what commands call a part of `jobs`",
            "`gate.object` is what commands call a part of `gate`",
            "give it another name",
        ],
    );
    // Shared memory has no parts.
    let bed = Bed::new();
    let file = bed.write(
        "fine.yaml",
        "version: 1\nresources: { jobs: { kind: queue }, jobs.take: { kind: mutex }, gate.more: { \
         kind: mutex } }\nworkers: { w: { worker: sleeper, uses: [jobs, jobs.take, gate.more] } }\n",
    );
    let output = bed.command(&["check", "-c"]).arg(file).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_posix_cannot_promise_is_refused_where_it_is_asked_for() {
    let resources = "version: 1\nresources:\n  silent: { kind: semaphore, permits: 1, by: posix }\n  \
        asked: { kind: semaphore, permits: 1, by: posix, on_owner_death: release }\n  mine: { kind: \
        semaphore, permits: 1, on_owner_death: lose }\n  none: { kind: semaphore, permits: 0, by: \
        posix, on_owner_death: lose }\n  odd: { kind: semaphore, permits: 1, on_owner_death: repair \
        }\n  quiet: { kind: region, size: 4KiB, by: posix }\n  shut: { kind: region, size: 4KiB, by: \
        posix, sealed: true }\n  open: { kind: region, size: 4KiB, sealed: false }\n  far: { kind: \
        region, size: 1MiB, by: shm, sealed: false }\n  twice: { kind: region, size: 4KiB, by: posix, \
        sealed: false }\n  twice: { kind: semaphore, permits: 1, by: posix, on_owner_death: lose \
        }\nworkers: {}\n";
    refused(
        resources,
        &[
            "resources.silent: `by: posix` cannot give back the permit of a dead holder",
            "write `on_owner_death: lose`, or leave `by:` out",
            "resources.asked.on_owner_death: `by: posix` cannot give back",
            "resources.mine.on_owner_death: `by: tracked` gives back the permits of a dead holder",
            "resources.none.permits",
            "a whole number from 1 to 4096",
            "one of: release, lose",
            "resources.quiet: `by: posix` cannot be sealed: a user that shrinks it ends all of them",
            "write `sealed: false`, or leave `by:` out",
            "resources.shut.sealed: `by: posix` cannot be sealed",
            "resources.open.sealed: `by: memfd` is sealed: nothing can shrink it",
            "one of: memfd, posix",
            "duplicate key `twice`",
        ],
    );
}

#[test]
fn users_that_cannot_have_it_together_are_refused_with_the_reason() {
    let ends = |resources: &str, workers: &str, expected: &[&str]| {
        refused(&format!("version: 1\nresources:\n{resources}workers:\n{workers}"), expected);
    };
    ends(
        "  door: { kind: mutex, scope: process }\n",
        "  a: { worker: sleeper, isolation: thread, uses: [door] }\n  b: { worker: sleeper, \
         isolation: thread, cell: box, uses: [door] }\n",
        &[
            "`scope: process`, and `door` is used in several processes: a (a thread of the \
             supervisor), b (cell box)",
            "write `scope: machine`",
        ],
    );
    ends(
        "  door: { kind: mutex }\n  fresh: { kind: condition, mutex: door }\n  ledger: { kind: \
         region, size: 1MiB, guarded_by: door }\n",
        "  a: { worker: sleeper, uses: [fresh] }\n  b: { worker: sleeper, uses: [ledger] }\n",
        &[
            "`fresh` goes with `door`, which this worker does not use",
            "write `uses: [fresh, door]`",
            "`ledger` is guarded by `door`, which this worker does not use",
        ],
    );
    ends(
        "  one: { kind: mutex, on_owner_death: restart-users }\n  two: { kind: rw-lock, \
         on_owner_death: restart-users }\n",
        "  a: { worker: sleeper, uses: [one] }\n  b: { worker: sleeper, uses: [one, two] }\n  c: { \
         worker: sleeper, uses: [two] }\n",
        &["the users of `two` and those of `one` restart each other", "for ever"],
    );
    ends(
        "  one: { kind: mutex, on_owner_death: restart-users }\ngroups: { g: { workers: [a] } }\n",
        "  a: { worker: sleeper, uses: [one] }\n  b: { worker: sleeper, uses: [one] }\n",
        &["`a` is in group `g`", "a worker is in one at most"],
    );
    ends(
        "  ledger: { kind: region, size: 64MiB }\n",
        "  a: { worker: sleeper, limits: { memory: 32MiB }, uses: [ledger] }\n",
        &["`ledger` may take 64MiB, and `limits:` of this worker allow 32MiB"],
    );
}

#[test]
fn a_command_has_no_more_resources_than_numbers_for_descriptors() {
    let file = |count: usize| {
        let names: Vec<String> = (0..count).map(|index| format!("r{index}")).collect();
        let one = |name: &String| format!("  {name}: {{ kind: mutex }}\n");
        format!(
            "version: 1\nresources:\n{}workers:\n  a: {{ command: [sleep, 1d], uses: [{}] }}\n",
            names.iter().map(one).collect::<String>(),
            names.join(", ")
        )
    };
    refused(
        &file(62),
        &["62 descriptors of resources, where a command can have 61", "or a `worker:`"],
    );
}

#[test]
fn a_fault_in_what_a_worker_does_not_use_is_refused() {
    refused(
        "version: 1\nsupervisor: { fault_injection: allow }\nresources: { jobs: { kind: queue } \
         }\nworkers:\n  a: { worker: sleeper, uses: [jobs], inject: [{ fault: die-with-lock }] }\n",
        &["`die-with-lock` strikes a mutex, and this worker uses none", "a mutex in its `uses:`"],
    );
}
