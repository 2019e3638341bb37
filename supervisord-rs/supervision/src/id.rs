//! Names for things: newtypes, so that an index of one kind is never taken for another.

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in the list of the [`Spec`](crate::Spec) that this id names.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(
    /// A worker: a position in [`Spec::workers`](crate::Spec).
    WorkerId
);
index!(
    /// A fault domain: a position in [`Spec::domains`](crate::Spec).
    DomainId
);
index!(
    /// A group: a position in [`Spec::groups`](crate::Spec).
    GroupId
);

/// One more at each launch of a worker, never reused, kept across deaths of the supervisor. 0:
/// never launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation of the next launch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One run of a worker. A message about an older incarnation is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// Which worker.
    pub worker: WorkerId,
    /// Which run of it.
    pub generation: Generation,
}

/// An incident of this supervisor's `state_dir`; counts up from 1, also across deaths of the
/// supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(pub u64);

/// A command waiting for its answer; chosen by the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A fault of the catalogue, by its stable code. The machine carries it and does not know what it
/// means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId {
    /// The code of the fault in the catalogue of the worker SDK.
    pub code: u32,
    /// The fault's parameter (an exit code, a cap in bytes, ...); 0 where it takes none.
    pub parameter: u64,
    /// Whether it is for the next incarnation of its worker, which has it from its beginning.
    pub at_launch: bool,
}
