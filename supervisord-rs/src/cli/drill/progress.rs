//! How far `drill run` is, on standard error.

use std::io::IsTerminal;
use std::time::Duration;

use super::told::shown;
use crate::cli::harmless::harmless;
use crate::config::scenario::script::Scenario;
use crate::drill::campaign::Watcher;
use crate::drill::matrix::running;
use crate::drill::verdict::Report;

/// A line for each run; on a terminal one line that is written over.
#[derive(Debug, Default)]
pub(super) struct OnStderr {
    all: usize,
}

impl OnStderr {
    fn write(text: &str) {
        let text = harmless(text);
        if std::io::stderr().is_terminal() {
            let width =
                ratatui::crossterm::terminal::size().map_or(80, |(columns, _)| columns.into());
            let text: String = text.chars().take(usize::saturating_sub(width, 1)).collect();
            eprint!("\r\x1b[K{text}");
        } else {
            eprintln!("{text}");
        }
    }
}

impl Watcher for OnStderr {
    fn storm(&mut self, scenario: &Scenario, seed: u64) {
        if !std::io::stderr().is_terminal() {
            Self::write(&format!("storm of {}: seed {seed}", scenario.name));
        }
    }

    fn shrinks(
        &mut self,
        scenario: &Scenario,
        (kept, of): (usize, usize),
        runs: u32,
        left: Duration,
    ) {
        Self::write(&format!(
            "[shrinking, at most {} s left] {}: {kept} of {of} blows after {runs} runs",
            left.as_secs(),
            scenario.name
        ));
    }

    fn begins(&mut self, number: usize, all: usize, scenario: &Scenario) {
        self.all = all;
        if std::io::stderr().is_terminal() {
            Self::write(&format!("[{number}/{all}] {}", scenario.name));
        }
    }

    fn step(&mut self, number: usize, scenario: &Scenario, step: usize, left: Option<Duration>) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let word = scenario.steps.get(step.saturating_sub(1)).map_or("", |step| step.word);
        let left = left.map_or_else(String::new, |left| format!(", {} s left", left.as_secs()));
        Self::write(&format!("[{number}/{}{left}] {}: {word}", self.all, scenario.name));
    }

    fn over(&mut self, number: usize, all: usize, report: &Report, left: Option<Duration>) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
            return;
        }
        let took = shown(Duration::from_millis(report.took_ms));
        let left = left.map_or_else(String::new, |left| format!(", {} s left", left.as_secs()));
        let (word, title) = (report.verdict.word(), report.title());
        Self::write(&format!("[{number}/{all}{left}] {word}: {title} ({took})"));
    }
}

impl running::Watcher for OnStderr {
    fn over(
        &mut self,
        (done, all): (usize, usize),
        what: &str,
        wrong: &[String],
        left: Option<Duration>,
    ) {
        let left = left.map_or_else(String::new, |left| format!(", {} s left", left.as_secs()));
        // On a terminal what is wrong stays, above the line that is written over.
        if !wrong.is_empty() && std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
            wrong.iter().for_each(|one| eprintln!("{}: {}", harmless(what), harmless(one)));
        }
        Self::write(&format!("[{done}/{all}{left}] {what}"));
        if !std::io::stderr().is_terminal() {
            wrong.iter().for_each(|one| Self::write(&format!("  {one}")));
        } else if done == all {
            eprint!("\r\x1b[K");
        }
    }
}
