//! What surrounds a process, from the configuration to the kernel's numbers: accounts, environment,
//! secrets.
//!
//! All of it is looked up before the child exists: names of users may need files or a name service,
//! and between clone and exec nothing may.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown, getegid, geteuid, getgroups};
use supervision::{LaunchFailure, LaunchStage};

use super::inherited::{self, SECRET_MAX, whole};
use super::launch::{Attempt, Credentials, Environment, Inherited, Plan, failure, reading, rights};
use crate::accounts;
use crate::config::env_file::{self, Wrong};
use crate::config::settings::{InheritEnv, Launch, SecretSource, Surroundings};
use crate::sealed::sealed;

/// A launch that failed, and what the failed step was about, where that is not the program.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) failure: LaunchFailure,
    pub(super) subject: Option<String>,
}

impl From<LaunchFailure> for Failed {
    fn from(failure: LaunchFailure) -> Self {
        Self { failure, subject: None }
    }
}

impl Failed {
    pub(super) fn about(stage: LaunchStage, errno: Errno, subject: impl Into<String>) -> Self {
        Self { failure: failure(stage, errno), subject: Some(subject.into()) }
    }

    fn io(stage: LaunchStage, error: &std::io::Error, path: &Path) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
        Self::about(stage, errno, path.display().to_string())
    }
}

pub(super) type Result<T> = std::result::Result<T, Failed>;

/// Everything of a worker's surroundings that has been looked up.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) environment: Environment,
    /// Variable and content, as memory that can be handed over.
    secrets: Vec<(String, OwnedFd)>,
    credentials: Credentials,
}

