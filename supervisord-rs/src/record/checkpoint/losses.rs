//! A worker's part in an incident that is not on record, as words.

use std::time::Duration;

use supervision::{
    FaultId, Generation, Incarnation, IncidentId, Loss, OpenLoss, Outcome, WorkerId,
};

use super::endings::{ending, read_ending};
use super::nanos;

/// Words of one.
pub(super) const WORDS: usize = 10;

/// Where the launches that failed again begin among the flags.
const COUNT_AT: u32 = 16;
/// More of them are not counted.
const COUNT_MAX: u64 = u64::MAX >> COUNT_AT;

pub(super) fn write(open: OpenLoss) -> [u64; WORDS] {
    let OpenLoss {
        incident,
        opened,
        ending: how,
        count,
        loss,
        is_culprit,
        supervisor_died,
        injected,
    } = open;
    let (kind, generation, at) = match loss.outcome {
        Outcome::Pending => (0, 0, 0),
        Outcome::Recovered { incarnation, at } => (1, incarnation.generation.0, nanos(at)),
        Outcome::Down => (2, 0, 0),
        Outcome::FailedAgain => (3, 0, 0),
    };
    let again = count.saturating_sub(1).min(COUNT_MAX) << COUNT_AT;
    let facts = [is_culprit, loss.collateral, supervisor_died];
    let facts = facts.into_iter().rev().fold(0, |all, fact| all << 1 | u64::from(fact));
    let flags = facts | kind << 8 | again;
    let (code, parameter) =
        injected.map_or((0, 0), |fault| (u64::from(fault.code), fault.parameter));
    let (status, value) = ending(how);
    [
        incident.0,
        loss.incarnation.generation.0,
        nanos(opened),
        flags,
        generation,
        at,
        code,
        parameter,
        status,
        value,
    ]
}

/// Reads it back; `None` where there is none, or it makes no sense. Times that lie after `now` are
/// `now`.
pub(super) fn read(words: &[u64; WORDS], now: Duration) -> Option<OpenLoss> {
    let [incident, lost, opened, flags, generation, at, code, parameter, status, value] = *words;
    let moment = |word: u64| Duration::from_nanos(word).min(now);
    let incarnation =
        |generation| Incarnation { worker: WorkerId(0), generation: Generation(generation) };
    let outcome = match flags >> 8 & 0xff {
        0 => Outcome::Pending,
        1 => Outcome::Recovered { incarnation: incarnation(generation), at: moment(at) },
        2 => Outcome::Down,
        3 => Outcome::FailedAgain,
        _ => return None,
    };
    let loss = Loss { incarnation: incarnation(lost), collateral: flags >> 1 & 1 == 1, outcome };
    let code = u32::try_from(code).ok()?;
    let injected = (code != 0).then_some(FaultId { code, parameter, at_launch: false });
    let ending = read_ending(status, value)?;
    (incident != 0 && incident <= u64::from(u32::MAX)).then(|| OpenLoss {
        incident: IncidentId(incident),
        opened: moment(opened),
        ending,
        count: (flags >> COUNT_AT) + 1,
        loss,
        is_culprit: flags & 1 == 1,
        supervisor_died: flags >> 2 & 1 == 1,
        injected,
    })
}
