//! How an incarnation ended: what the kernel said (status), and why we think so (cause).

/// How an incarnation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What was observed.
    pub status: Status,
    /// Why. The driver fills in what its evidence says (last words, breadcrumb); the machine
    /// overrides it where the ending was its own doing ([`Cause::Requested`], [`Cause::Hang`],
    /// [`Cause::StartTimeout`], ...).
    pub cause: Cause,
}

impl Ending {
    /// Of a launch of which nothing came.
    pub(crate) const fn not_launched(failure: LaunchFailure, cause: Cause) -> Self {
        Self { status: Status::NotLaunched(failure), cause }
    }
}

/// What was observed of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The process exited with this code.
    Exited(i32),
    /// The process was ended by a signal.
    Signaled {
        /// Its number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// The thread returned `Ok`.
    Returned,
    /// The thread returned an error.
    Failed,
    /// The thread unwound from a panic, and the panic was contained.
    Panicked,
    /// The thread would not stop and was left behind.
    Abandoned,
    /// It never ran.
    NotLaunched(LaunchFailure),
    /// Unknown: the supervisor was dead at the time.
    Unknown,
}

/// Why a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its work was done: exit code 0 or `Ok`, unasked.
    Finished,
    /// It was told to.
    Requested,
    /// A non-zero exit code, or `Err`.
    Error,
    /// An `Err` that says of itself that no restart mends it.
    PermanentError,
    /// A panic.
    Panic,
    /// A panic while panicking, or one that could not unwind.
    PanicNoUnwind,
    /// A bad memory access.
    Segfault,
    /// It ran out of stack.
    StackOverflow,
    /// `abort()`, also by the allocator that found its heap corrupt.
    Abort,
    /// An illegal instruction.
    IllegalInstruction,
    /// An arithmetic exception.
    FloatingPoint,
    /// A bus error.
    Bus,
    /// Its heartbeat stopped.
    Hang,
    /// It did not become ready in time.
    StartTimeout,
    /// Its liveness probe gave it up.
    Unhealthy,
    /// It did not stop in time and was killed.
    StopTimeout,
    /// SIGKILL by someone else: a person, or the kernel's OOM killer where no cgroup of its own
    /// counted it.
    Killed,
    /// The kernel's OOM killer ended it: it, or what it started, reached the memory limit of its
    /// cgroup.
    OutOfMemory,
    /// Another signal.
    Signal,
    /// It could not be launched.
    LaunchFailure,
    /// Another worker of its fault domain took it along.
    DomainLost,
    /// A group strategy or a dependency had it restarted.
    Collateral,
    /// Its thread has ended silently (without returning, for example by `pthread_exit`).
    Vanished,
    /// No evidence.
    Unknown,
}

impl Cause {
    /// Whether an ending by this cause is a failure, and so an incident.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Finished | Self::Requested | Self::StopTimeout | Self::Collateral => false,
            Self::Error
            | Self::PermanentError
            | Self::Panic
            | Self::PanicNoUnwind
            | Self::Segfault
            | Self::StackOverflow
            | Self::Abort
            | Self::IllegalInstruction
            | Self::FloatingPoint
            | Self::Bus
            | Self::Hang
            | Self::StartTimeout
            | Self::Unhealthy
            | Self::Killed
            | Self::OutOfMemory
            | Self::Signal
            | Self::LaunchFailure
            | Self::DomainLost
            | Self::Vanished
            | Self::Unknown => true,
        }
    }
}

/// A launch that failed: the stage and the errno say what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchFailure {
    /// Which step.
    pub stage: LaunchStage,
    /// The errno of that step; 0 where no system call failed.
    pub errno: i32,
    /// Whether the machine was short of something (descriptors, processes, memory): the attempt
    /// does not count against the worker's limit, and is made again.
    pub transient: bool,
    /// Of a command that runs before it: its exit code, as a shell has it (128 + n for signal n,
    /// 127 and 126 for one that could not be started). 0 for any other step.
    pub code: i32,
}

impl LaunchFailure {
    /// It was dropped before it began: its worker was asked to stop.
    pub const NOT_BEGUN: Self =
        Self { stage: LaunchStage::CLONE, errno: 0, transient: true, code: 0 };
}

/// A step of a launch, by its number: the supervisor's catalogue has its name, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaunchStage(pub u8);

impl LaunchStage {
    /// The process is to be created.
    pub const CLONE: Self = Self(2);
    /// The command that runs before it.
    pub const START_BEFORE: Self = Self(23);
}
