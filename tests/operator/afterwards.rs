//! What is recorded can be read when the supervisor has ended.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::harness::{Bed, text};

const YAML: &str = "version: 1\nworkers:\n  \
    hasty: { command: [sh, -c, 'echo about to fail; exit 3'], ready: { after: 5s }, restart: \
    never }\n  \
    good: { command: [sh, -c, 'echo all is well; exec sleep 1d'] }\n";

#[test]
fn incidents_and_logs_are_read_from_their_files_when_the_supervisor_has_ended() {
    let bed = Bed::new();
    let supervisor = bed.start(YAML);
    supervisor.wait_incident(0);
    supervisor.wait_output("good", "all is well");
    supervisor.wait_output("hasty", "about to fail");
    supervisor.stop();

    let file = bed.path("supervisord-rs.yaml");
    let verb = |arguments: &[&str]| {
        let mut command = bed.command(&["-c"]);
        command.arg(&file).args(arguments).env_remove("SUPERVISORD_RS_SOCKET");
        command.output().expect("the program runs")
    };
    let shown = verb(&["incidents"]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(text(&shown.stdout).contains("incident 1: "), "{shown:?}");
    let said = text(&shown.stderr);
    assert!(said.contains("no supervisor runs; these are the incidents in"), "{said}");
    let one = verb(&["incidents", "1", "--json"]);
    assert!(text(&one.stdout).contains("\"exit_code\": 3"), "{one:?}");
    assert_eq!(verb(&["incidents", "7"]).status.code(), Some(1));

    let shown = verb(&["logs", "hasty"]);
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(text(&shown.stdout), "about to fail\n");
    assert!(text(&shown.stderr).contains("no supervisor runs"), "{shown:?}");
    let all = text(&verb(&["logs"]).stdout);
    assert!(all.contains("good | all is well") && all.contains("hasty | about"), "{all}");
    assert_eq!(verb(&["logs", "other"]).status.code(), Some(5));

    // Only a configuration says where the files are.
    let socket = bed.verb(&["incidents"]);
    assert_eq!(socket.status.code(), Some(7), "{socket:?}");
    assert_eq!(verb(&["stop", "good"]).status.code(), Some(7), "nothing else is read");
}

/// The program in the directory of the bed, where its file is the default one.
fn by_default(bed: &Bed, arguments: &[&str]) -> std::process::Output {
    let mut command = bed.command(arguments);
    command.current_dir(bed.directory.path()).env_remove("SUPERVISORD_RS_SOCKET");
    command.output().expect("the program runs")
}

#[test]
fn after_a_run_without_incidents_there_are_none() {
    let bed = Bed::new();
    bed.write("supervisord-rs.yaml", YAML);
    let never = by_default(&bed, &["incidents"]);
    assert_eq!(never.status.code(), Some(7), "no supervisor ever ran: {never:?}");
    bed.start("version: 1\nworkers:\n  w: { command: [sleep, 1d] }\n").stop();
    let shown = by_default(&bed, &["incidents"]);
    assert!(shown.status.success() && shown.stdout.is_empty(), "{shown:?}");
    assert!(text(&shown.stderr).contains("incidents.jsonl has no incidents"), "{shown:?}");
    let json = by_default(&bed, &["incidents", "--json"]);
    assert_eq!((json.status.code(), text(&json.stdout).trim()), (Some(0), "[]"), "{json:?}");
    assert_eq!(by_default(&bed, &["incidents", "1"]).status.code(), Some(1));
}

#[test]
fn a_default_file_with_errors_is_named_where_no_supervisor_answers() {
    let bed = Bed::new();
    bed.start(YAML).stop();
    bed.write("supervisord-rs.yaml", &YAML.replace("restart: never", "restart: sometimes"));
    for verb in ["incidents", "logs"] {
        let output = by_default(&bed, &[verb]);
        assert_eq!(output.status.code(), Some(78), "{verb}: {output:?}");
        let said = text(&output.stderr);
        assert!(said.contains("sometimes") && said.contains("must be valid"), "{verb}: {said}");
    }
    // Every other verb goes on to the socket.
    assert_eq!(by_default(&bed, &["stop", "all"]).status.code(), Some(7));
}

#[test]
fn json_of_logs_claims_neither_a_stream_nor_a_worker_that_the_file_does_not_tell() {
    let bed = Bed::new();
    let script = "echo out; echo err >&2; exec sleep 1d";
    let yaml = format!(
        "version: 1\ndefaults: {{ ready: {{ after: 0s }} }}\nworkers:\n  \
         both: {{ command: [sh, -c, '{script}'] }}\n  \
         apart: {{ command: [sh, -c, '{script}'], logs: {{ stderr: apart.err }} }}\n  \
         pool: {{ command: [sh, -c, '{script}'], instances: 2, logs: {{ stdout: pool.log }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    let lines = |worker: &str, count: usize| {
        supervisor.wait("its lines", |_| {
            let shown = text(&bed.verb(&["logs", worker, "--json"]).stdout);
            let of_line = |line: &str| -> (Option<String>, String, String) {
                let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let get = |key: &str| record[key].as_str().map(str::to_owned);
                let known = "a stream and a message";
                (get("worker"), get("stream").expect(known), get("message").expect(known))
            };
            let mut lines: Vec<_> = shown.lines().map(of_line).collect();
            lines.sort();
            (lines.len() == count).then_some(lines)
        })
    };
    let line = |worker: Option<&str>, stream: &str, message: &str| {
        (worker.map(str::to_owned), stream.to_owned(), message.to_owned())
    };
    let both = Some("both");
    assert_eq!(lines("both", 2), [line(both, "output", "err"), line(both, "output", "out")]);
    let apart = Some("apart");
    assert_eq!(lines("apart", 2), [line(apart, "stderr", "err"), line(apart, "stdout", "out")]);
    let (err, out) = (line(None, "output", "err"), line(None, "output", "out"));
    assert_eq!(lines("pool:", 4), [err.clone(), err, out.clone(), out]);
    supervisor.stop();
}

#[test]
fn files_without_an_end_are_read_up_to_a_limit_and_what_is_left_out_is_named() {
    let bed = Bed::new();
    let supervisor = bed.start(YAML);
    supervisor.wait_incident(0);
    supervisor.wait_output("good", "all is well");
    supervisor.stop();
    // Sparse: they take no room. Each is one line up to its last newline but one.
    let lengthen = |file: &Path, line: &str| {
        let file = File::options().write(true).open(file).expect("there");
        file.set_len(1 << 40).expect("a length");
        file.write_all_at(format!("\n{line}\n").as_bytes(), 1 << 40).expect("written");
    };
    let log = bed.path("logs/good.log");
    lengthen(&log, "the last line");
    let shown = by_default(&bed, &["logs", "good", "-n", "1"]);
    assert_eq!(text(&shown.stdout), "the last line\n");
    assert!(!text(&shown.stderr).contains("left out"), "{}", text(&shown.stderr));
    let shown = by_default(&bed, &["logs", "good", "-n", "2"]);
    assert!(shown.status.success() && shown.stdout.len() <= 2 << 20, "{}", shown.stdout.len());
    assert!(shown.stdout.ends_with(b"\nthe last line\n"));
    let said = text(&shown.stderr);
    assert!(said.contains("older lines are left out: 2 MiB of a log fit"), "{said}");

    let incidents = bed.path("state/incidents.jsonl");
    let record = std::fs::read_to_string(&incidents).expect("there");
    lengthen(&incidents, record.trim());
    let shown = by_default(&bed, &["incidents"]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(text(&shown.stdout).contains("incident 1: "), "{shown:?}");
    let said = text(&shown.stderr);
    for words in ["too long for an incident are left out: 1", "the last 64 MiB of the files"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
