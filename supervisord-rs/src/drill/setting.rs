//! A trial that is to be made: a fault, and the isolation of the worker that it strikes.

use std::fmt;
use std::str::FromStr;

use workers::fault::{Fault, Injection, InjectionError};

use crate::config::Kind;

/// A fault in an isolation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The fault.
    pub fault: WrittenFault,
    /// The isolation of the worker that it strikes.
    pub isolation: &'static Kind,
    /// Whether panics are contained, whatever the configuration says.
    pub contain: bool,
}

impl Setting {
    /// Why the fault is none there; `None`: it is one.
    #[must_use]
    pub fn obstacle(&self) -> Option<&'static str> {
        (self.isolation.capabilities.is_of_supervisor() && self.fault.kind().is_order())
            .then_some("to the supervisor's process it is an order to stop everything")
    }

    /// Whether it suspends the process of the supervisor.
    #[must_use]
    pub fn stops_supervisor(&self) -> bool {
        self.isolation.capabilities.is_of_supervisor() && self.fault.kind() == Fault::SignalStop
    }
}

/// A fault as a person wrote it, which is how it is shown, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFault {
    text: String,
    injection: Injection,
}

impl WrittenFault {
    /// Which one it is, whatever its parameter.
    #[must_use]
    pub const fn kind(&self) -> Fault {
        self.injection.fault
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for WrittenFault {
    type Err = InjectionError;

    fn from_str(text: &str) -> Result<Self, InjectionError> {
        Ok(Self { text: text.to_owned(), injection: text.parse()? })
    }
}

impl fmt::Display for WrittenFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
