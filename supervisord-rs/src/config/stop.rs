//! `stop:`: how a worker is asked to stop.

use supervision::spec::Stop;

use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind, OnlyFor, Table};
use super::settings::{StopMeans, default};

pub(super) static STOP: Key = key(
    "stop",
    Kind::Section(&TABLE),
    "How it is asked to stop, and how long it has. It is stopped when none of its processes is \
     alive.",
)
.such_as("{ signal: INT, timeout: 5s }");
static TABLE: Table = Table::of(&[&[&SIGNAL, &TIMEOUT, &COMMAND, &SCOPE]]);
static SIGNAL: Key = key("signal", Kind::Signal, "What every process of the worker gets.")
    .or("TERM")
    .only_for(OnlyFor::Commands);
static TIMEOUT: Key =
    key("timeout", Kind::Duration, "After so long the supervisor kills what is left.").or("10s");
static COMMAND: Key = key("command", Kind::Command, "A command that runs before the signal.")
    .such_as("[redis-cli, shutdown]")
    .only_for(OnlyFor::Commands);
static SCOPE: Key = key(
    "scope",
    Kind::Words(&words(&SCOPES)),
    "Who gets the signal: all its processes, or the main one alone.",
)
.or("tree")
.only_for(OnlyFor::Commands);

/// Whether the main process alone is meant.
const SCOPES: [(&str, bool); 2] = [("tree", false), ("main", true)];

/// How long it may take, and by what means it is asked.
pub(super) fn read(section: &Section<'_>, is_sdk: bool) -> (Stop, StopMeans) {
    let mut stop = Stop { timeout: default::STOP_TIMEOUT };
    let mut means = StopMeans { signal: libc::SIGTERM, command: None, main_only: false };
    let section = section.get(&STOP).and_then(|cursor| match short_form(&cursor) {
        Some(help) => {
            cursor.problems.push(cursor.wrong("a mapping").help(help));
            None
        }
        None => cursor.section(&TABLE),
    });
    let Some(section) = section else {
        return (stop, means);
    };
    if let Some(timeout) = section.duration(&TIMEOUT) {
        stop.timeout = timeout;
    }
    let get = |key: &'static Key| {
        let message =
            "a `worker:` is asked to stop through its board, not by a signal or a command";
        section.get_if(!is_sdk, key, message, "only `timeout` in `stop:`")
    };
    if let Some(signal) = get(&SIGNAL).and_then(|cursor| cursor.signal()) {
        means.signal = signal.value;
    }
    means.command =
        get(&COMMAND).and_then(|cursor| cursor.command(false)).map(|command| command.value);
    if let Some(scope) = get(&SCOPE).and_then(|cursor| cursor.choice(&SCOPES)) {
        means.main_only = scope.value;
    }
    (stop, means)
}

/// What to write for `stop: 10` and `stop: QUIT`.
fn short_form(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.node.text().filter(|_| !cursor.node.is_null())?;
    if text.parse::<u32>().is_ok() {
        return Some(format!("write `stop: {{ timeout: {text}s }}`"));
    }
    if humantime::parse_duration(text).is_ok() {
        return Some(format!("write `stop: {{ timeout: {text} }}`"));
    }
    let is_word = text.chars().all(|letter| letter.is_ascii_alphanumeric());
    is_word.then(|| format!("write `stop: {{ signal: {text} }}`"))
}
