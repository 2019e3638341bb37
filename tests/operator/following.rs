//! Verbs that follow go on with the successor of a supervisor that died.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use supervisord_rs::control::protocol::IncidentRecord;

use crate::harness::{Bed, Supervisor, text};

const YAML: &str = "version: 1\nsupervisor: { fault_injection: allow }\nworkers:\n  \
    th: { worker: ticker, isolation: thread }\n  \
    job: { command: [sleep, 1d], ready: { after: 0s }, restart: { backoff: { initial: 0s } } }\n";

/// A verb that runs, and the file that its output goes to.
struct Reader<'a> {
    bed: &'a Bed,
    name: &'static str,
    child: Child,
}

impl<'a> Reader<'a> {
    fn new(bed: &'a Bed, name: &'static str, arguments: &[&str]) -> Self {
        let mut command: Command = bed.command(arguments);
        let file = |end: &str| File::create(bed.path(&format!("{name}{end}"))).expect("a file");
        let command = command.stdout(file("")).stderr(file(".err"));
        Self { bed, name, child: command.spawn().expect("it runs") }
    }

    fn text(&self) -> String {
        let read = |end: &str| {
            std::fs::read_to_string(self.bed.path(&format!("{}{end}", self.name))).expect("a file")
        };
        format!("{}{}", read(""), read(".err"))
    }

    #[track_caller]
    fn wait(&self, supervisor: &Supervisor<'_>, what: &str, is_there: impl Fn(&str) -> bool) {
        supervisor.wait(&format!("{what} in the output of {}", self.name), |_| {
            let text = self.text();
            assert!(!text.contains("invalid answer"), "{text}");
            is_there(&text).then_some(())
        });
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn verbs_that_follow_outlive_the_death_of_the_supervisor_and_show_its_incident() {
    let bed = Bed::new();
    let mut supervisor = bed.start(YAML);
    let first = supervisor.wait_running().supervisor.pid;
    supervisor.client.inject("job", "signal-kill").expect("ordered");
    let before = supervisor.wait_incident(0).id;
    supervisor.wait_running();

    let mut readers = [
        Reader::new(&bed, "incidents", &["incidents", "--follow"]),
        Reader::new(&bed, "json", &["incidents", "-f", "--json"]),
        Reader::new(&bed, "events", &["events"]),
        Reader::new(&bed, "watch", &["status", "--watch"]),
    ];
    readers[0].wait(&supervisor, "the old incident", |text| text.contains("incident 1: "));
    readers[1].wait(&supervisor, "the old incident", |text| text.contains("\"id\":1,"));
    readers[3].wait(&supervisor, "the table", |text| text.contains("WORKER"));
    // Until it reads: what happens sooner is not for it.
    supervisor.wait("events", |supervisor| {
        // Each order is an event.
        supervisor.client.signal("job", libc::SIGCONT).expect("ordered");
        (!readers[2].text().is_empty()).then_some(())
    });

    kill(Pid::from_raw(first), Signal::SIGKILL).expect("the supervisor of this test");
    let death = supervisor.wait("the incident of the death", |supervisor| {
        let found = supervisor.client.incidents(1000).ok()?;
        found.into_iter().find(|record| record.supervisor_died && record.id > before)
    });
    let sentence = format!("incident {}: ", death.id);
    readers[0].wait(&supervisor, "the death", |text| text.contains(&sentence));
    let number = format!("\"id\":{},", death.id);
    readers[1].wait(&supervisor, "the death", |text| text.contains(&number));
    let second = supervisor.status().supervisor.pid;
    assert_ne!(first, second);
    supervisor.wait_running();
    supervisor.client.inject("job", "signal-kill").expect("ordered");
    let next = supervisor.wait_incident(death.id).id;
    readers[0]
        .wait(&supervisor, "what came later", |text| text.contains(&format!("incident {next}: ")));
    readers[2]
        .wait(&supervisor, "what came later", |text| text.contains(&format!("\"id\":{next},")));
    let text = readers[0].text();
    assert_eq!(text.matches(&sentence).count(), 1, "once: {text}");
    let lines = std::fs::read_to_string(bed.path("json")).expect("a file");
    let numbers: Vec<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<IncidentRecord>(line).expect("one a line").id)
        .collect();
    assert!(numbers.starts_with(&[1]) && numbers.contains(&death.id), "{numbers:?}");

    // An end in order is the end of these verbs too.
    supervisor.client.shutdown(false).expect("an order");
    for reader in &mut readers {
        let status = bed.wait(reader.name, || reader.child.try_wait().expect("a child"));
        assert_eq!(status.code(), Some(0), "{}: {}", reader.name, reader.text());
    }
    assert!(supervisor.wait_exit().success());
}

#[test]
fn a_supervisor_that_ends_before_it_answers_a_question_is_no_supervisor() {
    for (arguments, expected) in
        [(&["inject", "th", "segfault"][..], 7), (&["incidents"], 7), (&["status"], 4)]
    {
        let bed = Bed::new();
        std::fs::create_dir(bed.path("run")).expect("a directory");
        let socket = bed.path("run/control.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        listener.set_nonblocking(true).expect("ours");
        let verb = bed.command(arguments).stderr(Stdio::piped()).spawn().expect("it runs");
        // As a supervisor that is ending: it has taken the connection, and is gone.
        let (connection, _) = bed.wait("a client", || listener.accept().ok());
        std::fs::remove_file(&socket).expect("ours");
        drop(listener);
        drop(connection);
        let output = verb.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {output:?}");
        let said = text(&output.stderr);
        assert!(said.contains("no supervisor answers on"), "{arguments:?}: {said}");
    }
}
