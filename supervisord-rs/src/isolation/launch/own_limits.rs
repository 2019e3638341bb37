//! Limits that our own processes raise to the hard ones: of open files, since a worker costs us
//! half a dozen; of the size of files, since a supervisor without its black box cannot take over;
//! of the stack, which the main thread overflows where there is hardly any. What we launch gets
//! back what we had: programs that use select(2) break beyond 1024 open files.

use std::ffi::OsString;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::service_manager::{self, FILE_SIZE, OPEN_FILES, STACK};

/// As much as there usually is. A process that starts without a limit gets another layout of its
/// memory.
const STACK_USUAL: u64 = 8 << 20;
/// What our main thread needs, with a large configuration, in the largest build.
const STACK_LEAST: u64 = 1 << 20;

/// The limits, with the variables that tell them, and up to where they are raised.
const RAISED: [(Resource, &str, u64); 3] = [
    (Resource::RLIMIT_NOFILE, OPEN_FILES, u64::MAX),
    (Resource::RLIMIT_FSIZE, FILE_SIZE, u64::MAX),
    (Resource::RLIMIT_STACK, STACK, STACK_USUAL),
];

/// The soft limits that we were started with, once we have raised our own.
static ORIGINAL: OnceLock<[u64; RAISED.len()]> = OnceLock::new();

/// Raises them.
pub fn raise_limits() {
    remember();
    RAISED.into_iter().for_each(|(resource, _, most)| raise(resource, most));
}

/// Raises that of the size of files once more: another process may have lowered it (prlimit(2)).
pub fn raise_file_size() {
    raise(Resource::RLIMIT_FSIZE, u64::MAX);
}

/// The size that our files may have.
#[must_use]
pub fn file_size_limit() -> u64 {
    getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Raises that of the stack: call it before anything that needs much. The kernel asks for the limit
/// as the stack grows (setrlimit(2)).
///
/// # Errors
/// What to do, where the hard limit leaves too little.
pub fn raise_stack() -> Result<(), String> {
    remember();
    raise(Resource::RLIMIT_STACK, STACK_USUAL);
    let (soft, hard) = getrlimit(Resource::RLIMIT_STACK).unwrap_or((u64::MAX, u64::MAX));
    if soft >= STACK_LEAST {
        return Ok(());
    }
    let (there, least) = (hard / 1024, STACK_LEAST / 1024);
    Err(format!(
        "the hard limit of the stack is {there} KiB, and supervisord-rs needs {least}: raise it \
            (`ulimit -Hs`, `LimitSTACK=`)"
    ))
}

fn remember() {
    ORIGINAL.get_or_init(|| RAISED.map(|(resource, name, _)| original(resource, name)));
}

fn raise(resource: Resource, most: u64) {
    if let Ok((soft, hard)) = getrlimit(resource)
        && soft < hard.min(most)
    {
        let _ = setrlimit(resource, hard.min(most), hard);
    }
}

/// What we were started with; where another of our processes has started us, what that one was.
fn original(resource: Resource, name: &str) -> u64 {
    let is_ours =
        || service_manager::guardian_pid().is_some() || service_manager::hand_over_from().is_some();
    let told = || std::env::var(name).ok()?.parse().ok();
    let told: Option<u64> = told().filter(|_| is_ours());
    told.unwrap_or_else(|| getrlimit(resource).map_or(u64::MAX, |(soft, _)| soft))
}

/// By resource, the soft limits for what we launch; `None` before we have raised ours.
/// Async-signal-safe.
pub(super) fn originals() -> Option<[(u32, u64); RAISED.len()]> {
    let soft = ORIGINAL.get()?;
    Some(std::array::from_fn(|index| (RAISED[index].0 as u32, soft[index])))
}

/// The variables for another of our processes; one without a value is left out.
pub fn told() -> [(&'static str, OsString); RAISED.len()] {
    let original = ORIGINAL.get();
    std::array::from_fn(|index| {
        let value = original.map(|all| all[index].to_string()).unwrap_or_default();
        (RAISED[index].1, value.into())
    })
}
