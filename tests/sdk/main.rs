//! Workers of one's own, in every isolation. They belong to a separate program, which is this file:
//! so it has its own `main`. A file for each subject has its workers and its tests.

mod arguments;
mod asynchronous;
mod carried;
mod clean_up;
mod errors;
mod events;
#[path = "../harness/mod.rs"]
mod harness;
mod identity;
mod left_behind;
mod makers;
mod own_loop;
mod own_threads;
mod owner_death;
mod posix;
mod process_wide;
mod resources;
mod scribbled;
mod sockets;
mod surroundings;
mod talk;
mod work;

use std::process::{Command, ExitCode};

use harness::{Bed, Supervisor};
use workers::{Registry, builtin};

/// If this variable is set, the program is a supervisor, not the tests.
const PROGRAM: &str = "SDK_PROGRAM";
/// If this one is set too, it has a global subscriber.
const SUBSCRIBER: &str = "SDK_SUBSCRIBER";

/// The three places of a worker.
const PLACES: [&str; 3] =
    ["isolation: thread", "isolation: thread, cell: box", "isolation: process"];

/// A test, by name.
type Test = (&'static str, fn());

/// What each subject has: the workers of its tests, and these.
type Subject = (fn(Registry) -> Registry, &'static [Test]);

const SUBJECTS: &[Subject] = &[
    (arguments::register, arguments::TESTS),
    (asynchronous::register, asynchronous::TESTS),
    (|registry| registry, carried::TESTS),
    (clean_up::register, clean_up::TESTS),
    (errors::register, errors::TESTS),
    (events::register, events::TESTS),
    (identity::register, identity::TESTS),
    (left_behind::register, left_behind::TESTS),
    (makers::register, makers::TESTS),
    (own_loop::register, own_loop::TESTS),
    (own_threads::register, own_threads::TESTS),
    (|registry| registry, owner_death::TESTS),
    (posix::register, posix::TESTS),
    (process_wide::register, process_wide::TESTS),
    (resources::register, resources::TESTS),
    (resources::foreign::register, resources::foreign::TESTS),
    (|registry| registry, resources::incidents::TESTS),
    (resources::lasting::register, resources::lasting::TESTS),
    (resources::owners::register, resources::owners::TESTS),
    (scribbled::register, scribbled::TESTS),
    (sockets::register, sockets::TESTS),
    (surroundings::register, surroundings::TESTS),
    (talk::register, talk::TESTS),
    (work::register, work::TESTS),
];

fn registry() -> Registry {
    SUBJECTS.iter().fold(builtin::registry(), |registry, (register, _)| register(registry))
}

fn main() -> ExitCode {
    if std::env::var_os(PROGRAM).is_some() {
        if std::env::var_os(SUBSCRIBER).is_some() {
            tracing_subscriber::fmt().with_writer(std::io::sink).init();
        }
        return supervisord_rs::main(registry());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let tests = SUBJECTS.iter().flat_map(|(_, tests)| *tests);
    let chosen =
        tests.filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter.as_str())));
    let mut passed = 0;
    for (name, test) in chosen {
        println!("test {name} ...");
        if !arguments.iter().any(|argument| argument == "--list") {
            test();
            println!("test {name} ... ok");
            passed += 1;
        }
    }
    // As other test programs end.
    println!("test result: ok. {passed} passed");
    ExitCode::SUCCESS
}

/// A command of this program as a supervisor.
fn command(bed: &Bed, arguments: &[&str]) -> Command {
    let mut command = bed.command_of(&std::env::current_exe().expect("this program"), arguments);
    command.env(PROGRAM, "1");
    command
}

fn start<'a>(bed: &'a Bed, yaml: &str) -> Supervisor<'a> {
    let file = bed.write("supervisord-rs.yaml", yaml);
    let mut command = command(bed, &["run", "-c"]);
    command.arg(file);
    start_with(bed, command)
}

/// The same by this command.
fn start_with(bed: &Bed, mut command: Command) -> Supervisor<'_> {
    let log = std::fs::File::create(bed.path("supervisor.log")).expect("a log");
    command.stdout(log.try_clone().expect("a second handle")).stderr(log);
    bed.attach(command)
}
