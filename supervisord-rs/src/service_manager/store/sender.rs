//! Sends to the fd store: at once where there is room; otherwise a thread waits for room, and tries
//! again where the manager accepts nothing at all. No other thread waits.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::{State, Way};
use crate::threads;
use crate::waiting::Limit;

/// After a manager has accepted nothing for so long, no launch relies on it.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// The interval between two attempts with a manager that is not there.
const RETRY: Duration = Duration::from_secs(1);
/// The longest single wait for room, in milliseconds.
const ROOM_MS: u8 = 100;

/// The line to the manager: a connected socket, since only such a socket reports whether its
/// receiver has room (unix(7)).
#[derive(Debug)]
pub(in crate::service_manager) struct Line {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Line {
    /// A line to a name in the form of `NOTIFY_SOCKET`; `None`: there is no such receiver.
    pub(super) fn to(name: &OsStr) -> Option<Self> {
        let address = crate::service_manager::address(name).ok()?;
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect_addr(&address).ok()?;
        Some(Self { socket, address })
    }

    /// Waits until there may be room, or for a while.
    fn wait_for_room(&self) {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        let _ = poll(&mut fds, PollTimeout::from(ROOM_MS));
    }

    /// Connects again: the manager may have restarted.
    fn reconnect(&self) {
        let _ = self.socket.connect_addr(&self.address);
    }

    fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> nix::Result<()> {
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(text.as_bytes())];
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        loop {
            match sendmsg::<()>(self.socket.as_raw_fd(), &parts, control, flags, None) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop),
            }
        }
    }
}

/// Sends everything that is due, until there is no room. Does not wait.
///
/// # Errors
/// EAGAIN: there is no room; any other: the manager is not there, or accepts nothing.
pub(super) fn say_due(line: &Line, state: &mut State) -> nix::Result<()> {
    while let Some(name) = state.due.front() {
        let wanted = state.kept.get(name);
        let number = wanted.map(|kept| kept.number);
        if state.sent.get(name).is_some_and(|said| Some(*said) != number) {
            line.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])?;
            state.sent.remove(name);
        }
        if let Some(kept) = wanted.filter(|_| !state.sent.contains_key(name)) {
            let descriptors: Vec<BorrowedFd<'_>> =
                kept.descriptors.iter().map(AsFd::as_fd).collect();
            // Without FDPOLL=0 the manager drops a pipe, with the bytes in it, as soon as its other
            // end is closed.
            line.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &descriptors)?;
            state.sent.insert(name.clone(), kept.number);
        }
        state.is_due.remove(name);
        state.due.pop_front();
    }
    Ok(())
}

/// What keeps the descriptors for a successor.
#[derive(Clone, Copy, Debug)]
enum Keeper {
    Guardian,
    ServiceManager,
}

impl Keeper {
    const fn name(self) -> &'static str {
        match self {
            Self::Guardian => "the guardian",
            Self::ServiceManager => "the service manager's fd store",
        }
    }
}

/// Starts the thread. If that fails, the next change sends what is due.
pub(super) fn start(way: &Arc<Way>) {
    let way = Arc::clone(way);
    let keeper = match crate::service_manager::guardian_pid() {
        Some(_) => Keeper::Guardian,
        None => Keeper::ServiceManager,
    };
    let thread = std::thread::Builder::new().name("fd store".into());
    let started = threads::spawn(thread, move || work(&way, keeper));
    if let Err(error) = started {
        tracing::warn!(%error,
            "cannot start the thread for the fd store: descriptors that it has no room for are \
             kept late");
    }
}

