//! Real programs under supervision: Redis and a web server beside registered code. Needs redis-server and python3.

mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;

use harness::{Bed, find, kill, repository};
use nix::sys::signal::Signal;

fn ping() -> Option<()> {
    let mut stream = TcpStream::connect("127.0.0.1:6399").ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).ok()?;
    (&answer == b"+PONG\r\n").then_some(())
}

#[test]
fn redis_is_crashed_and_comes_back_and_its_neighbours_notice_nothing() {
    let bed = Bed::new();
    let supervisor = bed.start(&std::fs::read_to_string(repository("config/real.yaml")).expect("real.yaml"));
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
    supervisor.stop();
}
