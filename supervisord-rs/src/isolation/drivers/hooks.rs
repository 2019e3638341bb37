//! Hooks: each has a process tree of its own, as a worker has, and what it leaves behind ends with
//! it, in whatever session that is.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use workers::runtime::board::monotonic_ns;

use super::Drivers;
use crate::config::settings::CgroupLimits;
use crate::isolation::exits::reaper;
use crate::isolation::helper::{Helper, Summons};
use crate::isolation::launch::advice;
use crate::isolation::outfit::Birthplace;
use crate::isolation::tree::cgroup::Newcomer;
use crate::isolation::tree::process_tree::ProcessTree;
use crate::isolation::tree::snapshot::Snapshot;

/// A hook that runs, or that has ended and has left something behind.
#[derive(Debug)]
pub(super) struct Hook {
    process_tree: ProcessTree,
    /// It has ended. Its number, which is its group's, is its own until this is dropped.
    ended: Option<Helper>,
    is_over: Arc<AtomicBool>,
    /// A look at the process table that was begun at this moment or later tells what is left.
    /// `None`: the next one has not been asked for.
    since: Option<u64>,
}

impl Drivers {
    /// Starts a helper that belongs to no worker, with this on its standard input; then
    /// [`clear_hook`](Self::clear_hook) with its number.
    ///
    /// # Errors
    /// What went wrong already, in a sentence.
    pub fn launch_hook(
        &mut self,
        argv: &[String],
        input: File,
    ) -> Result<(usize, Summons), String> {
        let program = argv.first().cloned().unwrap_or_default();
        let path =
            self.means.environment.get(OsStr::new("PATH")).unwrap_or_default().to_os_string();
        self.means.has_room(0).map_err(|failure| advice(failure, &program))?;
        // Each has a name of its own: the cgroup of another may still be on its way out.
        let number = self.next_hook;
        self.next_hook = number.wrapping_add(1);
        let name = format!("hook-{number}");
        let leaf = self.means.cgroups.leaf(&name, &CgroupLimits::default()).ok().flatten();
        let process_tree =
            ProcessTree::new(leaf, &self.means.instance_id, &name, &self.means.census);
        let born = Some(Birthplace::of(&process_tree, Newcomer::First));
        let (is_over, since) = (Arc::default(), None);
        self.hooks.insert(number, Hook { process_tree, ended: None, is_over, since });
        let argv = argv.iter().map(OsString::from).collect();
        let streams = (input.into(), None);
        Ok((
            number,
            self.means.launch_with_our_environment(program.into(), argv, path, streams, born),
        ))
    }

    /// A hook has ended, or could not be started: what it has left behind is ended.
    pub fn clear_hook(&mut self, number: usize, helper: Option<Helper>) {
        let Some(helper) = helper else {
            self.hooks.remove(&number);
            return;
        };
        helper.kill();
        // In this order: the orphans of one that is still dying have not come to us yet.
        let has_ended = helper.child().is_some_and(|child| reaper::has_exited(&child.pidfd));
        let is_sure = has_ended && !self.means.has_orphans();
        let Some(hook) = self.hooks.get_mut(&number) else { return };
        if is_sure && !hook.process_tree.has_cgroup() {
            self.hooks.remove(&number);
            return;
        }
        hook.ended = Some(helper);
        self.look_at_hooks(None);
    }

    /// Hooks that have ended and have left something behind which has not.
    #[must_use]
    pub fn hooks_being_cleared(&self) -> usize {
        self.hooks.values().filter(|hook| hook.ended.is_some()).count()
    }

    /// Ends what hooks have left behind: those with a cgroup, or those of whom this look tells.
    pub(super) fn look_at_hooks(&mut self, look: Option<&Snapshot>) {
        let (now, mut has_left) = (monotonic_ns(), false);
        self.hooks.retain(|_, hook| {
            let Some(child) = hook.ended.as_ref().and_then(Helper::child) else { return true };
            let has_cgroup = hook.process_tree.has_cgroup();
            let is_told = |look: &&Snapshot| hook.since.is_some_and(|since| look.begun() >= since);
            let others = match look.filter(is_told) {
                _ if has_cgroup => hook.process_tree.others_in_cgroup(child),
                Some(look) => hook.process_tree.others_in(look, child),
                None => {
                    if look.is_none() && hook.since.is_none() {
                        hook.since = Some(now);
                        self.means.census.ask(now);
                    }
                    return true;
                }
            };
            if others.is_empty() {
                return false;
            }
            hook.process_tree.kill_these(child, &others, &hook.is_over);
            hook.since = None;
            has_left = true;
            true
        });
        if has_left {
            self.means.looks.again();
        }
    }
}
