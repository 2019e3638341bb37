//! What surrounds a process, from the configuration to the kernel's numbers: accounts, environment,
//! secrets.
//!
//! All of it is looked up before the child exists: names of users may need files or a name service,
//! and between clone and exec nothing may.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Uid, fchown};
use supervision::LaunchStage;

use super::launch::failed::{Failed, Result};
use super::launch::{Attempt, BaseEnvironment, Credentials, Environment, Plan, reading};
use super::passed::{self, SECRET_MAX, whole};
use crate::config::env_file::{self, Wrong};
use crate::config::settings::{ExecutionEnvironment, InheritEnv, Launch, SecretSource};
use crate::sealed::sealed;
use crate::stages;

/// Everything of a worker's execution environment that has been looked up.
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
    inherited: &Arc<BaseEnvironment>,
    attempt: &Attempt,
) -> Result<Prepared> {
    let execution = &launch.execution;
    let mut environment = match &execution.inherit_env {
        InheritEnv::All => Environment::of(inherited),
        InheritEnv::Only(names) => Environment::only(inherited, names),
    };
    let credentials = Credentials::look_up(execution, &mut environment)?;
    let mut set = |name: &str, value: &OsStr| environment.set(OsStr::new(name), value);
    set("SUPERVISOR_ENABLED", OsStr::new("1"));
    set("SUPERVISOR_PROCESS_NAME", OsStr::new(&launch.name));
    set("SUPERVISOR_GROUP_NAME", OsStr::new(&launch.group));
    if let Some(instance) = launch.instance {
        set("SUPERVISOR_INSTANCE", OsStr::new(&instance.to_string()));
    }
    for path in &execution.env_files {
        for (name, value) in env_file(path, attempt)? {
            set(&name, OsStr::new(&value));
        }
    }
    for (name, value) in &execution.env {
        set(name, OsStr::new(value));
    }
    let secrets = execution
        .secrets
        .iter()
        .map(|(name, source)| Ok((name.clone(), secret(source, attempt)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(Prepared { environment, secrets, credentials })
}

impl Prepared {
    /// The supervisor's own, as cells have it.
    pub(super) fn inherited(inherited: &Arc<BaseEnvironment>) -> Self {
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
    pub(super) fn apply(
        mut self,
        mut plan: Plan,
        execution: &ExecutionEnvironment,
    ) -> Result<Plan> {
        for (name, content) in std::mem::take(&mut self.secrets) {
            let number = plan.next_descriptor();
            plan = plan.give(content, number)?;
            let path = format!("/dev/fd/{number}");
            self.environment.set(OsStr::new(&name), OsStr::new(&path));
        }
        plan.environment(self.environment)?.execution_of(execution, self.credentials)
    }

    /// Where programs are looked up: the `PATH` of the worker's own environment, else that of
    /// confstr(3) and execvp(3).
    pub(super) fn path(&self) -> OsString {
        let own = self.environment.get(OsStr::new("PATH"));
        own.unwrap_or(OsStr::new("/bin:/usr/bin")).to_os_string()
    }
}

/// The variables of an `env_file`.
fn env_file(path: &Path, attempt: &Attempt) -> Result<Vec<(String, String)>> {
    let text = read(stages::ENV_FILE, path, attempt)?;
    env_file::parse(&text).map_err(|wrong| {
        let (errno, line) = match wrong {
            Wrong::NotVariable(line) => (Errno::EINVAL, line),
            Wrong::NotUtf8(line) => (Errno::EILSEQ, line),
        };
        let subject = format!("{} (line {line})", path.display());
        Failed::about(stages::ENV_FILE, errno, subject)
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
        SecretSource::File(path) => (path.clone(), read(stages::SECRET, path, attempt)?),
        SecretSource::Descriptor(number) => {
            let path = PathBuf::from(format!("fd:{number}"));
            let content = passed::open(*number).and_then(whole);
            let content = content.map_err(|error| Failed::io(stages::SECRET, &error, &path))?;
            (path, content)
        }
    };
    sealed(&content).map_err(|error| Failed::io(stages::SECRET, &error, &path))
}
