//! Printing facts: tables for people, JSON for machines, and no panic when the reader goes away.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use serde::Serialize;

use super::harmless::{harmless, harmless_json};
use crate::called::as_typed;

/// Prints text that may come from a worker, without colours. False when the reader has gone.
pub(super) fn words(text: &str) -> bool {
    line(&harmless(text))
}

/// Says something on standard error, which may have text from a worker in it.
pub(super) fn say(text: &str) {
    eprintln!("supervisord-rs: {}", as_typed(&harmless(text)));
}

/// Prints a line. False when the reader has gone.
pub(super) fn line(text: &str) -> bool {
    is_printed(writeln!(io::stdout(), "{text}"))
}

/// Prints bytes as they are. False when the reader has gone.
pub(super) fn bytes(bytes: &[u8]) -> bool {
    is_printed(io::stdout().write_all(bytes))
}

/// Why standard output did not take all that was printed.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// Whether it was printed. What went wrong is kept for the end of the verb: [`unprinted`]. A reader
/// that has gone (`| head`) has what it wanted.
pub(super) fn is_printed(result: io::Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            if error.kind() != io::ErrorKind::BrokenPipe {
                let _ = UNPRINTED.set(error);
            }
            false
        }
    }
}

/// Why standard output did not take all that was printed, if it did not.
pub(super) fn unprinted() -> Option<&'static io::Error> {
    is_printed(io::stdout().flush());
    UNPRINTED.get()
}

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("reports are strings, numbers and lists");
    let _ = line(&harmless_json(&text));
}

/// The width of the terminal that standard output is; elsewhere that of `$COLUMNS`, if it is set.
pub(super) fn terminal_width() -> Option<usize> {
    if std::io::stdout().is_terminal() {
        let size = ratatui::crossterm::terminal::size();
        return size.ok().map(|(columns, _)| columns.into()).filter(|columns| *columns > 0);
    }
    std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0)
}

/// How many columns of a terminal a text takes.
pub(super) fn width(text: &str) -> usize {
    ratatui::text::Span::raw(text).width()
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    Always,
    Never,
}

static COLOUR: OnceLock<Colour> = OnceLock::new();

impl From<Colour> for clap::ColorChoice {
    fn from(colour: Colour) -> Self {
        match colour {
            Colour::Auto => Self::Auto,
            Colour::Always => Self::Always,
            Colour::Never => Self::Never,
        }
    }
}

impl Colour {
    /// The choice of a command line that is not parsed yet: help and usage errors follow it too.
    pub(super) fn of(arguments: &[OsString]) -> Self {
        let mut words = arguments.iter().take_while(|word| *word != "--").map(|word| word.to_str());
        while let Some(word) = words.next() {
            let value = match word {
                Some("--color") => words.next().flatten(),
                word => word.and_then(|word| word.strip_prefix("--color=")),
            };
            if let Some(value) = value {
                return clap::ValueEnum::from_str(value, false).unwrap_or_default();
            }
        }
        Self::default()
    }

    /// Chooses for this process, once.
    pub(super) fn choose(self) {
        let _ = COLOUR.set(self);
    }

    /// Whether colours are welcome there (<https://no-color.org>).
    fn is_welcome(stream: &impl IsTerminal) -> bool {
        let is_unset = || std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match COLOUR.get().copied().unwrap_or_default() {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stream.is_terminal() && is_unset(),
        }
    }
}

/// Whether colours are welcome on standard output.
pub(super) fn has_colour() -> bool {
    Colour::is_welcome(&std::io::stdout())
}

/// Whether colours are welcome on standard error.
pub(super) fn has_colour_on_stderr() -> bool {
    Colour::is_welcome(&std::io::stderr())
}
