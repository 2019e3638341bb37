//! Keys of later versions, and what does their work today. A file that has one is refused: without
//! it, it would run as something else than it says.

use std::ops::Range;

use super::problem::Problem;

/// A key, and what to do without it.
pub(super) type Later = (&'static str, &'static str);

/// Of the whole file.
pub(super) const TOP: [Later; 1] =
    [("include", "write everything into one file, or run a supervisor for each file")];

/// Of a worker.
pub(super) const WORKER: [Later; 2] = [
    ("plugin", "run a program by `command:`, or build the code in and name it by `worker:`"),
    ("sandbox", SANDBOX),
];

const SANDBOX: &str =
    "confine it by `user:`, `limits:` and `inherit_env: false`, or by a program such as bwrap";

/// Of `supervisor:`.
pub(super) const SUPERVISOR: [Later; 2] = [
    ("metrics", "read `status --json` and `events`"),
    ("http", "ask the API at `control.sock` in `runtime_dir:`"),
];

/// Of `supervisor: { control: }`.
pub(super) const CONTROL: [Later; 2] =
    [("tcp", "ask from another machine by ssh"), ("token", "admit users by `group:` and `mode:`")];

/// Of a cell.
pub(super) const CELL: [Later; 3] = [
    ("env", "tell its threads by their `args:`"),
    ("cwd", "write absolute paths in the `args:` of its threads"),
    ("logs", "give each of its threads `logs:`"),
];

/// That the file has one of them.
pub(super) fn problem(path: String, span: Range<usize>, instead: &str) -> Problem {
    Problem::new(path, span, "this key is not supported yet")
        .help(format!("leave it out, and {instead}"))
}

/// `isolation: sandbox`.
pub(super) fn no_sandbox(problem: Problem) -> Problem {
    problem.help(format!("write `isolation: process`, and {SANDBOX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_each_of_them_once() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let page = std::fs::read_to_string(page).expect("configuration.md");
        let (_, list) = page.split_once("## Known, and not supported yet").expect("a list");
        let all = [
            ("", &TOP[..]),
            ("supervisor.", &SUPERVISOR),
            ("supervisor.control.", &CONTROL),
            ("cells.NAME.", &CELL),
            ("workers.NAME.", &WORKER),
        ];
        let mut count = 0;
        for (mapping, keys) in all {
            for (key, instead) in keys {
                let row = format!("| `{mapping}{key}` | {instead} |");
                assert_eq!(list.matches(&row).count(), 1, "{row}");
                count += 1;
            }
        }
        assert_eq!(list.matches("\n| `").count(), count, "the page lists others too");
    }
}
