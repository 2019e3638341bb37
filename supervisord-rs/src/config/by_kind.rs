//! Keys that one kind of worker alone has: threads, processes, registered code or commands.

use supervision::spec::OnHang;
use workers::runtime::run::OnPanic;

use super::reader::Section;
use super::schema::key::{key, words};
use super::schema::{Key, Kind, OnlyFor};

pub(super) static ON_HANG: Key = key(
    "on_hang",
    Kind::Words(&words(&HANG_WORDS)),
    "What becomes of a thread that hangs: it cannot be killed alone. `abandon`: it is left behind, \
     counted and shown. `recycle`: its whole process ends. A cell whose process is suspended \
     always ends whole.",
)
.or("abandon")
.only_for(OnlyFor::Threads);
pub(super) static ON_PANIC: Key = key(
    "on_panic",
    Kind::Words(&words(&PANIC_WORDS)),
    "What a panic of registered code does. `abort`: it ends its process. `contain`: it ends its \
     worker alone.",
)
.or("abort")
.only_for(OnlyFor::Code);
pub(super) static STACK_SIZE: Key = key(
    "stack_size",
    Kind::Size,
    "The stack of the thread that runs registered code, in every isolation; from 64KiB to 1GiB, \
     and 2MiB where it is not written. A command has `limits: { stack: }`.",
)
.such_as("8MiB")
.only_for(OnlyFor::Code);
pub(super) static START_BEFORE: Key = key(
    "start_before",
    Kind::Command,
    "A command that runs to its end before each start of the worker, as systemd's `ExecStartPre=`. \
     Where it fails, the launch has failed.",
)
.such_as("[mkdir, -p, data]")
.only_for(OnlyFor::Processes);
pub(super) static RELOAD_SIGNAL: Key = key(
    "reload_signal",
    Kind::Signal,
    "The signal that makes a command read its own configuration again. `supervisord-rs signal NAME \
     reload` sends it.",
)
.such_as("HUP")
.only_for(OnlyFor::Commands);

const HANG_WORDS: [(&str, OnHang); 2] =
    [("abandon", OnHang::Abandon), ("recycle", OnHang::Recycle)];
const PANIC_WORDS: [(&str, OnPanic); 2] =
    [("abort", OnPanic::Abort), ("contain", OnPanic::Contain)];

/// Below that a thread dies of the stack that the standard library needs, in a panic for example;
/// beyond it every thread takes address space that others need.
const STACK_SIZES: std::ops::RangeInclusive<u64> = (64 << 10)..=(1 << 30);

/// What becomes of one that hangs and cannot be killed.
pub(super) fn on_hang(section: &Section<'_>, can_be_killed: bool) -> OnHang {
    section
        .get_if(
            !can_be_killed,
            &ON_HANG,
            "only threads have `on_hang:`: a process that hangs is killed",
            "no `on_hang:` here",
        )
        .and_then(|cursor| cursor.choice(&HANG_WORDS))
        .map_or(OnHang::Abandon, |choice| choice.value)
}

/// What a panic of registered code does.
pub(super) fn on_panic(section: &Section<'_>, is_sdk: bool) -> OnPanic {
    section
        .get_if(
            is_sdk,
            &ON_PANIC,
            "only a `worker:` has `on_panic:`",
            "no `on_panic:` for a command",
        )
        .and_then(|cursor| cursor.choice(&PANIC_WORDS))
        .map(|choice| choice.value)
        .unwrap_or_default()
}

/// The stack of the thread that registered code runs on.
pub(super) fn stack_size(section: &Section<'_>, is_sdk: bool) -> Option<usize> {
    let cursor = section.get_if(
        is_sdk,
        &STACK_SIZE,
        "only a `worker:` has `stack_size:`: it is that of its thread",
        "`limits: { stack: SIZE }` for a command",
    )?;
    let size = cursor.size()?.value;
    if !STACK_SIZES.contains(&size) {
        cursor.refuse(format!("a stack of {size} bytes"), "from 64KiB to 1GiB");
        return None;
    }
    usize::try_from(size).ok()
}

/// What runs before each start of a process, as its user and within its limits.
pub(super) fn start_before(section: &Section<'_>, is_process: bool) -> Option<Vec<String>> {
    section
        .get_if(
            is_process,
            &START_BEFORE,
            "only a process has `start_before:`: a thread has no user, environment or limits \
             that a command could run with",
            "`isolation: process`, or a worker of its own that this one \
             `depends_on: { NAME: finished }`",
        )
        .and_then(|cursor| cursor.command(false))
        .map(|command| command.value)
}

/// The signal that makes a command read its configuration again.
pub(super) fn reload_signal(section: &Section<'_>, is_sdk: bool) -> Option<i32> {
    section
        .get_if(
            !is_sdk,
            &RELOAD_SIGNAL,
            "only a `command:` has `reload_signal:`",
            "no `reload_signal:` for a `worker:`",
        )
        .and_then(|cursor| cursor.signal())
        .map(|signal| signal.value)
}
