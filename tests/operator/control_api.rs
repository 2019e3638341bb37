//! The control API: who may use it, and that quiet, slow or foreign clients lock out no one who
//! may.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Bed, Stopped, Supervisor, open_files, text};

/// A worker that runs, and one that is never ready.
const TWO: &str = "version: 1\nworkers:\n  a: { worker: ticker }\n  \
    late: { command: [sleep, 1d], ready: { after: 1h }, autostart: false }\n";

/// The longest wait of a client, however many others are quiet.
const AT_ONCE: Duration = Duration::from_secs(1);

#[track_caller]
fn is_served_at_once(supervisor: &Supervisor<'_>, beside: &str) {
    // One of ten: the machine has other things to do.
    let took = |_| {
        let begun = Instant::now();
        supervisor.client.status().unwrap_or_else(|error| panic!("beside {beside}: {error}"));
        begun.elapsed()
    };
    assert!((0..10).map(took).any(|took| took < AT_ONCE), "beside {beside} a status takes long");
}

fn connections(bed: &Bed, count: usize, request: &[u8]) -> Vec<UnixStream> {
    let connect = |_| {
        let mut client = UnixStream::connect(bed.path("run/control.sock")).expect("a connection");
        client.set_nonblocking(true).expect("ours");
        // As much as the server accepts: the client does not read the answers.
        let _ = client.write(request);
        client
    };
    (0..count).map(connect).collect()
}

#[test]
fn quiet_clients_lock_no_other_client_out() {
    let bed = Bed::new();
    let supervisor = bed.start(TWO);
    supervisor.client.start(&["late".to_owned()], false).expect("an order");
    supervisor.wait_phase("late", "starting");
    let pid = supervisor.status().supervisor.pid;
    let before = open_files(pid);
    let order = b"{\"workers\":[\"late\"],\"wait\":true}";
    let order = [
        format!("POST /v1/start HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", order.len())
            .as_bytes(),
        order,
    ]
    .concat();
    let status = b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2000);
    let half = b"POST /v1/stop HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"wor";
    let crowds: [(&str, &[u8]); 6] = [
        ("readers of events that do not read", b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("followers of logs", b"GET /v1/logs?follow=true HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("orders that wait for their outcome", &order),
        ("connections that ask nothing", b""),
        ("requests that stay half", half),
        ("questions without a reader of the answers", &status),
    ];
    let mut all = Vec::new();
    for (what, request) in crowds {
        all.push(connections(&bed, 100, request));
        is_served_at_once(&supervisor, what);
        let output = bed.verb(&["restart", "a", "--no-wait"]);
        assert_eq!(output.status.code(), Some(0), "beside {what}: {}", text(&output.stderr));
        assert!(
            open_files(pid) < before + 64 * 4,
            "the supervisor keeps {} descriptors",
            open_files(pid)
        );
    }
    // Clients without a place have got a refusal.
    let mut busy = 0;
    for client in all[0].iter_mut() {
        let mut answer = [0; 4096];
        let count = client.read(&mut answer).unwrap_or(0);
        busy += usize::from(text(&answer[..count]).contains("\"busy\""));
    }
    assert_eq!(busy, 100 - 64, "of readers of events");
    drop(all);
    supervisor
        .wait("their places to be given back", |_| (open_files(pid) <= before + 4).then_some(()));
    is_served_at_once(&supervisor, "no other client");
    supervisor.stop();
}

/// How many connections to a control socket its supervisor has accepted and not closed
/// (proc_pid_net(5), `unix`: the state 03 is connected, 02 waits to be accepted).
fn accepted(bed: &Bed) -> usize {
    let path = bed.path("run/control.sock");
    let table = std::fs::read("/proc/net/unix").expect("procfs");
    let table = String::from_utf8_lossy(&table);
    let is_accepted = |line: &&str| {
        let mut columns = line.split_ascii_whitespace();
        columns.nth(5) == Some("03") && columns.nth(1) == path.to_str()
    };
    table.lines().filter(is_accepted).count()
}

#[test]
fn a_question_that_has_arrived_is_answered_however_late_the_supervisor_reads_it() {
    let bed = Bed::new();
    let supervisor = bed.start(TWO);
    let pid = supervisor.status().supervisor.pid;
    let ask = b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n";
    // Which of them the supervisor looks at first is chance.
    for _ in 0..6 {
        bed.wait("no client to be left", || (accepted(&bed) == 0).then_some(()));
        let mut clients = connections(&bed, 64, b"");
        bed.wait("all places to be taken", || (accepted(&bed) == 64).then_some(()));
        let stopped = Stopped::new(pid);
        // One without a place comes first, then the others ask.
        clients.extend(connections(&bed, 1, ask));
        for client in &mut clients[..64] {
            client.write_all(ask).expect("room");
        }
        let begun = Instant::now();
        bed.wait("them to seem quiet", || (begun.elapsed() > AT_ONCE / 4).then_some(()));
        drop(stopped);
        for (number, mut client) in clients.into_iter().enumerate() {
            client.set_nonblocking(false).expect("ours");
            let mut answer = String::new();
            let _ = client.read_to_string(&mut answer);
            assert!(answer.starts_with("HTTP/1.1 200"), "client {number} got `{answer}`");
        }
    }
    supervisor.stop();
}

#[test]
fn a_reader_of_events_gets_all_events_until_the_end() {
    let bed = Bed::new();
    let supervisor = bed.start(TWO);
    let mut reader = UnixStream::connect(bed.path("run/control.sock")).expect("a connection");
    reader.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").expect("written");
    let mut head = [0; 12];
    reader.read_exact(&mut head).expect("it is subscribed");
    assert_eq!(&head, b"HTTP/1.1 200");
    supervisor.stop();
    let mut heard = String::new();
    reader.read_to_string(&mut heard).expect("to its end");
    assert!(heard.contains("\"stopping\"") && heard.contains("\"idle\""), "{heard}");
    assert!(heard.ends_with("0\r\n\r\n"), "the stream has its end: {heard}");
}

/// A process of another user.
fn as_other(uid: u32, gid: u32, groups: &str, program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
    match groups {
        "" => command.arg("--clear-groups"),
        groups => command.arg(format!("--groups={groups}")),
    };
    command.arg("--").arg(program).args(arguments).stdin(Stdio::null());
    command
}

/// A verb of another user.
fn verb_as(bed: &Bed, (uid, gid, groups): (u32, u32, &str), arguments: &[&str]) -> Output {
    let socket = bed.path("run/control.sock");
    let mut command =
        as_other(uid, gid, groups, Path::new(crate::harness::program().get_program()), arguments);
    command.env("SUPERVISORD_RS_SOCKET", socket).output().expect("the program runs")
}

/// Many connections of another user, which ask again and again, read nothing, and stay.
fn crowd_of(bed: &Bed, (uid, gid, groups): (u32, u32, &str), count: usize) -> Child {
    let script = include_str!("../fixtures/greedy_clients.py");
    let socket = bed.path("run/control.sock");
    let arguments = ["-c", script, socket.to_str().expect("UTF-8"), &count.to_string()];
    let mut command = as_other(uid, gid, groups, Path::new("/usr/bin/python3"), &arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut up = [0; 2];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut up).expect("it is connected");
    child
}

const GROUP: u32 = 4242;
const MEMBER: (u32, u32, &str) = (4711, 65534, "4243,4242");
const STRANGER: (u32, u32, &str) = (4712, 65534, "4243");

/// Lets every user enter the directory of the test.
fn open(bed: &Bed) {
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bed.directory.path(), mode).expect("ours");
}

