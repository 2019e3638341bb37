//! Whether there is memory for a resource, before it is made.

use nix::errno::Errno;

use crate::config::memory;
use crate::config::settings::{Mechanism, Resource, ResourceKind};
use crate::isolation::launch::failed::{Failed, Result};
use crate::stages;

/// # Errors
/// E2BIG: it and the others, which have so many bytes, are larger than the memory of the machine or
/// of the cgroup; ENOMEM: so much is not left. The log has the numbers.
pub(super) fn check(resource: &Resource, others: u64) -> Result<()> {
    let failed = |errno| Failed::about(stages::RESOURCE, errno, resource.name.clone());
    let needed = resource.bytes();
    let sum = others.saturating_add(needed);
    if let Some(bound) = memory::limit().filter(|bound| bound.bytes < sum) {
        tracing::error!(
            resource = resource.name,
            bytes = needed,
            "too large: with all others {sum} bytes, and {bound}"
        );
        return Err(failed(Errno::E2BIG));
    }
    // Of a sealed region, only pages that are written take memory, of those who write them.
    let is_taken_now = !matches!(resource.kind, ResourceKind::Region { by: Mechanism::Own, .. });
    if let Some(bound) = memory::room().filter(|room| is_taken_now && room.bytes < needed) {
        tracing::error!(resource = resource.name, bytes = needed, "no memory for it: {bound} left");
        return Err(failed(Errno::ENOMEM));
    }
    Ok(())
}
