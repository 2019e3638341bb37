//! What is to be compared, and what there can be no trial of.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::expectation::Expectation;
use super::setting::{Setting, WrittenFault};
use super::subject::Subject;
use crate::config::{Kind, kinds};

/// The faults of a comparison by default.
pub const DEFAULT_FAULTS: [&str; 3] = ["panic", "segfault", "hang"];
/// The same for a `command:`, which only a signal can strike.
pub const DEFAULT_FAULTS_OF_COMMAND: [&str; 2] = ["signal-segv", "signal-kill"];

/// A comparison to be made.
#[derive(Debug)]
pub struct Plan {
    /// What is compared.
    pub subject: Subject,
    /// The trials, in this order.
    pub settings: Vec<Setting>,
    /// What there is no trial of.
    pub impossible: Vec<Impossible>,
    /// What is to be found.
    pub expectations: Vec<Expectation>,
}

/// An isolation that a worker cannot have, or in which a fault is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Impossible {
    /// Which.
    pub isolation: &'static Kind,
    /// The fault, as written; `None`: each.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<String>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Impossible {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Some(fault) => write!(formatter, "{fault}: {}", self.reason),
            None => formatter.write_str(&self.reason),
        }
    }
}

impl Plan {
    /// Each fault in each isolation, where it is a fault. In the built-in configuration a fault
    /// that `on_panic: contain` makes a difference to is also contained in shared memory; a user's
    /// file says itself what a panic ends.
    #[must_use]
    pub fn new(subject: Subject, faults: &[WrittenFault], isolations: &[&'static Kind]) -> Self {
        let mut settings: Vec<Setting> = Vec::new();
        for fault in faults {
            let setting = |isolation, contain| Setting { fault: fault.clone(), isolation, contain };
            settings.extend(isolations.iter().map(|&isolation| setting(isolation, false)));
            if fault.kind().entry().is_containable() && subject.file().is_none() {
                let shared = isolations.iter().filter(|one| !one.capabilities.has_own_memory);
                settings.extend(shared.map(|&isolation| setting(isolation, true)));
            }
        }
        let none_there = |setting: &Setting| {
            let (isolation, fault) = (setting.isolation, Some(setting.fault.to_string()));
            Some(Impossible { isolation, fault, reason: setting.obstacle()?.to_owned() })
        };
        let impossible = settings.iter().filter_map(none_there).collect();
        settings.retain(|setting| setting.obstacle().is_none());
        Self { subject, settings, impossible, expectations: Vec::new() }
    }

    /// The isolations that there are trials in.
    #[must_use]
    pub fn isolations(&self) -> Vec<&'static Kind> {
        let mut isolations = kinds::ALL.to_vec();
        isolations.retain(|one| self.settings.iter().any(|setting| setting.isolation == *one));
        isolations
    }

    /// Whether its expectations can be met.
    ///
    /// # Errors
    /// One cannot: why, and what to write.
    pub fn check(&self) -> Result<(), String> {
        let workers = self.subject.size();
        for (index, one) in self.expectations.iter().enumerate() {
            let name = one.isolation.name();
            let isolations = self.isolations();
            if !isolations.contains(&one.isolation) {
                let possible: Vec<String> = isolations
                    .iter()
                    .map(|isolation| format!("{}=COUNT", isolation.name()))
                    .collect();
                let possible = possible.join(",");
                let why = match self.impossible.iter().find(|why| why.isolation == one.isolation) {
                    Some(why) => format!(" cannot be met by {}: {why}", self.subject.worker()),
                    None => format!(": there is no trial in isolation {name}"),
                };
                return Err(format!("`--expect {one}`{why}; write {possible}"));
            }
            if one.lost > workers {
                return Err(format!(
                    "`--expect {one}`: there are {workers} workers; write {name}=0 to {name}={workers}"
                ));
            }
            if let Some(other) = self.expectations[..index]
                .iter()
                .find(|other| other.isolation == one.isolation && other.lost != one.lost)
            {
                return Err(format!("`--expect {other},{one}`: write one of the two"));
            }
        }
        Ok(())
    }
}
