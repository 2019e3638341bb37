//! Real programs under supervision: each becomes ready by its own means, crashes, and comes back.
//! Debian's packages redis-server, postgresql, nginx-light, haproxy, etcd-server, memcached and
//! gunicorn; `tests/run` installs them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::skip::{lacks_program, lacks_root};
use crate::harness::{Bed, Supervisor, find, kill, repository};
use nix::sys::signal::Signal;

/// Sends a request and returns the answer, up to `enough` or the end.
fn talk(port: u16, request: &str, enough: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
        }
        if crate::harness::text(&answer).contains(enough) {
            return Some(crate::harness::text(&answer));
        }
    }
    None
}

fn http(port: u16, words: &str) -> Option<String> {
    talk(port, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", words)
}

/// Starts a configuration of the repository in its directory, so that its relative paths hold.
fn start<'a>(bed: &'a Bed, name: &str) -> Supervisor<'a> {
    let file = repository(&format!("config/real/{name}.yaml"));
    let log = std::fs::File::create(bed.path("supervisor.log")).expect("a log");
    let mut command = bed.command(&["run", "-c"]);
    command.arg(file).stdout(log.try_clone().expect("a handle")).stderr(log);
    bed.attach(command)
}

/// Waits until it is ready, asks, crashes it, and gets the same answer after its return.
#[track_caller]
fn crash_and_recover(
    config: &str,
    worker: &str,
    signal: Signal,
    answer: impl Fn() -> Option<String>,
) {
    let bed = Bed::new();
    let supervisor = start(&bed, config);
    let before = supervisor.wait_phase(worker, "running");
    // Ready means ready: the first question is answered.
    assert!(
        answer().is_some(),
        "{config} is called running and does not answer; its output:\n{}",
        bed.output(worker)
    );
    kill(before.pid.expect("running"), signal);
    let incident = supervisor.wait_incident(0);
    assert_eq!(
        (incident.worker.as_deref(), incident.lost.as_slice()),
        (Some(worker), &[worker.to_owned()][..])
    );
    let after = supervisor.wait_phase(worker, "running");
    assert!(after.generation > 1 && after.pid != before.pid, "{after:?}");
    assert!(
        answer().is_some(),
        "{config} does not answer after its recovery:\n{}",
        bed.output(worker)
    );
    supervisor.stop();
}

#[test]
fn redis_says_that_it_is_ready() {
    if lacks_program("redis-server", "redis-server") {
        return;
    }
    let ping = || talk(6398, "PING\r\n", "+PONG");
    crash_and_recover("redis", "redis", Signal::SIGSEGV, ping);
}

