//! Every text that a user can read is in a golden file: a change of words shows in a review.
//!
//! - `tests/golden/messages.txt`: the strings of the source that are prose, file by file. Nothing
//!   has to be registered: what looks like a sentence is in it.
//! - `tests/golden/help/`: `--help` of each verb.
//!
//! What `check` says is in `tests/golden/check/`, tables are in `tests/golden/status/`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::harness::golden::golden;
use crate::harness::{Bed, repository, text};

/// The sources of what is installed or linked.
const SOURCES: [&str; 4] = [
    "supervisord-rs/src",
    "supervisord-rs/measure/src",
    "supervisord-rs/supervision/src",
    "workers/src",
];

/// Macros whose text is read even if it is one word.
const PRINTED: [&str; 8] =
    ["error", "warn", "info", "print", "println", "eprint", "eprintln", "panic"];

/// What follows these is for those who read the code (why something cannot fail), or is assembly.
const UNREAD: [&str; 8] = [
    "asm",
    "expect",
    "assert",
    "assert_eq",
    "debug_assert",
    "debug_assert_eq",
    "unreachable",
    "expect_err",
];

#[test]
fn every_message_is_in_the_golden_file() {
    let mut list = String::new();
    let mut count = 0;
    for file in sources() {
        let source = std::fs::read_to_string(repository(&file)).expect("a source file");
        let tokens: TokenStream = source.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut messages = Vec::new();
        collect(tokens, false, &mut messages);
        if !messages.is_empty() {
            count += messages.len();
            writeln!(list, "\n{file}").expect("a string");
        }
        for message in messages {
            writeln!(list, "  {message}").expect("a string");
        }
    }
    assert!(count > 500, "{count}");
    golden("messages.txt", list.trim_start());
}

#[test]
fn the_help_of_each_verb_is_in_its_golden_file() {
    let bed = Bed::new();
    let help = |arguments: &[&str]| {
        let mut command = bed.command(arguments);
        command.env_remove("SUPERVISORD_RS_SOCKET");
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    };
    let all = help(&["--help"]);
    golden("help/supervisord-rs.txt", &all);
    let commands = all.split_once("Commands:\n").expect("a list of verbs").1;
    let lines = commands.lines().take_while(|line| !line.is_empty());
    let verbs: Vec<&str> = lines
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() >= 20, "{verbs:?}");
    for verb in verbs {
        golden(&format!("help/{verb}.txt"), &help(&[verb, "--help"]));
    }
    for below in ["run", "list", "init", "record", "merge", "matrix"] {
        golden(&format!("help/drill-{below}.txt"), &help(&["drill", below, "--help"]));
    }
}

/// Every source file but those of tests, in the order of their names.
pub(super) fn sources() -> Vec<String> {
    let mut files = BTreeSet::new();
    let mut tests = Vec::new();
    for directory in SOURCES {
        walk(Path::new(directory), &mut files, &mut tests);
    }
    files.retain(|file| !tests.iter().any(|test| file.starts_with(test)));
    files.into_iter().map(|file| file.display().to_string()).collect()
}

