//! The pages say what happens: each console block of README.md and docs/*.md runs, and prints what
//! the page shows.
//!
//! - The blocks of a page are one session: one shell, one directory, from the first to the last.
//! - `$ ` begins a command and `> ` continues it; the lines after it are its output, standard
//!   output and standard error. A line `...` stands for any lines.
//! - Both sides are compared without what differs from run to run ([`masks`]).
//! - ```` ```console not run: REASON ```` is shown only. `tests/golden/consoles.txt` lists all
//!   blocks, so a review sees which do not run, and why.
//! - ```` ```console needs PROGRAM of PACKAGE ```` is skipped where that is not installed.
//! - ```` ```yaml file: NAME ```` (or another language) is a file of the session's directory.
//! - A person types slower than a test: a command that only asks ([`Command::asks`]) is asked again
//!   until it prints what the page shows, or [`PATIENCE`] is over.
//! - `cargo run --release --` stands for the program under test, and the directories that a
//!   supervisor of root has by default for those of the test.
//!
//! `SUPERVISORD_RS_GOLDEN=write` puts the real output into the page.

mod masks;
mod page;
mod session;

use std::fmt::Write as _;
use std::time::Duration;

use crate::harness::golden::golden;
use crate::harness::skip::lacks_program;
use crate::harness::{Bed, repository, text, until};
use page::{Block, Command, Kind};
use session::Session;

/// All pages, README.md first.
fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(repository("docs")).expect("docs").flatten();
    let mut names: Vec<String> = docs
        .map(|entry| format!("docs/{}", entry.file_name().to_string_lossy()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.sort();
    names.insert(0, "README.md".to_owned());
    names
}

/// The pages with blocks that run, each with a test below.
const SESSIONS: [&str; 8] = [
    "README.md",
    "docs/cli.md",
    "docs/configuration.md",
    "docs/drills.md",
    "docs/faults.md",
    "docs/first-hour-ci.md",
    "docs/first-hour-editor.md",
    "docs/first-hour-service.md",
];

#[test]
fn readme() {
    run_page("README.md");
}

/// Lines of a terminal that shows the file.
const FIRST_SCREEN: usize = 45;

#[test]
fn the_first_screen_of_readme_says_what_it_is_and_fits() {
    let readme = std::fs::read_to_string(repository("README.md")).expect("README.md");
    let screen: Vec<&str> = readme.lines().take(FIRST_SCREEN).collect();
    let first = screen.join("\n");
    for words in [
        "A fault-isolation supervisor.",
        "**Why not systemd?**",
        "**Why not supervisord?**",
        "cargo install --locked",
        "--path supervisord-rs",
        "_*.deb",
        "$ cargo run --release -- compare",
    ] {
        assert!(first.contains(words), "no `{words}` in the first screen:\n{first}");
    }
    // The second of the two commands comes right after what the first one prints.
    let second: Vec<&str> = readme.lines().skip(FIRST_SCREEN).take(10).collect();
    assert!(second.contains(&"$ tests/run"), "{second:#?}");
    let tables = readme.lines().filter(|line| line.starts_with('|'));
    let wide: Vec<&str> = tables.filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "lines of a table with more than 100 columns: {wide:#?}");
    let why = screen.iter().filter(|line| line.starts_with("**Why not"));
    let wide: Vec<_> = why.filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "each is one line of 100 columns: {wide:#?}");
}

#[test]
fn the_command_line() {
    run_page("docs/cli.md");
}

#[test]
fn the_configuration() {
    run_page("docs/configuration.md");
}

#[test]
fn the_drills() {
    run_page("docs/drills.md");
}

#[test]
fn the_faults() {
    run_page("docs/faults.md");
}

#[test]
fn the_first_hour_in_ci() {
    run_page("docs/first-hour-ci.md");
}

#[test]
fn the_first_hour_of_an_editor() {
    run_page("docs/first-hour-editor.md");
}

#[test]
fn the_first_hour_of_a_service() {
    run_page("docs/first-hour-service.md");
}

