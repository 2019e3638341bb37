//! A failed step in words, and what to do about it.

use nix::errno::Errno;
use supervision::{LaunchFailure, LaunchStage};

use super::rights;

/// What to do about a launch that failed, in a sentence; `subject` is what was to be executed, or
/// the file, socket or account that the failed step was about.
#[must_use]
pub fn advice(failure: LaunchFailure, subject: &str) -> String {
    let errno = Errno::from_raw(failure.errno);
    let what = match failure.stage {
        // How it ended, and what to do.
        LaunchStage::StartBefore { .. } => return subject.to_owned(),
        LaunchStage::Board => "cannot create its board (memfd)".to_owned(),
        LaunchStage::Pipes => "cannot create the pipes that capture its output".to_owned(),
        LaunchStage::Clone => "cannot create a process".to_owned(),
        LaunchStage::Thread => "cannot create a thread".to_owned(),
        LaunchStage::Socket => format!("cannot open its socket {subject}"),
        LaunchStage::EnvFile => format!("cannot read its env_file {subject}"),
        LaunchStage::Secret => format!("cannot read the secret {subject}"),
        // With a path: the cgroup itself could not be made, for a reason that stands there.
        LaunchStage::Cgroup if subject.starts_with("/") && subject.contains(": ") => {
            return format!("cannot make its cgroup {subject}");
        }
        LaunchStage::Cgroup => "cannot create it in its cgroup".to_owned(),
        // The reason of a refusal, and what to do.
        LaunchStage::CgroupLimits => return format!("cannot enforce its limits: {subject}"),
        LaunchStage::Session => {
            "cannot create a session or process group (setsid, setpgid)".to_owned()
        }
        LaunchStage::ParentDeathSignal => "cannot tie its life to the supervisor's".to_owned(),
        LaunchStage::Directory => "cannot enter its working directory".to_owned(),
        LaunchStage::Descriptors => "cannot hand over its file descriptors".to_owned(),
        LaunchStage::Limits => "cannot set its resource limits (setrlimit)".to_owned(),
        LaunchStage::Nice => "cannot set its priority (setpriority)".to_owned(),
        LaunchStage::IoPriority => "cannot set its I/O priority (ioprio_set)".to_owned(),
        LaunchStage::OomScore => "cannot set its OOM score (oom_score_adj)".to_owned(),
        LaunchStage::Affinity => "cannot choose its processors (sched_setaffinity)".to_owned(),
        LaunchStage::Group => "cannot change its groups (setgroups, setgid)".to_owned(),
        LaunchStage::User => "cannot change its user (setuid)".to_owned(),
        LaunchStage::Exec => format!("cannot execute {subject}"),
        LaunchStage::Cell => "cannot hand the launch order to its cell".to_owned(),
        LaunchStage::Registration => {
            return format!("{subject} refused to start this worker: see its message");
        }
    };
    match (failure.stage, errno) {
        (LaunchStage::User, Errno::ENOENT) => {
            return format!("there is no user `{subject}`: add it, or correct `user:`");
        }
        (LaunchStage::Group, Errno::ENOENT) => {
            return format!("there is no group `{subject}`: add it, or correct `group:`");
        }
        _ => {}
    }
    if errno == Errno::ETIMEDOUT {
        return match failure.stage {
            LaunchStage::Clone => format!("{what}: launches that hang are in the way"),
            _ => format!("{what}: it hangs; does its file system answer?"),
        };
    }
    if let Some(hint) = rights::lacking(failure.stage, errno) {
        return format!("{what}: {}{hint}", errno.desc());
    }
    let hint = match (failure.stage, errno) {
        (LaunchStage::Exec, Errno::ENOENT) if std::path::Path::new(subject).exists() => {
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
            ": it is no regular file"
        }
        (LaunchStage::EnvFile | LaunchStage::Secret, Errno::EFBIG) => ": it may have 1 MiB at most",
        (LaunchStage::EnvFile, Errno::EINVAL) => ": a line is not NAME=value",
        (LaunchStage::Limits, Errno::EPERM | Errno::EINVAL) => {
            ": a limit is above what this kernel allows (fs.nr_open)"
        }
        (LaunchStage::User | LaunchStage::Group, Errno::EINVAL) => {
            ": this user namespace does not know the number (user_namespaces(7))"
        }
        (LaunchStage::Group, Errno::EPERM) => {
            ": this user namespace allows no other groups (`deny` in /proc/PID/setgroups, user_namespaces(7))"
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
    };
    format!("{what}: {}{hint}", errno.desc())
}

/// The exit status that a shell would give: 127 for what is not there, 126 for what cannot be
/// executed.
#[must_use]
pub const fn exit_code(failure: LaunchFailure) -> i32 {
    match failure.stage {
        LaunchStage::StartBefore { code } => code,
        LaunchStage::Exec if failure.errno == Errno::ENOENT as i32 => 127,
        _ => 126,
    }
}
