//! Room in the black box for instances that are added while the supervisor runs.

use crate::config::Settings;

/// Instances that can be added while the supervisor runs.
const SPARE_PAGES: usize = 256;

/// Instances of which more can be added need room.
pub(super) fn spare(settings: &Settings) -> usize {
    if settings.templates.is_empty() { 0 } else { SPARE_PAGES }
}
