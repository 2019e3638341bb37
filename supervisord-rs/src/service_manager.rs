//! The service manager's protocol, client side: what the supervisor tells systemd or the guardian,
//! and what it learns from the guardian. The datagrams are those of sd_notify(3); the guardian
//! speaks the same protocol, so there is one code path for both.
//!
//! | file | concept |
//! |---|---|
//! | `service_manager` | messages to the manager; who it is; how the predecessor ended |
//! | `store` | descriptors that the manager keeps for a successor |
//! | `store::sender` | how it hears of them, without anybody waiting |
//! | `names` | what they are called there |
//! | `inherited_descriptors` | descriptors that it hands over |
//! | `table` | how one process of supervisord-rs hands them to another |
//! | `custody` | what the guardian is to do when we die or hang |
//! | `program` | where our binary lies |
//!
//! It reads the environment and sends datagrams. It never waits for an answer and never changes the
//! environment: children are launched with [`NOT_FOR_CHILDREN`] removed.

mod custody;
pub(crate) mod environment;
mod inherited_descriptors;
mod names;
mod program;
mod store;
mod table;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::append;

pub use custody::{CUSTODY, Custody};
pub use environment::{
    FDSTORE, FDSTORE_OF_UNIT, FILE_SIZE, GUARDIAN, HAND_OVER, NOT_FOR_CHILDREN, NOTIFY_SOCKET,
    OPEN_FILES, POSIX_NAMES, PREDECESSOR, PURPOSE, READ_ANEW, RESOURCES, SHUT_DOWN, STACK,
};
pub use inherited_descriptors::InheritedDescriptors;
pub use names::{escape, unescape};
pub use program::{OWN, PROGRAM, program};
pub use store::{Due, FdStore};
pub use table::{Passed, TableError};

/// The name in the fd store of the configuration in force, which is kept also where no process
/// outlives its supervisor.
pub const CONFIGURATION: &str = "configuration";
/// Begins the name there of a black box; the pid of its supervisor follows.
pub const BLACK_BOX: &str = "black-box/";
/// The file in the runtime directory with the same content where there is no guardian; see
/// `supervisord-rs __stopped`.
pub const LAST_DEATH: &str = "last-death";

/// Whether an entry of the fd store belongs to the supervisor itself: it does not show that
/// processes outlive it.
#[must_use]
pub fn is_of_supervisor(name: &str) -> bool {
    name == CONFIGURATION || name.starts_with(BLACK_BOX)
}

/// How long a state that must not get lost may wait for room in the receiver's queue, in
/// milliseconds. Too short, and a busy machine makes an orderly stop look like a crash; too long,
/// and a dead manager delays the end.
const ROOM_TIMEOUT_MS: u16 = 500;

/// A line to the service manager.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// The address of a name in the form of `NOTIFY_SOCKET`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] if !abstract_name.is_empty() => {
            SocketAddr::from_abstract_name(abstract_name)
        }
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor @ and a name")),
    }
}

impl ServiceManager {
    /// Opens the line that `NOTIFY_SOCKET` names; `None` when there is none or its name is invalid
    /// (then nothing listens, and the supervisor works all the same).
    #[must_use]
    pub fn from_env() -> Option<Self> {
        Self::to(&std::env::var_os(NOTIFY_SOCKET)?).ok()
    }

    /// Opens a line to a name in the form of `NOTIFY_SOCKET`.
    ///
    /// # Errors
    /// `InvalidInput` when the name is neither an absolute path nor `@` and a name, or is too long;
    /// what socket(2) says.
    pub fn to(name: &OsStr) -> io::Result<Self> {
        let address = address(name)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    /// Reports that start-up is over. From now on the guardian counts any exit without
    /// [`Self::stopping`] as a crash. So call it before the first thread worker is launched: a
    /// worker may call `exit`.
    ///
    /// Best effort; waits at most half a second, and only when the receiver's queue is full.
    pub fn ready(&self) {
        self.send_when_room(b"READY=1");
    }

    /// Reports the state in one line; newlines become spaces. Best effort, never waits: lost when
    /// the queue is full.
    pub fn status(&self, text: &str) {
        let line: String = text.chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
        let _ = self.send(format!("STATUS={line}").as_bytes());
    }

    /// Reports that an orderly end has begun. Best effort; waits as [`Self::ready`] does, unless
    /// the manager knows already (`is_known`).
    pub fn stopping(&self, is_known: bool) {
        const STOPPING: &[u8] = b"STOPPING=1";
        if is_known {
            let _ = self.send(STOPPING);
        } else {
            self.send_when_room(STOPPING);
        }
    }

    /// Reports that another process is the supervisor from now on. Waits as [`Self::ready`] does.
    /// False: the manager has not got it.
    #[must_use]
    pub fn main_pid(&self, pid: i32) -> bool {
        self.send_when_room(format!("MAINPID={pid}").as_bytes())
    }

    /// Reports that a reload has begun; [`Self::ready`] ends it (`Type=notify-reload`,
    /// systemd.service(5)). Best effort; waits as that does.
    pub fn reloading(&self) {
        let micros = workers::runtime::board::monotonic_ns() / 1000;
        self.send_when_room(format!("RELOADING=1\nMONOTONIC_USEC={micros}").as_bytes());
    }

    /// Sends the guardian its rules. Best effort; waits as [`Self::ready`] does.
    pub fn custody(&self, custody: Custody) {
        self.send_when_room(format!("{CUSTODY}{custody}").as_bytes());
    }

    /// Reports that the loop still turns (`WatchdogSec=`). Never waits.
    pub fn alive(&self) {
        let _ = self.send(b"WATCHDOG=1");
    }

    /// Sends a datagram as it is. Never waits.
    ///
    /// # Errors
    /// Those of sendto(2): `WouldBlock` when the queue is full, `ConnectionRefused` when nothing
    /// listens.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to_addr(datagram, &self.address).map(drop)
    }

