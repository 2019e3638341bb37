//! What the threads of one worker have started and not waited for. Where many workers share a
//! process, it ends with its worker, as what a process worker has started does.
//!
//! The kernel lists the children of each thread as long as that lives (proc_pid_tid_children(5));
//! then they are those of the first thread of its process. So what a thread has started is noted
//! when it ends, or where it hears of the order to stop, since most end by that. Where the kernel
//! keeps no such list (`CONFIG_PROC_CHILDREN`), or `/proc` is of another PID namespace, nothing is
//! found.
//!
//! | started by | is the worker's |
//! |---|---|
//! | the thread that runs it, and those of `context.spawn` and `context.enter` | meanwhile |
//! | others, which those have started: no other worker has their directory (`KCMP_FS`) | see below |
//!
//! A thread of the second kind that goes on may work for other workers, as one of a pool of the whole
//! process does. What it has started is the worker's where the thread ends with that, or where no
//! other worker has run in the process meanwhile. What is not certainly the worker's is left.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libc::{SIGKILL, SIGSTOP, c_int};

use crate::runtime::forked;
use crate::shared::lives::are_known;

/// For children to die of SIGKILL. One that is stuck in the kernel is left.
const TO_DIE: Duration = Duration::from_secs(1);
/// For threads that the SDK does not know to end, after their worker has.
const TO_FOLLOW: Duration = Duration::from_millis(100);
/// Between two looks at whether they have.
const PAUSE: Duration = Duration::from_millis(1);
/// How deep a tree of processes is followed.
const GENERATIONS: usize = 64;
/// In a process with more threads than these the SDK looks at those that it knows alone: a look at
/// all of them, at the end of each worker, would cost more than a restart.
const MANY: usize = 256;
/// `KCMP_FS` of linux/kcmp.h: whether two threads have one directory, root and mask.
const KCMP_FS: c_int = 3;

/// Where what a worker has started is to be looked for.
#[derive(Debug)]
pub(crate) struct Offspring {
    /// The number of this run in its process, from 1.
    owner: u64,
    /// Whether no other was there when it began.
    began_alone: bool,
    /// Whether the thread that runs the worker has heard of the order to stop.
    is_stopping: AtomicBool,
}

/// Runs that have begun in this process.
static BEGUN: AtomicU64 = AtomicU64::new(0);
/// Runs of which anything is left in this process.
static PRESENT: AtomicU64 = AtomicU64::new(0);

/// What is known of all runs in this process: which children are whose depends on the others.
static KNOWN: Mutex<Known> = Mutex::new(Known { threads: Vec::new(), left: Vec::new() });

#[derive(Debug)]
struct Known {
    /// The newest last: a thread may be of several, or twice of one.
    threads: Vec<Thread>,
    left: Vec<Left>,
}

/// A thread that is a worker's.
#[derive(Debug)]
struct Thread {
    owner: u64,
    tid: i32,
    /// What it had started before it was the worker's.
    before: Vec<i32>,
}

/// What a thread has started that has ended, or may end soon.
#[derive(Debug)]
struct Left {
    owner: u64,
    child: Child,
    /// The thread, where the SDK does not know it: the worker's if it ends with that.
    by: Option<i32>,
}

/// A number with its time of birth means one process for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Child {
    pid: i32,
    start_time: u64,
}

impl Default for Offspring {
    fn default() -> Self {
        let began_alone = PRESENT.fetch_add(1, Ordering::AcqRel) == 0;
        let owner = BEGUN.fetch_add(1, Ordering::AcqRel) + 1;
        Self { owner, began_alone, is_stopping: AtomicBool::new(false) }
    }
}

