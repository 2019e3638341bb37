//! What a step of a launch needs a right for, and whether we have it: root without capabilities is
//! no root (capabilities(7)).

use std::fmt;

use nix::errno::Errno;
use supervision::LaunchStage;

/// A capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Capability {
    name: &'static str,
    /// Its bit, as linux/capability.h has it.
    number: u32,
}

/// For other groups than ours.
pub(in crate::isolation) const SETGID: Capability = Capability { name: "CAP_SETGID", number: 6 };
const SETUID: Capability = Capability { name: "CAP_SETUID", number: 7 };
const SYS_NICE: Capability = Capability { name: "CAP_SYS_NICE", number: 23 };
const SYS_RESOURCE: Capability = Capability { name: "CAP_SYS_RESOURCE", number: 24 };

impl Capability {
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

/// The advice for a step that was not permitted; `None`: the supervisor lacks no right for it.
pub(super) fn lacking(stage: LaunchStage, errno: Errno) -> Option<String> {
    let capability = match (stage, errno) {
        (LaunchStage::User, Errno::EPERM) => SETUID,
        (LaunchStage::Group, Errno::EPERM) => SETGID,
        (LaunchStage::Nice | LaunchStage::IoPriority, Errno::EPERM | Errno::EACCES) => SYS_NICE,
        (LaunchStage::OomScore, Errno::EPERM | Errno::EACCES)
        | (LaunchStage::Limits, Errno::EPERM) => SYS_RESOURCE,
        _ => return None,
    };
    if capability.is_ours() {
        return None;
    }
    if stage == LaunchStage::Limits {
        return Some(format!(
            ": a limit is above the hard limit, which only {capability} may raise"
        ));
    }
    Some(if nix::unistd::geteuid().is_root() {
        format!(": the supervisor is root, but lacks the capability {capability}")
    } else {
        format!(": the supervisor must be root for that, or have the capability {capability}")
    })
}
