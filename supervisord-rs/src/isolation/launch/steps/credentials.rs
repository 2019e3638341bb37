//! Who it is: its user, its groups.
//!
//! Names are looked up before the child exists: they may need files or a name service.
#![expect(unsafe_code, reason = "the C library would change the user of all our threads")]

use std::collections::BTreeSet;
use std::ffi::OsStr;

use nix::errno::Errno;
use nix::unistd::{Gid, getegid, geteuid, getgroups};
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::accounts;
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::launch::environment::Environment;
use crate::isolation::launch::failed::{Failed, Result};
use crate::isolation::launch::rights;
use crate::stages;

const ABOUT: [About; 2] = [
    About { stage: stages::USER, words: user_words },
    About { stage: stages::GROUP, words: group_words },
];

/// In the kernel's numbers.
#[derive(Clone, Debug, Default)]
pub(in crate::isolation) struct Credentials {
    /// User; `None`: ours.
    pub(in crate::isolation) uid: Option<u32>,
    /// Group; `None`: ours.
    gid: Option<u32>,
    /// Supplementary groups; `None`: ours.
    groups: Option<Vec<u32>>,
}

impl Credentials {
    /// The numbers of its accounts; with a user come `USER`, `LOGNAME`, `HOME` and `SHELL`, as
    /// login(1) sets them.
    ///
    /// # Errors
    /// ENOENT, with the name that means no account.
    pub(in crate::isolation) fn look_up(
        execution: &ExecutionEnvironment,
        environment: &mut Environment,
    ) -> Result<Self> {
        let group = |name: &String| {
            accounts::group(name)
                .ok_or_else(|| Failed::about(stages::GROUP, Errno::ENOENT, name.clone()))
        };
        let mut credentials = Self::default();
        if let Some(name) = &execution.user {
            let user = accounts::user(name)
                .ok_or_else(|| Failed::about(stages::USER, Errno::ENOENT, name.clone()))?;
            let mut set = |name: &str, value: &OsStr| environment.set(OsStr::new(name), value);
            set("USER", OsStr::new(&user.name));
            set("LOGNAME", OsStr::new(&user.name));
            set("HOME", user.home.as_os_str());
            set("SHELL", user.shell.as_os_str());
            credentials.uid = Some(user.uid);
            credentials.gid = Some(user.gid);
            credentials.groups = Some(accounts::groups_of(&user));
        }
        if let Some(name) = &execution.group {
            credentials.gid = Some(group(name)?);
            credentials.groups.get_or_insert_default();
        }
        if let Some(names) = &execution.groups {
            credentials.groups = Some(names.iter().map(group).collect::<Result<Vec<_>>>()?);
        }
        Ok(credentials.only_what_changes(execution.groups.is_some()))
    }

    /// Whether the child has another user or group than we have.
    pub(in crate::isolation::launch) fn are_others(&self) -> bool {
        self.uid.is_some() || self.gid.is_some() || self.groups.is_some()
    }

    /// Changing to what we are needs no right, and asking for it would. Groups that are asked for
    /// by name are not passed over: where they are others than ours and cannot be had, the launch
    /// fails.
    fn only_what_changes(self, are_groups_named: bool) -> Self {
        let Self { uid, gid, .. } = &self;
        let is_us = uid.is_none_or(|uid| uid == geteuid().as_raw())
            && gid.is_none_or(|gid| gid == getegid().as_raw());
        if !is_us || !self.are_others() || rights::SETGID.is_ours() {
            return self;
        }
        let groups = self.groups.filter(|groups| are_groups_named && !are_ours(groups));
        Self { uid: None, gid: None, groups }
    }
}

/// Whether these are our supplementary groups. Our own group counts as one whether it stands among
/// them or not.
fn are_ours(groups: &[u32]) -> bool {
    let own = getegid().as_raw();
    let with_own =
        |groups: &mut dyn Iterator<Item = u32>| -> BTreeSet<u32> { groups.chain([own]).collect() };
    let ours = getgroups().unwrap_or_default();
    with_own(&mut groups.iter().copied()) == with_own(&mut ours.into_iter().map(Gid::as_raw))
}

impl Step for Credentials {
    fn execute(&self, _: &Newborn<'_>) -> std::result::Result<(), LaunchFailure> {
        let result = |result: libc::c_long| if result < 0 { -1 } else { 0 };
        // SAFETY: bare system calls, which change this process alone; the list of groups outlives
        // the call.
        unsafe {
            if let Some(groups) = &self.groups {
                let done = libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr());
                check(stages::GROUP, result(done))?;
            }
            if let Some(gid) = self.gid {
                let done = libc::syscall(libc::SYS_setresgid, gid, gid, gid);
                check(stages::GROUP, result(done))?;
            }
            if let Some(uid) = self.uid {
                let done = libc::syscall(libc::SYS_setresuid, uid, uid, uid);
                check(stages::USER, result(done))?;
            }
        }
        Ok(())
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}

const UNKNOWN_NUMBER: &str = ": this user namespace does not know the number (user_namespaces(7))";

fn user_words(errno: Errno, subject: &str) -> Words {
    let remedy = match errno {
        Errno::ENOENT => {
            let advice = format!("there is no user `{subject}`: add it, or correct `user:`");
            return Words::Sentence(advice);
        }
        Errno::EPERM => rights::SETUID.advice().unwrap_or_default(),
        Errno::EINVAL => UNKNOWN_NUMBER.to_owned(),
        _ => String::new(),
    };
    Words::Step("cannot change its user (setuid)".into(), remedy.into())
}

fn group_words(errno: Errno, subject: &str) -> Words {
    let remedy = match errno {
        Errno::ENOENT => {
            let advice = format!("there is no group `{subject}`: add it, or correct `group:`");
            return Words::Sentence(advice);
        }
        Errno::EPERM => rights::SETGID.advice().unwrap_or_else(|| {
            ": this user namespace allows no other groups (`deny` in /proc/PID/setgroups, \
             user_namespaces(7))"
                .to_owned()
        }),
        Errno::EINVAL => UNKNOWN_NUMBER.to_owned(),
        _ => String::new(),
    };
    Words::Step("cannot change its groups (setgroups, setgid)".into(), remedy.into())
}