impl Drop for Offspring {
    fn drop(&mut self) {
        if !forked::is_original() {
            // A thread that is not in this process may hold the lock.
            return;
        }
        let mut known = known();
        known.threads.retain(|thread| thread.owner != self.owner);
        known.left.retain(|left| left.owner != self.owner);
        PRESENT.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Known {
    /// Whose a child of this thread is, as far as the SDK knows the thread.
    fn owner_of(&self, tid: i32, pid: i32) -> Option<u64> {
        let left = self.left.iter().filter(|left| left.by.is_none());
        let noted = left.filter(|left| left.child.pid == pid).find(|left| left.child.is_alive());
        let is_its = |thread: &&Thread| thread.tid == tid && !thread.before.contains(&pid);
        let of_thread = || self.threads.iter().rev().find(is_its).map(|thread| thread.owner);
        noted.map(|left| left.owner).or_else(of_thread)
    }

    /// Children of a thread that are this one's; those of no one where `owner` is `None`.
    fn children(&self, (pid, tid): (i32, i32), owner: Option<u64>) -> Vec<i32> {
        let mut all = children(pid, tid);
        all.retain(|child| self.owner_of(tid, *child) == owner);
        all
    }

    fn note(&mut self, owner: u64, by: Option<i32>, pids: Vec<i32>) {
        let its: Vec<Child> = pids.into_iter().filter_map(Child::of).collect();
        self.left.retain(|left| left.child.is_alive() && !its.contains(&left.child));
        self.left.extend(its.into_iter().map(|child| Left { owner, child, by }));
    }
}

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Offspring {
    /// The calling thread is the worker's from now on.
    pub(crate) fn thread_begins(&self) {
        let (pid, tid) = here();
        let before = if has_children(true) { children(pid, tid) } else { Vec::new() };
        known().threads.push(Thread { owner: self.owner, tid, before });
    }

    /// The calling thread is the worker's no longer, and what it has started still is. `is_over`:
    /// the worker has ended; so does this.
    pub(crate) fn thread_ends(&self, is_over: bool) {
        let here = here();
        let its =
            if has_children(true) { known().children(here, Some(self.owner)) } else { Vec::new() };
        if is_over && !its.is_empty() {
            kill(&|| {
                let mut now = known().children(here, Some(self.owner));
                now.retain(|child| its.contains(child));
                now
            });
        }
        let mut known = known();
        known.note(self.owner, None, its);
        known.take(self.owner, here.1);
    }

    /// The calling thread hears of an order to stop, and may end by it: one that the SDK does not
    /// know says nothing more. Those that the worker waits for live as long as it has not heard.
    pub(crate) fn stop_is_heard(&self) {
        if !has_children(false) {
            return;
        }
        let (pid, tid) = here();
        let index = {
            let known = known();
            let mut its = known.threads.iter().filter(|thread| thread.owner == self.owner);
            its.position(|thread| thread.tid == tid)
        };
        match index {
            // It runs the worker.
            Some(0) if !self.is_stopping.swap(true, Ordering::AcqRel) => {
                self.note_those_of(pid, &started_by(pid, tid));
            }
            // It says so when it ends.
            Some(_) => {}
            None => self.note_those_of(pid, &[tid]),
        }
    }

    /// Notes what threads have started that the SDK may not know.
    fn note_those_of(&self, pid: i32, tids: &[i32]) {
        let mut known = known();
        for tid in tids {
            let its = known.children((pid, *tid), None);
            known.note(self.owner, Some(*tid), its);
        }
    }

    /// A thread is gone, which has not said so.
    pub(crate) fn thread_is_gone(&self, tid: i32) {
        known().take(self.owner, tid);
    }

    /// Kills all that is certainly the worker's, with all that descends from it, and waits for it, a
    /// second at most. How many there were. Called by the thread that runs the worker.
    pub(crate) fn end(&self) -> usize {
        if !has_children(false) {
            return 0;
        }
        let (pid, tid) = here();
        self.note_those_of(pid, &started_by(pid, tid));
        self.settle_others(pid);
        let list = || self.certain(pid);
        let all = list();
        if all.is_empty() {
            return 0;
        }
        let count = kill(&list);
        let end = Instant::now() + TO_DIE;
        for child in all {
            while !is_reaped(child) && Instant::now() < end {
                std::thread::sleep(PAUSE);
            }
        }
        count
    }

    /// Decides about what threads have started that the SDK does not know: the worker's where they
    /// end with it, or none but the worker can have used them.
    fn settle_others(&self, pid: i32) {
        let is_alone = self.began_alone && BEGUN.load(Ordering::Acquire) == self.owner;
        let is_there = |tid: i32| fs::exists(format!("/proc/{pid}/task/{tid}")).unwrap_or(true);
        let end = Instant::now() + TO_FOLLOW;
        loop {
            let mut known = known();
            let its = known.left.iter_mut().filter(|left| left.owner == self.owner);
            let mut is_waited_for = false;
            for left in its {
                if left.by.is_some_and(|tid| is_alone || !is_there(tid)) {
                    left.by = None;
                }
                is_waited_for |= left.by.is_some();
            }
            drop(known);
            if !is_waited_for || Instant::now() >= end {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What is certainly the worker's, and lives.
    fn certain(&self, pid: i32) -> Vec<i32> {
        let known = known();
        let threads = known.threads.iter().filter(|thread| thread.owner == self.owner);
        let mut all: Vec<i32> = threads
            .flat_map(|thread| known.children((pid, thread.tid), Some(self.owner)))
            .collect();
        let left = known.left.iter().filter(|left| left.owner == self.owner && left.by.is_none());
        all.extend(left.filter(|left| left.child.is_alive()).map(|left| left.child.pid));
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Known {
    fn take(&mut self, owner: u64, tid: i32) {
        // The newest: a thread may be the worker's twice.
        let is_it = |thread: &Thread| thread.owner == owner && thread.tid == tid;
        if let Some(index) = self.threads.iter().rposition(is_it) {
            self.threads.remove(index);
        }
    }
}

impl Child {
    fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start_time: start_time(pid)? })
    }

    fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time) && !is_dead(self.pid)
    }
}

/// Kills what a thread of a process has started, with all that descends from it. How many there
/// were. Does not block.
pub fn kill_of(pid: i32, tid: i32) -> usize {
    kill(&|| children(pid, tid))
}

/// The same of all children of a process.
pub fn kill_all_of(pid: i32) -> usize {
    kill(&|| children_of_all(pid))
}

/// Kills these, with all that descends from them: what is in the list once more when it is looked
/// at. How many there were. Does not block.
pub fn kill(list: &dyn Fn() -> Vec<i32>) -> usize {
    let mut seized = Vec::new();
    seize(list, GENERATIONS, &mut seized);
    for handle in &seized {
        signal(handle, SIGKILL);
    }
    seized.len()
}

/// This thread of a process, and those that it has started, as far as they can be told from others:
/// where it could not be given a directory of its own, all threads have one.
fn started_by(pid: i32, tid: i32) -> Vec<i32> {
    if has_same_directory(tid, pid) {
        return vec![tid];
    }
    let mut all = threads(pid);
    if all.len() > MANY {
        return vec![tid];
    }
    all.retain(|other| *other == tid || has_same_directory(tid, *other));
    all
}

/// False where that is not known.
fn has_same_directory(a: i32, b: i32) -> bool {
    // SAFETY: no memory effects.
    unsafe { libc::syscall(libc::SYS_kcmp, a, b, KCMP_FS, 0_u64, 0_u64) == 0 }
}

/// Whether this process has a child that was not waited for; `of_this_thread`: whether the calling
/// thread has. One system call.
fn has_children(of_this_thread: bool) -> bool {
    let own = if of_this_thread { libc::__WNOTHREAD } else { 0 };
    // SAFETY: waitid stores into `info`, which is valid for it when zeroed, and takes nothing.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | own;
        libc::waitid(libc::P_ALL, 0, &raw mut info, options) == 0
    }
}

fn here() -> (i32, i32) {
    (nix::unistd::getpid().as_raw(), nix::unistd::gettid().as_raw())
}

/// Stops all of a tree from the top, so that none of it starts another one meanwhile, and has a
/// handle of each that lives.
fn seize(list: &dyn Fn() -> Vec<i32>, generations: usize, seized: &mut Vec<OwnedFd>) {
    if generations == 0 {
        return;
    }
    for pid in list() {
        let Some(handle) = open(pid) else { continue };
        // The number may have been another's when it was opened.
        if is_dead(pid) || !list().contains(&pid) {
            continue;
        }
        signal(&handle, SIGSTOP);
        seize(&|| children_of_all(pid), generations - 1, seized);
        seized.push(handle);
    }
}

/// None where `/proc` is of another PID namespace: strangers have the numbers there.
fn children(pid: i32, tid: i32) -> Vec<i32> {
    if !are_known() {
        return Vec::new();
    }
    let list = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Of all threads of a process.
fn children_of_all(pid: i32) -> Vec<i32> {
    threads(pid).into_iter().flat_map(|tid| children(pid, tid)).collect()
}

fn threads(pid: i32) -> Vec<i32> {
    if !are_known() {
        return Vec::new();
    }
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok()).collect()
}

fn is_dead(pid: i32) -> bool {
    after_name(pid).is_none_or(|rest| rest.starts_with(['Z', 'X']))
}

/// When it was born, in clock ticks since boot: field 22 of proc_pid_stat(5).
fn start_time(pid: i32) -> Option<u64> {
    after_name(pid)?.split_whitespace().nth(19)?.parse().ok()
}

/// What the kernel says of a process after its name, which may have any characters in it.
fn after_name(pid: i32) -> Option<String> {
    if !are_known() {
        return None;
    }
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

fn open(pid: i32) -> Option<OwnedFd> {
    // SAFETY: no memory effects; the result is a new descriptor that is ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as c_int))
    }
}

fn signal(handle: &OwnedFd, signal: c_int) {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open, and a null siginfo means "as kill(2)".
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), signal, none, 0) };
}

/// Whether it has been waited for, by this or before.
fn is_reaped(pid: i32) -> bool {
    // SAFETY: waitid stores into `info`, which is valid for it when zeroed.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG;
        let result = libc::waitid(libc::P_PID, pid.unsigned_abs(), &raw mut info, options);
        result != 0 || info.si_pid() == pid
    }
}
