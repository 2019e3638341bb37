//! How each fault is committed. The optimiser must not see through any of them: volatile accesses,
//! opaque values, assembly.

mod exhaustion;
mod neighbours;
mod sharing;
mod threads;

use std::arch::asm;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Fault, Scene};

pub(super) fn commit(fault: Fault, parameter: u64, scene: &Scene<'_>) {
    match fault {
        Fault::Panic => panic!("injected panic"),
        Fault::DoublePanic => double_panic(),
        Fault::PanicExternC => panic_extern_c(),
        Fault::PanicHoldingLock => panic_holding_lock(),
        Fault::SegfaultRead => segfault_read(),
        Fault::SegfaultWrite => segfault_write(),
        Fault::SegfaultJump => segfault_jump(),
        Fault::StackOverflow => drop(black_box(stack_overflow(black_box(0)))),
        Fault::Abort => std::process::abort(),
        Fault::Exit => exit(parameter),
        Fault::IllegalInstruction => illegal_instruction(),
        Fault::FloatingPoint => floating_point(),
        Fault::BusError => bus_error(),
        Fault::HeapCorruption => heap_corruption(),
        Fault::KillSelf => kill_self(),
        Fault::Hang => hang(),
        Fault::BusyLoop => busy_loop(),
        Fault::Vanish => vanish(),
        Fault::Leak => exhaustion::leak(parameter, scene),
        Fault::PanicInDestructor => threads::elsewhere(scene, panic_in_destructor),
        Fault::DiskFull => exhaustion::disk_full(),
        Fault::AllocError => threads::elsewhere(scene, exhaustion::alloc_error),
        Fault::BrokenPipe => neighbours::broken_pipe(),
        Fault::Livelock => livelock(scene),
        Fault::Descriptors => exhaustion::descriptors(scene),
        Fault::Threads => exhaustion::threads(scene),
        Fault::Flood => exhaustion::flood(scene),
        Fault::Fork => neighbours::fork(),
        Fault::IgnoreTerm => neighbours::ignore_term(),
        Fault::Wander => neighbours::wander(),
        Fault::ThreadPanic => threads::commit(Fault::Panic, scene),
        Fault::ThreadSegfault => threads::commit(Fault::SegfaultRead, scene),
        Fault::ThreadStackOverflow => threads::commit(Fault::StackOverflow, scene),
        Fault::ResumeUnwind => std::panic::resume_unwind(Box::new("injected panic, resumed")),
        Fault::PanicForeignHook => neighbours::panic_with_foreign_hook(),
        Fault::IgnoreStop => ignore_stop(scene),
        Fault::PanicWhileStopping => panic_while_stopping(scene),
        Fault::PanicAtLaunch => panic!("injected panic at launch"),
        Fault::DieWithLock => sharing::die_with_lock(scene, false),
        Fault::DieWithinChange => sharing::die_with_lock(scene, true),
        Fault::DieWithMessage => sharing::die_with_message(scene),
        Fault::DieSending => sharing::die_sending(scene),
        Fault::DieWaiting => sharing::die_waiting(scene),
        Fault::TruncateRegion => sharing::truncate_region(scene),
        Fault::ScribbleQueue => sharing::scribble_queue(scene),
        Fault::KeepLock => sharing::keep_lock(scene),
        // The supervisor sends these.
        Fault::SignalSegv
        | Fault::SignalAbrt
        | Fault::SignalKill
        | Fault::SignalStop
        | Fault::SignalTerm
        | Fault::SignalBus
        | Fault::SignalIll
        | Fault::SignalFpe => {}
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("injected second panic");
    }
}

fn double_panic() {
    let _second = PanicsWhenDropped;
    panic!("injected first panic");
}

extern "C" fn cannot_unwind() {
    panic!("injected panic in an extern \"C\" function");
}

fn panic_extern_c() {
    black_box(cannot_unwind as extern "C" fn())();
}

fn panic_holding_lock() {
    static SHARED: Mutex<u64> = Mutex::new(0);
    // A predecessor in this process may have poisoned it already: that is the debris that this
    // fault leaves.
    let mut value = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *value += 1;
    panic!("injected panic while holding a lock (panic number {value} here)");
}

fn segfault_read() {
    // Not address 0 itself: LLVM may turn that into an illegal instruction (rust-lang/rust pull
    // request 31333).
    let nowhere = black_box(0x10 as *const u64);
    // SAFETY: there is none. This is the fault.
    black_box(unsafe { nowhere.read_volatile() });
}

