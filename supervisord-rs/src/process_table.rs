//! What the kernel's process table says, proc_pid_stat(5) and its neighbours: the one place that
//! reads it.
//!
//! Everything there is bytes: a process may call itself anything, and a name is cut after 15 bytes,
//! in the middle of a letter too. Numbers come and go: a number with its time of birth means one
//! process for ever.
//!
//! Where `/proc` is of another PID namespace ([`is_own`]), the numbers there are those of strangers
//! here: this tells then of this process alone, so that no number from there reaches kill(2).

use crate::kernel_file;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What stands in `stat`, of a process or of one of its threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it calls itself.
    pub name: Vec<u8>,
    /// What its first thread does: `R`, `S`, `D`, `T`, `Z`, ...
    pub state: char,
    /// Its parent; 0 where that is out of sight.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// What the kernel notes of its first thread, such as that it exits (`PF_EXITING`).
    pub flags: u64,
    /// Processor time in user mode and in the kernel, in clock ticks.
    pub ticks: u64,
    /// The processor that its first thread was on last.
    pub processor: Option<u32>,
    /// How many threads it has.
    pub threads: u64,
    /// When it was born, in clock ticks since boot.
    pub start_time: u64,
    /// The wait status of one that has exited and not been waited for, where we may know it
    /// (proc(5): ptrace access).
    pub exit_status: Option<i32>,
}

impl Stat {
    /// Whether it has exited, with all of its threads. The first thread may end before the others:
    /// its state is that of a zombie then, and the process lives.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }

    /// Its name for people.
    #[must_use]
    pub fn name_lossy(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// How long a thread has run, and how long it could have and had no processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadTimes {
    /// Nanoseconds on a processor.
    pub run_ns: u64,
    /// Nanoseconds in the queue of a processor.
    pub wait_ns: u64,
}

/// Fields after the name, counted from the state.
const PARENT: usize = 1;
const GROUP: usize = 2;
const SESSION: usize = 3;
const FLAGS: usize = 6;
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const THREADS: usize = 17;
const START_TIME: usize = 19;
const PROCESSOR: usize = 36;
const EXIT_CODE: usize = 49;

/// SIGKILL in a mask of signals.
const KILLED: u64 = 1 << (libc::SIGKILL - 1);
/// A thread that exits, or has exited (`PF_EXITING`).
const EXITING: u64 = 0x4;
/// One that ends with its process: while that dumps its memory (`PF_POSTCOREDUMP`, `PF_DUMPCORE`),
/// or since a signal has ended it (`PF_SIGNALED`). That of another thread's exit_group(2) is
/// SIGKILL.
const ENDED_BY_SIGNAL: u64 = 0x8 | 0x200 | 0x400;

/// Whether `/proc` is that of the PID namespace of this process. Not so after `unshare --pid --fork`
/// without `--mount-proc`.
#[must_use]
pub fn is_own() -> bool {
    workers::shared::lives::are_known()
}

/// Why what has to find all processes of a run, to end them, cannot work here, and what to do.
///
/// # Errors
/// `/proc` is of another PID namespace.
pub fn check_own() -> Result<(), &'static str> {
    let why = "/proc is of another PID namespace: the processes of a trial could not be found there, \
               nor told from those of others; mount the own one (`unshare --mount-proc`, proc(5))";
    if is_own() { Ok(()) } else { Err(why) }
}

/// Of this process; `None`: there is none, or `/proc` does not tell of it ([`is_own`]).
#[must_use]
pub fn stat(pid: i32) -> Option<Stat> {
    parse(&kernel_file::read(entry(pid).join("stat")).ok()?)
}

/// Of this thread of a process.
#[must_use]
pub fn thread_stat(pid: i32, tid: i32) -> Option<Stat> {
    parse(&kernel_file::read(task(pid, tid).join("stat")).ok()?)
}

/// How long a thread has run and has waited for a processor, in nanoseconds (`schedstat`, which a
/// kernel with `CONFIG_SCHED_INFO` has). `None`: the thread is gone, or the kernel does not count.
#[must_use]
pub fn thread_times(pid: i32, tid: i32) -> Option<ThreadTimes> {
    let text = kernel_file::read(task(pid, tid).join("schedstat")).ok()?;
    let mut words = words(&text);
    Some(ThreadTimes { run_ns: number(words.next()?)?, wait_ns: number(words.next()?)? })
}

