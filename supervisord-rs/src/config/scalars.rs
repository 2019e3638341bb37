//! Single values: texts, numbers, sizes, durations, words, signals.

use std::time::Duration;

use super::nearest::nearest;
use super::node::Value;
use super::problems::At;
use super::reader::Cursor;
use super::size::{size, size_meant};
use super::words::shortened;

impl Cursor<'_> {
    /// Any scalar's text.
    pub(super) fn string(&self) -> Option<At<String>> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => Some(self.at(text.clone())),
            Value::Map(_) => {
                let problem = self.wrong("a text");
                self.problems.push(problem.help("a text that contains `: ` needs quotes"));
                None
            }
            Value::Scalar { .. } | Value::List(_) => self.refuse_value("a text"),
        }
    }

    /// The path of a file or directory: not empty, and without a byte that ends it for the kernel.
    pub(super) fn path(&self) -> Option<At<String>> {
        let path = self.string()?;
        if path.value.is_empty() || path.value.contains('\0') {
            self.refuse_value("a path")
        } else {
            Some(path)
        }
    }

    pub(super) fn boolean(&self) -> Option<At<bool>> {
        self.choice(&[("true", true), ("false", false)])
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, low: i64, high: i64) -> Option<At<i64>> {
        let number = self.node.text().and_then(|text| text.parse().ok());
        match number.filter(|number| (low..=high).contains(number)) {
            Some(number) => Some(self.at(number)),
            None if high == i64::MAX => {
                self.refuse_value(&format!("a whole number, {low} or more"))
            }
            None => self.refuse_value(&format!("a whole number from {low} to {high}")),
        }
    }

    /// A whole number of 32 bits, `low` or more.
    pub(super) fn count(&self, low: u32) -> Option<At<u32>> {
        let number = self.integer(low.into(), u32::MAX.into())?;
        Some(number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
    }

    /// A size in bytes: `64MiB`, `10K`, `4096`; units are powers of 1024, as systemd has them.
    pub(super) fn size(&self) -> Option<At<u64>> {
        match self.node.text().and_then(size) {
            Some(size) => Some(self.at(size)),
            None => {
                let problem = self.wrong("a size, such as 512KiB, 64MiB or 10GiB (units of 1024)");
                let nearest = self.node.text().and_then(size_meant);
                self.problems.push(super::problem::Problem { nearest, ..problem });
                None
            }
        }
    }

    /// A fraction in thousandths, within bounds that are thousandths too.
    pub(super) fn permille(&self, (low, high): (u32, u32)) -> Option<At<u32>> {
        let number = self.node.text().and_then(|text| text.parse::<f64>().ok());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked against the bounds first"
        )]
        let below = number
            .filter(|number| (0.0..=1e6).contains(number))
            .map(|number| (number, (number * 1000.0).floor() as u32));
        // The floor of what is a thousandth can be the one below it.
        let near = below.map(|(number, below)| (number, [below, below + 1]));
        let exact = |number: f64| move |near: &u32| (fraction(*near) - number).abs() <= 0.0;
        let found = near.and_then(|(number, near)| near.into_iter().find(exact(number)));
        match found.filter(|permille| (low..=high).contains(permille)) {
            Some(permille) => Some(self.at(permille)),
            None => {
                let bounds = format!("a number from {} to {}", fraction(low), fraction(high));
                let near = near.filter(|(_, [below, above])| {
                    found.is_none() && low <= *below && *above <= high
                });
                let thousandths = near.map_or_else(String::new, |(_, [below, above])| {
                    format!(", in full thousandths: {} or {}", fraction(below), fraction(above))
                });
                self.refuse_value(&(bounds + &thousandths))
            }
        }
    }

    pub(super) fn duration(&self) -> Option<At<Duration>> {
        let written = self.node.text();
        if let Some(duration) = written.and_then(|text| humantime::parse_duration(text).ok()) {
            return Some(self.at(duration));
        }
        let problem = self.wrong("a duration with its unit, such as 500ms, 10s or 2m");
        let bare = written.filter(|text| text.parse::<u32>().is_ok());
        self.problems.push(match bare {
            Some(number) => {
                super::problem::Problem { nearest: Some(format!("{number}s")), ..problem }
            }
            None => problem,
        });
        None
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<At<T>> {
        self.choice_or(words, None)
    }

    /// The same where a list or mapping can stand here too: `longer` shows one.
    pub(super) fn choice_or<T: Copy>(
        &self,
        words: &[(&str, T)],
        longer: Option<&str>,
    ) -> Option<At<T>> {
        let text = self.node.text();
        if let Some((_, value)) = words.iter().find(|(word, _)| Some(*word) == text) {
            return Some(self.at(*value));
        }
        let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let expected = match list.as_slice() {
            ["true", "false"] => "true or false".to_owned(),
            [word] => format!("`{word}`"),
            words => format!("one of: {}", words.join(", ")),
        };
        let expected = match longer {
            Some(longer) => format!("{expected}, or {longer}"),
            None => expected,
        };
        let mut problem = self.wrong(&expected);
        problem.nearest = text.filter(|_| !self.problems.is_full()).and_then(|text| {
            let meant = as_boolean(text).filter(|word| list.contains(word)).map(str::to_owned);
            let elsewhere = || of_others(text).filter(|word| list.contains(word));
            let meant = meant.or_else(|| elsewhere().map(str::to_owned));
            meant.or_else(|| nearest(text, list.iter().copied()))
        });
        self.problems.push(problem);
        None
    }

    /// Permission bits in octal.
    pub(super) fn mode(&self) -> Option<At<u32>> {
        let bits = self
            .node
            .text()
            .and_then(|text| u32::from_str_radix(text.trim_start_matches("0o"), 8).ok());
        match bits.filter(|bits| *bits <= 0o777) {
            Some(bits) => Some(self.at(bits)),
            None => self.refuse_value("permission bits in octal, such as \"0022\" or \"0660\""),
        }
    }

    /// The name of a signal, with or without `SIG`.
    pub(super) fn signal(&self) -> Option<At<i32>> {
        use nix::sys::signal::Signal;
        let written = self.string()?.value;
        let name = written.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        if let Ok(signal) = format!("SIG{name}").parse::<Signal>() {
            return Some(self.at(signal as i32));
        }
        let all = Signal::iterator().filter_map(|signal| signal.as_str().strip_prefix("SIG"));
        let problem = self.at(()).problem(format!("unknown signal `{}`", shortened(&written)));
        self.problems.push(super::problem::Problem {
            nearest: nearest(name, all),
            ..problem.expected("a name such as TERM, INT or QUIT")
        });
        None
    }
}

/// What YAML 1.1 took for a boolean, and YAML 1.2 takes for a word.
fn as_boolean(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" | "true" | "1" => Some("true"),
        "no" | "off" | "n" | "false" | "0" => Some("false"),
        _ => None,
    }
}

/// Words of Compose, systemd and chrt(1), and what they are called here.
fn of_others(text: &str) -> Option<&'static str> {
    match text {
        "unless-stopped" => Some("always"),
        "no" | "false" | "none" => Some("never"),
        "on-abnormal" | "on-abort" | "on-watchdog" => Some("on-failure"),
        "healthy" | "service_healthy" | "running" => Some("ready"),
        "service_started" => Some("started"),
        "rr" => Some("round-robin"),
        "other" => Some("normal"),
        "completed" | "service_completed_successfully" => Some("finished"),
        _ => None,
    }
}

/// Thousandths as the fraction that they are.
fn fraction(permille: u32) -> f64 {
    f64::from(permille) / 1000.0
}
