//! The rest of a file with an error of syntax: it is read without the entry that has the error, so
//! that one look finds the others too.

use std::ops::Range;

use super::node::Node;
use super::problem::Problem;
use super::problems::Problems;
use super::{syntax, tree};

/// Errors of syntax that are looked for: a file with more is no YAML.
const ERRORS_MAX: usize = 20;

/// The tree of a text, without its entries that are no YAML, which are problems. `None` where there
/// is no telling the rest from them.
pub(super) fn parse(text: &str, problems: &Problems) -> Option<Node> {
    if let Some(problem) = syntax::other_format(text) {
        problems.push(problem);
        return None;
    }
    let mut rest = text.to_owned();
    let mut without: Vec<Range<usize>> = Vec::new();
    loop {
        let problem = match tree::try_parse(&rest, problems) {
            Ok(tree) => return tree,
            Err(problem) => *problem,
        };
        let at = begin(&problem);
        // An error further up is one of what was left out below: a quote without its end.
        if without.last().is_some_and(|last| at < last.end) {
            return None;
        }
        problems.push(problem);
        let entry = entry(&rest, at).filter(|_| without.len() < ERRORS_MAX)?;
        let left = left(&rest[entry.clone()], entry.end == rest.len());
        rest.replace_range(entry.clone(), &left);
        without.push(entry);
        problems.pass_over(without.clone());
    }
}

/// Where what it is about begins.
fn begin(problem: &Problem) -> usize {
    let others = problem.beside.iter().map(|(span, _)| span.start);
    others.chain([problem.span.start]).min().unwrap_or_default()
}

/// The entry of a mapping of the file that has this byte, with all that is below it: `  api: ...`,
/// or one of the top.
fn entry(text: &str, at: usize) -> Option<Range<usize>> {
    let mut lines: Vec<(Range<usize>, usize)> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let word = line.trim_start_matches(' ');
        if !word.trim().is_empty() && !word.starts_with('#') {
            lines.push((start..start + line.len(), line.len() - word.len()));
        }
        start += line.len();
    }
    let own = lines.iter().rposition(|(line, _)| line.start <= at)?;
    let top = lines[..=own].iter().rposition(|(_, indent)| *indent == 0)?;
    let inner = lines.get(top + 1).map(|(_, indent)| *indent).filter(|indent| *indent > 0);
    let is_inner = |(_, indent): &(Range<usize>, usize)| Some(*indent) == inner;
    let first = lines[top + 1..=own.max(top)].iter().rposition(is_inner);
    let first = first.map_or(top, |index| top + 1 + index);
    let is_behind = |(_, indent): &&(Range<usize>, usize)| *indent <= lines[first].1;
    let behind = lines[first + 1..].iter().find(is_behind);
    Some(lines[first].0.start..behind.map_or(text.len(), |(line, _)| line.start))
}

/// What is left of an entry: its name, so that others may speak of it, where there is room for it.
/// As many bytes.
fn left(entry: &str, is_last: bool) -> String {
    let end = if is_last { "" } else { "\n" };
    let head: String = entry.chars().take_while(|letter| !":\n#".contains(*letter)).collect();
    let name = head.trim();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    let is_kept =
        !name.is_empty() && name.chars().all(is_name) && head.len() + 1 + end.len() <= entry.len();
    let head = if is_kept { format!("{}:", head.trim_end()) } else { String::new() };
    let spaces = " ".repeat(entry.len() - head.len() - end.len());
    format!("{head}{spaces}{end}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::node::Value;
    use crate::config::problems::World;

    #[track_caller]
    fn check(text: &str, expected: &[&str], keys: Option<&[&str]>) {
        let problems = Problems::new(Path::new("x.yaml"), World::Ignored);
        let tree = parse(text, &problems);
        let found = problems.take().kept;
        let lines: Vec<String> = found
            .iter()
            .map(|it| format!("{}: {}", text[..it.span.start].lines().count().max(1), it.message))
            .collect();
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (found, expected) in lines.iter().zip(expected) {
            assert!(found.contains(expected), "{found} has no {expected}");
        }
        let keys = keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
        let workers = tree.as_ref().and_then(|tree| tree.get("workers"));
        let names = workers.map(|workers| match &workers.value {
            Value::Map(entries) => entries.iter().map(|entry| entry.key.clone()).collect(),
            Value::Scalar { .. } | Value::List(_) => Vec::new(),
        });
        assert_eq!(names, keys);
    }

    #[test]
    fn an_error_of_syntax_hides_no_other() {
        check(
            "version: 1\nworkers:\n  a: { command: [x }\n  b:\n    command: c: d\n  e: {}\n",
            &["is not closed", "needs quotes"],
            Some(&["a", "b", "e"]),
        );
        check(
            "workers:\n  a\n    command: [x]\n  b: {}\n  c\n",
            &["`a` is no key", "`c` is no key"],
            Some(&["a", "b", "c"]),
        );
        check("supervisor: { a: b: c }\nworkers:\n  b: {}\n", &["is not closed"], Some(&["b"]));
    }

    #[test]
    fn a_quote_without_an_end_is_found_where_it_begins() {
        let all = Some(&["a", "b", "c"][..]);
        check("workers:\n  a: \"x\n  b: {}\n  c: 'y'\n", &["quoted text"], all);
        check("workers:\n  a: \"x\n  b: \"y\"\n  c: {}\n", &["quoted text"], all);
    }
}