/// Whether a process has been killed and cannot die: SIGKILL waits for a thread of it that waits in
/// the kernel (state D), as for a file system that does not answer.
#[must_use]
pub fn cannot_die(pid: i32) -> bool {
    threads(pid).into_iter().any(|tid| {
        let status = kernel_file::read(task(pid, tid).join("status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let is_killed = |name: &str| {
            let mask = field(name).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.is_some_and(|mask| mask & KILLED != 0)
        };
        field("State:").is_some_and(|state| state.trim().starts_with('D'))
            && (is_killed("SigPnd:") || is_killed("ShdPnd:"))
    })
}

/// The children of a process, by the kernel's list.
#[must_use]
pub fn children_of(pid: i32) -> Vec<i32> {
    if !is_own() {
        return Vec::new();
    }
    let lists = threads(pid).into_iter().map(|tid| fs::read(task(pid, tid).join("children")));
    let lists: Vec<Vec<u8>> = lists.flatten().collect();
    lists
        .iter()
        .flat_map(|list| list.split(u8::is_ascii_whitespace))
        .filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
        .collect()
}

/// Whether a process has a thread with this number.
#[must_use]
pub fn has_thread(pid: i32, tid: i32) -> bool {
    if is_own() { task(pid, tid).exists() } else { is_number_taken(tid) }
}

/// Whether a process is on its way to its end, or gone: all of its threads end, one after the
/// other, and the process is there until the last of them has (`do_group_exit` of the kernel). A
/// thread that ends alone is no such sign.
#[must_use]
pub fn is_ending(pid: i32) -> bool {
    let Some(first) = stat(pid) else { return !is_alive(pid) };
    let is_last = first.threads <= 1;
    let has_sign = |tid: i32| {
        // Before the other: the kernel takes the signal away when it sets the flag.
        let pending = mask(&task(pid, tid).join("status"), "SigPnd:");
        let is_killed = pending.is_some_and(|pending| pending & KILLED != 0);
        let flags = thread_stat(pid, tid).map_or(0, |stat| stat.flags);
        is_killed || flags & ENDED_BY_SIGNAL != 0 || is_last && flags & EXITING != 0
    };
    first.is_dead() || threads(pid).into_iter().any(has_sign)
}

/// Whether there is such a process, and it has not exited. Without a `/proc` of its own
/// ([`is_own`]): or it has, and was not waited for.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    if is_own() { stat(pid).is_some_and(|stat| !stat.is_dead()) } else { is_number_taken(pid) }
}

/// Whether a process or a thread has this number. Asks the kernel, by the numbers of the own
/// namespace.
fn is_number_taken(id: i32) -> bool {
    use nix::errno::Errno;
    id > 0 && nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(id))) != Err(Errno::ESRCH)
}

/// When a process was born.
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_time)
}

/// The parent of a process; 0 where there is none, or no such process.
#[must_use]
pub fn parent(pid: i32) -> i32 {
    stat(pid).map_or(0, |stat| stat.parent)
}

/// Everyone's number.
#[must_use]
pub fn pids() -> Vec<i32> {
    if is_own() { numbers(Path::new("/proc")) } else { Vec::new() }
}

/// The numbers of a process's threads.
#[must_use]
pub fn threads(pid: i32) -> Vec<i32> {
    if !is_own() {
        return Vec::new();
    }
    numbers(&entry(pid).join("task"))
}

/// Our children, by the kernel's list where it keeps one, else by looking at every process.
#[must_use]
pub fn children() -> Vec<i32> {
    let own = nix::unistd::getpid().as_raw();
    listed_children()
        .unwrap_or_else(|| pids().into_iter().filter(|pid| parent(*pid) == own).collect())
}

/// Our children by the kernel's list (`CONFIG_PROC_CHILDREN`). It may miss some while others of
/// them are reaped (proc_pid_tid_children(5)). `None`: the kernel keeps none, or it is out of sight
/// ([`is_own`]).
#[must_use]
pub fn listed_children() -> Option<Vec<i32>> {
    if !is_own() {
        return None;
    }
    let own = nix::unistd::getpid().as_raw();
    let lists: io::Result<Vec<Vec<u8>>> =
        threads(own).into_iter().map(|tid| fs::read(task(own, tid).join("children"))).collect();
    let lists = lists.ok().filter(|lists| !lists.is_empty())?;
    Some(lists.iter().flat_map(|list| words(list)).filter_map(number).collect())
}