fn segfault_write() {
    static READ_ONLY: [u8; 64] = [7; 64];
    let constant = black_box(READ_ONLY.as_ptr().cast_mut());
    // SAFETY: there is none. This is the fault.
    unsafe { constant.write_volatile(8) };
}

fn segfault_jump() {
    let nowhere = black_box(0x1000 as *const ());
    // SAFETY: there is none. This is the fault.
    let function: extern "C" fn() = unsafe { std::mem::transmute(nowhere) };
    black_box(function)();
}

#[expect(unconditional_recursion, reason = "this is the fault")]
fn stack_overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 512]);
    // Used after the call, so that it is not a tail call.
    stack_overflow(depth + 1) + black_box(frame)[0]
}

fn exit(code: u64) {
    std::process::exit(i32::try_from(code & 0xff).unwrap_or(1));
}

fn illegal_instruction() {
    // SAFETY: there is none. This is the fault.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("ud2");
        #[cfg(target_arch = "aarch64")]
        asm!("udf #0");
    }
}

fn floating_point() {
    // SAFETY: there is none. This is the fault.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "div {zero:e}",
            zero = in(reg) black_box(0_u32),
            inout("eax") 1_u32 => _,
            inout("edx") 0_u32 => _,
        );
        // Integer division by zero does not fault there: the signal stands in for it.
        #[cfg(target_arch = "aarch64")]
        libc::raise(libc::SIGFPE);
    }
}

fn bus_error() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::sys::mman::{MapFlags, ProtFlags, mmap};
    let file = memfd_create("bus-error", MFdFlags::MFD_CLOEXEC).expect("a memfd for the fault");
    nix::unistd::ftruncate(&file, 4096).expect("room for the fault");
    let length = std::num::NonZeroUsize::new(4096).expect("not zero");
    // SAFETY: a fresh mapping. What follows is not safe: this is the fault.
    unsafe {
        let page = mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &file, 0)
            .expect("a mapping for the fault");
        nix::unistd::ftruncate(&file, 0).expect("the file becomes shorter than its mapping");
        black_box(page.cast::<u64>().as_ptr().read_volatile());
    }
}

fn heap_corruption() {
    // SAFETY: there is none. This overwrites the size words of chunks of the C library's heap, then
    // frees them: malloc notices and aborts. Large enough for the checks of unsorted chunks, small
    // enough for the heap.
    unsafe {
        let first = libc::malloc(2048).cast::<usize>();
        let second = libc::malloc(2048).cast::<usize>();
        black_box((first, second));
        for word in 0..4 {
            second.sub(word).write_volatile(usize::MAX);
        }
        libc::free(second.cast());
        libc::free(first.cast());
    }
    // A C library without such checks comes here: do what the checks would have done.
    std::process::abort();
}

fn kill_self() {
    // SAFETY: kill has no memory effects.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    busy_loop();
}

fn hang() {
    let lock = Mutex::new(());
    let held = lock.lock();
    // A second lock by the same thread waits for the first for ever (std's mutexes on Linux do not
    // detect it). Opaque, since the optimiser may know better.
    let again = black_box(&lock).lock();
    drop((held, again));
}

fn busy_loop() {
    loop {
        black_box(());
    }
}

fn vanish() {
    // SAFETY: ends this thread alone, without unwinding and silently. Its memory stays as it is.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// So long it does nothing but beat.
const LIVELOCK: Duration = Duration::from_secs(2);

/// A busy loop that a heartbeat does not find: it beats.
fn livelock(scene: &Scene<'_>) {
    let end = Instant::now() + LIVELOCK;
    while Instant::now() < end {
        scene.beat();
        black_box(());
    }
}

/// Its worker never hears of an order to stop.
fn ignore_stop(scene: &Scene<'_>) {
    if let Some(context) = scene.context {
        context.shared().ignore_stop();
    }
}

/// Its worker panics when `run` has returned by an order to stop.
fn panic_while_stopping(scene: &Scene<'_>) {
    if let Some(context) = scene.context {
        context.shared().panic_at_stop();
    }
}

/// std ends the process of a thread whose thread local panics as it is dropped.
fn panic_in_destructor() {
    thread_local! {
        static BAD: PanicsWhenDropped = const { PanicsWhenDropped };
    }
    BAD.with(|bad| {
        black_box(bad);
    });
}
