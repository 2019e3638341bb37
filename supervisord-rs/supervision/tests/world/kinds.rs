//! Three kinds of isolation, as those that there are.

use supervision::{Capabilities, FaultDomain};

/// It shares everything with the supervisor.
pub static THREAD: Capabilities = Capabilities {
    label: "thread",
    place: "a thread of the supervisor",
    fault_domain: FaultDomain::Supervisor,
    can_be_killed_alone: false,
    can_be_paused: false,
    has_own_memory: false,
    has_limits: false,
    has_own_process: false,
    outlives_supervisor: false,
};

/// It shares everything with the workers of its domain.
pub static CELL: Capabilities = Capabilities {
    label: "cell",
    place: "a thread of a cell",
    fault_domain: FaultDomain::Shared,
    has_limits: true,
    outlives_supervisor: true,
    ..THREAD
};

/// It shares nothing.
pub static PROCESS: Capabilities = Capabilities {
    label: "process",
    place: "a process",
    fault_domain: FaultDomain::Own,
    can_be_killed_alone: true,
    can_be_paused: true,
    has_own_memory: true,
    has_limits: true,
    has_own_process: true,
    outlives_supervisor: true,
};