#[test]
fn every_console_block_runs_or_says_why_not() {
    let mut list = String::new();
    let mut with_sessions = Vec::new();
    for name in pages() {
        let blocks = page::read(&name);
        let consoles: Vec<&Block> = blocks.iter().filter(|block| block.is_console()).collect();
        for block in &consoles {
            let commands = block.commands();
            let first = commands.first().map_or("", |command| command.shown());
            let how = match &block.kind {
                Kind::Runs => "runs".to_owned(),
                Kind::Needs { program, package } => format!("runs with {program} of {package}"),
                Kind::NotRun(reason) => format!("not run: {reason}"),
                Kind::File(_) | Kind::Other => unreachable!("not a console block"),
            };
            writeln!(list, "{name}: `{first}`: {how}").expect("a string");
        }
        if consoles.iter().any(|block| !matches!(block.kind, Kind::NotRun(_))) {
            with_sessions.push(name);
        }
    }
    assert_eq!(with_sessions, SESSIONS, "each page with a session has a test of its own");
    golden("consoles.txt", &list);
}

#[test]
fn the_configurations_in_the_pages_are_valid() {
    let bed = Bed::new();
    let mut count = 0;
    for name in pages() {
        for block in page::read(&name) {
            // One that a page shows to be wrong is checked by its console block.
            let is_bad = matches!(&block.kind, Kind::File(file) if file.starts_with("bad"));
            if block.language != "yaml" || is_bad {
                continue;
            }
            let is_scenario = block.text.contains("\nscenario: ");
            let content = if is_scenario { block.text.clone() } else { whole(&block.text) };
            let name_of_file = match &block.kind {
                Kind::File(file) => file.as_str(),
                _ => "page.yaml",
            };
            let file = bed.write(name_of_file, &content);
            // A scenario is read with the configuration that it names, shown before it.
            let verb: &[&str] = if is_scenario { &["drill", "list"] } else { &["check"] };
            let output = bed.verb(&[verb, &[file.to_str().expect("UTF-8")]].concat());
            assert!(output.status.success(), "{name}:{}: {}", block.line, text(&output.stderr));
            count += 1;
        }
    }
    assert!(count >= 12, "{count}");
}

/// A file of which a page shows some keys: those of the file, or those of a worker.
fn whole(shown: &str) -> String {
    let below_comments = shown.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    let first = below_comments.split(':').next().unwrap_or_default();
    match first {
        "version" => shown.to_owned(),
        "supervisor" | "defaults" | "cells" | "resources" | "groups" | "workers" | "hooks" => {
            format!("version: 1\n{shown}")
        }
        _ => {
            let keys: String = shown.lines().map(|line| format!("    {line}\n")).collect();
            // Only registered code commits a segfault, and only a command has sockets.
            let runs = if first == "inject" { "worker: ticker" } else { "command: [sleep, 1d]" };
            format!(
                "version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n  w:\n    \
                 {runs}\n{keys}"
            )
        }
    }
}

/// How long an answer may differ from the page.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the command prints: the first answer that the page shows, else the last one.
fn answer(session: &mut Session<'_>, command: &Command) -> String {
    let mut output = session.run(command);
    if command.asks() {
        until(PATIENCE, || {
            let same = masks::same(&command.output, &output);
            if !same {
                output = session.run(command);
            }
            same.then_some(())
        });
    }
    output
}

/// Runs the session of a page, and compares each command's output with the page.
fn run_page(name: &str) {
    let bed = Bed::new();
    let mut session = Session::start(&bed);
    let mut text = std::fs::read_to_string(repository(name)).expect(name);
    let mut differences = String::new();
    for block in page::read(name) {
        match &block.kind {
            Kind::File(file) => session.write(file, &block.text),
            Kind::NotRun(_) | Kind::Other => continue,
            Kind::Needs { program, package } if lacks_program(program, package) => continue,
            Kind::Needs { .. } | Kind::Runs => {
                let mut real = String::new();
                let mut differs = false;
                for command in block.commands() {
                    let output = answer(&mut session, &command);
                    let same = masks::same(&command.output, &output);
                    if !same {
                        differs = true;
                        write!(
                            differences,
                            "\n{name}:{}: $ {}\n--- the page\n{}--- the program\n{output}",
                            command.line, command.text, command.output
                        )
                        .expect("a string");
                    }
                    let output = if same { &command.output } else { &output };
                    real.push_str(&command.source);
                    real.push_str(output);
                }
                if differs {
                    text = text.replace(&block.text, &real);
                }
            }
        }
    }
    session.end();
    if std::env::var_os("SUPERVISORD_RS_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(repository(name), text).expect("a page");
        return;
    }
    assert!(
        differences.is_empty(),
        "SUPERVISORD_RS_GOLDEN=write writes the page\n{differences}\nlog:\n{}",
        bed.log()
    );
}
