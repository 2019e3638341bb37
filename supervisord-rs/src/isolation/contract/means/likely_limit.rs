//! Which of a process's own limits has most likely ended it: the kernel gives no reason for a
//! program that finds no room to begin.

use supervision::Status;

use crate::config::settings::ResourceLimit;

/// A sentence about the limit that is likely the reason of such an end, if one is. `is_young`: of
/// one that had hardly begun.
pub(super) fn likely_limit(
    limits: &[ResourceLimit],
    status: Status,
    is_young: bool,
) -> Option<String> {
    let named = |name: &str| limits.iter().find(|limit| limit.name == name);
    // A shell passes the signal of its child on, as a number above 128.
    let signal = match status {
        Status::Signaled { signal, .. } => signal,
        Status::Exited(code) if code > 128 => code - 128,
        // What a loader says that finds no room.
        Status::Exited(127) => 0,
        _ => return None,
    };
    let used_up = match signal {
        libc::SIGXCPU => named("cpu_time"),
        libc::SIGXFSZ => named("file_size"),
        _ => None,
    };
    if let Some(limit) = used_up {
        return Some(format!("it has used up its limit `{}`", limit.name));
    }
    let begins_badly = [0, libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT];
    if !is_young || !begins_badly.contains(&signal) {
        return None;
    }
    let small = limits.iter().filter(|limit| limit.needed().is_some());
    let small: Vec<String> =
        small.map(|limit| format!("{}: {}", limit.name, limit.written(limit.soft))).collect();
    (!small.is_empty()).then(|| {
        format!("most likely its `limits: {{ {} }}` are too small to start it", small.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &'static str, soft: u64) -> ResourceLimit {
        ResourceLimit { resource: 0, name, soft, hard: None }
    }

    #[test]
    fn a_limit_is_blamed_only_where_it_is_small_and_the_end_fits() {
        let segfault = Status::Signaled { signal: libc::SIGSEGV, core_dumped: false };
        let small = [limit("stack", 4 << 10), limit("address_space", 8 << 20)];
        let both = "most likely its `limits: { stack: 4KiB, address_space: 8MiB }` are too small \
                    to start it";
        for status in [segfault, Status::Exited(127)] {
            assert_eq!(likely_limit(&small, status, true).as_deref(), Some(both));
        }
        assert_eq!(likely_limit(&small, Status::Exited(1), true), None, "it has run");
        assert_eq!(
            likely_limit(&[limit("stack", 8 << 20)], segfault, true),
            None,
            "that is enough"
        );
        let used_up = likely_limit(&[limit("file_size", 1 << 20)], Status::Exited(128 + 25), false);
        assert_eq!(used_up.as_deref(), Some("it has used up its limit `file_size`"));
        let cpu = Status::Signaled { signal: libc::SIGXCPU, core_dumped: false };
        assert_eq!(likely_limit(&small, cpu, true), None, "it has no such limit");
        assert_eq!(likely_limit(&small, segfault, false), None, "it has run for a while");
    }
}
