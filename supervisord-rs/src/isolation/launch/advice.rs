//! A failed step in words, and what to do about it.

use std::borrow::Cow;
use std::path::Path;

use nix::errno::Errno;
use supervision::{LaunchFailure, LaunchStage};

use super::rights;

/// What to do about a launch that failed, in a sentence; `subject` is what was to be executed, or
/// the file, socket or account that the failed step was about.
#[must_use]
pub fn advice(failure: LaunchFailure, subject: &str) -> String {
    let (stage, errno) = (failure.stage, Errno::from_raw(failure.errno));
    let what = match step(stage, subject) {
        Step::Named(what) => what,
        Step::Explained(sentence) => return sentence,
    };
    match (stage, errno) {
        (LaunchStage::User, Errno::ENOENT) => {
            format!("there is no user `{subject}`: add it, or correct `user:`")
        }
        (LaunchStage::Group, Errno::ENOENT) => {
            format!("there is no group `{subject}`: add it, or correct `group:`")
        }
        (LaunchStage::Clone, Errno::ETIMEDOUT) => {
            format!("{what}: launches that hang are in the way")
        }
        (_, Errno::ETIMEDOUT) => format!("{what}: it hangs; does its file system answer?"),
        _ => {
            let hint = rights::lacking(stage, errno);
            let hint = hint.unwrap_or_else(|| remedy(stage, errno, subject).to_owned());
            format!("{what}: {}{hint}", errno.desc())
        }
    }
}

/// A step that failed.
enum Step {
    /// What could not be done: the error's name and a remedy belong behind it.
    Named(Cow<'static, str>),
    /// With the reason, which the subject has.
    Explained(String),
}

fn step(stage: LaunchStage, subject: &str) -> Step {
    let named = match stage {
        // How it ended, and what to do.
        LaunchStage::StartBefore { .. } => return Step::Explained(subject.to_owned()),
        // With a path: the cgroup itself could not be made, for a reason that stands there.
        LaunchStage::Cgroup if subject.starts_with('/') && subject.contains(": ") => {
            return Step::Explained(format!("cannot make its cgroup {subject}"));
        }
        // The state of the cgroup, and what to do.
        LaunchStage::Cgroup if subject.starts_with("the cgroup ") => {
            return Step::Explained(subject.to_owned());
        }
        // The reason of a refusal, and what to do.
        LaunchStage::CgroupLimits => {
            return Step::Explained(format!("cannot enforce its limits: {subject}"));
        }
        LaunchStage::Registration => {
            let sentence = format!("{subject} refused to start this worker: see its message");
            return Step::Explained(sentence);
        }
        LaunchStage::Socket => {
            return Step::Named(format!("cannot open its socket {subject}").into());
        }
        LaunchStage::EnvFile => {
            return Step::Named(format!("cannot read its env_file {subject}").into());
        }
        LaunchStage::Secret => {
            return Step::Named(format!("cannot read the secret {subject}").into());
        }
        LaunchStage::Exec => return Step::Named(format!("cannot execute {subject}").into()),
        LaunchStage::Board => "cannot create its board (memfd)",
        LaunchStage::Pipes => "cannot create the pipes that capture its output",
        LaunchStage::Clone => "cannot create a process",
        LaunchStage::Thread => "cannot create a thread",
        LaunchStage::Cgroup => "cannot create it in its cgroup",
        LaunchStage::Session => "cannot create a session or process group (setsid, setpgid)",
        LaunchStage::ParentDeathSignal => "cannot tie its life to the supervisor's",
        LaunchStage::Directory => "cannot enter its working directory",
        LaunchStage::Descriptors => "cannot hand over its file descriptors",
        LaunchStage::Limits => "cannot set its resource limits (setrlimit)",
        LaunchStage::Nice => "cannot set its priority (setpriority)",
        LaunchStage::IoPriority => "cannot set its I/O priority (ioprio_set)",
        LaunchStage::OomScore => "cannot set its OOM score (oom_score_adj)",
        LaunchStage::Affinity => "cannot choose its processors (sched_setaffinity)",
        LaunchStage::Group => "cannot change its groups (setgroups, setgid)",
        LaunchStage::User => "cannot change its user (setuid)",
        LaunchStage::Cell => "cannot hand the launch order to its cell",
    };
    Step::Named(named.into())
}

/// What to do about it; empty where the error's name has to do.
fn remedy(stage: LaunchStage, errno: Errno, subject: &str) -> &'static str {
    match (stage, errno) {
        (LaunchStage::Exec, Errno::ENOENT) if Path::new(subject).exists() => {
            ": it is there; the interpreter (`#!`) or the loader that it names is not"
        }
        (LaunchStage::Exec, Errno::ENOENT) if subject.contains('/') => ": correct its path",
        (LaunchStage::Exec, Errno::ENOENT) => ": install it, or write its full path in `command:`",
        (LaunchStage::Exec, Errno::EACCES) => {
            ": it is not executable for this user; check its mode and its directory's"
        }
        (LaunchStage::Exec, Errno::ENOEXEC) => {
            ": it is neither a binary of this machine nor a script with `#!`"
        }
        (LaunchStage::Directory, Errno::ENOENT) => ": create it, or correct `cwd:`",
        (LaunchStage::Directory, Errno::EACCES) => ": its user may not enter it",
        (LaunchStage::Socket, Errno::EADDRINUSE) => {
            ": another program listens there; stop it, or choose another"
        }
        (LaunchStage::Socket, Errno::EACCES) => {
            ": this user may not listen there (ports below 1024 need rights)"
        }
        (LaunchStage::EnvFile | LaunchStage::Secret, Errno::ENOENT) => {
            ": create it, or correct its path"
        }
        (LaunchStage::EnvFile | LaunchStage::Secret, Errno::EACCES) => {
            ": the supervisor's user may not read it"
        }
        (LaunchStage::EnvFile | LaunchStage::Secret, Errno::EMEDIUMTYPE) => {
            ": it is not a regular file"
        }
        (LaunchStage::EnvFile | LaunchStage::Secret, Errno::EFBIG) => ": it may have 1 MiB at most",
        (LaunchStage::EnvFile, Errno::EINVAL) => ": a line is not NAME=value",
        (LaunchStage::EnvFile, Errno::EILSEQ) => ": the line is not UTF-8: save the file as UTF-8",
        (LaunchStage::Limits, Errno::EPERM | Errno::EINVAL) => {
            ": a limit is above what this kernel allows (fs.nr_open)"
        }
        (LaunchStage::User | LaunchStage::Group, Errno::EINVAL) => {
            ": this user namespace does not know the number (user_namespaces(7))"
        }
        (LaunchStage::Group, Errno::EPERM) => {
            ": this user namespace allows no other groups (`deny` in /proc/PID/setgroups, \
             user_namespaces(7))"
        }
        (LaunchStage::Affinity, Errno::EINVAL) => ": none of these processors is there",
        (_, Errno::EMFILE | Errno::ENFILE) => {
            ": raise the limit of open files (`ulimit -n`, `LimitNOFILE=`)"
        }
        (_, Errno::EAGAIN) => {
            ": raise the limit of processes (`ulimit -u`, `TasksMax=`, cgroup `pids.max`)"
        }
        (_, Errno::ENOMEM) => ": the machine or the cgroup is out of memory",
        _ => "",
    }
}
