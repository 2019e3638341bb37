//! The processes that a dead supervisor has left in the cgroup of its unit. The hook that systemd
//! runs afterwards makes room for a successor, or ends them.
//!
//! The hook runs in a control process of the unit. systemd puts that into the subgroup `.control`
//! of a delegated unit, so that everything else in the tree is a leftover.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::waiting::until;

/// Where systemd puts its own helpers of a delegated unit.
const CONTROL: &str = ".control";
/// The time that a leftover has to end after TERM. Its supervisor has sent TERM before, unless it
/// died first. Must stay well below the unit's stop timeout, at which systemd ends the hook.
const GRACE: Duration = Duration::from_secs(2);
/// The interval between two looks: waiting for cgroup.events would be possible, but nothing is
/// urgent here.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The cgroup of the unit whose control process this is.
#[derive(Debug)]
pub struct UnitCgroup {
    path: PathBuf,
}

impl UnitCgroup {
    /// The cgroup of this process's unit, in version 2; `None` where there is no such tree.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn own() -> io::Result<Option<Self>> {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let mount = mounts.into_iter().find(|mount| mount.join("cgroup.procs").exists());
        Ok(mount.zip(unit_of(&text)).map(|(mount, unit)| Self { path: mount.join(unit) }))
    }

    /// Allows a new process in the unit's own cgroup, where systemd starts the successor: the
    /// kernel refuses that while controllers are enabled for its subgroups (cgroups(7), "no
    /// internal processes"). The subgroups lose their limits until the successor sets them again;
    /// their processes run on.
    ///
    /// # Errors
    /// Those of write(2); `EBUSY` for a subtree that is delegated further.
    pub fn make_room(&self) -> io::Result<()> {
        // Deepest first: a group that passes a controller on to its subgroups cannot lose it.
        for group in self.tree().into_iter().rev() {
            let file = group.join("cgroup.subtree_control");
            let enabled = fs::read_to_string(&file).unwrap_or_default();
            let disable: Vec<String> =
                enabled.split_whitespace().map(|name| format!("-{name}")).collect();
            if !disable.is_empty() {
                fs::write(&file, disable.join(" "))?;
            }
        }
        Ok(())
    }

    /// Ends every process except systemd's helpers: TERM first, SIGKILL after a grace period.
    /// Returns the processes that got TERM.
    #[must_use]
    pub fn end_all(&self) -> Vec<i32> {
        let asked = self.members();
        self.signal_all(Signal::SIGTERM);
        if !self.is_empty_within(GRACE) {
            for group in self.tree() {
                // The unit's own cgroup holds this process too; there, each is killed by its PID.
                if group != self.path {
                    let _ = fs::write(group.join("cgroup.kill"), "1");
                }
            }
            self.signal_all(Signal::SIGKILL);
            self.is_empty_within(GRACE);
        }
        asked
    }

    fn signal_all(&self, signal: Signal) {
        for pid in self.members() {
            // A process that has ended meanwhile is fine.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn is_empty_within(&self, limit: Duration) -> bool {
        until(limit, LOOK_EVERY, || self.members().is_empty().then_some(())).is_some()
    }

    /// Every process in the tree, without this one and without systemd's helpers.
    fn members(&self) -> Vec<i32> {
        let own = std::process::id();
        let groups = self.tree().into_iter();
        groups
            .filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok())
            .flat_map(|text| {
                text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>()
            })
            .filter(|&pid| pid.cast_unsigned() != own)
            .collect()
    }

    /// The unit's cgroup and all below it but `.control`, parents before children.
    fn tree(&self) -> Vec<PathBuf> {
        let mut found = vec![self.path.clone()];
        let mut next = 0;
        while let Some(group) = found.get(next).cloned() {
            next += 1;
            let below = fs::read_dir(&group).into_iter().flatten().flatten();
            found.extend(
                below
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .filter(|entry| group != self.path || entry.file_name() != CONTROL)
                    .map(|entry| entry.path()),
            );
        }
        found
    }
}

/// The unit's cgroup from /proc/self/cgroup (cgroups(7)), relative to the mount. `None` without
/// version 2, or outside the cgroup of a unit: the hook must not end the whole machine.
fn unit_of(text: &str) -> Option<PathBuf> {
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = own.strip_suffix(CONTROL).map_or(own, |unit| unit.trim_end_matches('/'));
    own.ends_with(".service").then(|| own.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_cgroup_is_found_and_nothing_above_it() {
        let unit = Some(PathBuf::from("system.slice/supervisord-rs.service"));
        assert_eq!(unit_of("0::/system.slice/supervisord-rs.service/.control\n"), unit);
        assert_eq!(unit_of("1:name=systemd:/x\n0::/system.slice/supervisord-rs.service\n"), unit);
        for text in ["", "0::/\n", "0::/.control\n", "0::/user.slice\n", "1:memory:/a.service\n"] {
            assert_eq!(unit_of(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_helpers_of_systemd_are_left_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let unit = UnitCgroup { path: directory.path().into() };
        for (group, procs) in
            [("", ""), (".control", "1\n"), ("workers", ""), ("workers/a", "23\n42\n")]
        {
            fs::create_dir_all(unit.path.join(group)).expect("a group");
            fs::write(unit.path.join(group).join("cgroup.procs"), procs).expect("its members");
            fs::write(unit.path.join(group).join("cgroup.subtree_control"), "")
                .expect("its controllers");
        }
        assert_eq!(unit.members(), [23, 42]);
        fs::write(unit.path.join("workers/cgroup.subtree_control"), "cpu memory\n")
            .expect("controllers");
        unit.make_room().expect("room");
        let written = fs::read_to_string(unit.path.join("workers/cgroup.subtree_control"));
        assert_eq!(written.expect("controllers"), "-cpu -memory");
    }
}
