//! `command:`, `shell:`, `worker:`, `args:`, `isolation:`, `cell:`: what a worker runs, and where.

use super::arguments::Arguments;
use super::code::Code;
use super::execution;
use super::kinds::{self, Kind};
use super::later;
use super::nearest::nearest;
use super::node::Value;
use super::problem::Problem;
use super::reader::{Cursor, Section};
use super::schema::key::key;
use super::schema::{Key, Kind as Shape, OnlyFor};
use super::settings::{Isolation, Program};
use super::world;

pub(super) static COMMAND: Key = key(
    "command",
    Shape::Either(&[Shape::Command, Shape::Text]),
    "A program and its arguments, without a shell. A name without a slash is looked up in the \
     worker's `PATH`, one with a slash is relative to the file. One text with `shell: true`.",
)
.such_as("[sleep, 1d]")
.only_for(OnlyFor::Commands);
pub(super) static WORKER: Key = key(
    "worker",
    Shape::Text,
    "Registered code, in place of `command:`: a name that `supervisord-rs workers` lists.",
)
.such_as("sleeper")
.only_for(OnlyFor::Code);
pub(super) static ARGS: Key =
    key("args", Shape::Anything, "The arguments of registered code, as its type wants them.")
        .such_as("{ directory: /etc }")
        .only_for(OnlyFor::Code);
pub(super) static ISOLATION: Key = key(
    "isolation",
    Shape::Words(&["thread", "process"]),
    "Where it runs: in a process of its own, or as a thread of the supervisor, or of the child \
     process that `cell:` names.",
)
.or("process");
pub(super) static CELL: Key = key(
    "cell",
    Shape::Name,
    "Threads with the same cell share one child process. Where the file has `cells:`, they must \
     list it.",
)
.such_as("batch")
.only_for(OnlyFor::Threads);

/// What it runs. `None` after a problem.
pub(super) fn read(cursor: &Cursor<'_>, section: &Section<'_>, code: &Code<'_>) -> Option<Program> {
    match (section.get(&COMMAND), section.get(&WORKER)) {
        (Some(command), None) => {
            if let Some(args) = section.get(&ARGS) {
                let help = "write the arguments as further words of `command:`";
                args.refuse_with("`args:` belongs to `worker:`", help);
            }
            command_of(&command, section)
        }
        (None, Some(kind)) => registered(section, &kind, code),
        (Some(command), Some(kind)) => {
            let problem = kind.at(()).problem("a worker runs either a `command:` or a `worker:`");
            let command = section.key_span(&COMMAND).unwrap_or(command.node.span.clone());
            cursor
                .problems
                .push(problem.beside(command, "the other one").help("remove one of the two"));
            None
        }
        // The problem with the misspelt key says it.
        (None, None) if section.means(&COMMAND) || section.means(&WORKER) => None,
        (None, None) => {
            let expected = "`command: [PROGRAM, ...]`, or `worker: NAME` for registered code";
            cursor.refuse("missing `command:` or `worker:`", expected);
            None
        }
    }
}

fn command_of(command: &Cursor<'_>, section: &Section<'_>) -> Option<Program> {
    if !section.boolean(&execution::SHELL).unwrap_or(false) {
        let words = command.command(true)?.value;
        world::warn_of_one_word(command, &words);
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

fn registered(section: &Section<'_>, kind: &Cursor<'_>, code: &Code<'_>) -> Option<Program> {
    let name = kind.string()?;
    let known = code.names();
    if !known.contains(&name.value.as_str()) {
        let problem = name.problem(format!("this program has no worker `{}`", name.value));
        let problem = match known.as_slice() {
            [] => problem.help(
                "it has none: add yours to its `Registry`, or begin with `workers::builtin::registry()`, \
                 which has those of the examples",
            ),
            known => problem.expected(format!("one of: {}", known.join(", "))),
        };
        let nearest = nearest(&name.value, known.iter().copied());
        kind.problems.push(Problem { nearest, ..problem });
        return None;
    }
    let written = section.get(&ARGS);
    let args = written.as_ref().map_or_else(|| serde_json::json!({}), Cursor::json);
    let (at, are_written) = (written.as_ref().unwrap_or(kind), written.is_some());
    Arguments { at, are_written, kind: &name.value, code }.check();
    Some(Program::Worker { kind: name.value, args })
}

/// Where it runs. `None` after a problem.
pub(super) fn isolation(section: &Section<'_>, name: &str, is_sdk: bool) -> Option<Isolation> {
    let written = section.get(&ISOLATION);
    let cell = section.get(&CELL);
    let word = written.as_ref().and_then(|cursor| cursor.node.text());
    if let (Some(cursor), Some("sandbox")) = (&written, word) {
        let problem = cursor.at(()).problem("`sandbox` is not supported yet");
        cursor.problems.push(later::no_sandbox(problem));
        return None;
    }
    if let (Some(cursor), Some(kind)) = (&written, word.and_then(not_a_word)) {
        refuse_name(cursor, kind, cell.is_some());
        return None;
    }
    let word = match &written {
        Some(cursor) => {
            let words: Vec<_> = kinds::words().into_iter().map(|word| (word, word)).collect();
            cursor.choice(&words)?.value
        }
        None => kinds::DEFAULT.word,
    };
    let shared = cell.as_ref().and_then(|_| kinds::meant(word, true));
    let kind = shared.or_else(|| kinds::meant(word, false)).expect("a test looks at each word");
    if !kind.runs(is_sdk) {
        let (what, words) = (if is_sdk { "worker" } else { "command" }, kinds::words_for(is_sdk));
        // Where the key comes from `defaults:`, its place is there, and the worker's name says
        // whom it is about.
        written?.refuse(
            format!("a {what} cannot run as a {word} (worker `{name}`)"),
            &format!("`isolation: {}` for a `{what}:`", words.join("` or `")),
        );
        return None;
    }
    match (shared, cell) {
        (Some(_), Some(cell)) => Some(Isolation { kind, cell: Some(cell.string()?.value) }),
        (None, Some(cell)) if !cell.node.is_default => {
            cell.refuse_with("only threads live in a cell", "add `isolation: thread`");
            None
        }
        _ => Some(Isolation { kind, cell: None }),
    }
}

/// The kind that has this name in tables, where something else stands for it in a file.
fn not_a_word(name: &str) -> Option<&'static Kind> {
    Kind::by_name(name).filter(|kind| kind.word != name)
}

fn refuse_name(cursor: &Cursor<'_>, kind: &Kind, has_cell: bool) {
    let problem = cursor.wrong(&format!("one of: {}", kinds::words().join(", ")));
    let word = kind.word;
    let help = if has_cell {
        format!("write `isolation: {word}`: `cell:` beside it names the process")
    } else {
        format!(
            "write `isolation: {word}` and `cell: NAME`: all {word}s of a cell share one child \
             process"
        )
    };
    cursor.problems.push(problem.help(help));
}
