//! The documented example is a complete program: the test runs it as a user would.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use supervisord_rs::control::client::Client;

/// Cargo builds examples beside the tests.
fn greeter() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let directory = test.parent().and_then(|deps| deps.parent()).expect("target directory");
    directory.join("examples/greeter")
}

#[test]
fn a_worker_of_ones_own_greets_as_a_thread_and_as_a_process() {
    for isolation in ["thread", "process"] {
        let bed = tempfile::tempdir().expect("a temporary directory");
        let file = bed.path().join("greeter.yaml");
        let yaml = format!(
            "version: 1\nworkers: {{ host: {{ worker: greeter, isolation: {isolation}, args: {{ \
                whom: world }} }} }}\n"
        );
        std::fs::write(&file, yaml).expect("a file");
        let mut program = Command::new(greeter())
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
        let client = Client::new(&bed.path().join("run/control.sock"));
        let end = Instant::now() + Duration::from_secs(30);
        while !client.status().is_ok_and(|status| status.workers[0].progress > Some(2)) {
            assert!(Instant::now() < end, "no progress as a {isolation}");
            std::thread::sleep(Duration::from_millis(5));
        }
        client.shutdown(false).expect("an order to shut down");
        assert!(program.wait().expect("our child").success());
        let log =
            std::fs::read_to_string(bed.path().join("logs/host.log")).expect("captured output");
        assert!(log.starts_with("hello, world\nhello, world\n"), "{log}");
    }
}

#[test]
fn arguments_of_ones_own_are_checked_like_any_other() {
    let bed = tempfile::tempdir().expect("a temporary directory");
    let file = bed.path().join("greeter.yaml");
    std::fs::write(&file, "version: 1\nworkers: { host: { worker: greeter } }\n").expect("a file");
    let output =
        Command::new(greeter()).arg("check").arg(&file).output().expect("the example was built");
    assert_eq!(output.status.code(), Some(78));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("missing argument `whom`"), "{message}");
}