#[test]
fn members_of_the_group_may_use_the_api_and_others_may_not() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    open(&bed);
    let supervisor = bed.start(&format!("{TWO}supervisor: {{ control: {{ group: {GROUP} }} }}\n"));
    supervisor.wait_phase("a", "running");
    let found = bed.path("run").metadata().expect("there");
    assert_eq!((found.gid(), found.permissions().mode() & 0o777), (GROUP, 0o750));
    let found = bed.path("run/control.sock").metadata().expect("there");
    assert_eq!((found.gid(), found.permissions().mode() & 0o777), (GROUP, 0o660));
    for who in [MEMBER, (4713, GROUP, "")] {
        let output = verb_as(&bed, who, &["status"]);
        assert_eq!(output.status.code(), Some(0), "{who:?}: {}", text(&output.stderr));
        let output = verb_as(&bed, who, &["restart", "a"]);
        assert_eq!(output.status.code(), Some(0), "{who:?}: {}", text(&output.stderr));
    }
    let output = verb_as(&bed, STRANGER, &["stop", "all"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains(&format!("the user 4712 may not enter {}", bed.path("run").display()))
            && said.contains(&format!("members of the group {GROUP} (`usermod -aG {GROUP} USER`")),
        "{said}"
    );
    assert!(!said.contains("start one"), "there is one: {said}");
    // A successor takes the socket over, and admits the same users.
    crate::harness::kill(supervisor.status().supervisor.pid, nix::sys::signal::Signal::SIGKILL);
    supervisor.wait("a member to be served again", |_| {
        (verb_as(&bed, MEMBER, &["status", "a"]).status.code() == Some(0)).then_some(())
    });
    assert!(!bed.log().contains("cannot reach"), "{}", bed.log());
    supervisor.stop();
}

