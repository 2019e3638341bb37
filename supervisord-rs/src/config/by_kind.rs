//! Keys that one kind of worker alone has: threads, processes, registered code or commands.

use supervision::spec::OnHang;
use workers::runtime::run::OnPanic;

use super::reader::Section;

/// Below that a thread dies of the stack that the standard library needs, in a panic for example;
/// beyond it every thread takes address space that others need.
const STACK_SIZES: std::ops::RangeInclusive<u64> = (64 << 10)..=(1 << 30);

/// What becomes of one that hangs and cannot be killed.
pub(super) fn on_hang(section: &Section<'_>, can_be_killed: bool) -> OnHang {
    section
        .get_if(
            !can_be_killed,
            "on_hang",
            "only threads have `on_hang:`: a process that hangs is killed",
            "no `on_hang:` here",
        )
        .and_then(|cursor| {
            cursor.choice(&[("abandon", OnHang::Abandon), ("recycle", OnHang::Recycle)])
        })
        .map_or(OnHang::Abandon, |choice| choice.value)
}

/// What a panic of registered code does.
pub(super) fn on_panic(section: &Section<'_>, is_sdk: bool) -> OnPanic {
    section
        .get_if(
            is_sdk,
            "on_panic",
            "only a `worker:` has `on_panic:`",
            "no `on_panic:` for a command",
        )
        .and_then(|cursor| {
            cursor.choice(&[("abort", OnPanic::Abort), ("contain", OnPanic::Contain)])
        })
        .map(|choice| choice.value)
        .unwrap_or_default()
}

/// The stack of the thread that registered code runs on.
pub(super) fn stack_size(section: &Section<'_>, is_sdk: bool) -> Option<usize> {
    let cursor = section.get_if(
        is_sdk,
        "stack_size",
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
            "start_before",
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
            "reload_signal",
            "only a `command:` has `reload_signal:`",
            "no `reload_signal:` for a `worker:`",
        )
        .and_then(|cursor| cursor.signal())
        .map(|signal| signal.value)
}
