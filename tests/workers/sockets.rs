//! Sockets that the supervisor opens and keeps open: no client is refused while a worker restarts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::{Bed, EAGER, free_port, kill, text};
use nix::sys::signal::Signal;

/// Answers each connection on the passed socket with its PID; TERM ends it between two connections.
const SERVER: &str = include_str!("../fixtures/socket_server.py");

#[test]
fn clients_are_never_refused_while_workers_restart_and_instances_share_the_load() {
    let bed = Bed::new();
    bed.write("server.py", SERVER);
    let port = free_port();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
            web: {{ instances: 2, command: [python3, server.py], cwd: ., ready: {{ after: 0s }}, \
            sockets: [ '127.0.0.1:{port}' ] }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_running();
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU64::new(0));
    let failed: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (stop, served, failed) =
                (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&failed));
            std::thread::spawn(move || {
                let mut pids = std::collections::BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
                        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer)?;
                        Ok(answer)
                    });
                    match answer {
                        Ok(answer) if answer.starts_with("HTTP/1.0 200") => {
                            served.fetch_add(1, Ordering::Relaxed);
                            pids.insert(answer.lines().last().unwrap_or_default().to_owned());
                        }
                        other => failed.lock().expect("not poisoned").push(format!("{other:?}")),
                    }
                }
                pids
            })
        })
        .collect();
    for _ in 0..10 {
        // All at once: for a moment no process accepts, and clients wait in the queue.
        supervisor.client.restart(&["web".into()], true).expect("restarted");
        let before = served.load(Ordering::Relaxed);
        supervisor
            .wait("requests", |_| (served.load(Ordering::Relaxed) > before + 20).then_some(()));
    }
    stop.store(true, Ordering::Relaxed);
    let pids: std::collections::BTreeSet<String> =
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    assert_eq!(*failed.lock().expect("not poisoned"), Vec::<String>::new(), "failed requests");
    assert!(pids.len() > 5, "served by many incarnations: {pids:?}");
    // A killed worker loses the connections that it has accepted, and still no client is refused.
    for _ in 0..20 {
        let before = supervisor.wait_phase("web.1", "running");
        kill(before.pid.expect("running"), Signal::SIGKILL);
        TcpStream::connect(("127.0.0.1", port)).expect("no client is refused");
        supervisor.wait_generation("web.1", before.generation + 1);
    }
    supervisor.stop();
    TcpStream::connect(("127.0.0.1", port)).expect_err("closed with the supervisor");
}

#[test]
fn unix_and_udp_sockets_have_names_modes_and_owners() {
    let bed = Bed::new();
    let path = bed.path("web.sock");
    let (udp, group) = (free_port(), "daemon");
    let script = include_str!("../fixtures/two_sockets.py");
    let owner = if crate::harness::is_root() { format!(", group: {group}") } else { String::new() };
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    command: [python3, -c, {}]\n    \
            ready: {{ after: 0s }}\n    sockets:\n      \
            - {{ listen: 'unix:{}', name: web, mode: \"0620\"{owner} }}\n      \
            - {{ listen: '127.0.0.1:{udp}', type: datagram, name: dns }}\n",
        serde_json::to_string(script).expect("a string"),
        path.display()
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_output("w", "web:dns\n");
    let metadata = std::fs::metadata(&path).expect("a socket");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o620);
    if crate::harness::is_root() {
        assert_eq!(std::os::unix::fs::MetadataExt::gid(&metadata), 1, "{group}");
    }
    UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.send_to(b"ping", ("127.0.0.1", udp)))
        .expect("sent");
    supervisor.wait_output("w", "b'ping'");
    let mut answer = String::new();
    UnixStream::connect(&path)
        .and_then(|mut stream| stream.read_to_string(&mut answer))
        .expect("an answer");
    assert_eq!(answer, "hello");
    supervisor.stop();
    assert!(!path.exists(), "its name goes with it");
}

#[test]
fn an_address_in_use_is_reported_and_tried_again() {
    let bed = Bed::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let yaml = format!(
        "version: 1\nworkers:\n  w: {{ command: [sleep, 1d], ready: {{ after: 0s }}, sockets: [ \
            '127.0.0.1:{port}' ], restart: {{ backoff: {{ initial: 50ms, max: 50ms }}, limit: {{ \
            restarts: 10000, within: 60s }} }} }}\n  good: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_phase("good", "running");
    let message =
        supervisor.wait("the failure", |supervisor| supervisor.worker("w").ending?.message);
    assert!(
        message.contains(&format!("127.0.0.1:{port}"))
            && message.contains("another program listens"),
        "{message}"
    );
    drop(taken);
    supervisor.wait_phase("w", "running");
    supervisor.stop();
    let shown = text(
        &bed.verb(&["check", bed.path("supervisord-rs.yaml").to_str().expect("UTF-8")]).stdout,
    );
    assert!(shown.contains("valid"), "{shown}");
}

#[test]
fn a_unix_socket_is_bound_at_its_final_name() {
    let bed = Bed::new();
    // sd_is_socket_unix(3) checks the name of getsockname(2).
    let script =
        "import socket; print('NAME', socket.socket(fileno=3).getsockname(), flush=True); input()";
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    command: [sh, -c, {}]\n    \
            sockets: [ {{ listen: {}, mode: \"0666\" }} ]\n",
        serde_json::to_string(&format!("sleep 1d | python3 -c \"{script}\"")).expect("a string"),
        serde_json::to_string(&bed.path("w.sock")).expect("a path"),
    );
    let supervisor = bed.start(&yaml);
    let name = format!("NAME {}\n", bed.path("w.sock").display());
    supervisor.wait_output("w", &name);
    let of_control = || {
        let all = std::fs::read_to_string("/proc/net/unix").expect("/proc");
        let mark = bed.path("run/control.sock").display().to_string();
        let names = all.lines().filter_map(|line| line.split_whitespace().nth(7));
        let mut names: Vec<_> = names.filter(|path| path.starts_with(&mark)).collect();
        // Its connections have the same name.
        names.sort_unstable();
        names.dedup();
        names == [mark.as_str()]
    };
    assert!(of_control(), "the control socket too");
    // A successor keeps the same sockets.
    let before = supervisor.status().supervisor.pid;
    kill(before, Signal::SIGKILL);
    supervisor.wait_successor(before);
    assert!(of_control());
    supervisor.client.stop(&["w".to_owned()], true).expect("an order");
    let held = std::os::unix::net::UnixStream::connect(bed.path("w.sock"));
    assert!(held.is_ok(), "it is held while the worker is down: {held:?}");
    drop(held);
    supervisor.client.start(&["w".to_owned()], true).expect("an order");
    supervisor
        .wait("its name again", |_| (bed.output("w").matches(&name).count() == 2).then_some(()));
    supervisor.stop();
    assert!(!bed.path("w.sock").exists() && !bed.path("run/control.sock").exists());
}