#[test]
fn postgresql_is_prepared_by_workers_that_finish_and_says_that_it_is_ready() {
    if lacks_root() || lacks_program("psql", "postgresql") {
        return;
    }
    let directory = Path::new("/tmp/supervisord-rs-postgresql");
    let _ = std::fs::remove_dir_all(directory);
    let query = || {
        let output = std::process::Command::new("psql")
            .args(["-h", "127.0.0.1", "-p", "5439", "-U", "postgres", "-Atc", "select 6 * 7"])
            .output()
            .ok()?;
        let answer = crate::harness::text(&output.stdout);
        (answer.trim() == "42").then_some(answer)
    };
    crash_and_recover("postgresql", "postgres", Signal::SIGKILL, query);
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn nginx_is_asked_whether_it_serves() {
    if lacks_program("nginx", "nginx-light") {
        return;
    }
    crash_and_recover("nginx", "nginx", Signal::SIGSEGV, || http(8392, "nginx serves"));
}

#[test]
fn haproxy_says_that_it_is_ready_and_serves_the_socket_that_it_was_given() {
    if lacks_program("haproxy", "haproxy") {
        return;
    }
    crash_and_recover("haproxy", "haproxy", Signal::SIGKILL, || http(8391, "haproxy serves"));
}

#[test]
fn etcd_says_that_it_is_ready() {
    if lacks_program("etcd", "etcd-server") {
        return;
    }
    let _ = std::fs::remove_dir_all("/tmp/supervisord-rs-etcd");
    let health = || {
        talk(
            2389,
            "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            "\"true\"",
        )
    };
    crash_and_recover("etcd", "etcd", Signal::SIGABRT, health);
    let _ = std::fs::remove_dir_all("/tmp/supervisord-rs-etcd");
}

#[test]
fn memcached_is_ready_when_its_port_is_open() {
    if lacks_root() || lacks_program("memcached", "memcached") {
        return;
    }
    crash_and_recover("memcached", "memcached", Signal::SIGSEGV, || {
        talk(11311, "version\r\n", "VERSION")
    });
}

#[test]
fn four_instances_of_a_web_application_share_a_socket_and_no_client_is_refused() {
    if lacks_program("gunicorn", "gunicorn") {
        return;
    }
    let bed = Bed::new();
    let supervisor = start(&bed, "gunicorn");
    let before = supervisor.wait_running();
    assert_eq!(before.workers.len(), 4);
    let stop = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicU64::new(0));
    let served = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, refused, served) =
                (Arc::clone(&stop), Arc::clone(&refused), Arc::clone(&served));
            std::thread::spawn(move || {
                let mut instances = std::collections::BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    if TcpStream::connect("127.0.0.1:8390").is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    if let Some(answer) = http(8390, "serves") {
                        served.fetch_add(1, Ordering::Relaxed);
                        instances.insert(answer.lines().last().unwrap_or_default().to_owned());
                    }
                }
                instances
            })
        })
        .collect();
    let wait_served = |more: u64| {
        let goal = served.load(Ordering::Relaxed) + more;
        supervisor.wait("requests", |_| (served.load(Ordering::Relaxed) >= goal).then_some(()));
    };
    wait_served(50);
    for round in 1..=4 {
        let name = format!("web.{round}");
        kill(supervisor.worker(&name).pid.expect("running"), Signal::SIGKILL);
        supervisor.wait_generation(&name, 2);
        wait_served(20);
    }
    supervisor.wait_running();
    supervisor.client.restart(&["web".into()], true).expect("restarted");
    wait_served(50);
    supervisor.client.scale("web", 6, true).expect("scaled");
    wait_served(100);
    stop.store(true, Ordering::Relaxed);
    let instances: std::collections::BTreeSet<String> =
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    assert_eq!(refused.load(Ordering::Relaxed), 0, "refused connections");
    assert!(instances.len() >= 4, "all instances serve: {instances:?}");
    supervisor.stop();
}

fn ping() -> Option<()> {
    talk(6399, "PING\r\n", "+PONG").map(drop)
}

#[test]
fn redis_crashes_and_comes_back_and_its_neighbours_notice_nothing() {
    if lacks_program("redis-server", "redis-server") {
        return;
    }
    let bed = Bed::new();
    let supervisor =
        bed.start(&std::fs::read_to_string(repository("config/real.yaml")).expect("real.yaml"));
    let before = supervisor.wait_progress(None);
    supervisor.wait("redis to answer", |_| ping());
    // Redis catches SIGSEGV to write a report, and dies of it.
    kill(find(&before, "redis").pid.expect("running"), Signal::SIGSEGV);
    let incident = supervisor.wait_incident(0);
    assert_eq!(
        (incident.worker.as_deref(), incident.lost.as_slice()),
        (Some("redis"), &["redis".to_owned()][..])
    );
    assert_eq!(incident.ending.signal.as_deref(), Some("SIGSEGV"), "{incident:?}");
    supervisor.wait("redis to answer again", |_| ping());
    let after = supervisor.wait_progress(Some(&before));
    for neighbour in ["web", "hashes"] {
        assert_eq!(find(&after, neighbour).pid, find(&before, neighbour).pid);
    }
    let log = std::fs::read_to_string(bed.path("logs/redis.log")).expect("captured output");
    assert!(log.contains("REDIS BUG REPORT"), "the last words of redis are in its log:\n{log}");
    assert!(!incident.last_output.is_empty(), "and in its incident");
    supervisor.stop();
}
