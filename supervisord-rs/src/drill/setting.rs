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
        let (fault, capabilities) = (self.fault.kind(), &self.isolation.capabilities);
        if fault.signal().is_some() && !capabilities.has_process() {
            return Some("it has no process that a signal could strike");
        }
        (capabilities.is_of_supervisor() && fault.is_order())
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

#[cfg(test)]
mod tests {
    use supervision::{Capabilities, FaultDomain};

    use super::*;
    use crate::config::kinds::PROCESS;

    #[test]
    fn a_signal_is_no_fault_where_there_is_no_process() {
        // As a driver that runs nothing would be written in the table.
        static NOTHING: Kind = Kind {
            word: "nothing",
            runs_commands: true,
            runs_code: false,
            capabilities: Capabilities {
                label: "nothing",
                place: "nothing",
                fault_domain: FaultDomain::Own,
                can_be_killed_alone: true,
                can_be_paused: false,
                has_own_memory: true,
                has_limits: false,
                has_own_process: false,
                outlives_supervisor: false,
            },
        };
        let obstacle = |isolation, fault: &str| {
            let fault = fault.parse().expect("it is in the catalogue");
            Setting { fault, isolation, contain: false }.obstacle()
        };
        assert!(obstacle(&NOTHING, "signal-kill").is_some_and(|why| why.contains("no process")));
        assert_eq!(obstacle(&NOTHING, "panic"), None);
        for kind in crate::config::kinds::ALL {
            assert_eq!(obstacle(kind, "signal-kill"), None, "{}", kind.name());
        }
        assert_eq!(obstacle(&PROCESS, "signal-term"), None);
    }
}
