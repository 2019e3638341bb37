//! Runs registered workers inside a child process.
//!
//! The child is the same binary, started as `__host`, with descriptor 3 a `SOCK_SEQPACKET` socket
//! on which the supervisor sends orders with all that workers are handed (`order`), and 4 an
//! eventfd that makes it look at the boards. The child reports only through the boards. When the
//! socket ends, the supervisor is gone, and the child ends too.

mod keeper;
mod order;
mod received;
mod reserve;

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::registry::Registry;
use crate::runtime::board::State;
use crate::runtime::crash;
use crate::runtime::mapping::Mapping;
use crate::runtime::run::{IncarnationPlan, spawn};

use keeper::Keeper;
pub use order::{BOARD, HostOrder, ORDER_MAX, OUTPUT, WAKE, send};
use received::{Received, claim, receive};
use reserve::Reserve;

/// Exit code of a host whose single worker had a contained panic; the same as of a Rust program
/// that panics.
pub const EXIT_PANICKED: i32 = 101;
/// Exit code of a host that does not know its worker or could not start it (EX_CONFIG of
/// sysexits.h).
pub const EXIT_UNREGISTERED: i32 = 78;

const SOCKET: RawFd = 3;
const POKE: RawFd = 4;

/// The child's main function. Never returns: exit code 0 when the single worker returned, 1 when it
/// failed, [`EXIT_PANICKED`], [`EXIT_UNREGISTERED`]; 0 when the supervisor is gone.
pub fn main(registry: &Registry) -> ! {
    if let Err(error) = crash::install() {
        eprintln!("cannot handle fatal signals: {error}");
    }
    // SAFETY: the launcher put them there, and nothing else in this fresh process owns them.
    let (socket, poke) =
        unsafe { (OwnedFd::from_raw_fd(SOCKET), Arc::new(OwnedFd::from_raw_fd(POKE))) };
    // Not for what workers execute.
    for descriptor in [socket.as_fd(), poke.as_fd()] {
        let _ = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
    let mut reserve = Reserve::default();
    reserve.restore(poke.as_fd());
    let mut keeper = Keeper::new();
    loop {
        let begun = match receive(&socket, &mut reserve, &mut keeper) {
            Ok(Some(mut order)) => {
                order.is_whole &= reserve.restore(poke.as_fd());
                let begun = begin(order, &poke, registry, &mut keeper);
                reserve.restore(poke.as_fd());
                begun
            }
            Ok(None) => exit(0),
            Err(error) => Err(error),
        };
        if let Err(error) = begun {
            eprintln!("cannot read orders: {error}");
            exit(1);
        }
    }
}

/// Runs one. An error is one of the order: something that every worker is handed did not come.
fn begin(
    mut order: Received,
    poke: &Arc<OwnedFd>,
    registry: &Registry,
    keeper: &mut Keeper,
) -> io::Result<()> {
    if !order.is_whole && order.endowment.peek(BOARD).is_none() {
        // It has not begun, and the supervisor finds that out.
        eprintln!("{}: {}", order.name, no_room());
        return Ok(());
    }
    let mapping = match Mapping::inherited(claim(&mut order, BOARD)?) {
        Ok(mapping) => Arc::new(mapping),
        Err(error) => {
            eprintln!("{}: cannot map its board: {error}", order.name);
            return Ok(());
        }
    };
    let is_single = order.single;
    let generation = order.generation;
    let refuse = |text: String| {
        mapping.board().write_text(generation, text.as_bytes());
        mapping.board().set_state(generation, State::NotStarted);
        crate::context::ring(poke.as_fd());
        if is_single {
            exit(EXIT_UNREGISTERED);
        }
    };
    if !order.is_whole {
        refuse(no_room());
        return Ok(());
    }
    let (wake, output) = (claim(&mut order, WAKE)?, claim(&mut order, OUTPUT)?);
    if is_single {
        // `ps` and core dumps show the worker's name; the kernel cuts it to 15 bytes.
        if let Ok(name) = std::ffi::CString::new(order.name.as_str()) {
            let _ = nix::sys::prctl::set_name(&name);
        }
    }
    let plan = IncarnationPlan {
        name: order.name,
        kind: order.kind,
        generation: order.generation,
        args: order.args,
        on_panic: order.on_panic,
        scheduling: order.scheduling,
        mapping: Arc::clone(&mapping),
        page: 0,
        poke: Arc::clone(poke),
        wake,
        output,
        endowment: order.endowment,
        briefing: order.briefing,
        at_end: is_single.then_some(end_process),
    };
    if !is_single {
        keeper.on_begin(&mapping, poke);
    }
    if let Err(error) = spawn(plan, registry) {
        refuse(format!("cannot create a thread: {error}"));
    }
    Ok(())
}

/// Why what a worker is handed did not come, and what to do.
fn no_room() -> String {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let limit = limit.map_or_else(|_| "limit".to_owned(), |(soft, _)| format!("{soft}"));
    format!(
        "its process has no room for its descriptors: those that run there have almost all {limit} \
         open; give it more with `limits: {{ open_files: }}`, or find out which one leaks"
    )
}

/// The time for what is registered with atexit(3), once the worker of this process has ended.
const LAST_HANDLERS: Duration = Duration::from_secs(3);

/// A worker's own process ends with its worker. If its thread vanished, the process runs on, and
/// the missing heartbeat reveals it.
fn end_process(end: State) {
    let status = match end {
        State::Returned => 0,
        State::Failed | State::FailedForGood | State::Empty | State::Launched | State::Ready => 1,
        State::Panicked => EXIT_PANICKED,
        State::Unregistered | State::NotStarted => EXIT_UNREGISTERED,
    };
    // Its handlers of exit(3) may block, and no heartbeat judges them: the worker has ended.
    let _ = std::thread::Builder::new().spawn(move || {
        std::thread::sleep(LAST_HANDLERS);
        // SAFETY: it ends the process, without the handlers that had their time.
        unsafe { nix::libc::_exit(status) };
    });
    exit(status);
}