/// Looks everything up. `inherited` is what the supervisor has to give. May read files, and ask the
/// network where the machine's accounts do: call it on a launcher thread.
pub(super) fn prepare(
    launch: &Launch,
    inherited: &Arc<Inherited>,
    attempt: &Attempt,
) -> Result<Prepared> {
    let surroundings = &launch.surroundings;
    let mut environment = match &surroundings.inherit_env {
        InheritEnv::All => Environment::of(inherited),
        InheritEnv::Only(names) => Environment::only(inherited, names),
    };
    let mut set = |name: &str, value: &OsStr| environment.set(OsStr::new(name), value);
    let credentials = credentials(surroundings, &mut set)?;
    set("SUPERVISOR_ENABLED", OsStr::new("1"));
    set("SUPERVISOR_PROCESS_NAME", OsStr::new(&launch.name));
    set("SUPERVISOR_GROUP_NAME", OsStr::new(&launch.group));
    if let Some(instance) = launch.instance {
        set("SUPERVISOR_INSTANCE", OsStr::new(&instance.to_string()));
    }
    for path in &surroundings.env_files {
        for (name, value) in env_file(path, attempt)? {
            set(&name, OsStr::new(&value));
        }
    }
    for (name, value) in &surroundings.env {
        set(name, OsStr::new(value));
    }
    let secrets = surroundings
        .secrets
        .iter()
        .map(|(name, source)| Ok((name.clone(), secret(source, attempt)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(Prepared { environment, secrets, credentials })
}

impl Prepared {
    /// The supervisor's own, as cells have it.
    pub(super) fn inherited(inherited: &Arc<Inherited>) -> Self {
        Self {
            environment: Environment::of(inherited),
            secrets: Vec::new(),
            credentials: Credentials::default(),
        }
    }

    /// Gives our pipes to its user, who could not open them by name (`/dev/stderr`) otherwise:
    /// proc_pid_fd(5). Where we may not, it has the descriptors all the same.
    pub(super) fn own<'a>(&self, pipes: impl Iterator<Item = &'a OwnedFd>) {
        let Some(uid) = self.credentials.uid else { return };
        for pipe in pipes {
            if fstat(pipe).is_ok_and(|found| found.st_uid != uid) {
                // We write to it through our group: our user may have no right to everything.
                let _ = fchmod(pipe, Mode::from_bits_truncate(0o660));
                let _ = fchown(pipe, Some(Uid::from_raw(uid)), None);
            }
        }
    }

    /// Puts everything but the descriptors 0 to 2, which the caller has given, into a plan.
    pub(super) fn apply(mut self, mut plan: Plan, surroundings: &Surroundings) -> Result<Plan> {
        for (name, content) in std::mem::take(&mut self.secrets) {
            let number = plan.next_descriptor();
            plan = plan.give(content, number)?;
            let path = format!("/dev/fd/{number}");
            self.environment.set(OsStr::new(&name), OsStr::new(&path));
        }
        plan = plan.environment(self.environment)?;
        plan = plan.oom_score_adj(surroundings.oom_score_adj);
        if let Some(directory) = &surroundings.cwd {
            plan = plan.directory(directory)?;
        }
        plan.credentials = self.credentials;
        plan.umask = surroundings.umask;
        plan.limits = surroundings
            .limits
            .resources
            .iter()
            .map(|limit| (limit.resource, limit.soft, limit.hard))
            .collect();
        plan.nice = surroundings.nice;
        plan.io_priority = surroundings.io_priority;
        plan.cpus.clone_from(&surroundings.cpus);
        plan.own_session = surroundings.own_session;
        Ok(plan)
    }

    /// Where programs are looked up: the `PATH` of the worker's own environment, else that of
    /// confstr(3) and execvp(3).
    pub(super) fn path(&self) -> OsString {
        let own = self.environment.get(OsStr::new("PATH"));
        own.unwrap_or(OsStr::new("/bin:/usr/bin")).to_os_string()
    }
}

/// The numbers of its accounts; with a user come `USER`, `LOGNAME`, `HOME` and `SHELL`, as login(1)
/// sets them.
fn credentials(
    surroundings: &Surroundings,
    set: &mut impl FnMut(&str, &OsStr),
) -> Result<Credentials> {
    let group = |name: &String| {
        accounts::group(name)
            .ok_or_else(|| Failed::about(LaunchStage::Group, Errno::ENOENT, name.clone()))
    };
    let mut credentials = Credentials::default();
    if let Some(name) = &surroundings.user {
        let user = accounts::user(name)
            .ok_or_else(|| Failed::about(LaunchStage::User, Errno::ENOENT, name.clone()))?;
        set("USER", OsStr::new(&user.name));
        set("LOGNAME", OsStr::new(&user.name));
        set("HOME", user.home.as_os_str());
        set("SHELL", user.shell.as_os_str());
        credentials.uid = Some(user.uid);
        credentials.gid = Some(user.gid);
        credentials.groups = Some(accounts::groups_of(&user));
    }
    if let Some(name) = &surroundings.group {
        credentials.gid = Some(group(name)?);
        credentials.groups.get_or_insert_default();
    }
    if let Some(names) = &surroundings.groups {
        credentials.groups = Some(names.iter().map(group).collect::<Result<Vec<_>>>()?);
    }
    Ok(only_what_changes(credentials, surroundings.groups.is_some()))
}

/// Changing to what we are needs no right, and asking for it would. Groups that are asked for by
/// name are not passed over: where they are others than ours and cannot be had, the launch fails.
fn only_what_changes(credentials: Credentials, are_groups_named: bool) -> Credentials {
    let Credentials { uid, gid, groups } = &credentials;
    let is_us = uid.is_none_or(|uid| uid == geteuid().as_raw())
        && gid.is_none_or(|gid| gid == getegid().as_raw());
    if !is_us || (uid.is_none() && gid.is_none() && groups.is_none()) || rights::SETGID.is_ours() {
        return credentials;
    }
    let groups = credentials.groups.filter(|groups| are_groups_named && !are_ours(groups));
    Credentials { uid: None, gid: None, groups }
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

/// The variables of an `env_file`.
fn env_file(path: &Path, attempt: &Attempt) -> Result<Vec<(String, String)>> {
    let text = read(LaunchStage::EnvFile, path, attempt)?;
    env_file::parse(&text).map_err(|wrong| {
        let (errno, line) = match wrong {
            Wrong::NotVariable(line) => (Errno::EINVAL, line),
            Wrong::NotUtf8(line) => (Errno::EILSEQ, line),
        };
        let subject = format!("{} (line {line})", path.display());
        Failed::about(LaunchStage::EnvFile, errno, subject)
    })
}

fn read(stage: LaunchStage, path: &Path, attempt: &Attempt) -> Result<Vec<u8>> {
    let most = usize::try_from(SECRET_MAX).unwrap_or(usize::MAX);
    reading::read(stage, path, most, attempt).map_err(|failure| {
        let subject = (failure.stage == stage).then(|| path.display().to_string());
        Failed { failure, subject }
    })
}

/// A secret as memory that only its holder can read: it is in no file system, no argument and no
/// environment.
fn secret(source: &SecretSource, attempt: &Attempt) -> Result<OwnedFd> {
    let (path, content) = match source {
        SecretSource::File(path) => (path.clone(), read(LaunchStage::Secret, path, attempt)?),
        SecretSource::Descriptor(number) => {
            let path = PathBuf::from(format!("fd:{number}"));
            let content = inherited::open(*number).and_then(whole);
            let content =
                content.map_err(|error| Failed::io(LaunchStage::Secret, &error, &path))?;
            (path, content)
        }
    };
    sealed(&content).map_err(|error| Failed::io(LaunchStage::Secret, &error, &path))
}
