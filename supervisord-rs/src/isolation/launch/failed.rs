//! A launch that failed, with what the failed step was about.

use std::path::Path;

use nix::errno::Errno;
use supervision::{LaunchFailure, LaunchStage};

use super::failure;

/// A launch that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    pub(in crate::isolation) failure: LaunchFailure,
    /// `None`: the program.
    pub(in crate::isolation) subject: Option<String>,
}

/// What a step of a launch gives.
pub type Result<T> = std::result::Result<T, Failed>;

impl From<LaunchFailure> for Failed {
    fn from(failure: LaunchFailure) -> Self {
        Self { failure, subject: None }
    }
}

impl Failed {
    pub(in crate::isolation) fn about(
        stage: LaunchStage,
        errno: Errno,
        subject: impl Into<String>,
    ) -> Self {
        Self { failure: failure(stage, errno), subject: Some(subject.into()) }
    }

    pub(in crate::isolation) fn io(
        stage: LaunchStage,
        error: &std::io::Error,
        path: &Path,
    ) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
        Self::about(stage, errno, path.display().to_string())
    }
}
