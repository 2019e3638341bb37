//! The environment of another supervisor: ours, but for what is meant for one process alone.

use std::ffi::{OsStr, OsString};

/// Ours, with these in the place of what has their names; what is empty is not there.
pub(crate) fn of_another(own: &[(&str, OsString)]) -> Vec<(OsString, OsString)> {
    let inherited =
        std::env::vars_os().filter(|(name, _)| own.iter().all(|(known, _)| name != known));
    let own = own.iter().filter(|(_, value)| !value.is_empty());
    inherited.chain(own.map(|(name, value)| (OsString::from(name), value.clone()))).collect()
}

/// As a launch takes it.
pub(crate) fn borrowed(all: &[(OsString, OsString)]) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    all.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
}