/// Files below a directory, and the modules that only tests have.
fn walk(directory: &Path, files: &mut BTreeSet<PathBuf>, tests: &mut Vec<PathBuf>) {
    let absolute = repository(&directory.display().to_string());
    for entry in std::fs::read_dir(absolute).expect("a directory of sources").flatten() {
        let path = directory.join(entry.file_name());
        if entry.path().is_dir() {
            walk(&path, files, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(entry.path()).expect("a source file");
            let parent = if path.ends_with("mod.rs") || path.ends_with("lib.rs") {
                directory.to_owned()
            } else {
                path.with_extension("")
            };
            let declared = source.split("#[cfg(test)]\nmod ").skip(1);
            let names = declared.filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
            tests.extend(names.map(|name| parent.join(format!("{name}.rs"))));
            files.insert(path);
        }
    }
}

/// Adds the messages of a piece of source, in their order.
fn collect(tokens: TokenStream, is_printed: bool, messages: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    // The last two tokens, as far as they are names.
    let mut names = [String::new(), String::new()];
    let mut is_attribute = false;
    while let Some(token) = tokens.next() {
        let name = match &token {
            TokenTree::Literal(literal) => {
                messages.extend(message(&literal.to_string(), is_printed));
                String::new()
            }
            TokenTree::Group(group) if is_attribute && group.delimiter() == Delimiter::Bracket => {
                if attribute(group, messages) == Attribute::OfTests {
                    // Up to the end of the item below it.
                    let is_end = |token: &TokenTree| match token {
                        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                        TokenTree::Punct(punct) => punct.as_char() == ';',
                        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
                    };
                    let _ = tokens.by_ref().find(is_end);
                }
                String::new()
            }
            TokenTree::Group(group) => {
                // `name(...)` or `name!(...)`.
                let [before, last] = &names;
                let called = if last == "!" { before } else { last };
                if !UNREAD.contains(&called.as_str()) {
                    let is_printed = last == "!" && PRINTED.contains(&called.as_str());
                    collect(group.stream(), is_printed, messages);
                }
                String::new()
            }
            TokenTree::Ident(ident) => ident.to_string(),
            TokenTree::Punct(punct) => punct.to_string(),
        };
        is_attribute = name == "#" || (is_attribute && name == "!");
        names = [std::mem::take(&mut names[1]), name];
    }
}

/// What an attribute is.
#[derive(PartialEq, Eq)]
enum Attribute {
    OfTests,
    Other,
}

fn attribute(group: &Group, messages: &mut Vec<String>) -> Attribute {
    let mut tokens = group.stream().into_iter();
    let name = tokens.next().map_or_else(String::new, |token| token.to_string());
    match name.as_str() {
        "cfg" if group.stream().to_string() == "cfg (test)" => return Attribute::OfTests,
        "test" => return Attribute::OfTests,
        // `--help` shows what documents a verb.
        "doc" | "expect" | "allow" | "cfg" => {}
        name => collect(tokens.collect(), name == "error", messages),
    }
    Attribute::Other
}

/// A string that a user reads: a sentence, or any text where text is printed.
fn message(literal: &str, is_printed: bool) -> Option<String> {
    let start = literal.find('"')?;
    // Not bytes, C strings or characters.
    if !literal[..start].chars().all(|character| character == 'r' || character == '#') {
        return None;
    }
    let inner = literal[start + 1..].rsplit_once('"')?.0;
    // A line that goes on: the break and the indentation are not in the text.
    let mut parts = inner.split("\\\n");
    let mut text = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| text.push_str(part.trim_start()));
    let text = text.replace('\n', "\\n");
    let has_word = |text: &str| text.split(' ').any(|word| word.chars().any(char::is_alphabetic));
    let is_sentence = text.trim().contains(' ') && has_word(&text);
    (is_sentence || is_printed && has_word(&text)).then_some(text)
}

#[test]
fn messages_are_found_and_reasons_are_not() {
    let source = r##"
        #![doc = "no"]
        /// Not this one.
        #[error("cannot open {path}")]
        #[expect(lint, reason = "not for users")]
        fn a() {
            warn!(worker = name, "slow {name}");
            println!("done");
            let b = format!("two \
                             lines");
            let c = ("--flag", b"some bytes", c"a path", r#"raw "quoted" text"#);
            d.expect("it cannot fail");
        }
        #[cfg(test)]
        mod tests { fn e() { println!("in a test"); } }
        fn f() { g("the last one") }
    "##;
    let mut found = Vec::new();
    collect(source.parse().expect("Rust"), false, &mut found);
    let expected = [
        "cannot open {path}",
        "slow {name}",
        "done",
        "two lines",
        "raw \"quoted\" text",
        "the last one",
    ];
    assert_eq!(found, expected);
}
