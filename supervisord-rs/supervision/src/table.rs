//! The total table of what each signal means in each phase of a worker's life. A signal has all
//! that is known of what happened, and the table hands it on: nothing is looked up twice.

use core::time::Duration;

use crate::ending::Ending;
use crate::worker::Phase;

/// What can happen to a worker in the course of its life, with all that is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Launched,
    LaunchFailed(Ending),
    Ready,
    Confirmed,
    Exited,
    Ended(Ending),
    /// `is_suspended`: another process has suspended the worker's.
    Heartbeat {
        last_beat: Duration,
        is_suspended: bool,
    },
    Readiness {
        is_ready: bool,
    },
    Unhealthy,
    Extended {
        until: Duration,
    },
    PhaseDue,
    HeartbeatDue,
    /// By its position in the specification.
    InjectionDue(usize),
    Start,
    Stop,
}

/// What a signal means in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// It is up: wait until it is ready, or carry out an order that waits.
    Begin,
    /// Its launch takes too long.
    Withdraw,
    /// It was ready before its launch was answered.
    RememberReady,
    /// Ask the driver whether it still lives.
    AskConfirm,
    /// It is running, if the driver was asked.
    Promote,
    /// What its main process left behind must go.
    ClearAway,
    /// The incarnation is over, or never ran.
    End(Ending),
    /// It may be depended on, or not.
    NoteReadiness { is_ready: bool },
    /// It is alive and of no use: stop it.
    GiveUpOn,
    /// It needs longer.
    Extend { until: Duration },
    /// What was killed is still there.
    ReportRemains,
    /// Is the heartbeat recent enough, if the driver was asked for it?
    JudgeHeartbeat { last_beat: Duration, is_suspended: bool },
    /// Ready by staying up, or too late.
    EndStart,
    /// It let the grace period pass.
    Escalate,
    /// The next attempt is due.
    Retry,
    /// Ask the driver for the heartbeat.
    AskHeartbeat,
    /// A fault on schedule is due.
    Inject(usize),
    /// Launch it as soon as its dependencies allow.
    Launch,
    /// There is no incarnation, nor will there be an attempt by itself: back to idle, and from
    /// there up again if it is wanted.
    LayDown,
    /// It is up or coming up: withdraw an order to stop that waits.
    KeepUp,
    /// Carry out the order to stop as soon as its dependents are gone.
    OrderStop,
    /// The order is carried out already, or will be when it has ended.
    Stand,
    /// A late answer to a question that no longer matters.
    Ignore,
    /// It cannot happen: drop and count it.
    Stale,
}

