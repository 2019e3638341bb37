//! What a worker shares with the supervisor, and what a stranger sends it, blocks nothing:
//! descriptors that are slow to close, floods of datagrams, flags of a shared open description.

use std::fs;
use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Bed, EAGER, Stopped, Supervisor, kill, open_files};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

/// An answer that takes longer counts as hanging, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// The deadline for a socket to be closed: far beyond immediate.
const LINGER_S: i32 = 90;

/// A connection to the notify socket that the environment of a process names.
fn line_to(pid: i32) -> UnixDatagram {
    let address = crate::harness::variable(pid, "NOTIFY_SOCKET");
    let name = address.strip_prefix('@').expect("an abstract name");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket
        .connect_addr(&SocketAddr::from_abstract_name(name).expect("a name"))
        .expect("it listens");
    socket
}

fn send(line: &UnixDatagram, text: &str, descriptors: &[RawFd]) {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let parts = [IoSlice::new(text.as_bytes())];
    sendmsg::<()>(line.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).expect("sent");
}

/// A connection whose close blocks until the other end reads, which it never does.
fn lingering(listener: &TcpListener) -> OwnedFd {
    let mut stream =
        TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    stream.set_nonblocking(true).expect("a socket");
    let piece = [0; 64 * 1024];
    while stream.write(&piece).is_ok() {}
    let linger = libc::linger { l_onoff: 1, l_linger: LINGER_S };
    setsockopt(&stream, sockopt::Linger, &linger).expect("a socket");
    stream.into()
}

/// Waits until the receiver has taken all that was sent: the kernel counts it as the sender's.
fn all_is_received(bed: &Bed, line: &UnixDatagram) {
    bed.wait("the datagrams to be received", || {
        let mut bytes: libc::c_int = -1;
        // SAFETY: the call writes one integer, which lives on this stack.
        let result = unsafe { libc::ioctl(line.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        assert_eq!(result, 0, "it is a socket");
        (bytes == 0).then_some(())
    });
}

fn answers_at_once(supervisor: &Supervisor<'_>) {
    let begin = Instant::now();
    supervisor.status();
    assert!(
        begin.elapsed() < AT_ONCE,
        "status took {:?}; log:\n{}",
        begin.elapsed(),
        supervisor.bed.log()
    );
}

#[test]
fn descriptors_that_a_stranger_sends_are_closed_outside_the_loop() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
            w: {{ command: [sleep, 1d], ready: notify }}\n"
    );
    let supervisor = bed.start(&yaml);
    let worker = supervisor.wait_phase("w", "starting").pid.expect("it lives");
    let own = supervisor.status().supervisor.pid;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (to_supervisor, to_guardian) = (line_to(worker), line_to(own));
    for line in [&to_supervisor, &to_guardian] {
        let sent = lingering(&listener);
        send(line, "READY=1", &[sent.as_raw_fd()]);
        drop(sent);
        all_is_received(&bed, line);
    }
    answers_at_once(&supervisor);
    // The same holds for the guardian.
    kill(own, Signal::SIGKILL);
    let begin = Instant::now();
    let next = supervisor.wait_successor(own).supervisor.pid;
    assert!(begin.elapsed() < AT_ONCE * 3, "the successor came after {:?}", begin.elapsed());
    // Where the receiver gives no room for them, none of them stays open either.
    let before = open_files(next);
    let limit = libc::rlimit { rlim_cur: before as u64 + 20, rlim_max: before as u64 + 20 };
    // SAFETY: the call reads one structure, which lives on this stack.
    let result =
        unsafe { libc::prlimit(next, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(result, 0, "it is our process");
    let null = fs::File::open("/dev/null").expect("there is one");
    for _ in 0..3 {
        send(&to_supervisor, "BARRIER=1", &[null.as_raw_fd(); 200]);
    }
    all_is_received(&bed, &to_supervisor);
    supervisor.wait("them to be closed", |_| (open_files(next) <= before + 4).then_some(()));
    answers_at_once(&supervisor);
    supervisor.stop();
}

#[test]
fn floods_of_foreign_datagrams_and_of_deaths_block_no_client() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
            w: {{ command: [sleep, 1d], ready: notify }}\n  \
         loops: {{ command: [\"false\"], instances: 40, ready: {{ after: 1h }} }}\n"
    );
    let supervisor = bed.start_with(&yaml, &["--no-guardian"]);
    let worker = supervisor.wait_phase("w", "starting").pid.expect("it lives");
    let line = line_to(worker);
    line.set_write_timeout(Some(Duration::from_millis(100))).expect("a socket");
    let is_over = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_over);
    let flood = std::thread::spawn(move || {
        let mut sent = 0_u64;
        while !flag.load(Ordering::Relaxed) {
            sent += u64::from(line.send(b"READY=1").is_ok());
        }
        sent
    });
    for _ in 0..10 {
        answers_at_once(&supervisor);
    }
    supervisor
        .wait("deaths", |supervisor| (supervisor.worker("loops.1").generation > 20).then_some(()));
    is_over.store(true, Ordering::Relaxed);
    assert!(
        flood.join().expect("a thread") > 100,
        "strangers are taken off the queue, and not listened to"
    );
    supervisor.stop();
}

/// The open description behind a descriptor of another process.
fn share(pid: i32, number: RawFd) -> Option<OwnedFd> {
    // SAFETY: these calls have no memory effects; each result is a new descriptor that only this
    // test owns.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let process = OwnedFd::from_raw_fd(RawFd::try_from(process).ok().filter(|fd| *fd >= 0)?);
        let shared = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        Some(OwnedFd::from_raw_fd(RawFd::try_from(shared).ok().filter(|fd| *fd >= 0)?))
    }
}

#[test]
fn a_worker_that_fills_the_descriptor_that_wakes_it_delays_no_order() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { stop: { timeout: 300ms } }\nworkers:\n  \
        spoilt: { worker: sleeper }\n  good: { worker: sleeper }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    let pid = supervisor.worker("spoilt").pid.expect("it lives");
    // Suspended, so that it does not read the count before the order comes.
    let _suspended = Stopped::new(pid);
    let numbers = fs::read_dir(format!("/proc/{pid}/fd")).expect("a live process").flatten();
    let numbers: Vec<RawFd> = numbers
        .filter(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy().into_owned();
            target.contains("[eventfd]")
                || target.contains("[timerfd]")
                || target.starts_with("socket:")
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    assert!(numbers.len() >= 2, "what wakes it, and what it pokes: {numbers:?}");
    for number in numbers {
        let shared = share(pid, number).expect("it is our process");
        let flags = OFlag::from_bits_truncate(fcntl(&shared, FcntlArg::F_GETFL).expect("flags"));
        // The counter is full, and the next write blocks.
        let _ = fcntl(&shared, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK));
        let _ = nix::unistd::write(&shared, &(u64::MAX - 1).to_ne_bytes());
        let _ = fcntl(&shared, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK));
    }
    supervisor.client.stop(&["spoilt".into()], true).expect("stopped");
    answers_at_once(&supervisor);
    supervisor.client.restart(&["good".into()], true).expect("restarted");
    supervisor.stop();
}

