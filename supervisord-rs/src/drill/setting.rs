//! A trial that is to be made: a fault, and the isolation of the worker that it strikes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use supervision::Capabilities;
use workers::fault::{Fault, Injection, InjectionError};

/// A fault in an isolation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The fault.
    pub fault: WrittenFault,
    /// The isolation of the worker that it strikes.
    pub isolation: Isolation,
    /// Whether panics are contained, whatever the configuration says.
    pub contain: bool,
}

impl Setting {
    /// Why the fault is none there; `None`: it is one.
    #[must_use]
    pub fn obstacle(&self) -> Option<&'static str> {
        (self.isolation.capabilities().is_of_supervisor() && self.fault.kind().is_order())
            .then_some("to the supervisor's process it is an order to stop everything")
    }

    /// Whether it suspends the process of the supervisor.
    #[must_use]
    pub fn stops_supervisor(&self) -> bool {
        self.isolation.capabilities().is_of_supervisor() && self.fault.kind() == Fault::SignalStop
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

/// Where a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A thread of the supervisor.
    Thread,
    /// A thread of a child process.
    Cell,
    /// A process of its own.
    Process,
}

impl Isolation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Thread, Self::Cell, Self::Process];

    /// Its name on the command line and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.capabilities().label
    }

    /// What is true of a worker there.
    #[must_use]
    pub const fn capabilities(self) -> &'static Capabilities {
        match self {
            Self::Thread => &Capabilities::THREAD,
            Self::Cell => &Capabilities::CELL,
            Self::Process => &Capabilities::PROCESS,
        }
    }

    /// The isolation with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isolation| isolation.name() == name)
    }
}