/// The life-cycle table. It is total: each pair stands here, and a new phase or signal does not
/// compile without its row. Only for that it may be as long as it is.
pub(crate) const fn react(phase: Phase, signal: Signal) -> Reaction {
    use Phase::{
        Backoff, Finished, Idle, Killing, Launching, Quarantined, Running, Starting, Stopping,
    };
    match (signal, phase) {
        (Signal::Launched, Launching) => Reaction::Begin,
        (Signal::LaunchFailed(ending), Launching) => Reaction::End(ending),
        (
            Signal::Launched | Signal::LaunchFailed(_),
            Idle | Starting | Running | Stopping | Killing | Backoff | Quarantined | Finished,
        ) => Reaction::Stale,
        (Signal::Ready, Launching) => Reaction::RememberReady,
        (Signal::Ready, Starting) => Reaction::AskConfirm,
        (Signal::Ready, Running) => Reaction::Ignore,
        (Signal::Confirmed, Starting) => Reaction::Promote,
        (Signal::Confirmed, Launching | Running) => Reaction::Stale,
        // A worker that was asked to stop has its grace period for all that it started.
        (Signal::Exited, Launching | Starting | Running) => Reaction::ClearAway,
        // An end in launching overtook the answer to the launch; what is over is over.
        (Signal::Ended(ending), Launching | Starting | Running | Stopping | Killing) => {
            Reaction::End(ending)
        }
        (Signal::Heartbeat { last_beat, is_suspended }, Running) => {
            Reaction::JudgeHeartbeat { last_beat, is_suspended }
        }
        (Signal::Readiness { is_ready }, Running) => Reaction::NoteReadiness { is_ready },
        (Signal::Heartbeat { .. } | Signal::Readiness { .. }, Launching | Starting) => {
            Reaction::Stale
        }
        (Signal::Unhealthy, Starting | Running) => Reaction::GiveUpOn,
        (Signal::Unhealthy | Signal::Extended { .. }, Launching) => Reaction::Stale,
        (Signal::Extended { until }, Starting | Stopping) => Reaction::Extend { until },
        (Signal::Extended { .. }, Running) => Reaction::Ignore,
        // What was asked or observed before it was to end.
        (
            Signal::Ready
            | Signal::Confirmed
            | Signal::Exited
            | Signal::Heartbeat { .. }
            | Signal::Readiness { .. }
            | Signal::Unhealthy,
            Stopping | Killing,
        )
        | (Signal::Extended { .. }, Killing) => Reaction::Ignore,
        // Nothing runs that could be heard of.
        (
            Signal::Ready
            | Signal::Confirmed
            | Signal::Exited
            | Signal::Ended(_)
            | Signal::Heartbeat { .. }
            | Signal::Readiness { .. }
            | Signal::Unhealthy
            | Signal::Extended { .. },
            Idle | Backoff | Quarantined | Finished,
        ) => Reaction::Stale,
        (Signal::PhaseDue, Launching) => Reaction::Withdraw,
        (Signal::PhaseDue, Starting) => Reaction::EndStart,
        (Signal::PhaseDue, Stopping) => Reaction::Escalate,
        (Signal::PhaseDue, Killing) => Reaction::ReportRemains,
        (Signal::PhaseDue | Signal::Start, Backoff | Quarantined) => Reaction::Retry,
        (Signal::PhaseDue, Idle | Running | Finished) => Reaction::Ignore,
        (Signal::HeartbeatDue, Running) => Reaction::AskHeartbeat,
        (Signal::InjectionDue(position), Running) => Reaction::Inject(position),
        (
            Signal::HeartbeatDue | Signal::InjectionDue(_),
            Idle | Launching | Starting | Stopping | Killing | Backoff | Quarantined | Finished,
        ) => Reaction::Ignore,
        (Signal::Start, Idle) => Reaction::Launch,
        (Signal::Start, Launching | Starting | Running) => Reaction::KeepUp,
        (Signal::Start, Finished) | (Signal::Stop, Backoff | Quarantined) => Reaction::LayDown,
        (Signal::Stop, Launching | Starting | Running) => Reaction::OrderStop,
        (Signal::Start, Stopping | Killing)
        | (Signal::Stop, Idle | Stopping | Killing | Finished) => Reaction::Stand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ending::{Cause, Status};

    const PHASES: [Phase; 9] = [
        Phase::Idle,
        Phase::Launching,
        Phase::Starting,
        Phase::Running,
        Phase::Stopping,
        Phase::Killing,
        Phase::Backoff,
        Phase::Quarantined,
        Phase::Finished,
    ];
    const ENDING: Ending = Ending { status: Status::Exited(1), cause: Cause::Error };
    const AT: Duration = Duration::from_secs(1);

    /// All that can be heard of an incarnation.
    const HEARD: [Signal; 10] = [
        Signal::Launched,
        Signal::LaunchFailed(ENDING),
        Signal::Ready,
        Signal::Confirmed,
        Signal::Exited,
        Signal::Ended(ENDING),
        Signal::Heartbeat { last_beat: AT, is_suspended: true },
        Signal::Readiness { is_ready: true },
        Signal::Unhealthy,
        Signal::Extended { until: AT },
    ];

    #[test]
    fn what_is_heard_of_a_worker_without_an_incarnation_is_stale() {
        for phase in PHASES.into_iter().filter(|phase| !phase.is_live()) {
            for signal in HEARD {
                assert_eq!(react(phase, signal), Reaction::Stale, "{signal:?} in {phase:?}");
            }
        }
    }

    #[test]
    fn an_end_is_an_end_in_every_phase_that_has_an_incarnation() {
        for phase in PHASES.into_iter().filter(|phase| phase.is_live()) {
            assert_eq!(react(phase, Signal::Ended(ENDING)), Reaction::End(ENDING), "{phase:?}");
        }
    }

    #[test]
    fn what_is_to_end_is_not_brought_back_by_anything_that_is_heard() {
        for phase in [Phase::Stopping, Phase::Killing] {
            for signal in HEARD.into_iter().chain([Signal::Start]) {
                let reaction = react(phase, signal);
                let is_harmless = matches!(
                    reaction,
                    Reaction::End(_)
                        | Reaction::Extend { .. }
                        | Reaction::Stand
                        | Reaction::Ignore
                        | Reaction::Stale
                );
                assert!(is_harmless, "{signal:?} in {phase:?}: {reaction:?}");
            }
        }
    }

    #[test]
    fn a_signal_keeps_its_data() {
        let beat = Signal::Heartbeat { last_beat: AT, is_suspended: true };
        let judged = Reaction::JudgeHeartbeat { last_beat: AT, is_suspended: true };
        assert_eq!(react(Phase::Running, beat), judged);
        assert_eq!(react(Phase::Running, Signal::InjectionDue(3)), Reaction::Inject(3));
        let extended = Signal::Extended { until: AT };
        assert_eq!(react(Phase::Stopping, extended), Reaction::Extend { until: AT });
        let unready = Signal::Readiness { is_ready: false };
        assert_eq!(react(Phase::Running, unready), Reaction::NoteReadiness { is_ready: false });
    }
}