/// Those that have come to us as orphans, by the same list: the kernel gives them to the first
/// thread of a process (`find_new_reaper` in its `exit.c`). What that thread has started itself is
/// there too.
#[must_use]
pub fn listed_orphans() -> Option<Vec<i32>> {
    listed_orphans_of(nix::unistd::getpid().as_raw())
}

/// The same of another process.
#[must_use]
pub fn listed_orphans_of(pid: i32) -> Option<Vec<i32>> {
    if !is_own() {
        return None;
    }
    let list = fs::read(task(pid, pid).join("children")).ok()?;
    Some(words(&list).filter_map(number).collect())
}

/// The value of a variable in the environment that a process was started with, as far as it has not
/// overwritten it.
///
/// May wait for as long as the process likes: its memory is read.
#[must_use]
pub fn variable(pid: i32, name: &str) -> Option<Vec<u8>> {
    let mut environment = fs::read(entry(pid).join("environ")).ok()?;
    if environment.is_empty() {
        // The first thread has ended and has no memory any more; the others may.
        let others = threads(pid).into_iter().filter(|tid| *tid != pid);
        let mut texts = others.filter_map(|tid| fs::read(task(pid, tid).join("environ")).ok());
        environment = texts.find(|text| !text.is_empty())?;
    }
    let is_it = |variable: &&[u8]| {
        variable.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
    };
    let found = environment.split(|&byte| byte == 0).find(is_it)?;
    Some(found[name.len() + 1..].to_vec())
}

/// The values of a resource limit of a process, as it is called in `limits`: soft and hard, where
/// it has any.
#[must_use]
pub fn limits(pid: i32, limit: &str) -> Vec<u64> {
    let text = kernel_file::read(entry(pid).join("limits")).unwrap_or_default();
    let mut lines =
        text.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(limit.as_bytes()));
    lines.next().map_or_else(Vec::new, |line| words(line).filter_map(number).collect())
}

/// The number that was given last, to a process or a thread.
#[must_use]
pub fn last_pid() -> i32 {
    let text = kernel_file::read("/proc/loadavg").unwrap_or_default();
    words(&text).last().and_then(number).unwrap_or(0)
}

/// The cgroup of a process in the hierarchy of version 2, below its root and without a slash before
/// it.
#[must_use]
pub fn cgroup(pid: i32) -> Option<PathBuf> {
    let text = fs::read(entry(pid).join("cgroup")).ok()?;
    let path = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::/"))?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}

/// The cgroups of a process in all hierarchies, as the kernel writes them.
#[must_use]
pub fn cgroups(pid: i32) -> Option<Vec<u8>> {
    kernel_file::read(entry(pid).join("cgroup")).ok()
}

/// Whether a process has this file open, named as the kernel names it: without links.
#[must_use]
pub fn has_open(pid: i32, file: &Path) -> bool {
    let links = fs::read_dir(entry(pid).join("fd")).into_iter().flatten().flatten();
    links.into_iter().any(|link| fs::read_link(link.path()).is_ok_and(|name| name == file))
}

/// The real user of a process.
#[must_use]
pub fn user(pid: i32) -> Option<u32> {
    field(&entry(pid).join("status"), "Uid:").and_then(|uid| u32::try_from(uid).ok())
}

/// The first number behind a name at the beginning of a line: of `status`, `smaps_rollup`, `io`,
/// ...
#[must_use]
pub fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read(file).ok()?;
    let line =
        text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()))?;
    number(words(line).next()?)
}

/// The process that traces this one, such as a debugger (ptrace(2)).
#[must_use]
pub fn tracer(pid: i32) -> Option<u64> {
    field(&entry(pid).join("status"), "TracerPid:").filter(|&tracer| tracer != 0)
}

/// A mask of such a file, such as `SigIgn:`, which is hexadecimal.
#[must_use]
pub fn mask(file: &Path, name: &str) -> Option<u64> {
    // Above it is a name, which is any bytes.
    let text = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&text);
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

