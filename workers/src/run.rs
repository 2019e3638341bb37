//! One incarnation on a thread of this process: the common part of thread, cell and process
//! isolation.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::board::{LastWords, State};
use crate::context::{Context, Shared};
use crate::crash;
use crate::endowment::Endowment;
use crate::mapping::Mapping;
use crate::registry::Registry;

/// What a panic of a worker's thread ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPanic {
    /// Its whole fault domain: a panic leaves shared state in doubt.
    #[default]
    Abort,
    /// Only this worker: the panic is caught; what it held is poisoned or recovered.
    Contain,
}

/// Everything that one incarnation needs. Its board has been begun by the supervisor.
#[derive(Debug)]
pub struct IncarnationPlan {
    /// The worker's name, also its thread's (cut to 15 bytes by the kernel, prctl(2)
    /// `PR_SET_NAME`).
    pub name: String,
    /// The name that it is registered by.
    pub kind: String,
    /// The generation.
    pub generation: u64,
    /// Its arguments.
    pub args: Value,
    /// What a panic ends.
    pub on_panic: OnPanic,
    /// The memory of its board.
    pub mapping: Arc<Mapping>,
    /// Which page of it.
    pub page: usize,
    /// An eventfd that makes the supervisor look at the boards of this fault domain.
    pub poke: Arc<OwnedFd>,
    /// The descriptor that is readable when there is an order.
    pub wake: OwnedFd,
    /// The target of its output.
    pub output: OwnedFd,
    /// What it is handed besides, for [`Context::claim`].
    pub endowment: Endowment,
    /// Called on its thread after everything else, with its final state: a worker's own process
    /// ends here.
    pub at_end: Option<fn(State)>,
}

thread_local! {
    /// The worker on this thread, for the panic hook.
    static CURRENT: RefCell<Option<(Arc<Shared>, OnPanic)>> = const { RefCell::new(None) };
    /// Panics of this thread that have not been caught: the second cannot be.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Starts an incarnation on a new thread. At its end the thread writes its final state to the board
/// and wakes the supervisor.
///
/// # Errors
/// EAGAIN when no thread can be created.
pub fn spawn(plan: IncarnationPlan, registry: &Registry) -> io::Result<JoinHandle<()>> {
    let registry = registry.clone();
    let IncarnationPlan {
        name,
        kind,
        generation,
        args,
        on_panic,
        mapping,
        page,
        poke,
        wake,
        output,
        endowment,
        at_end,
    } = plan;
    let thread_name = name.replace('\0', "");
    let shared = Arc::new(Shared {
        name,
        generation,
        mapping,
        page,
        poke,
        wake,
        output,
        endowment: Mutex::new(endowment),
        is_ready: AtomicBool::new(false),
    });
    std::thread::Builder::new().name(thread_name).spawn(move || {
        let end = live(&shared, &kind, &args, on_panic, &registry);
        // The last step of this thread: after this its board may belong to its successor.
        if shared.board().set_state(shared.generation, end) {
            shared.poke();
        }
        if let Some(at_end) = at_end {
            at_end(end);
        }
    })
}

fn live(
    shared: &Arc<Shared>,
    kind: &str,
    args: &Value,
    on_panic: OnPanic,
    registry: &Registry,
) -> State {
    let board = shared.board();
    board.pid.store(nix::unistd::getpid().as_raw(), Ordering::Relaxed);
    board.tid.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
    board.set_state(shared.generation, State::Launched);
    let _registered = crash::register(shared);
    CURRENT.with(|current| *current.borrow_mut() = Some((Arc::clone(shared), on_panic)));

    let context = Context::new(Arc::clone(shared));
    // Unwind safety: nothing of the worker is used after a panic, it is dropped inside.
    let result = catch_unwind(AssertUnwindSafe(|| match registry.create(kind, args) {
        Ok(mut worker) => worker.run(&context).map_err(|error| {
            let state = if error.is_permanent() { State::FailedForGood } else { State::Failed };
            (state, error)
        }),
        Err(error) => Err((State::Unregistered, error)),
    }));
    CURRENT.with(|current| current.borrow_mut().take());
    PANICS.set(0);
    match result {
        Ok(Ok(())) => State::Returned,
        Ok(Err((state, error))) => {
            if shared.is_current() {
                context.say(format!("{}: {error}", shared.name));
                board.write_text(shared.generation, error.to_string().as_bytes());
            }
            state
        }
        Err(payload) => {
            // The payload's own destructor could panic, and nothing would catch that.
            std::mem::forget(payload);
            State::Panicked
        }
    }
}

/// Installs the panic hook for workers in front of the one that is there. Once per process, see
/// [`crash::install`].
pub(crate) fn install_panic_hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let current = CURRENT
            .try_with(|current| current.try_borrow().ok().and_then(|current| current.clone()));
        match current {
            Ok(Some((shared, on_panic))) => on_worker_panic(info, &shared, on_panic),
            // Not a worker's thread.
            Ok(None) | Err(_) => previous(info),
        }
    }));
}

/// Must not panic itself: a panic in the hook aborts without last words.
fn on_worker_panic(info: &PanicHookInfo<'_>, shared: &Arc<Shared>, on_panic: OnPanic) {
    let panics = PANICS.get() + 1;
    PANICS.set(panics);
    let place =
        info.location().map_or_else(String::new, |at| format!("{}:{}: ", at.file(), at.line()));
    let message = format!("{place}{}", info.payload_as_str().unwrap_or("panic without a message"));
    let line = format!("{} panicked at {message}\n", shared.name);
    let _ = nix::unistd::write(&shared.output, line.as_bytes());
    let (board, generation) = (shared.board(), shared.generation);
    if !board.write_text(generation, message.as_bytes()) {
        return;
    }
    let tid = nix::unistd::gettid().as_raw();
    if panics > 1 {
        // std aborts when this hook returns: while unwinding, or at a frame that cannot be unwound.
        board.write_last_words_of(generation, LastWords::PanicNoUnwind, tid);
        shared.poke();
    } else if on_panic == OnPanic::Abort {
        board.write_last_words_of(generation, LastWords::Panic, tid);
        shared.poke();
        std::process::abort();
    }
}
