//! Where a comparison says how far it is.

/// Where a comparison says how far it is.
pub trait Progress {
    /// A trial begins, one of so many.
    fn begins(&self, index: usize, count: usize, subject: &str);
    /// Why the present trial takes a while.
    fn takes_long(&self, why: &str);
    /// The present trial could not be finished.
    fn failed(&self, why: &str);
}
