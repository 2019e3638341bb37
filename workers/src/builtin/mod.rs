//! Workers that do real things.

/// The built-in workers by name.
#[must_use]
pub fn registry() -> crate::Registry {
    crate::Registry::default()
}
