//! How long a run of a scenario takes at most.

use std::time::Duration;

use super::limits::Patience;
use crate::config::scenario::lasts;
use crate::config::scenario::script::{Action, Scenario, Until};
use crate::config::scenario::storm::{Blow, Blows, Choice, Storm, Whom};

/// For a step beside its own limit: the supervisor answers in this time.
const STEP: Duration = Duration::from_secs(5);
/// To begin, and to look at what is left.
const AROUND: Duration = Duration::from_secs(45);
/// For a supervisor that was killed to be replaced, and for an order to be answered.
const ANSWER: Duration = Duration::from_secs(60);

/// After this time a run is ended from outside.
#[must_use]
pub(crate) fn bound(scenario: &Scenario) -> Duration {
    let patience = scenario.configurations.iter().map(|one| Patience(&one.settings));
    let shutdown = patience.map(Patience::shutdown).max().unwrap_or_default();
    let steps =
        scenario.steps.iter().map(|step| STEP.saturating_add(limit(scenario, &step.action)));
    steps.fold(AROUND.saturating_add(shutdown), Duration::saturating_add)
}

fn limit(scenario: &Scenario, action: &Action) -> Duration {
    match action {
        Action::Wait(Until::For(duration), _) => *duration,
        Action::Wait(
            Until::Running(_) | Until::Phase(_) | Until::Log(_) | Until::Progress(_),
            within,
        ) => *within,
        Action::Mark(_) | Action::Fill(_) | Action::Kill(Whom::Guardian) => AROUND,
        Action::Inject { worker, configuration, .. } => {
            let settings = &scenario.configurations[*configuration].settings;
            let number = settings.launches.iter().position(|launch| launch.name == *worker);
            number.map_or(ANSWER, |number| Patience(settings).recovery(number))
        }
        Action::Load(load) => {
            let meanwhile = load.steps.iter().map(|step| limit(scenario, &step.action));
            let steps = meanwhile.fold(load.lasts, |sum, one| sum.saturating_add(STEP + one));
            steps.saturating_add(AROUND)
        }
        Action::Storm(storm) => of_storm(scenario, storm),
        Action::Expect(expectation) => expectation.within,
        Action::Kill(Whom::Supervisor) | Action::Signal { .. } => ANSWER,
        Action::Order(_, _, within) | Action::Reload(_, within) | Action::Scale { within, .. } => {
            within.saturating_add(ANSWER)
        }
    }
}

/// A storm goes on until all are back. Each death of a guardian is an end and a start.
fn of_storm(scenario: &Scenario, storm: &Storm) -> Duration {
    let patience = Patience(&scenario.configurations[storm.configuration].settings);
    let is_guardian = |blow: &Blow| *blow == Blow::Kill(Whom::Guardian);
    let guardians = match &storm.blows {
        Blows::Written(schedule) => schedule.iter().filter(|one| is_guardian(&one.blow)).count(),
        Blows::Drawn(lots) if lots.choices.contains(&Choice::Kill(Whom::Guardian)) => {
            lots.count().div_ceil(lots.choices.len()) * 2
        }
        Blows::Drawn(_) => 0,
    };
    let again = patience.shutdown().saturating_add(patience.start());
    let again = again.saturating_mul(u32::try_from(guardians).unwrap_or(u32::MAX));
    // Where the machine is slow, blows wait for their victims.
    let blows = lasts(&storm.blows).saturating_mul(3);
    let calm = storm.within.saturating_mul(4);
    [AROUND, ANSWER, blows, again, calm].into_iter().fold(Duration::ZERO, Duration::saturating_add)
}