/// Where the kernel tells of a process. Without a `/proc` of its own ([`is_own`]), of any other than
/// this one nowhere: what has its number there is a stranger.
#[must_use]
pub fn entry(pid: i32) -> PathBuf {
    if is_own() {
        PathBuf::from(format!("/proc/{pid}"))
    } else if pid == nix::unistd::getpid().as_raw() {
        PathBuf::from("/proc/self")
    } else {
        PathBuf::from(OUT_OF_SIGHT)
    }
}

/// Where the kernel tells of a thread.
#[must_use]
pub fn task(pid: i32, tid: i32) -> PathBuf {
    if is_own() {
        PathBuf::from(format!("/proc/{pid}/task/{tid}"))
    } else if tid == nix::unistd::gettid().as_raw() {
        PathBuf::from("/proc/thread-self")
    } else {
        PathBuf::from(OUT_OF_SIGHT)
    }
}

/// A directory that no `/proc` has.
const OUT_OF_SIGHT: &str = "/proc/out-of-sight";

fn parse(text: &[u8]) -> Option<Stat> {
    // The name may hold anything, brackets too.
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let name = text.get(open + 1..close)?.to_vec();
    let fields: Vec<&[u8]> = words(&text[close + 1..]).collect();
    let state = char::from(*fields.first()?.first()?);
    let ticks: u64 =
        number::<u64>(fields.get(USER_TICKS)?)? + number::<u64>(fields.get(SYSTEM_TICKS)?)?;
    Some(Stat {
        name,
        state,
        parent: number(fields.get(PARENT)?)?,
        group: number(fields.get(GROUP)?)?,
        session: number(fields.get(SESSION)?)?,
        flags: number(fields.get(FLAGS)?)?,
        ticks,
        processor: fields.get(PROCESSOR).and_then(|processor| number(processor)),
        threads: number(fields.get(THREADS)?)?,
        start_time: number(fields.get(START_TIME)?)?,
        exit_status: fields.get(EXIT_CODE).and_then(|code| number(code)).filter(|_| state == 'Z'),
    })
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn numbers(directory: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_of_ourselves() {
        let own = nix::unistd::getpid().as_raw();
        let stat = stat(own).unwrap();
        assert_eq!(stat.parent, nix::unistd::getppid().as_raw());
        assert_eq!(stat.session, nix::unistd::getsid(None).unwrap().as_raw());
        assert!(
            stat.start_time > 0
                && stat.exit_status.is_none()
                && stat.threads >= 1
                && !stat.is_dead()
        );
        assert!(pids().contains(&own) && threads(own).contains(&nix::unistd::gettid().as_raw()));
        assert_eq!(variable(own, "PATH"), std::env::var("PATH").ok().map(String::into_bytes));
        assert_eq!(user(own), Some(nix::unistd::getuid().as_raw()));
        assert!(field(&entry(own).join("status"), "VmRSS:").is_some_and(|kib| kib > 0));
        assert!(stat.processor.is_some());
        let times = thread_times(own, nix::unistd::gettid().as_raw());
        assert!(times.is_some_and(|times| times.run_ns > 0), "{times:?}");
        assert_eq!(thread_times(own, 1), None, "no thread of this process");
    }

    #[test]
    fn a_name_may_be_anything() {
        let rest = "S 7 8 9 0 -1 0 0 0 0 0 3 4 0 0 20 0 2 0 99 0";
        // Cut in the middle of a letter; with what else ends a name; with what ends a line.
        for name in [
            &b"\xd1\x80\xd0\xb0\xd0\xb1\xd0\xbe\xd1\x82\xd0\xbd\xd0\xb8\xd0"[..],
            b"a) Z (b",
            b")\n(",
            b"",
        ] {
            let text = [b"5 (", name, b") ", rest.as_bytes(), b"\n"].concat();
            let stat = parse(&text).unwrap();
            assert_eq!((stat.name.as_slice(), stat.state, stat.parent), (name, 'S', 7));
            assert_eq!((stat.group, stat.session, stat.ticks, stat.start_time), (8, 9, 7, 99));
        }
    }

    #[test]
    fn a_process_lives_as_long_as_one_of_its_threads() {
        let parse = |state: &str, threads: u32| {
            parse(
                format!("5 (x) {state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 9").as_bytes(),
            )
            .unwrap()
        };
        assert!(parse("Z", 1).is_dead() && parse("X", 0).is_dead());
        assert!(!parse("Z", 2).is_dead() && !parse("T", 1).is_dead());
    }
}
