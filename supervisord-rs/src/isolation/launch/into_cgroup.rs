//! The cgroup that a child is born in, and another one for it, if it was killed as it was born.
//!
//! Linux 6.12 and later kill a process that starts in a cgroup to which somebody wrote
//! `cgroup.kill` (see `tree/cgroup/trial`): a worker that ends itself in that way, or a person who
//! ends it so, would otherwise have ended all that come after it, too.

use std::os::fd::OwnedFd;

use supervision::LaunchFailure;

/// Gives up the present one. May wait, as the making of the first did.
type Another = Box<dyn FnOnce() -> Result<Option<OwnedFd>, LaunchFailure> + Send>;

/// See above. Without a directory the child is born where we are.
#[derive(Default)]
pub(in crate::isolation) struct IntoCgroup {
    directory: Option<OwnedFd>,
    another: Option<Another>,
}

impl std::fmt::Debug for IntoCgroup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("IntoCgroup")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl IntoCgroup {
    /// A cgroup (version 2) and no other.
    pub(in crate::isolation) fn only(directory: Option<OwnedFd>) -> Self {
        Self { directory, another: None }
    }

    /// A cgroup, and where to get another one.
    pub(in crate::isolation) fn with_another(
        directory: Option<OwnedFd>,
        another: impl FnOnce() -> Result<Option<OwnedFd>, LaunchFailure> + Send + 'static,
    ) -> Self {
        Self { directory, another: Some(Box::new(another)) }
    }

    pub(super) fn directory(&self) -> Option<&OwnedFd> {
        self.directory.as_ref()
    }

    /// Takes another one, once. False: there is none.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(super) fn take_another(&mut self) -> Result<bool, LaunchFailure> {
        let Some(another) = self.another.take() else { return Ok(false) };
        self.directory = another()?;
        Ok(true)
    }
}
