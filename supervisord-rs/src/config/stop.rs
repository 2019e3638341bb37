//! `stop:`: how a worker is asked to stop.

use supervision::spec::Stop;

use super::reader::{Cursor, Section};
use super::settings::{StopMeans, default};

/// How long it may take, and by what means it is asked.
pub(super) fn read(section: &Section<'_>, is_sdk: bool) -> (Stop, StopMeans) {
    let mut stop = Stop { timeout: default::STOP_TIMEOUT };
    let mut means = StopMeans { signal: libc::SIGTERM, command: None, main_only: false };
    let keys = ["signal", "timeout", "command", "scope"];
    let section = section.get("stop").and_then(|cursor| match short_form(&cursor) {
        Some(help) => {
            cursor.problems.push(cursor.wrong("a mapping").help(help));
            None
        }
        None => cursor.section(&keys, &[]),
    });
    let Some(section) = section else {
        return (stop, means);
    };
    if let Some(timeout) = section.duration("timeout") {
        stop.timeout = timeout;
    }
    let get = |key: &str| {
        let message =
            "a `worker:` is asked to stop through its board, not by a signal or a command";
        section.get_if(!is_sdk, key, message, "only `timeout` in `stop:`")
    };
    if let Some(signal) = get("signal").and_then(|cursor| cursor.signal()) {
        means.signal = signal.value;
    }
    means.command =
        get("command").and_then(|cursor| cursor.command(false)).map(|command| command.value);
    if let Some(scope) =
        get("scope").and_then(|cursor| cursor.choice(&[("tree", false), ("main", true)]))
    {
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