#[test]
fn at_the_limit_of_threads_status_is_answered_with_or_without_figures() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start_with(yaml, &["--no-guardian"]);
    supervisor.wait_running();
    let own = supervisor.status().supervisor.pid;
    // Root has no limit of threads: the memory for their stacks is limited instead.
    let size =
        crate::harness::proc_status(std::path::Path::new(&format!("/proc/{own}")), "VmSize") * 1024;
    let limit = libc::rlimit { rlim_cur: size + (1 << 20), rlim_max: size + (1 << 20) };
    // SAFETY: the call reads one structure, which lives on this stack.
    let result =
        unsafe { libc::prlimit(own, libc::RLIMIT_AS, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(result, 0, "it is our process");
    for _ in 0..5 {
        supervisor.client.status_with_usage().expect("an answer");
        supervisor.client.incidents(1000).expect("an answer");
    }
    supervisor.stop();
}

/// Has a socket drop all that is sent to it, unseen by both sides.
fn drop_all(socket: &OwnedFd) {
    let mut drops = libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut drops };
    // SAFETY: setsockopt(2) reads a program of one instruction (BPF_RET, 0 bytes) that lives longer
    // than the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_cell_that_takes_no_orders_ends_whole_and_comes_back() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\n\
         defaults: {{ {EAGER}, isolation: thread, cell: x }}\nworkers:\n  \
         hangs: {{ worker: ticker, heartbeat: 3s, ready: {{ timeout: 6s }} }}\n  \
         other: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_running();
    let before = supervisor.worker("hangs").pid.expect("it runs");
    drop_all(&share(before, 3).expect("where its orders come from"));
    // The first thread is left behind; its successor never begins.
    supervisor.client.inject("hangs", "hang").expect("ordered");
    for name in ["hangs", "other"] {
        supervisor.wait("it to run in another process", |supervisor| {
            let worker = supervisor.worker(name);
            (worker.phase == "running" && worker.pid.is_some_and(|pid| pid != before)).then_some(())
        });
    }
    let incidents = supervisor.wait("its incidents", |supervisor| {
        let incidents = supervisor.incidents();
        (incidents.len() >= 2).then_some(incidents)
    });
    let told: Vec<(&str, Option<&str>, usize)> = incidents
        .iter()
        .map(|incident| {
            (incident.fault.kind.as_str(), incident.worker.as_deref(), incident.lost.len())
        })
        .collect();
    assert_eq!(told, [("hang", Some("hangs"), 1), ("start-timeout", Some("hangs"), 2)]);
    supervisor.stop();
}
