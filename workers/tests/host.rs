//! A host as a process of its own, with orders and what comes with them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::eventfd::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use workers::runtime::briefing::Briefing;
use workers::runtime::endowment::Named;
use workers::runtime::host::{BOARD, HostOrder, OUTPUT, WAKE};
use workers::runtime::mapping::Mapping;
use workers::runtime::run::OnPanic;
use workers::runtime::scheduling::Scheduling;
use workers::{Context, Registry, Worker, WorkerError};

/// Makes this test program the host.
const HOST: &str = "WORKERS_TEST_HOST";
/// More than one message takes.
const MANY: usize = 600;

/// Answers the first of what it was handed by way of the last.
struct Claimer;

impl Worker for Claimer {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let name = |number: usize| format!("resource/{number}");
        let claimed = |number| context.claim(&name(number)).ok_or("not handed over");
        let mut text = String::new();
        File::from(claimed(0)?).read_to_string(&mut text)?;
        for number in 1..MANY - 1 {
            claimed(number)?;
        }
        assert!(context.claim(&name(0)).is_none(), "it was claimed");
        write!(File::from(claimed(MANY - 1)?), "{text}, world")?;
        Ok(())
    }
}

/// The host, where this is one: it never returns.
fn become_host() {
    if std::env::var_os(HOST).is_some() {
        let claimer = |_: serde_json::Value| -> Result<Claimer, WorkerError> { Ok(Claimer) };
        workers::runtime::host::main(&Registry::default().with("claimer", "", claimer));
    }
}

#[test]
fn a_worker_claims_by_name_whatever_it_was_handed() {
    become_host();
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("sockets");
    let event = || OwnedFd::from(EventFd::new().expect("an eventfd"));
    let (poke, wake) = (event(), event());
    let (orders, poke) = (theirs.as_raw_fd(), poke.as_raw_fd());
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["a_worker_claims_by_name_whatever_it_was_handed", "--exact", "--nocapture"])
        .env(HOST, "1");
    let place = move || {
        // SAFETY: two system calls, in a child that then executes. The first copies above both
        // places: either may be the other's number.
        unsafe {
            let poke = libc::fcntl(poke, libc::F_DUPFD_CLOEXEC, 10);
            let is_placed = libc::dup2(orders, 3) == 3 && libc::dup2(poke, 4) == 4;
            if is_placed { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        }
    };
    // SAFETY: what it does is listed in signal-safety(7).
    let mut child = unsafe { command.pre_exec(place) }.spawn().expect("a host");

    let memory = |text: &str| {
        let memory = memfd_create(c"resource", MFdFlags::MFD_CLOEXEC).expect("memory");
        let mut file = File::from(memory);
        file.write_all(text.as_bytes()).expect("written");
        std::io::Seek::rewind(&mut file).expect("its start");
        file
    };
    let (first, middle, last) = (memory("hello"), memory(""), memory(""));
    let names: Vec<String> = (0..MANY).map(|number| format!("resource/{number}")).collect();
    let mapping = Mapping::sealed("w").expect("a board");
    mapping.board().begin("w", 1);
    let output = File::create("/dev/null").expect("/dev/null");
    let usual = [(BOARD, mapping.fd()), (WAKE, wake.as_fd()), (OUTPUT, output.as_fd())];
    let resources = names.iter().enumerate().map(|(number, name)| {
        let file = match number {
            0 => &first,
            number if number == MANY - 1 => &last,
            _ => &middle,
        };
        (name.as_str(), file.as_fd())
    });
    let given: Vec<Named<'_>> = usual.into_iter().chain(resources).collect();
    let order = HostOrder {
        name: "w",
        kind: "claimer",
        generation: 1,
        args: &serde_json::Value::Null,
        on_panic: OnPanic::Abort,
        single: true,
        scheduling: &Scheduling::INHERITED,
        briefing: &Briefing::NONE,
    };
    workers::runtime::host::send(ours.as_fd(), &order, &given).expect("sent");
    let status = child.wait().expect("a child of this test");
    let said = mapping.board().read().map(|reading| reading.text);
    assert_eq!(status.code(), Some(0), "{said:?}");
    let mut text = String::new();
    let mut last = last;
    std::io::Seek::rewind(&mut last).expect("its start");
    last.read_to_string(&mut text).expect("readable");
    assert_eq!(text, "hello, world");
}
