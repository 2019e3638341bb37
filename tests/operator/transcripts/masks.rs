//! What differs from run to run, and is not compared: times, durations, sizes, numbers of three
//! digits or more (such as PIDs), and some columns of tables. Numbers of one or two digits, exit
//! statuses and everything else are compared as they are.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Columns of tables whose values differ from run to run.
const COLUMNS: [&str; 6] = ["PID", "UPTIME", "PROGRESS", "seen", "back", "work lost"];

/// Columns that a busy machine shows as `-`, since it answers without figures then.
const FIGURES: [&str; 7] = ["CPU", "WAITED", "MEMORY", "THREADS", "FDS", "SWITCHES", "PSR"];

/// Whether a command printed what the page shows. A line `...` of the page stands for any lines.
pub(super) fn same(page: &str, program: &str) -> bool {
    let (page, program) = (masked(page), masked(program));
    fits(&page, &program)
}

fn fits(page: &[String], program: &[String]) -> bool {
    match page.split_first() {
        None => program.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=program.len()).any(|skipped| fits(rest, &program[skipped..]))
        }
        Some((first, rest)) => {
            program.split_first().is_some_and(|(line, after)| first == line && fits(rest, after))
        }
    }
}

fn masked(text: &str) -> Vec<String> {
    let mut header = None;
    text.lines().map(|line| masked_line(&masked_cells(line, &mut header))).collect()
}

/// Where the columns of a table begin and end that are not compared, and whether they are
/// [`FIGURES`].
type Header = Option<Vec<(usize, usize, bool)>>;

/// A row of a table without the values of [`COLUMNS`].
fn masked_cells(line: &str, header: &mut Header) -> String {
    let bars = line.starts_with('|');
    let is_header = line.starts_with("WORKER ") || (bars && header.is_none());
    if is_header {
        let names: Vec<(usize, &str)> = if bars { by_bars(line) } else { by_gaps(line) };
        let ends = names.iter().skip(1).map(|(start, _)| *start).chain([usize::MAX]);
        let is_masked = |name| COLUMNS.contains(&name) || FIGURES.contains(&name);
        let masked = names.iter().zip(ends).filter(|((_, name), _)| is_masked(*name));
        let columns = masked.map(|((start, name), end)| (*start, end, FIGURES.contains(name)));
        *header = Some(columns.collect());
        return line.to_owned();
    }
    if line.is_empty() {
        *header = None;
    }
    let Some(columns) = header else { return line.to_owned() };
    let mut characters: Vec<char> = line.chars().collect();
    for &(start, end, is_figure) in columns.iter() {
        let end = end.min(characters.len());
        if let Some(cell) = characters.get_mut(start..end)
            && (is_figure || cell.iter().any(char::is_ascii_digit))
        {
            for (place, character) in cell.iter_mut().enumerate() {
                *character = if place == 0 { 'N' } else { ' ' };
            }
        }
    }
    characters.into_iter().collect()
}

/// Cells between bars: where each begins, and its text.
fn by_bars(line: &str) -> Vec<(usize, &str)> {
    let starts = line.match_indices('|').map(|(at, _)| at + 1);
    starts.zip(line.split('|').skip(1)).map(|(start, cell)| (start, cell.trim())).collect()
}

/// Cells between gaps of two spaces or more.
fn by_gaps(line: &str) -> Vec<(usize, &str)> {
    static CELL: LazyLock<Regex> = LazyLock::new(|| pattern(r"\S+( \S+)*"));
    CELL.find_iter(line).map(|found| (found.start(), found.as_str())).collect()
}

fn masked_line(line: &str) -> String {
    static RULES: LazyLock<[(Regex, &str); 7]> = LazyLock::new(|| {
        [
            (pattern(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
            (pattern(r"\d+ CPUs?, Linux \S+;"), "CPUS, LINUX;"),
            (pattern(r"\d+ units? of work"), "N units of work"),
            (pattern(r"\b\d+(\.\d+)? ?(ns|us|µs|ms|s|min|m|h|d)\b"), "DURATION"),
            (pattern(r"(DURATION ?)+"), "DURATION "),
            (pattern(r"\b\d+(\.\d+)?(K|M|G|KiB|MiB|GiB|B)\b"), "SIZE"),
            (pattern(r"--+|──+"), "-"),
        ]
    });
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(status |status=|exit:|code )?\b\d{3,}\b"));
    let mut line = line.to_owned();
    for (rule, mask) in RULES.iter() {
        line = rule.replace_all(&line, *mask).into_owned();
    }
    let line = NUMBER.replace_all(&line, |found: &Captures<'_>| match found.get(1) {
        Some(_) => found[0].to_owned(),
        None => "N".to_owned(),
    });
    line.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ,", ",").replace(" ;", ";")
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

#[test]
fn what_a_user_would_notice_is_not_masked() {
    let same_line = |page: &str, program: &str| same(&format!("{page}\n"), &format!("{program}\n"));
    assert!(same_line("back after 114 ms, 0 units of work", "back after 1.10 s, 12 units of work"));
    assert!(!same_line("lost hashes", "lost api"));
    assert!(!same_line("exit status 127", "exit status 126"));
    assert!(!same_line("1 of 4: b", "4 of 4: b"));
    assert!(same("a\n...\nd\n", "a\nb\nc\nd\n") && !same("a\n...\nd\n", "a\nb\n"));
    let table = |pid: &str, restarts: &str| {
        format!("WORKER  PID   RESTARTS  NOTE\napi     {pid:<5} {restarts:<9}stopped\n")
    };
    assert!(same(&table("12", "0"), &table("99123", "0")));
    assert!(!same(&table("12", "0"), &table("12", "1")));
    assert!(!same(&table("12", "0"), &table("-", "0")));
    let figures = |memory: &str| format!("WORKER  MEMORY  NOTE\napi     {memory:<8}stopped\n");
    assert!(same(&figures("4896K"), &figures("-")));
    assert!(same("WORKER  FDS\na       4\n", "WORKER  FDS\na       14\n"));
}
