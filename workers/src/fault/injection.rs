//! A fault as people write it, with its parameter; an unknown name is answered with the nearest.

use std::fmt;
use std::str::FromStr;

use super::{Fault, catalogue};

/// A fault as written: `segfault`, `exit:3`, `leak:64MiB`.
///
/// ```
/// use workers::fault::{Fault, Injection};
///
/// let injection: Injection = "exit:3".parse()?;
/// assert_eq!((injection.fault, injection.parameter), (Fault::Exit, 3));
/// assert_eq!(Injection::from(Fault::Panic).to_string(), "panic");
/// # Ok::<(), workers::fault::InjectionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injection {
    /// The fault.
    pub fault: Fault,
    /// Its parameter, 0 where it takes none.
    pub parameter: u64,
}

/// Why a text does not name a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InjectionError {
    /// No fault has this name.
    #[error("unknown fault `{name}`{}; there are: {known}", did_you_mean(.nearest))]
    Unknown {
        /// As written.
        name: String,
        /// Names that look like it, the nearest first.
        nearest: Vec<&'static str>,
        /// All names.
        known: String,
    },
    /// The fault does not take this parameter.
    #[error("invalid parameter `{text}` of {name}: expected {expected}")]
    Parameter {
        /// As written.
        text: String,
        /// The fault.
        name: &'static str,
        /// The parameter that it takes.
        expected: &'static str,
    },
}

impl FromStr for Injection {
    type Err = InjectionError;

    fn from_str(text: &str) -> Result<Self, InjectionError> {
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let fault = catalogue::by_name(name).ok_or_else(|| InjectionError::Unknown {
            name: name.to_owned(),
            nearest: nearest(name),
            known: Fault::all().map(Fault::name).collect::<Vec<_>>().join(", "),
        })?;
        let wrong = |expected| InjectionError::Parameter {
            text: parameter.unwrap_or_default().to_owned(),
            name: fault.name(),
            expected,
        };
        let parameter = match (fault, parameter) {
            (Fault::Exit, None) => 0,
            (Fault::Exit, Some(code)) => code
                .parse::<u8>()
                .map(u64::from)
                .map_err(|_| wrong("an exit code from 0 to 255"))?,
            (Fault::Leak, None) => catalogue::LEAK_CAP,
            (Fault::Leak, Some(size)) => {
                mebibytes(size).ok_or_else(|| wrong("a size such as 64MiB"))?
            }
            (_, None) => 0,
            (_, Some(_)) => return Err(wrong("none")),
        };
        Ok(Self { fault, parameter })
    }
}

impl From<Fault> for Injection {
    /// With the parameter that it has where none is written.
    fn from(fault: Fault) -> Self {
        fault.name().parse().expect("every fault is read by its name")
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Exit => write!(formatter, "exit:{}", self.parameter),
            Fault::Leak => write!(formatter, "leak:{}MiB", self.parameter >> 20),
            fault => formatter.write_str(fault.name()),
        }
    }
}

/// Names shown of those that look like an unknown one.
const NEAREST: usize = 3;

/// The names that an unknown one may have been meant for: those with most of its pairs of letters
/// (Dice's coefficient), or with it among their words.
fn nearest(unknown: &str) -> Vec<&'static str> {
    let unknown = unknown.to_lowercase().replace('_', "-");
    let ours = pairs(&unknown);
    let likeness = |name: &str| {
        let theirs = pairs(name);
        let common = ours.iter().filter(|pair| theirs.contains(pair)).count();
        let is_part = unknown.len() > 2 && name.contains(&*unknown);
        // In thousandths; half of the pairs are enough.
        let likeness = (2000 * common).checked_div(ours.len() + theirs.len()).unwrap_or(0);
        if is_part { likeness.max(500) } else { likeness }
    };
    let mut all: Vec<(usize, &'static str)> =
        Fault::all().map(|fault| (likeness(fault.name()), fault.name())).collect();
    all.retain(|(likeness, _)| *likeness >= 500);
    all.sort_by_key(|(likeness, _)| std::cmp::Reverse(*likeness));
    all.into_iter().take(NEAREST).map(|(_, name)| name).collect()
}

fn pairs(word: &str) -> Vec<(char, char)> {
    word.chars().zip(word.chars().skip(1)).collect()
}

fn did_you_mean(nearest: &[&str]) -> String {
    match nearest {
        [] => String::new(),
        [others @ .., last] if !others.is_empty() => {
            format!("; did you mean {} or {last}?", others.join(", "))
        }
        [.., last] => format!("; did you mean {last}?"),
    }
}

fn mebibytes(size: &str) -> Option<u64> {
    let number: u64 = size.strip_suffix("MiB")?.parse().ok()?;
    number.checked_mul(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let told = |name: &str| name.parse::<Injection>().expect_err("unknown").to_string();
        for (name, expected) in [
            ("segfalt", "; did you mean segfault"),
            ("stack_overflow_", "; did you mean stack-overflow"),
            ("overflow", "; did you mean "),
            ("oom", "`oom`; there are: "),
            ("pannic", "; did you mean panic"),
            ("cwd", "`cwd`; there are: "),
        ] {
            assert!(told(name).contains(expected), "{name}: {}", told(name));
        }
    }

    #[test]
    fn parameters_are_read_and_wrong_ones_refused() {
        assert_eq!("exit:3".parse(), Ok(Injection { fault: Fault::Exit, parameter: 3 }));
        assert_eq!("leak:8MiB".parse(), Ok(Injection { fault: Fault::Leak, parameter: 8 << 20 }));
        for wrong in ["exit:256", "leak:8", "panic:1", "segfalt", ""] {
            assert!(wrong.parse::<Injection>().is_err(), "{wrong}");
        }
    }
}
