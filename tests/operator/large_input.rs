//! Large input is bounded work: linear in its size, with a limit that the message states.

use std::process::Stdio;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use supervisord_rs::process_table;

use super::bad_input::refused;
use crate::harness::{Bed, text};

#[test]
fn a_file_that_is_too_deep_or_too_large_says_which() {
    let deep = format!("version: 1\nworkers: {}{}\n", "[".repeat(70), "]".repeat(70));
    refused(&deep, &["nested deeper than 64 levels", "remove the brackets"]);
    let large = format!("version: 1\nworkers: [ {} ]\n", "x, ".repeat(200_001));
    refused(&large, &["more than 200000 keys and values", "run two supervisors"]);
}

#[test]
fn a_file_of_megabytes_costs_time_and_memory_in_proportion() {
    use std::fmt::Write;
    let lines = |head: &str, count: usize, line: &dyn Fn(usize) -> String| {
        (0..count).fold(head.to_owned(), |mut text, index| {
            writeln!(text, "{}", line(index)).expect("a string");
            text
        })
    };
    let workers = "version: 1\nworkers:\n";
    let cases = [
        (
            "unknown keys",
            lines(&format!("{workers}  a:\n    worker: ticker\n"), 90_000, &|index| {
                format!("    key{index}: 1")
            }),
            "and 89900 more",
        ),
        (
            "the same key",
            lines(&format!("{workers}  a:\n    worker: ticker\n"), 50_000, &|_| {
                "    cwd: /".into()
            }),
            "more",
        ),
        (
            "wrong workers",
            lines(workers, 30_000, &|index| {
                format!("  w{index}: {{ comand: [x], depends_on: [y{index}] }}")
            }),
            "more",
        ),
        (
            "anchors",
            lines("version: 1\nworkers: {}\nx:\n", 100_000, &|index| {
                format!("  k{index}: &a{index} 1")
            }),
            "more than 200000 keys and values",
        ),
        (
            "patterns",
            lines(workers, 40, &|index| {
                format!(
                    "  w{index}: {{ command: [x], ready: {{ log: '(\\w{{50}}{index}){{20}}' }} }}"
                )
            }),
            "compiled, it is larger than 256 KiB",
        ),
        (
            "one long text",
            format!("version: 1\nworkers: {{ a: {{ nice: '{}' }} }}\n", "x".repeat(7 << 20)),
            "x...",
        ),
        (
            "too long a text",
            format!("version: 1\nx: '{}'\n", "x".repeat(50_000_000)),
            "larger than 8 MiB",
        ),
    ];
    let bed = Bed::new();
    for (what, yaml, words) in cases {
        let file = bed.write("bad.yaml", &yaml);
        let check = bed.command(&["check"]);
        // Processor time and memory, not elapsed time: the machine has other things to do. This is
        // a build without optimization.
        let mut limited = std::process::Command::new("prlimit");
        limited
            .args(["--cpu=10:10", "--as=402653184:402653184", "--"])
            .arg(check.get_program())
            .arg("check");
        let output = limited.arg(&file).output().expect("it runs");
        let message = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(78),
            "{what}: {:?} {}",
            output.status,
            &message[..message.len().min(2000)]
        );
        assert!(message.contains(words), "{what}: {}", &message[..message.len().min(2000)]);
        assert!(message.len() < 200_000, "{what}: {} bytes are said", message.len());
    }
}

/// What `check` says of a file, and the processor time that it took, in clock ticks.
fn checked(bed: &Bed, yaml: &str) -> (String, u64) {
    let (file, said) = (bed.write("large.yaml", yaml), bed.path("said"));
    let mut child = bed
        .command(&["check"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).expect("a file"))
        .spawn()
        .expect("the program runs");
    let pid = child.id() as i32;
    let exited = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(nix::unistd::Pid::from_raw(pid)), exited).expect("our child");
    let ticks = process_table::stat(pid).expect("not waited for yet").ticks;
    assert_eq!(child.wait().expect("our child").code(), Some(78));
    (std::fs::read_to_string(said).expect("text"), ticks)
}

#[test]
fn no_shape_of_wrong_input_costs_much_more_than_another_of_its_size() {
    let list = |count: usize, item: &dyn Fn(usize) -> String, between: &str| {
        (0..count).map(item).collect::<Vec<_>>().join(between)
    };
    let workers = "version: 1\nworkers:\n";
    let wrong = |index| format!("w{index}: {{ comand: [x] }}");
    let bed = Bed::new();
    let (_, base) = checked(&bed, &format!("{workers}  {}\n", list(8000, &wrong, "\n  ")));
    let cases = [
        (
            "wrong workers in one line",
            format!("version: 1\nworkers: {{ {} }}\n", list(8000, &wrong, ", ")),
            " more",
        ),
        (
            "the same socket again and again",
            format!(
                "{workers}  a:\n    command: [x]\n    sockets: [{}]\n",
                list(16_000, &|_| "\"127.0.0.1:80\"".into(), ",")
            ),
            "... and 15899 more",
        ),
        (
            "a group of unknown workers",
            format!(
                "version: 1\ngroups: {{ g: {{ workers: [{}] }} }}\n\
                    workers: {{ a: {{ command: [x] }} }}\n",
                list(40_000, &|index| format!("w{index}"), ",")
            ),
            "... and 39900 more",
        ),
        (
            "patterns that are too large",
            format!(
                "{workers}  {}\n",
                list(
                    300,
                    &|index| format!(
                        "w{index}: {{ command: [x], ready: {{ log: \
                            '(a|b|c){{200}}x{index}[\\w]{{200}}' }} }}"
                    ),
                    "\n  "
                )
            ),
            "those after this one are not checked",
        ),
    ];
    for (what, yaml, words) in cases {
        let (said, ticks) = checked(&bed, &yaml);
        assert!(said.contains(words), "{what}: {}", &said[..said.len().min(2000)]);
        // A fast build takes few ticks, and chance counts among few.
        let most = 4 * base.max(20);
        assert!(ticks <= most, "{what} take {ticks} ticks, as many lines take {base}");
    }
}

#[test]
fn a_place_in_a_long_line_is_quoted_with_its_column_and_what_surrounds_it() {
    let bed = Bed::new();
    let sockets = ["\"127.0.0.1:80\""; 90].join(",");
    let yaml = format!("version: 1\nworkers:\n  ä: {{ command: [x], sockets: [{sockets}] }}\n");
    let (said, _) = checked(&bed, &yaml);
    let places: Vec<&str> =
        said.lines().filter_map(|line| line.split_once("large.yaml:")).map(|(_, at)| at).collect();
    let last = places.rchunks(3).next().expect("some");
    // The last error, what it contradicts, and the number of errors.
    assert_eq!(last, ["3:1367", "3:32", " 90 errors"], "{said}");
    let marked = said.lines().filter(|line| line.contains("by worker") && line.contains("---"));
    assert!(marked.count() > 0, "{said}");
    assert!(said.lines().all(|line| line.len() < 300), "{said}");
}
