//! Runs registered workers inside a child process.
//!
//! The child is the same binary, started as `__host`, with descriptor 3 a `SOCK_SEQPACKET` socket
//! on which the supervisor sends orders with all that workers are handed (`order`), and 4 an eventfd that makes it look at the boards. The
//! child reports only through the boards. When the socket ends, the supervisor is gone, and the
//! child ends too.

mod order;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::exit;
use std::sync::Arc;

use crate::board::State;
use crate::crash;
use crate::mapping::Mapping;
use crate::registry::Registry;
use crate::run::{IncarnationPlan, spawn};

pub use order::{BOARD, HostOrder, ORDER_MAX, OUTPUT, WAKE, send};
use order::{Received, claim, receive};

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
    loop {
        let begun = match receive(&socket) {
            Ok(Some(order)) => begin(order, &poke, registry),
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
fn begin(mut order: Received, poke: &Arc<OwnedFd>, registry: &Registry) -> io::Result<()> {
    let mut handed = |name| claim(&mut order, name);
    let (board, wake, output) = (handed(BOARD)?, handed(WAKE)?, handed(OUTPUT)?);
    let mapping = match Mapping::inherited(board) {
        Ok(mapping) => Arc::new(mapping),
        Err(error) => {
            eprintln!("{}: cannot map its board: {error}", order.name);
            return Ok(());
        }
    };
    let is_single = order.single;
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
        mapping: Arc::clone(&mapping),
        page: 0,
        poke: Arc::clone(poke),
        wake,
        output,
        endowment: order.endowment,
        at_end: is_single.then_some(end_process),
    };
    match spawn(plan, registry) {
        Ok(_) => {}
        Err(error) => {
            let text = format!("cannot create a thread: {error}");
            mapping.board().write_text(order.generation, text.as_bytes());
            mapping.board().set_state(order.generation, State::NotStarted);
            crate::context::ring(std::os::fd::AsFd::as_fd(&**poke));
            if is_single {
                exit(EXIT_UNREGISTERED);
            }
        }
    }
    Ok(())
}

/// A worker's own process ends with its worker. If its thread vanished, the process runs on, and
/// the missing heartbeat reveals it.
fn end_process(end: State) {
    exit(match end {
        State::Returned => 0,
        State::Failed | State::FailedForGood | State::Empty | State::Launched | State::Ready => 1,
        State::Panicked => EXIT_PANICKED,
        State::Unregistered | State::NotStarted => EXIT_UNREGISTERED,
    });
}
