//! What people read of steps that the parent makes: nothing of them is left for the child.

use nix::errno::Errno;
use supervision::LaunchStage;

use super::{About, Words};
use crate::stages;

pub(super) const ABOUT: [About; 12] = [
    // How it ended, and what to do.
    About { stage: stages::START_BEFORE, words: |_, subject| Words::Sentence(subject.to_owned()) },
    plain(stages::BOARD, |_, _| Words::plain("cannot create its board (memfd)")),
    plain(stages::PIPES, |_, _| Words::plain("cannot create the pipes that capture its output")),
    plain(stages::THREAD, |_, _| Words::plain("cannot create a thread")),
    plain(stages::CELL, |_, _| Words::plain("cannot hand the launch order to its cell")),
    About { stage: stages::CLONE, words: clone },
    About { stage: stages::REGISTRATION, words: registration },
    // The reason of a refusal, and what to do.
    About { stage: stages::CGROUP_LIMITS, words: |_, subject| limits(subject) },
    About { stage: stages::SOCKET, words: socket },
    About { stage: stages::RESOURCE, words: resource },
    About {
        stage: stages::ENV_FILE,
        words: |errno, subject| file("cannot read its env_file", errno, subject),
    },
    About {
        stage: stages::SECRET,
        words: |errno, subject| file("cannot read the secret", errno, subject),
    },
];

const fn plain(stage: LaunchStage, words: fn(Errno, &str) -> Words) -> About {
    About { stage, words }
}

fn clone(errno: Errno, _: &str) -> Words {
    let what = "cannot create a process";
    match errno {
        Errno::ETIMEDOUT => Words::Sentence(format!("{what}: launches that hang are in the way")),
        _ => Words::plain(what),
    }
}

fn registration(_: Errno, subject: &str) -> Words {
    Words::Sentence(format!("{subject} refused to start this worker: see its message"))
}

fn limits(subject: &str) -> Words {
    Words::Sentence(format!("cannot enforce its limits: {subject}"))
}

fn socket(errno: Errno, subject: &str) -> Words {
    let remedy = match errno {
        Errno::EADDRINUSE => ": another program listens there; stop it, or choose another",
        Errno::EACCES => ": this user may not listen there (ports below 1024 need rights)",
        _ => "",
    };
    Words::Step(format!("cannot open its socket {subject}").into(), remedy.into())
}

fn resource(errno: Errno, subject: &str) -> Words {
    let what = format!("cannot make the resource {subject}");
    match errno {
        Errno::E2BIG => Words::Sentence(format!(
            "{what}: with the others it is larger than the memory of this machine, or of the \
             cgroup of the supervisor: its log has the numbers; make it smaller"
        )),
        Errno::ENOMEM => Words::Sentence(format!(
            "{what}: there is less memory left than it takes, on this machine or in the cgroup of \
             the supervisor: its log has the numbers; make it smaller, or stop something else"
        )),
        Errno::EINVAL => Words::Step(
            what.into(),
            ": `capacity:` or `message:` is more than /proc/sys/fs/mqueue allows".into(),
        ),
        Errno::EPERM => Words::Step(
            what.into(),
            ": `capacity:` is more than /proc/sys/fs/pipe-max-size and pipe-user-pages-soft allow"
                .into(),
        ),
        // The subject has the path, too.
        Errno::EEXIST => Words::Sentence(format!(
            "{what} is there already, and this supervisor has not made it: look whose it is; then \
             remove it, or give the resource another name"
        )),
        Errno::ENOSPC => Words::Step(
            what.into(),
            ": /dev/shm has no room for it, or there are as many message queues as \
             /proc/sys/fs/mqueue/queues_max allows"
                .into(),
        ),
        Errno::EMFILE => Words::Step(
            what.into(),
            ": `capacity:` times `message:` is more than this user may have in message queues \
             (`ulimit -q`), or there are no descriptors left"
                .into(),
        ),
        _ => Words::Step(what.into(), "".into()),
    }
}

fn file(what: &str, errno: Errno, subject: &str) -> Words {
    let remedy = match errno {
        Errno::ENOENT => ": create it, or correct its path",
        Errno::EACCES => ": the supervisor's user may not read it",
        Errno::EMEDIUMTYPE => ": it is not a regular file",
        Errno::EFBIG => ": it may have 1 MiB at most",
        Errno::EINVAL => ": a line is not NAME=value",
        Errno::EILSEQ => ": the line is not UTF-8: save the file as UTF-8",
        _ => "",
    };
    Words::Step(format!("{what} {subject}").into(), remedy.into())
}
