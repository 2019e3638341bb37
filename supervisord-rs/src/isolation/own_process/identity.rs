//! Who the supervisor's own process is: its user and groups (credentials(7)). The C library gives
//! those that one thread takes to all threads (nptl(7)), so a thread worker that gives up its rights
//! takes them from the supervisor.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{
    Gid, ResGid, ResUid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid,
};

use super::Changes;

/// What is kept.
#[derive(Debug)]
pub(super) struct OwnIdentity {
    user: Option<ResUid>,
    group: Option<ResGid>,
    groups: Option<Vec<Gid>>,
    /// A change of users takes it away (`PR_SET_PDEATHSIG`, prctl(2)): the guardian's death would
    /// not be heard.
    death_signal: Option<Signal>,
}

impl OwnIdentity {
    /// As it is now: before the first thread worker is launched.
    pub(super) fn take() -> Self {
        Self {
            user: getresuid().ok(),
            group: getresgid().ok(),
            groups: getgroups().ok(),
            death_signal: death_signal(),
        }
    }

    /// Puts back what has changed, where one of the process's users still has the right to.
    pub(super) fn keep(&mut self) -> Changes<&'static str> {
        let mut changes = Changes::default();
        // In this order: the right to change groups is the user's.
        let (present, name) = (getresuid().ok(), "user");
        settle(&mut self.user, present, name, &mut changes, |own| {
            setresuid(own.real, own.effective, own.saved)
        });
        let (present, name) = (getresgid().ok(), "group");
        settle(&mut self.group, present, name, &mut changes, |own| {
            setresgid(own.real, own.effective, own.saved)
        });
        let (present, name) = (getgroups().ok(), "groups");
        settle(&mut self.groups, present, name, &mut changes, |own| setgroups(own));
        if self.death_signal.is_some() && death_signal() != self.death_signal {
            let _ = prctl::set_pdeathsig(self.death_signal);
        }
        changes
    }
}

/// Puts back one part, or takes the present one for its own.
fn settle<T: PartialEq>(
    own: &mut Option<T>,
    present: Option<T>,
    name: &'static str,
    changes: &mut Changes<&'static str>,
    set: impl FnOnce(&T) -> nix::Result<()>,
) {
    let Some(wanted) = own.as_ref().filter(|_| present.is_some() && *own != present) else {
        return;
    };
    if set(wanted).is_ok() {
        changes.restored.push(name);
    } else {
        *own = present;
        changes.lost.push(name);
    }
}

fn death_signal() -> Option<Signal> {
    prctl::get_pdeathsig().ok().flatten()
}