fn work(way: &Way, keeper: Keeper) -> ! {
    loop {
        let mut state = way.state();
        while state.is_held || state.due.is_empty() {
            state.is_waiting = false;
            state = way.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_waiting = true;
        drop(state);
        say_what_is_due(way, keeper);
    }
}

/// Runs until nothing is due any more, or until sending is held.
fn say_what_is_due(way: &Way, keeper: Keeper) {
    let mut silence = Limit::new(PATIENCE);
    loop {
        silence.timed(Duration::from_millis(ROOM_MS.into()), || way.line.wait_for_room());
        let mut state = way.state();
        let before = state.due.len();
        let result = if state.is_held { Ok(()) } else { say_due(&way.line, &mut state) };
        if state.due.len() < before || result.is_ok() {
            silence = Limit::new(PATIENCE);
            if std::mem::take(&mut state.is_silent) {
                tracing::info!("{} takes descriptors again", keeper.name());
            }
        }
        let Err(errno) = result else { return };
        let is_there = errno == Errno::EAGAIN;
        let is_trouble = match keeper {
            // It never comes back: this supervisor stops everything, and says so.
            Keeper::Guardian if !is_there => false,
            Keeper::Guardian | Keeper::ServiceManager => !is_there || silence.is_over(),
        };
        if is_trouble && !std::mem::replace(&mut state.is_silent, true) {
            tracing::warn!(
                waiting = state.due.len(),
                "{} takes no descriptors ({}): until it does, workers that are launched end with \
                 this supervisor",
                keeper.name(),
                errno.desc()
            );
        }
        drop(state);
        if !is_there {
            std::thread::sleep(RETRY);
            way.line.reconnect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::OwnedFd;

    use std::os::linux::net::SocketAddrExt;

    use super::super::FdStore;
    use std::time::Instant;

    use super::*;

    fn any() -> OwnedFd {
        OwnedFd::from(std::fs::File::open("/dev/null").unwrap())
    }

    impl FdStore {
        /// A manager that does not read, and its store.
        pub(crate) fn unread() -> (UnixDatagram, Self) {
            let name = format!("supervisord-rs-test-{}", crate::service_manager::unique().unwrap());
            let manager =
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
            let line = Line::to(OsStr::new(&format!("@{name}"))).unwrap();
            (manager, Self::new(line, (100_000, usize::MAX), BTreeMap::new(), false))
        }
    }

    /// The datagrams up to this one.
    fn read_until(manager: &UnixDatagram, last: &str) -> Vec<String> {
        manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut all = Vec::new();
        loop {
            let mut bytes = [0; 256];
            let length = manager.recv(&mut bytes).unwrap();
            all.push(
                String::from_utf8(bytes[..length].to_vec()).unwrap().replace("\nFDPOLL=0", ""),
            );
            if all.last().is_some_and(|text| text.ends_with(last)) {
                return all;
            }
        }
    }

    #[test]
    fn a_manager_that_reads_nothing_blocks_no_caller_and_gets_only_the_newest_state() {
        let (manager, store) = FdStore::unread();
        let file = any();
        let begun = Instant::now();
        let mut unsaid = 0;
        for number in 0..2000 {
            assert!(
                store.keep(&format!("worker-{number}"), &[file.as_fd()])
                    || begun.elapsed() >= PATIENCE
            );
            if number % 2 == 1 && number > 1000 {
                store.forget(&format!("worker-{number}"));
                unsaid += 1;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "held for {:?}", begun.elapsed());
        store.keep("last", &[file.as_fd()]);
        let said = read_until(&manager, "FDNAME=last");
        assert_eq!(said.len(), 2001 - unsaid, "one for each that is kept: {:?}", said.last());
        assert!(
            said.iter().all(|text| text.starts_with("FDSTORE=1\n")),
            "a name to forget was never sent"
        );
    }

    #[test]
    fn a_manager_that_accepts_nothing_is_no_promise_until_it_does() {
        let (manager, store) = FdStore::unread();
        let file = any();
        let mut number = 0;
        let mut keep = || {
            number += 1;
            store.keep(&format!("worker-{number}"), &[file.as_fd()])
        };
        assert!(keep(), "there is room");
        let end = Instant::now() + Duration::from_secs(60);
        while keep() {
            assert!(Instant::now() < end, "it relies on a manager that does not read");
            std::thread::sleep(Duration::from_millis(5));
        }
        store.keep("last", &[file.as_fd()]);
        read_until(&manager, "FDNAME=last");
        while !store.keep("again", &[file.as_fd()]) {
            assert!(Instant::now() < end, "it accepts again, and the store has not noticed");
            std::thread::sleep(Duration::from_millis(5));
            store.forget("again");
        }
    }

    #[test]
    fn descriptors_of_a_launch_are_sent_before_there_is_a_process_or_are_no_promise() {
        let (manager, store) = FdStore::unread();
        let file = any();
        let mut number = 0;
        // The queue of a datagram socket holds a few (net.unix.max_dgram_qlen).
        while store.due("worker-").is_empty() {
            assert!(store.keep(&format!("worker-{number}"), &[file.as_fd()]));
            number += 1;
        }
        let due = store.due("worker-");
        assert!(!store.is_sent(&due), "there is no room, and it counts as sent");
        let last = format!("FDNAME=worker-{}", number - 1);
        let reader = std::thread::spawn(move || {
            read_until(&manager, &last);
            manager
        });
        let end = Instant::now() + Duration::from_secs(60);
        while !store.is_sent(&due) {
            assert!(Instant::now() < end, "it was read, and does not count");
        }
        let manager = reader.join().unwrap();
        for number in 0..1000 {
            store.keep(&format!("later-{number}"), &[file.as_fd()]);
        }
        // Before anything more is read: a reader may take all of it in a moment.
        let mut is_sent = store.keep_at_once("urgent", &[file.as_fd()]);
        let reader = std::thread::spawn(move || read_until(&manager, "FDNAME=urgent"));
        while !is_sent {
            assert!(Instant::now() < end, "it was read, and does not count");
            is_sent = store.keep_at_once("urgent", &[file.as_fd()]);
        }
        assert!(
            !reader.join().unwrap().iter().any(|said| said.contains("later-999")),
            "it came first"
        );
    }

    #[test]
    fn a_replaced_name_is_first_removed() {
        let (manager, store) = FdStore::unread();
        let file = any();
        store.keep("a", &[file.as_fd()]);
        store.forget("a");
        store.keep("a", &[file.as_fd()]);
        store.keep("last", &[file.as_fd()]);
        let kept = |name: &str| format!("FDSTORE=1\nFDNAME={name}");
        let forgotten = "FDSTOREREMOVE=1\nFDNAME=a".to_owned();
        assert_eq!(
            read_until(&manager, "FDNAME=last"),
            [kept("a"), forgotten, kept("a"), kept("last")]
        );
    }
}
