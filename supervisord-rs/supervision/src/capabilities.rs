//! What a kind of isolation gives a worker, and what can be done to one that runs in it. The
//! machine and the daemon decide by this, and not by which kind it is: a driver brings its own.

/// What is true of every worker in a fault domain of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Its name in tables, records and the API.
    pub label: &'static str,
    /// What a worker there is, in a sentence.
    pub place: &'static str,
    /// Who shares the domain, and so its end.
    pub fault_domain: FaultDomain,
    /// Whether a worker can be killed, and no other with it. False: one that does not answer is
    /// left behind or takes its domain along, see [`OnHang`](crate::spec::OnHang).
    pub can_be_killed_alone: bool,
    /// Whether a worker can be suspended, and no other with it.
    pub can_be_paused: bool,
    /// Whether what a worker destroys in its memory is its own alone.
    pub has_own_memory: bool,
    /// Whether the kernel can limit what the domain uses.
    pub has_limits: bool,
    /// Whether a worker is a process, which no other worker lives in: it has a user, an environment
    /// and limits of its own, and can be sent signals.
    pub has_own_process: bool,
    /// Whether a worker goes on when the supervisor gives way or dies, for another one to take
    /// over, where there is a place to keep it for that.
    pub outlives_supervisor: bool,
}

/// Who shares a fault domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultDomain {
    /// All that live in the supervisor's own process, and the supervisor itself.
    Supervisor,
    /// All workers that name the same domain.
    Shared,
    /// One worker alone; the domain has its name.
    Own,
}

impl Capabilities {
    /// Whether a worker shares its domain with the supervisor, and ends with it.
    #[must_use]
    pub fn is_of_supervisor(&self) -> bool {
        self.fault_domain == FaultDomain::Supervisor
    }

    /// Whether a worker runs in a process, its own or that of others too, which a signal strikes.
    #[must_use]
    pub fn has_process(&self) -> bool {
        self.has_own_process || !self.is_alone()
    }

    /// Whether workers share the domain with each other, and not with the supervisor.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.fault_domain == FaultDomain::Shared
    }

    /// Whether a worker has its domain, and so its process, for itself.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.fault_domain == FaultDomain::Own
    }
}