    fn send_when_room(&self, datagram: &[u8]) -> bool {
        let Err(error) = self.send(datagram) else { return true };
        if error.kind() != io::ErrorKind::WouldBlock {
            return false;
        }
        // Only a connected socket waits for room at the receiver (unix(7)); others are always
        // writable.
        let Ok(()) = self.socket.connect_addr(&self.address) else { return false };
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::from(ROOM_TIMEOUT_MS)).is_ok_and(|ready| ready > 0)
            && self.socket.send(datagram).is_ok()
    }
}

/// A unique name. Abstract sockets belong to a network namespace, which processes of several PID
/// namespaces may share: a PID is not enough.
///
/// # Errors
/// When /proc is not mounted.
pub fn unique() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

/// How a supervisor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

impl std::fmt::Display for Ending {
    /// `exited with code 3`, `died of SIGSEGV`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signaled(signal) => match nix::sys::signal::Signal::try_from(signal) {
                Ok(name) => write!(f, "died of {name}"),
                Err(_) => write!(f, "died of signal {signal}"),
            },
        }
    }
}

/// The supervisor before this one, as the guardian saw it end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its pid.
    pub pid: i32,
    /// How it ended.
    pub ending: Ending,
    /// When the guardian saw it, in nanoseconds of `CLOCK_MONOTONIC`.
    pub died_at_ns: u64,
}

impl Predecessor {
    /// Reads what [`Self`]'s `Display` writes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut pid, mut ending, mut died_at_ns) = (None, None, None);
        for word in text.split(' ') {
            match word.split_once('=')? {
                ("pid", value) => pid = Some(value.parse().ok()?),
                ("exit", value) => ending = Some(Ending::Exited(value.parse().ok()?)),
                ("signal", value) => ending = Some(Ending::Signaled(value.parse().ok()?)),
                ("died_at_ns", value) => died_at_ns = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        Some(Self { pid: pid?, ending: ending?, died_at_ns: died_at_ns? })
    }
}

impl std::fmt::Display for Predecessor {
    /// `pid=12 signal=11 died_at_ns=1234` or `pid=12 exit=0 died_at_ns=1234`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, value) = match self.ending {
            Ending::Exited(code) => ("exit", code),
            Ending::Signaled(signal) => ("signal", signal),
        };
        write!(f, "pid={} {key}={value} died_at_ns={}", self.pid, self.died_at_ns)
    }
}

/// The guardian's pid, when this process was started as a supervisor under a guardian: also when
/// that has died since. A variable from some ancestor does not count: the guardian must be the
/// parent, or this very process must have been addressed.
#[must_use]
pub fn guardian_pid() -> Option<i32> {
    let claimed = claimed_guardian()?;
    let addressed = std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok());
    let is_addressed = addressed == Some(std::process::id());
    (is_addressed || is_under(claimed)).then_some(claimed)
}

/// The same, as long as the guardian lives.
#[must_use]
pub fn living_guardian_pid() -> Option<i32> {
    claimed_guardian().filter(|claimed| is_under(*claimed))
}

fn claimed_guardian() -> Option<i32> {
    std::env::var(GUARDIAN).ok()?.parse().ok()
}

/// A successor is at first a child of its predecessor, and a child of the guardian when that has
/// ended.
fn is_under(guardian: i32) -> bool {
    nix::unistd::getppid().as_raw() == guardian || hand_over_from().is_some()
}

/// Whether the guardian started this supervisor only to stop everything in order.
#[must_use]
pub fn is_to_shut_down() -> bool {
    guardian_pid().is_some()
        && std::env::var_os(PURPOSE).is_some_and(|purpose| purpose == SHUT_DOWN)
}

