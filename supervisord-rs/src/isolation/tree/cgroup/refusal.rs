//! Why the limits of a cgroup cannot be enforced, and what to do about it. A limit that is
//! configured and does not hold is never passed over in silence: the launch fails.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use supervision::LaunchStage;

use crate::isolation::launch::failed::Failed;
use crate::stages;

/// What to do in most cases.
const ADVICE: &str = "under systemd set `Delegate=yes` in the supervisor's unit; elsewhere start \
                      it as root in a cgroup (v2) of its own";

/// A sentence for people, with the errno that comes nearest to it.
#[derive(Clone, Debug)]
pub(in crate::isolation) struct Refusal {
    stage: LaunchStage,
    errno: Errno,
    text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::about(refusal.stage, refusal.errno, refusal.text)
    }
}

impl Refusal {
    fn new(errno: Errno, text: String) -> Self {
        Self { stage: stages::CGROUP_LIMITS, errno, text }
    }

    /// No limit is at stake, but the cgroup itself.
    pub(super) fn directory(path: &Path, error: &io::Error) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
        let text = format!("{}: {}: {ADVICE}", path.display(), errno.desc());
        Self { stage: stages::CGROUP, errno, text }
    }

    /// It passes when the cgroup is thawed, and says nothing about the worker.
    pub(super) fn frozen(path: &Path) -> Self {
        let text = format!("the cgroup {} is frozen: write 0 to its cgroup.freeze", path.display());
        Self { stage: stages::CGROUP, errno: Errno::EAGAIN, text }
    }

    /// It passes when they are gone.
    pub(super) fn dying(path: &Path) -> Self {
        let text = format!("the cgroup {} is being killed with its worker", path.display());
        Self { stage: stages::CGROUP, errno: Errno::EAGAIN, text }
    }

    pub(super) fn switched_off(switch: &str) -> Self {
        Self::new(
            Errno::EOPNOTSUPP,
            format!("cgroups are switched off ({switch}=off in the environment of the supervisor)"),
        )
    }

    pub(super) fn no_hierarchy() -> Self {
        let text = "there is no cgroup v2 here; mount it, or boot with \
                    `systemd.unified_cgroup_hierarchy=1`";
        Self::new(Errno::EOPNOTSUPP, text.into())
    }

    pub(super) fn not_usable(base: &Path, why: &str) -> Self {
        Self::new(Errno::EOPNOTSUPP, format!("cannot use a cgroup in {}: {why}", base.display()))
    }

    pub(super) fn no_controller(name: &str, base: &Path) -> Self {
        let text = format!(
            "the controller `{name}` is not available in {} (it is with cgroup v1, or not passed \
             on from above): {ADVICE}",
            base.display()
        );
        Self::new(Errno::EOPNOTSUPP, text)
    }

    pub(super) fn hierarchy_root(base: &Path, controllers: &[&str]) -> Self {
        let on: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
        let text = format!(
            "the supervisor runs in the root of all cgroups, and does not change that one: write \
             `{}` into {}, or {ADVICE}",
            on.join(" "),
            base.join("cgroup.subtree_control").display()
        );
        Self::new(Errno::EPERM, text)
    }

    pub(super) fn not_delegated(unit: &str) -> Self {
        let text = format!(
            "the supervisor's cgroup belongs to systemd ({unit}), which has not delegated it: \
                {ADVICE}"
        );
        Self::new(Errno::EPERM, text)
    }

    pub(super) fn others(base: &Path, pids: &[i32]) -> Self {
        let text = format!(
            "other processes live in the supervisor's cgroup {} ({pids:?}), which must be empty \
             to pass controllers on: {ADVICE}",
            base.display()
        );
        Self::new(Errno::EBUSY, text)
    }

    pub(super) fn write(file: &Path, value: &str, error: &io::Error) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
        let hint = match errno {
            Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::EBUSY => format!(": {ADVICE}"),
            _ => String::new(),
        };
        let text =
            format!("`{value}` cannot be written into {}: {}{hint}", file.display(), errno.desc());
        Self::new(errno, text)
    }

    pub(super) fn device(device: &Path, why: &str) -> Self {
        Self::new(
            Errno::ENODEV,
            format!("`io` is limited by block device, and {} is not one: {why}", device.display()),
        )
    }
}
