//! Who holds something: a thread or a process, told from all that had or will have its number.

use std::fmt;
use std::fs;
use std::os::linux::fs::MetadataExt;

use super::Error;
use super::lives::Lives;

/// A thread, or a process, that holds something: its number, and when it began. One word, so that
/// a claim and the name of its holder are one atomic store.
///
/// A bare number would not do: the kernel gives it to another one as soon as its owner is reaped.
///
/// *Source*: proc_pid_stat(5), field 22. The time is in clock ticks (mostly 10 ms), so that a
/// number would have to be used again within one tick of the start of its last owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder(u64);

/// Bits of the start; 40 of them are 348 years of ticks.
const START_BITS: u32 = 40;
/// Set for a process: it lives as long as one of its threads.
const PROCESS: u64 = 1 << START_BITS;
/// Set for who lives in another namespace of PIDs or of time than the maker of the segment: there
/// its number and its start are others.
const ELSEWHERE: u64 = PROCESS << 1;
/// Marks one that is known to be dead. No start is as late: see [`CLOCK_SHIFT_MAX`].
const FALLEN: u64 = PROCESS >> 1;
/// Above them is the number: 22 bits, as the kernel gives (`PID_MAX_LIMIT`).
const ID_SHIFT: u32 = START_BITS + 2;

/// What is known of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs, or may run again.
    Alive,
    /// It is gone, or a zombie: it will never write again.
    Dead,
    /// It is in another namespace, or `/proc` does not show it. Only the supervisor knows.
    Unknown,
}

impl Holder {
    /// This thread. What it holds comes back when the thread has ended.
    ///
    /// # Errors
    /// [`Error::System`] where `/proc` is not mounted. Reads a file.
    pub fn this_thread() -> Result<Self, Error> {
        Self::read("/proc/thread-self/stat", nix::unistd::gettid(), 0)
    }

    /// This process. What it holds comes back when the last thread of the process has ended.
    ///
    /// # Errors
    /// As of [`Self::this_thread`].
    pub fn this_process() -> Result<Self, Error> {
        Self::read("/proc/self/stat", nix::unistd::getpid(), PROCESS)
    }

    /// The number is not the one in the file: `/proc` may be of another namespace of PIDs.
    fn read(path: &str, id: nix::unistd::Pid, flags: u64) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(Error::of("reading /proc/self"))?;
        let stat = Stat::parse(&text).ok_or(Error::Foreign("/proc/self/stat is not as it was"))?;
        let id = id.as_raw().unsigned_abs();
        Ok(Self(u64::from(id) << ID_SHIFT | flags | stat.start & (PROCESS - 1)))
    }

    /// The same one, for a segment that was made in these namespaces.
    pub(crate) fn seen_from(self, namespaces: u64) -> Self {
        if namespaces == own_namespaces() { self } else { Self(self.0 | ELSEWHERE) }
    }

    /// As a word; never 0.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Of a word in shared memory, which may be any; none of 0.
    #[must_use]
    pub const fn from_bits(word: u64) -> Option<Self> {
        if word == 0 { None } else { Some(Self(word)) }
    }

    /// The TID of the thread, or the PID of the process, in its own namespace.
    #[must_use]
    pub const fn id(self) -> u32 {
        (self.0 >> ID_SHIFT) as u32
    }

    /// When it began, in clock ticks since the machine started.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.0 & (PROCESS - 1)
    }

    /// The PID of its process, as long as it lives. Reads a file.
    #[must_use]
    pub fn pid(self) -> Option<u32> {
        if self.0 & PROCESS != 0 {
            return Some(self.id());
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
        let pid = line.trim().parse().ok()?;
        (self.life() == Life::Alive).then_some(pid)
    }

    /// Whether it lives, as seen from the namespaces in which the segment was made. Never waits;
    /// reads a file (some microseconds). For many, see [`Lives`].
    ///
    /// Dead needs evidence: no thread with that number, another start, or a zombie. A file that
    /// cannot be read is none (`hidepid`, proc(5)), and a `/proc` of another namespace of PIDs has
    /// none at all. A word that no holder can have is dead: it was written over.
    #[must_use]
    pub fn life(self) -> Life {
        Lives::default().of(self)
    }

    /// The same one, marked as dead: so that those see it who cannot tell.
    pub(super) const fn fallen(self) -> Self {
        Self(self.0 | FALLEN)
    }

    pub(super) const fn is_fallen(self) -> bool {
        self.0 & FALLEN != 0
    }

    /// Without the mark.
    pub(super) const fn unmarked(self) -> Self {
        Self(self.0 & !FALLEN)
    }

    pub(super) const fn is_process(self) -> bool {
        self.0 & PROCESS != 0
    }

    pub(super) const fn is_elsewhere(self) -> bool {
        self.0 & ELSEWHERE != 0
    }

    /// Whether a holder can have begun then: a namespace of time moves its clock by
    /// [`CLOCK_SHIFT_MAX`] at most (time_namespaces(7)).
    pub(super) const fn has_possible_start(self) -> bool {
        self.start() < CLOCK_SHIFT_MAX
    }
}

