//! What tells the process trees of this supervisor from all others, and one from another.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The variable that marks a process tree: `HASH-OF-THE-RUNTIME-DIRECTORY:DOMAIN`, the same for one
/// supervisor after the other.
pub(in crate::isolation) const MARK: &str = "SUPERVISORD_RS_FAMILY";

/// What tells the process trees of this supervisor and its successors from those of any other: a
/// number for the runtime directory, which only one can have at a time (FNV-1a, the same in every
/// release).
pub(in crate::isolation) fn instance_id_of(runtime_dir: &Path) -> String {
    format!("{:016x}", hash(runtime_dir.as_os_str().as_bytes()))
}

fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The mark of a process tree: a variable, and a resource limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Mark {
    pub(in crate::isolation) variable: String,
    pub(in crate::isolation) limit: u64,
}

impl Mark {
    /// Of the process tree of a domain.
    pub(super) fn new(instance_id: &str, domain: &str) -> Self {
        let variable = format!("{instance_id}:{domain}");
        let limit = LIMIT_MARK | (hash(variable.as_bytes()) & (LIMIT_MARK - 1));
        Self { variable, limit }
    }
}

/// The least limit of real-time processor time that is a mark: 146 thousand years, which limits
/// no process.
pub(in crate::isolation) const LIMIT_MARK: u64 = 1 << 62;
