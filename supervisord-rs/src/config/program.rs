//! `command:`, `shell:`, `worker:`, `args:`, `isolation:`, `cell:`: what a worker runs, and where.

use std::ops::Range;

use workers::Registry;

use super::diagnostics::Problem;
use super::nearest::nearest;
use super::node::Value;
use super::reader::{Cursor, Section, join};
use super::settings::{Isolation, Program};
use super::world;

/// What it runs. `None` after a problem.
pub(super) fn read(
    cursor: &Cursor<'_>,
    section: &Section<'_>,
    registry: &Registry,
) -> Option<Program> {
    match (section.get("command"), section.get("worker")) {
        (Some(command), None) => {
            if let Some(args) = section.get("args") {
                let help = "write the arguments as further words of `command:`";
                args.refuse_with("`args:` belongs to `worker:`", help);
            }
            command_of(&command, section)
        }
        (None, Some(kind)) => registered(section, &kind, registry),
        (Some(command), Some(kind)) => {
            let problem = kind.at(()).problem("a worker runs either a `command:` or a `worker:`");
            let command = section.key_span("command").unwrap_or(command.node.span.clone());
            cursor
                .problems
                .push(problem.beside(command, "the other one").help("remove one of the two"));
            None
        }
        // The problem with the misspelt key says it.
        (None, None) if section.means("command") || section.means("worker") => None,
        (None, None) => {
            let expected = "`command: [PROGRAM, ...]`, or `worker: NAME` for registered code";
            cursor.refuse("missing `command:` or `worker:`", expected);
            None
        }
    }
}

fn command_of(command: &Cursor<'_>, section: &Section<'_>) -> Option<Program> {
    if !section.boolean("shell").unwrap_or(false) {
        let words = command.command(true)?.value;
        // A shell or an interpreter among the words may replace variables itself.
        if !words.iter().any(|word| word == "-c" || word == "-e") {
            for word in command.list().unwrap_or_default() {
                world::warn_of_variable(&word, "add `shell: true`, or have the program read it");
            }
        }
        return Some(Program::Command(words));
    }
    if let Value::List(_) = command.node.value {
        let words: Vec<String> =
            command.strings().unwrap_or_default().into_iter().map(|word| word.value).collect();
        let help = format!("write `command: \"{}\"`, or remove `shell:`", words.join(" "));
        command.refuse_with("`shell: true` takes one text, not a list", &help);
        return None;
    }
    let text = command.string()?.value;
    Some(Program::Command(vec!["/bin/sh".into(), "-c".into(), text]))
}

fn registered(section: &Section<'_>, kind: &Cursor<'_>, registry: &Registry) -> Option<Program> {
    let name = kind.string()?;
    let known: Vec<&str> = registry.names().map(|(name, _)| name).collect();
    if !registry.has(&name.value) {
        let problem = name
            .problem(format!("this program has no worker `{}`", name.value))
            .expected(format!("one of: {}", known.join(", ")));
        let nearest = nearest(&name.value, known.iter().copied());
        kind.problems.push(Problem { nearest, ..problem });
        return None;
    }
    let written = section.get("args");
    let args = written.as_ref().map_or_else(|| serde_json::json!({}), Cursor::json);
    if let Err(error) = registry.create(&name.value, &args) {
        refuse_args(
            written.as_ref().unwrap_or(kind),
            &name.value,
            &args,
            registry,
            &error.to_string(),
        );
    }
    Some(Program::Worker { kind: name.value, args })
}

/// Says what is wrong with arguments, at the one that is wrong.
fn refuse_args(
    written: &Cursor<'_>,
    kind: &str,
    args: &serde_json::Value,
    registry: &Registry,
    error: &str,
) {
    let prefix = format!("args of {kind}: ");
    let message = error.strip_prefix(&prefix).unwrap_or(error);
    let at = written.at(());
    let Some((key, span)) = culprit(written, kind, args, registry, error) else {
        return written.problems.push(at.problem(message));
    };
    let problem = Problem::new(join(&at.path, &key), span, message);
    let Some(rest) = message.strip_prefix(&format!("unknown field `{key}`, expected ")) else {
        return written.problems.push(problem);
    };
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let nearest = nearest(&key, known.iter().copied());
    let problem = Problem { message: format!("`{kind}` has no such argument"), nearest, ..problem };
    written.problems.push(problem.expected(format!("one of: {}", known.join(", "))));
}

/// The argument without which the error is another one, or none.
fn culprit(
    written: &Cursor<'_>,
    kind: &str,
    args: &serde_json::Value,
    registry: &Registry,
    error: &str,
) -> Option<(String, Range<usize>)> {
    let Value::Map(entries) = &written.node.value else { return None };
    if error.contains("missing field") {
        return None;
    }
    let is_it = |key: &str| {
        let mut others = args.clone();
        others.as_object_mut().is_some_and(|others| others.remove(key).is_some())
            && registry.create(kind, &others).err().is_none_or(|other| other.to_string() != error)
    };
    let entry = entries.iter().find(|entry| is_it(&entry.key))?;
    let is_unknown = error.contains(&format!("unknown field `{}`", entry.key));
    let span = if is_unknown { &entry.key_span } else { &entry.value.span };
    Some((entry.key.clone(), span.clone()))
}

/// Where it runs. `None` after a problem.
pub(super) fn isolation(section: &Section<'_>, name: &str, is_sdk: bool) -> Option<Isolation> {
    let written = section.get("isolation");
    let cell = section.get("cell");
    let word = written.as_ref().and_then(|cursor| cursor.node.text());
    if let (Some(cursor), Some("sandbox")) = (&written, word) {
        cursor.refuse("`sandbox` is not supported yet", "one of: thread, process");
        return None;
    }
    if let (Some(cursor), Some("cell")) = (&written, word) {
        let problem = cursor.wrong("one of: thread, process");
        let help = match &cell {
            Some(_) => "write `isolation: thread`: `cell:` beside it names the process",
            None => {
                "write `isolation: thread` and `cell: NAME`: all threads of a cell share one child \
                 process"
            }
        };
        cursor.problems.push(problem.help(help));
        return None;
    }
    let is_thread = match &written {
        Some(cursor) => cursor.choice(&[("thread", true), ("process", false)])?.value,
        None => false,
    };
    match (is_thread, cell) {
        (true, _) if !is_sdk => {
            // Where the key comes from `defaults:`, its place is there, and the worker's name says
            // whom it is about.
            written?.refuse(
                format!("a command cannot run as a thread (worker `{name}`)"),
                "`isolation: process` for a `command:`",
            );
            None
        }
        (true, None) => Some(Isolation::Thread),
        (true, Some(cell)) => Some(Isolation::Cell(cell.string()?.value)),
        (false, Some(cell)) if !cell.node.is_default => {
            cell.refuse_with("only threads live in a cell", "add `isolation: thread`");
            None
        }
        (false, _) => Some(Isolation::Process),
    }
}
