//! Standard output and the time zone: what a verb prints arrives, or the verb says that it did not.

use std::fs::File;
use std::process::Stdio;

use crate::harness::{Bed, text};

#[test]
fn a_verb_whose_answer_cannot_be_written_says_so_and_fails() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sh, -c, 'echo up; exec sleep 1d'], ready: \
        { log: up } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    supervisor.wait_output("a", "up");
    let file = supervisor.status().supervisor.config;
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["check", &file],
        &["check", "--json", &file],
        &["start", "a"],
        &["faults"],
        &["incidents", "--json"],
        &["logs", "a"],
        &["man", "status"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ] {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let mut command = bed.command(arguments);
        let output = command.stdout(full).output().expect("it runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("cannot write to standard output: No space left"), "{said}");
        // A reader that has gone has what it wanted.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = bed.command(arguments);
        let output = command.stdout(Stdio::from(writer)).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        let said = text(&output.stderr);
        let is_empty = said.contains("there is no");
        assert!(said.is_empty() || is_empty, "{arguments:?}: {said}");
    }
    supervisor.stop();
}

/// A zone as the files of the time zone database have it (RFC 9636): one type of local time, and
/// the rule that goes on from there.
fn zone(hours: i8) -> Vec<u8> {
    let header: Vec<u8> =
        [&b"TZif2"[..], &[0; 15], &[0, 0, 0, 0], &[0; 12], &[0, 0, 0, 1], &[0, 0, 0, 4]].concat();
    let seconds = i32::from(hours) * 3600;
    let block = [&header[..], &seconds.to_be_bytes(), &[0, 0], b"XYZ\0"].concat();
    let rule = format!("\n<XYZ>{}\n", -hours);
    [&block[..], &block, rule.as_bytes()].concat()
}

#[test]
fn times_are_in_the_zone_that_tz_names() {
    let bed = Bed::new();
    let supervisor =
        bed.start("version: 1\nworkers:\n  a: { command: [sh, -c, 'exit 3'], restart: never }\n");
    let at = supervisor.wait_incident(0).at;
    std::fs::create_dir_all(bed.path("zones/Far")).expect("a directory");
    std::fs::write(bed.path("zones/Far/Away"), zone(7)).expect("a zone");
    let mut command = bed.command(&["incidents"]);
    command.env("TZ", "Far/Away").env("TZDIR", bed.path("zones"));
    let said = text(&command.output().expect("it runs").stdout);
    let hour: u32 = at[11..13].parse().expect("an hour");
    let local = format!(" {:02}{}  incident 1", (hour + 7) % 24, &at[13..19]);
    assert!(said.contains(&local), "no `{local}` in: {said}");
    supervisor.stop();
}
