//! Workers of one's own, in every isolation. They belong to a separate program, which is this file:
//! so it has its own `main`.

#[path = "../harness/mod.rs"]
mod harness;

use std::process::ExitCode;

use harness::{Bed, Supervisor};
use workers::{Context, Worker, WorkerError, builtin};

/// If this variable is set, the program is a supervisor, not the tests.
const PROGRAM: &str = "SDK_PROGRAM";

/// Cannot do its work, for a reason that stays or passes.
#[derive(serde::Deserialize)]
struct Failing {
    is_permanent: bool,
}

impl Worker for Failing {
    fn run(&mut self, _context: &Context) -> Result<(), WorkerError> {
        let cause = std::io::Error::other(Layer(std::fs::read("/nowhere/at-all").err()));
        if self.is_permanent { Err(WorkerError::permanent(cause)) } else { Err(cause)? }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read the list of customers")]
struct Layer(#[source] Option<std::io::Error>);

const CHAIN: &str = "cannot read the list of customers: No such file or directory (os error 2)";

fn main() -> ExitCode {
    if std::env::var_os(PROGRAM).is_some() {
        let registry =
            builtin::registry().with("failing", "fails at once", Ok::<Failing, WorkerError>);
        return supervisord_rs::main(registry);
    }
    let tests: [(&str, fn()); 1] = [(
        "an_error_is_shown_with_its_sources_and_a_permanent_one_ends_the_attempts",
        an_error_is_shown_with_its_sources_and_a_permanent_one_ends_the_attempts,
    )];
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

fn start<'a>(bed: &'a Bed, yaml: &str) -> Supervisor<'a> {
    let file = bed.write("supervisord-rs.yaml", yaml);
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

fn an_error_is_shown_with_its_sources_and_a_permanent_one_ends_the_attempts() {
    for place in ["isolation: thread", "isolation: process", "isolation: thread, cell: box"] {
        let bed = Bed::new();
        let worker = |is_permanent: bool| {
            format!(
                "{{ worker: failing, args: {{ is_permanent: {is_permanent} }}, {place}, restart: \
                 {{ policy: always, backoff: {{ initial: 10ms }}, limit: {{ restarts: 2, within: \
                 1m }} }} }}"
            )
        };
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  stays: {}\n  passes: {}\n",
                worker(true),
                worker(false)
            ),
        );
        let stays = supervisor.wait_phase("stays", "quarantined");
        assert_eq!(stays.generation, 1, "{place}: no other attempt");
        assert_eq!(
            stays.quarantine.as_deref(),
            Some("its error is permanent; `start stays`"),
            "{place}"
        );
        let passes = supervisor.wait_phase("passes", "quarantined");
        assert_eq!(passes.generation, 3, "{place}: once and twice more");
        for (name, cause) in [("stays", "permanent-error"), ("passes", "error")] {
            let incident = supervisor.wait("its incident", |supervisor| {
                let all = supervisor.incidents();
                all.into_iter().find(|incident| incident.worker.as_deref() == Some(name))
            });
            assert_eq!(incident.ending.cause, cause, "{place}");
            assert_eq!(incident.ending.message.as_deref(), Some(CHAIN), "{place}");
            assert!(incident.sentence.contains(CHAIN), "{place}: {}", incident.sentence);
        }
        supervisor.client.start(&["stays".into()], false).expect("by hand it is tried again");
        supervisor.wait("a second attempt", |supervisor| {
            (supervisor.worker("stays").generation == 2).then_some(())
        });
        supervisor.stop();
    }
}
