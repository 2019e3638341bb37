//! Thread workers that die in their first line, during the supervisor's first turn. They belong to
//! a separate program, which is this file: so it has its own `main`.

#[path = "../harness/mod.rs"]
mod harness;

use std::process::ExitCode;

use harness::{Bed, Supervisor, find};
use workers::{Context, Worker, WorkerError, builtin};

/// If this variable is set, the program is a supervisor, not the tests.
const PROGRAM: &str = "FIRST_LINE_PROGRAM";

/// Dies before it has done anything.
#[derive(serde::Deserialize)]
struct Doomed {
    fault: String,
}

impl Worker for Doomed {
    fn run(&mut self, _context: &Context) -> Result<(), WorkerError> {
        let injection: workers::fault::Injection = self
            .fault
            .parse()
            .map_err(|error: workers::fault::InjectionError| format!("{error}"))?;
        injection.fault.commit(injection.parameter);
        Ok(())
    }
}

fn main() -> ExitCode {
    if std::env::var_os(PROGRAM).is_some() {
        let registry =
            builtin::registry().with("doomed", "dies at once", Ok::<Doomed, WorkerError>);
        return supervisord_rs::main(registry);
    }
    let tests: [(&str, fn()); 2] = [
        (
            "one_that_is_never_restarted_costs_one_death_and_is_named",
            one_that_is_never_restarted_costs_one_death_and_is_named,
        ),
        ("one_that_fails_too_often_is_quarantined", one_that_fails_too_often_is_quarantined),
    ];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen =
        tests.iter().filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter.as_str())));
    for (name, test) in chosen {
        println!("test {name} ...");
        if !arguments.iter().any(|argument| argument == "--list") {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn start<'a>(bed: &'a Bed, fault: &str, restart: &str) -> Supervisor<'a> {
    let yaml = format!(
        "version: 1\nworkers:\n  aaa: {{ worker: doomed, args: {{ fault: {fault} }}, isolation: \
            thread, {restart} }}\n  \
         b: {{ command: [sleep, 1d], ready: {{ after: 0s }} }}\n  \
         c: {{ command: [sleep, 1d], ready: {{ after: 0s }} }}\n"
    );
    let file = bed.write("supervisord-rs.yaml", &yaml);
    let mut command =
        bed.command_of(&std::env::current_exe().expect("this program"), &["run", "-c"]);
    let log = std::fs::File::create(bed.path("supervisor.log")).expect("a log");
    command
        .arg(file)
        .env(PROGRAM, "1")
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log);
    bed.attach(command)
}

fn one_that_is_never_restarted_costs_one_death_and_is_named() {
    for fault in ["segfault", "panic", "exit"] {
        let bed = Bed::new();
        let supervisor = start(&bed, fault, "restart: never");
        let incident = supervisor.wait_incident(0);
        assert!(incident.supervisor_died, "{incident:?}");
        assert_eq!(incident.worker.as_deref(), Some("aaa"), "{incident:?}");
        let kind = if fault == "exit" { "error" } else { fault };
        assert_eq!(incident.fault.kind, kind);
        // The others are just being launched: what has its process already is lost too, and comes
        // back.
        assert!(incident.lost.contains(&"aaa".to_owned()), "{incident:?}");
        assert_eq!(incident.missing, ["aaa"], "{incident:?}");
        let says_exit = incident.sentence.contains("it called exit()");
        assert_eq!(says_exit, fault == "exit", "{}", incident.sentence);
        supervisor.wait_phase("aaa", "finished");
        for name in ["b", "c"] {
            supervisor.wait_phase(name, "running");
        }
        assert_eq!(supervisor.incidents().len(), 1, "{fault}: one death");
        supervisor.stop();
    }
}

fn one_that_fails_too_often_is_quarantined() {
    let bed = Bed::new();
    let restart = "restart: { policy: always, backoff: { initial: 50ms, jitter: 0 }, limit: { \
        restarts: 3, within: 60s } }";
    let supervisor = start(&bed, "segfault", restart);
    let quarantined = supervisor.wait_phase("aaa", "quarantined");
    assert_eq!(quarantined.generation, 4, "once and three times more");
    let status = supervisor.status();
    assert!(["b", "c"].iter().all(|name| find(&status, name).pid.is_some()), "{status:?}");
    assert_eq!(quarantined.last_incident, Some(4), "each death is an incident of its own");
    let last = supervisor.wait_incident(3);
    assert_eq!(
        (last.worker.as_deref(), &last.survived[..]),
        (Some("aaa"), &["b".to_owned(), "c".to_owned()][..])
    );
    supervisor.stop();
}
