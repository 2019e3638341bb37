//! The example of a server: it serves, and a restart refuses no client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use supervisord_rs::control::client::Client;

/// Cargo builds examples beside the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let directory = test.parent().and_then(|deps| deps.parent()).expect("target directory");
    directory.join("examples/http_server")
}

/// An address that is free, with a port that the kernel gives to nothing else meanwhile: it chooses
/// from those above 32,767 (ip(7), `ip_local_port_range`).
fn free_address() -> SocketAddr {
    let begin = std::process::id() % 12_000;
    let ports = (0..12_000).map(|number| 20_000 + (begin + number) % 12_000);
    let mut ports = ports.map(|port| u16::try_from(port).expect("below 32,000"));
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    SocketAddr::from(([127, 0, 0, 1], ports.find(is_free).expect("a free port")))
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n")?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer)
}

fn wait_answer(address: SocketAddr, words: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = get(address);
        match &answer {
            Ok(answer) if answer.ends_with(words) => return,
            Ok(_) | Err(_) => assert!(Instant::now() < end, "no `{words}`, but {answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_of_ones_own_serves_in_every_isolation_and_a_restart_refuses_no_client() {
    for isolation in ["thread", "thread, cell: box", "process"] {
        let bed = tempfile::tempdir().expect("a temporary directory");
        let address = free_address();
        let yaml = format!(
            "version: 1\nworkers:\n  web: {{ worker: http-server, isolation: {isolation}, args: {{ \
             greeting: hello }}, sockets: [ {{ listen: '{address}', name: http }} ] }}\n"
        );
        let file = bed.path().join("web.yaml");
        std::fs::write(&file, yaml).expect("a file");
        let mut program = Command::new(example())
            .args(["run", "-c"])
            .arg(&file)
            .env("RUNTIME_DIRECTORY", bed.path().join("run"))
            .env("STATE_DIRECTORY", bed.path().join("state"))
            .env("LOGS_DIRECTORY", bed.path().join("logs"))
            .env_remove("NOTIFY_SOCKET")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example was built");
        wait_answer(address, "\r\n\r\nhello from web 1\n");
        let client = Client::new(&bed.path().join("run/control.sock"));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let clients = threads.spawn(|| {
                let mut answers = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let answer =
                        get(address).unwrap_or_else(|error| panic!("{isolation}: {error}"));
                    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{isolation}: {answer}");
                    answers += 1;
                }
                answers
            });
            for generation in 2..6 {
                client.restart(&["web".into()], true).expect("an order to restart");
                wait_answer(address, &format!("hello from web {generation}\n"));
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(clients.join().expect("no client was refused") > 4, "{isolation}");
        });
        let web = client.status().expect("a status").workers.remove(0);
        assert_eq!((web.generation, web.failed), (5, None), "{isolation}: all had their answer");
        client.shutdown(false).expect("an order to shut down");
        assert!(program.wait().expect("our child").success(), "{isolation}");
    }
}