/// 146 years of ticks: half of what a clock of 63 bits counts in nanoseconds (`KTIME_SEC_MAX`).
const CLOCK_SHIFT_MAX: u64 = 146 * 366 * 24 * 60 * 60 * 100;
const _: () = assert!(CLOCK_SHIFT_MAX < FALLEN);

impl fmt::Debug for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.0 & PROCESS != 0 { "process" } else { "thread" };
        write!(formatter, "{what} {} (started at tick {})", self.id(), self.start())
    }
}

/// The namespaces of PIDs and of time of this thread, as one number.
pub(crate) fn own_namespaces() -> u64 {
    let inode = |name: &str| {
        fs::metadata(format!("/proc/self/ns/{name}")).map(|data| data.st_ino()).unwrap_or_default()
    };
    inode("pid") << 32 ^ inode("time")
}

/// What is needed of proc_pid_stat(5).
#[derive(Clone, Copy)]
pub(super) struct Stat {
    is_zombie: bool,
    threads: u64,
    start: u64,
}

impl Stat {
    /// Whether this is `holder`, and will never write again, or another one with its number.
    pub(super) fn says_dead(&self, holder: Holder) -> bool {
        // The first thread of a process stays a zombie until the others have ended.
        let is_over = self.is_zombie && (!holder.is_process() || self.threads <= 1);
        is_over || self.start & (PROCESS - 1) != holder.start()
    }

    pub(super) fn read(id: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name may have spaces and brackets.
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let is_zombie = matches!(fields.next()?, "Z" | "X" | "x");
        let threads = fields.nth(16)?.parse().ok()?;
        let start = fields.nth(1)?.parse().ok()?;
        Some(Self { is_zombie, threads, start })
    }
}

#[cfg(test)]
impl Holder {
    /// Waits until it is gone: that a thread is joined says so a little before.
    pub(crate) fn wait_until_dead(self) {
        while self.life() != Life::Dead {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let text = "71 (a) b (c) Z 1 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 3 0 4242 1 2";
        let stat = Stat::parse(text).expect("a line of stat");
        assert_eq!((stat.is_zombie, stat.threads, stat.start), (true, 3, 4242));
    }

    #[test]
    fn a_thread_is_alive_until_it_ends() {
        let (sender, receiver) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            sender.send(Holder::this_thread().expect("/proc")).expect("received");
            let _ = ended.recv();
        });
        let holder = receiver.recv().expect("sent");
        assert_eq!(holder.life(), Life::Alive);
        assert_eq!(holder.pid(), Some(std::process::id()));
        drop(end);
        thread.join().expect("no panic");
        holder.wait_until_dead();
        assert_eq!(Holder::this_process().expect("/proc").life(), Life::Alive);
    }

    #[test]
    fn a_zombie_is_dead_and_so_is_who_had_the_number_before() {
        let mut child = Command::new("sleep").arg("1d").stdin(Stdio::null()).spawn().expect("runs");
        let path = format!("/proc/{}/stat", child.id());
        let id = nix::unistd::Pid::from_raw(child.id().cast_signed());
        let holder = Holder::read(&path, id, PROCESS).expect("a child");
        assert_eq!(holder.life(), Life::Alive);
        let earlier = Holder(holder.0 - 1);
        assert_eq!(earlier.life(), Life::Dead);
        child.kill().expect("our child");
        while holder.life() != Life::Dead {
            std::thread::yield_now();
        }
        assert!(fs::exists(&path).expect("/proc"), "it was reaped: this saw no zombie");
        child.wait().expect("our child");
        assert_eq!(holder.life(), Life::Dead);
    }

    #[test]
    fn of_another_namespace_nothing_is_known() {
        let holder = Holder::this_process().expect("/proc");
        assert_eq!(holder.seen_from(own_namespaces()), holder);
        assert_eq!(holder.seen_from(1).life(), Life::Unknown);
    }

    #[test]
    fn a_word_that_no_holder_can_have_is_dead() {
        let fallen = Holder::this_thread().expect("/proc").fallen();
        assert_eq!(fallen.unmarked().life(), Life::Alive);
        for word in [
            fallen.to_bits(),
            u64::MAX,
            7,
            0x5555_5555_5555_5555,
            ELSEWHERE | (PROCESS - 1),
            1 << ID_SHIFT,
        ] {
            assert_eq!(Holder::from_bits(word).expect("not 0").life(), Life::Dead, "{word:#x}");
        }
    }
}
