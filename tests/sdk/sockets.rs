//! Listening sockets of registered code.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use workers::{Context, Readiness, Registry, WorkerError};

use crate::harness::Bed;
use crate::{PLACES, Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "a_socket_is_asked_for_by_name_and_stays_over_a_death_of_its_worker",
        a_socket_is_asked_for_by_name_and_stays_over_a_death_of_its_worker,
    ),
    (
        "a_socket_that_is_taken_fails_the_launch_until_it_is_free",
        a_socket_that_is_taken_fails_the_launch_until_it_is_free,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry.function("porter", "answers on its sockets; no args", porter)
}

/// Answers each client of `door` with its generation.
fn porter(context: &Context, (): ()) -> Result<(), WorkerError> {
    let why = context.listener("back door").expect_err("it has no such socket");
    context.log_line(why.to_string());
    let door = UnixListener::from(context.socket("door").ok_or("no door")?);
    door.set_nonblocking(true)?;
    let _tcp = context.listener("web")?;
    context.ready();
    while context.wait_readable(door.as_fd(), None)? == Readiness::Readable {
        let Ok((mut client, _)) = door.accept() else { continue };
        writeln!(client, "{}", context.generation())?;
    }
    Ok(())
}

fn ask(bed: &Bed) -> String {
    let mut answer = String::new();
    let mut client = UnixStream::connect(bed.path("door")).expect("the socket is there");
    client.read_to_string(&mut answer).expect("an answer");
    answer
}

fn yaml(bed: &Bed, place: &str, port: u16) -> String {
    let door = bed.path("door");
    format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n  a: {{ worker: porter, \
         {place}, on_panic: contain, restart: {{ backoff: {{ initial: 10ms }}, limit: {{ \
         restarts: 1000, within: 1m }} }}, sockets: [ {{ \
         listen: 'unix:{}', name: door }}, {{ listen: '127.0.0.1:{port}', name: web }} ] }}\n",
        door.display()
    )
}

fn a_socket_is_asked_for_by_name_and_stays_over_a_death_of_its_worker() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(&bed, &yaml(&bed, place, 0));
        supervisor.wait_running();
        assert_eq!(ask(&bed), "1\n", "{place}");
        supervisor.client.inject("a", "panic").expect("a fault");
        // At once: it waits for the next incarnation if need be.
        let answer = ask(&bed);
        assert!(["1\n", "2\n"].contains(&answer.as_str()), "{place}: {answer}");
        supervisor.wait_generation("a", 2);
        assert_eq!(ask(&bed), "2\n", "{place}");
        supervisor.wait_output("a", "no socket `back door` is here");
        supervisor.stop();
        assert!(!bed.path("door").exists(), "{place}: its name goes with the supervisor");
    }
}

fn a_socket_that_is_taken_fails_the_launch_until_it_is_free() {
    for place in PLACES {
        let bed = Bed::new();
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let supervisor = start(&bed, &yaml(&bed, place, port));
        let failed = supervisor.wait("a failed launch", |supervisor| {
            supervisor.worker("a").ending.filter(|ending| ending.status == "not-launched")
        });
        let text = format!("{failed:?}");
        assert!(text.contains(&port.to_string()) && text.contains("EADDRINUSE"), "{place}: {text}");
        drop(taken);
        supervisor.wait_running();
        supervisor.stop();
    }
}