/// The supervisor that waits for this one to take over, if a supervisor started this one.
#[must_use]
pub fn hand_over_from() -> Option<i32> {
    let claimed = std::env::var(HAND_OVER).ok()?.parse().ok()?;
    (nix::unistd::getppid().as_raw() == claimed).then_some(claimed)
}

/// Whether a supervisor under the same guardian, or one that gives way to this one, was there
/// before.
#[must_use]
pub fn has_predecessor() -> bool {
    std::env::var_os(PREDECESSOR).is_some() || hand_over_from().is_some()
}

/// The interval of `WATCHDOG=1`: half of the service manager's limit (sd_watchdog_enabled(3)).
#[must_use]
pub fn watchdog() -> Option<std::time::Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let pid: Option<u32> = std::env::var("WATCHDOG_PID").ok().and_then(|pid| pid.parse().ok());
    // A successor of the addressed process is addressed too: the limit belongs to the unit.
    let is_ours =
        pid.is_none_or(|pid| pid == std::process::id()) || std::env::var_os(HAND_OVER).is_some();
    (micros > 0 && is_ours).then(|| std::time::Duration::from_micros(micros / 2))
}

/// Whether another process restarts this one and keeps its descriptors meanwhile, so that it needs
/// no new guardian: it has one, or takes over from a supervisor, or is the main process of a unit
/// with an fd store. A `NOTIFY_SOCKET` alone is not enough: it may belong to another supervisor
/// above this one, or be dead.
#[must_use]
pub fn is_managed() -> bool {
    // Every descendant of a unit's process inherits its variables (systemd.exec(5),
    // SYSTEMD_EXEC_PID).
    let main: Option<u32> = std::env::var("SYSTEMD_EXEC_PID").ok().and_then(|pid| pid.parse().ok());
    let is_main = main.is_none_or(|pid| pid == std::process::id());
    guardian_pid().is_some() || hand_over_from().is_some() || is_main && store::is_offered()
}

/// How the supervisor before this one ended: from the guardian, or from the file that systemd's
/// hook after the end wrote to the runtime directory. That file may be older than the last
/// supervisor: compare the PID.
#[must_use]
pub fn predecessor(runtime_dir: &Path) -> Option<Predecessor> {
    let text = match guardian_pid() {
        Some(_) => std::env::var(PREDECESSOR).ok()?,
        None => {
            let mut text = String::new();
            let file = append::open_regular(&runtime_dir.join(LAST_DEATH));
            file.and_then(|mut file| file.read_to_string(&mut text)).ok()?;
            text
        }
    };
    Predecessor::parse(text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predecessor_reads_back_what_it_writes_and_nothing_else() {
        for ending in [Ending::Exited(0), Ending::Exited(255), Ending::Signaled(11)] {
            let predecessor = Predecessor { pid: 12, ending, died_at_ns: u64::MAX };
            assert_eq!(Predecessor::parse(&predecessor.to_string()), Some(predecessor));
        }
        for text in [
            "",
            "pid=1",
            "pid=1 signal=11",
            "pid=x signal=11 died_at_ns=1",
            "pid=1 exit=0 died_at_ns=1 more=1",
        ] {
            assert_eq!(Predecessor::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn datagrams_arrive_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("supervisord-rs-test-{}", std::process::id());
        let by_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (receiver, target) in
            [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())]
        {
            let manager = ServiceManager::to(&target).unwrap();
            manager.ready();
            manager.status("two\nlines");
            manager.stopping(false);
            let mut received = Vec::new();
            for _ in 0..3 {
                let mut buffer = [0; 64];
                let length = receiver.recv(&mut buffer).unwrap();
                received.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
            assert_eq!(received, ["READY=1", "STATUS=two lines", "STOPPING=1"]);
        }
    }

    #[test]
    fn a_manager_that_does_not_listen_disturbs_nothing() {
        assert!(ServiceManager::to(OsStr::new("relative")).is_err());
        assert!(ServiceManager::to(OsStr::new("@")).is_err());
        ServiceManager::to(OsStr::new("/nowhere/at/all")).unwrap().ready();
    }

    #[test]
    fn a_full_queue_gives_a_status_up_and_waits_for_a_ready() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::to(path.as_os_str()).unwrap();
        while manager.send(b"STATUS=filling").is_ok() {}
        manager.status("lost");
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            loop {
                let length = receiver.recv(&mut buffer).unwrap();
                assert_ne!(&buffer[..length], b"STATUS=lost");
                if &buffer[..length] == b"READY=1" {
                    return;
                }
            }
        });
        manager.ready();
        reader.join().unwrap();
    }
}
