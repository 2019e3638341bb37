//! What a step of a launch needs a right for, and whether we have it: root without capabilities is
//! no root (capabilities(7)).

use std::fmt;

/// A capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Capability {
    name: &'static str,
    /// Its bit, as linux/capability.h has it.
    number: u32,
}

/// For other groups than ours.
pub(in crate::isolation) const SETGID: Capability = Capability { name: "CAP_SETGID", number: 6 };
pub(super) const SETUID: Capability = Capability { name: "CAP_SETUID", number: 7 };
pub(super) const SYS_NICE: Capability = Capability { name: "CAP_SYS_NICE", number: 23 };
pub(super) const SYS_RESOURCE: Capability = Capability { name: "CAP_SYS_RESOURCE", number: 24 };

impl Capability {
    /// What to do about a step that was not permitted; `None`: the supervisor lacks no right.
    pub(super) fn advice(self) -> Option<String> {
        if self.is_ours() {
            return None;
        }
        Some(if nix::unistd::geteuid().is_root() {
            format!(": the supervisor is root, but lacks the capability {self}")
        } else {
            format!(": the supervisor must be root for that, or have the capability {self}")
        })
    }

    /// Whether we have it, and with it our children until they give it up.
    pub(in crate::isolation) fn is_ours(self) -> bool {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        effective.unwrap_or(0) >> self.number & 1 == 1
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}
