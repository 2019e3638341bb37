//! Limits that our own processes raise to the hard ones: of open files, since a worker costs us
//! half a dozen; of the size of files, since a supervisor without its black box cannot take over.
//! What we launch gets back what we had: programs that use select(2) break beyond 1024 open files.

use std::ffi::OsString;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::service_manager;

/// The soft limit of open files that a guardian or a predecessor was started with, for the
/// supervisor, which gets its raised one.
pub const OPEN_FILES: &str = "SUPERVISORD_RS_OPEN_FILES";
/// The same for the size of files.
pub const FILE_SIZE: &str = "SUPERVISORD_RS_FILE_SIZE";

/// The limits, with the variables that tell them.
const RAISED: [(Resource, &str); 2] =
    [(Resource::RLIMIT_NOFILE, OPEN_FILES), (Resource::RLIMIT_FSIZE, FILE_SIZE)];

/// The soft limits that we were started with, once we have raised our own.
static ORIGINAL: OnceLock<[u64; RAISED.len()]> = OnceLock::new();

/// Raises them.
pub fn raise_limits() {
    ORIGINAL.get_or_init(|| RAISED.map(|(resource, name)| original(resource, name)));
    RAISED.into_iter().for_each(|(resource, _)| raise(resource));
}

/// Raises that of the size of files once more: another process may have lowered it (prlimit(2)).
pub fn raise_file_size() {
    raise(Resource::RLIMIT_FSIZE);
}

fn raise(resource: Resource) {
    if let Ok((soft, hard)) = getrlimit(resource)
        && soft < hard
    {
        let _ = setrlimit(resource, hard, hard);
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

/// By resource, the soft limits for what we launch; empty before we have raised ours.
pub(super) fn originals() -> Vec<(u32, u64)> {
    let all = ORIGINAL.get().into_iter().flatten();
    all.zip(RAISED).map(|(soft, (resource, _))| (resource as u32, *soft)).collect()
}

/// The variables for another of our processes; one without a value is left out.
pub fn told() -> [(&'static str, OsString); RAISED.len()] {
    let original = ORIGINAL.get();
    std::array::from_fn(|index| {
        let value = original.map(|all| all[index].to_string()).unwrap_or_default();
        (RAISED[index].1, value.into())
    })
}