#[test]
fn one_who_may_not_learns_who_may_and_how() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    open(&bed);
    let supervisor = bed.start(TWO);
    let set = |path: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(bed.path(path), mode).expect("ours");
    };
    let group = "only root may; `supervisor: { control: { group: NAME } }` lets in the members of \
                 a group too";
    // Kept out by the socket, then by the supervisor.
    for (mode, why) in [(0o600, "Permission denied"), (0o666, "user 4712 may not use the API")] {
        set("run", 0o755);
        set("run/control.sock", mode);
        let output = verb_as(&bed, STRANGER, &["status"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains(why) && said.contains(group), "{said}");
    }
    supervisor.stop();
}

/// An answer of the API: its status and its body.
fn ask(bed: &Bed, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(bed.path("run/control.sock")).expect("a connection");
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head[9..12].parse().expect("a status"), body.to_owned())
}

#[test]
fn a_request_that_makes_no_sense_is_answered_with_what_is_wrong_and_what_is_right() {
    let bed = Bed::new();
    let supervisor = bed.start(TWO);
    for (path, status, why) in [
        ("status?usgae=true", 400, "unknown parameter `usgae`: allowed are usage"),
        ("status?usage=maybe", 400, "usage=maybe: it has to be true or false"),
        ("status?usage", 400, "usage=: it has to be true or false"),
        ("incidents?lst=3", 400, "unknown parameter `lst`: allowed are last, open"),
        ("incidents?last=-1", 400, "last=-1: it has to be a whole number from 0"),
        ("incidents?last=1&last=2", 400, "last stands twice in the query"),
        ("incidents/x", 400, "x is no number of an incident"),
        ("incidents/7", 404, "no incident 7"),
        ("incidents/7?last=1", 400, "unknown parameter `last`: there are none here"),
        ("events?worker=a", 400, "unknown parameter `worker`: there are none here"),
        ("logs?wroker=a", 400, "unknown parameter `wroker`: allowed are worker, lines,"),
        ("logs?lines=x", 400, "lines=x: it has to be a number of lines, from 0"),
        ("logs?from=1", 400, "from=1: it has to be a JSON array of the `positions`"),
        ("logs?worker=nope", 404, "no worker or group is called nope; there are: a, late"),
        ("nope", 404, "there is no path /v1/nope"),
        ("start", 405, "/v1/start takes no GET"),
    ] {
        let (found, answer) = ask(&bed, "GET", &format!("/v1/{path}"), "");
        assert_eq!(found, status, "{path}: {answer}");
        let failure: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let said = failure["message"].as_str().expect("a message");
        assert!(said.starts_with(why), "{path}: {said}");
    }
    for (path, body, status, why) in [
        ("start?wait=true", r#"{"workers":["a"]}"#, 400, "unknown parameter `wait`"),
        ("start", r#"{"workers":["a"],"wiat":true}"#, 400, "the body has a key that this path"),
        ("scale", r#"{"worker":"a","instances":"x"}"#, 400, "the value of `instances` does not"),
        ("stop", r#"{"workers":["nope"]}"#, 404, "no worker is called nope"),
    ] {
        let (found, answer) = ask(&bed, "POST", &format!("/v1/{path}"), body);
        assert_eq!(found, status, "{path}: {answer}");
        let failure: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let said = failure["message"].as_str().expect("a message");
        assert!(said.starts_with(why), "{path}: {said}");
    }
    supervisor.stop();
}

#[test]
fn a_member_gets_no_more_than_what_the_workers_may() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    open(&bed);
    let yaml = format!(
        "version: 1\nsupervisor: {{ control: {{ group: {GROUP} }} }}\nworkers:\n  \
         a: {{ command: [sh, -c, 'echo line; exec sleep 1d'] }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_output("a", "line\n");
    let pid = supervisor.status().supervisor.pid;
    let script =
        bed.write("other", &format!("#!/bin/sh\ntouch {}\nexit 1\n", bed.path("ran").display()));
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let output = verb_as(&bed, MEMBER, &["reexec", "--binary", script.to_str().expect("UTF-8")]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("only root and the supervisor's own user may name another binary"),
        "{said}"
    );
    assert!(!bed.path("ran").exists(), "it was not run");
    assert_eq!(supervisor.status().supervisor.pid, pid);
    // A member's rights are as before.
    let output = verb_as(&bed, MEMBER, &["reload"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // The log is 0640, and not the member's: the verb reports that, and does not show an empty log.
    for arguments in [&["logs", "a"][..], &["logs"]] {
        let output = verb_as(&bed, MEMBER, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("a.log, the output of a: Permission denied"), "{said}");
        assert!(said.contains("as root or as the supervisor's own user"), "{said}");
    }
    // Where the file lets the member read it, the supervisor does too, unless a directory is
    // closed.
    let set = |path: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(bed.path(path), mode).expect("ours");
    };
    set("logs/a.log", 0o644);
    set("logs", 0o755);
    assert_eq!(text(&verb_as(&bed, MEMBER, &["logs", "a"]).stdout), "line\n");
    set("logs", 0o700);
    let output = verb_as(&bed, MEMBER, &["logs", "a"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(4), ""));
    supervisor.stop();
}

#[test]
fn a_directory_that_keeps_the_group_out_is_reported() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(bed.directory.path(), mode).expect("ours");
    let supervisor = bed.start(&format!("{TWO}supervisor: {{ control: {{ group: {GROUP} }} }}\n"));
    let closed = bed.directory.path().display().to_string();
    supervisor.wait("a warning", |_| {
        let log = bed.log();
        (log.contains("cannot reach the control socket") && log.contains(&closed)).then_some(())
    });
    let mode = bed.directory.path().metadata().expect("ours").permissions().mode();
    assert_eq!(mode & 0o077, 0, "what is not the supervisor's stays as it is");
    supervisor.stop();
    let bed = Bed::new();
    let file = bed.write(
        "x.yaml",
        "version: 1\nsupervisor: { control: { group: no-such-group } }\nworkers: {}\n",
    );
    let output = bed.verb(&["check", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        text(&output.stderr).contains("unknown group `no-such-group`"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn neither_members_nor_strangers_keep_the_owner_out() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    open(&bed);
    let control = format!("supervisor: {{ control: {{ group: {GROUP}, mode: \"0666\" }} }}\n");
    let supervisor = bed.start(&format!("{TWO}{control}"));
    std::fs::set_permissions(bed.path("run"), std::fs::Permissions::from_mode(0o755))
        .expect("ours");
    chown(bed.path("run"), None, Some(GROUP)).expect("ours");
    let pid = supervisor.status().supervisor.pid;
    let before = open_files(pid);
    let strangers = crowd_of(&bed, STRANGER, 200);
    is_served_at_once(&supervisor, "strangers");
    supervisor.wait("strangers to cost nothing", |_| (open_files(pid) <= before + 4).then_some(()));
    let members = crowd_of(&bed, MEMBER, 200);
    is_served_at_once(&supervisor, "members");
    // A stranger that reads the answer learns why it is refused.
    let output = verb_as(&bed, STRANGER, &["status"]);
    assert!(
        text(&output.stderr).contains("may not use the API of this supervisor"),
        "{}",
        text(&output.stderr)
    );
    supervisor.wait("a member to be served among members", |_| {
        (verb_as(&bed, MEMBER, &["status", "a"]).status.code() == Some(0)).then_some(())
    });
    for mut crowd in [strangers, members] {
        crowd.kill().expect("ours");
        crowd.wait().expect("ours");
    }
    supervisor
        .wait("their places to be given back", |_| (open_files(pid) <= before + 4).then_some(()));
    supervisor.stop();
}

#[test]
fn an_incident_that_there_is_not_is_not_found() {
    use std::io::{Read, Write};
    let bed = Bed::new();
    let supervisor = bed.start("version: 1\nworkers:\n  a: { worker: ticker }\n");
    let mut stream = std::os::unix::net::UnixStream::connect(bed.path("run/control.sock"))
        .expect("the control socket");
    stream.write_all(b"GET /v1/incidents/999 HTTP/1.1\r\nhost: x\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("no incident 999"), "{answer}");
    assert!(supervisor.client.incident(999).expect("an answer").is_none());
    assert_eq!(bed.verb(&["incidents", "999"]).status.code(), Some(1));
    supervisor.stop();
}

#[test]
fn what_the_api_does_not_understand_it_answers_in_json() {
    use std::io::{Read, Write};
    let bed = Bed::new();
    let supervisor = bed.start("version: 1\nworkers:\n  a: { worker: sleeper }\n");
    for (request, status) in [
        ("GET /v1/incidents?last=abc", "400"),
        ("GET /v1/incidents/abc", "400"),
        ("GET /v1/status?usage=perhaps", "400"),
        ("DELETE /v1/status", "405"),
        ("GET /v1/stop", "405"),
        ("GET /v1/nothing", "404"),
    ] {
        let mut stream = UnixStream::connect(bed.path("run/control.sock")).expect("a connection");
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let failure: serde_json::Value = serde_json::from_str(body).expect(&answer);
        assert_eq!(failure["error"], "invalid", "{request}: {answer}");
        assert!(!body.contains("deserialize") && !body.contains("Invalid URL"), "{answer}");
    }
    supervisor.stop();
}
