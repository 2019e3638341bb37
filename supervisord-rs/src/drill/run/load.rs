//! `load:`, clients that ask a server while something happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Run, Stop, adaptation};
use crate::config::scenario::script::Load;
use crate::config::settings::Check;
use crate::drill::verdict::Unmet;
use crate::probing::ask;
use crate::record::words::duration_us;
use crate::waiting::until;

/// For an answer: one that takes longer is none.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two requests of a client, and between two looks at the time.
const PAUSE: Duration = Duration::from_millis(2);

/// What clients have seen.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    asked: u64,
    failed: u64,
    slowest: Duration,
}

/// Asks until the time is over, or the steps are done.
pub(super) fn load(run: &mut Run<'_>, load: &Load) -> Result<(), Stop> {
    let adaptation = adaptation(run.bed.path(), &run.private);
    let check = load.asked.check(|text| adaptation.text(text));
    let check = check.expect("the reader has looked at it");
    let first = asks(&check, |ask| ask());
    if !first.is_some_and(|first| first) && run.disturbed.is_none() {
        let expected = "a good answer before the load begins";
        return Err(Stop::Unsteady(Unmet::new(expected, "none")));
    }
    let is_over = AtomicBool::new(false);
    let (tally, meanwhile) = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..load.clients).map(|_| scope.spawn(|| client(&check, &is_over))).collect();
        let meanwhile = meanwhile(run, load);
        is_over.store(true, Ordering::Relaxed);
        let tallies = clients.into_iter().map(|client| client.join().unwrap_or_default());
        (tallies.fold(Tally::default(), Tally::and), meanwhile)
    });
    meanwhile?;
    let unmet = judged(load, tally);
    if unmet.is_empty() { Ok(()) } else { Err(Stop::Unmet(unmet)) }
}

/// What happens while the clients ask.
fn meanwhile(run: &mut Run<'_>, load: &Load) -> Result<(), Stop> {
    let begun = Instant::now();
    let _ = until(load.lasts, PAUSE, || (begun.elapsed() >= load.lasts).then_some(()));
    load.steps.iter().try_for_each(|step| {
        run.step(step).map_err(|stop| match stop {
            Stop::Unmet(unmet) => Stop::Unmet(
                unmet
                    .into_iter()
                    .map(|one| {
                        let place =
                            format!("{} (line {}, `{}`)", one.expected, step.line, step.word);
                        Unmet::new(place, one.seen)
                    })
                    .collect(),
            ),
            other => other,
        })
    })
}

fn judged(load: &Load, tally: Tally) -> Vec<Unmet> {
    let Tally { asked, failed, slowest } = tally;
    let mut unmet = Vec::new();
    if asked == 0 {
        unmet.push(Unmet::new("requests", "none was made"));
    }
    if failed > load.failed {
        let expected = format!("at most {} requests without a good answer", load.failed);
        unmet.push(Unmet::new(expected, format!("{failed} of {asked}")));
    }
    if let Some(limit) = load.slowest.filter(|limit| slowest > *limit) {
        let expected = format!("each answer within {}", humantime::format_duration(limit));
        let us = u64::try_from(slowest.as_micros()).unwrap_or(u64::MAX);
        unmet.push(Unmet::new(expected, format!("the slowest took {}", duration_us(us))));
    }
    unmet
}

/// One client: each request waits for the answer to the one before.
fn client(check: &Check, is_over: &AtomicBool) -> Tally {
    let tally = asks(check, |ask| {
        let mut tally = Tally::default();
        while !is_over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let is_good = ask();
            tally.asked += 1;
            tally.failed += u64::from(!is_good);
            tally.slowest = tally.slowest.max(begun.elapsed());
            thread::sleep(PAUSE);
        }
        tally
    });
    tally.unwrap_or(Tally { asked: 1, failed: 1, slowest: Duration::ZERO })
}

/// Lends a way to ask. `None`: there are no descriptors for an event loop.
fn asks<T>(check: &Check, work: impl FnOnce(&dyn Fn() -> bool) -> T) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    Some(work(&|| runtime.block_on(ask::ask(check, ANSWER))))
}

impl Tally {
    fn and(self, other: Self) -> Self {
        Self {
            asked: self.asked + other.asked,
            failed: self.failed + other.failed,
            slowest: self.slowest.max(other.slowest),
        }
    }
}
