//! The schedule of a storm: a function of its seed and of what it draws from, and of nothing else.

use std::time::Duration;

use crate::config::scenario::storm::{Blow, Choice, Injection, Lots};
use crate::stable_hash::stable_hash;

/// A blow comes after so many units of work at most, where its victim counts them.
const PROGRESS: u64 = 8;
/// Seeds that are chosen here: short enough to be copied by hand.
const SEEDS: u64 = 1 << 32;

/// `SplitMix64` (Steele, Lea, Flood 2014): a seed gives the same numbers in every build.
#[derive(Clone, Debug)]
pub(in crate::drill) struct Random(u64);

impl Random {
    pub(in crate::drill) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0. The bias of the remainder does not matter here.
    pub(in crate::drill) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(list.len()).ok().filter(|count| *count > 0)?;
        list.get(usize::try_from(self.below(count)).ok()?)
    }
}

/// The seed of a run of a campaign: that of the campaign itself for the first, so that one printed
/// seed repeats any run.
#[must_use]
pub(in crate::drill) const fn of_run(seed: u64, run: u32) -> u64 {
    if run <= 1 {
        return seed;
    }
    Random::new(seed ^ (run as u64).wrapping_mul(0xd134_2543_de82_ef95)).below(SEEDS)
}

/// What a storm does: moments spread evenly over its time, a kind for each, and a victim.
#[must_use]
pub(in crate::drill) fn draw(seed: u64, lots: &Lots) -> Vec<Injection> {
    let mut random = Random::new(seed);
    let lasts = u64::try_from(lots.lasts.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut moments: Vec<u64> = (0..lots.count()).map(|_| random.below(lasts)).collect();
    moments.sort_unstable();
    let mut before = 0;
    let mut schedule = Vec::new();
    for moment in moments {
        let Some((blow, counts)) = blow(&mut random, &lots.choices) else { continue };
        let progress = if counts { random.below(PROGRESS) } else { 0 };
        schedule.push(Injection { after: Duration::from_millis(moment - before), progress, blow });
        before = moment;
    }
    schedule
}

/// A kind and a victim, and whether that counts its work.
fn blow(random: &mut Random, choices: &[Choice]) -> Option<(Blow, bool)> {
    match random.pick(choices)? {
        Choice::Kill(whom) => Some((Blow::Kill(*whom), false)),
        Choice::Fault { fault, workers } => {
            let victim = random.pick(workers)?;
            let (worker, fault) = (victim.name.clone(), fault.clone());
            Some((Blow::Fault { worker, fault }, victim.counts))
        }
    }
}

/// What two equal schedules have in common, and others most likely not.
#[must_use]
pub(in crate::drill) fn mark(schedule: &[Injection]) -> String {
    let text = serde_json::to_string(schedule).expect("texts and numbers");
    format!("{:016x}", stable_hash(text.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scenario::storm::{Candidate, Whom};

    fn lots(per_second_permille: u32, seconds: u64) -> Lots {
        let candidate = |name: &str, counts| Candidate { name: name.to_owned(), counts };
        let workers = vec![candidate("a", true), candidate("b", false)];
        Lots {
            seed: None,
            choices: vec![
                Choice::Fault { fault: "segfault".to_owned(), workers },
                Choice::Kill(Whom::Supervisor),
            ],
            per_second_permille,
            lasts: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn one_seed_gives_one_schedule_and_another_seed_another() {
        let lots = lots(5000, 20);
        let schedule = draw(7, &lots);
        assert_eq!(schedule.len(), 100);
        assert_eq!(schedule, draw(7, &lots));
        assert_ne!(schedule, draw(8, &lots));
        // It is the same in every build: seeds are kept in files.
        assert_eq!(mark(&schedule), "b7e5ce91858dc267");
    }

    #[test]
    fn every_seed_keeps_to_the_time_to_the_rate_and_to_who_is_named() {
        for seed in 0..500 {
            let lots = lots(1 + u32::try_from(seed).expect("small") * 7, 9);
            let schedule = draw(seed, &lots);
            assert_eq!(schedule.len(), lots.count(), "{seed}");
            let lasts: Duration = schedule.iter().map(|one| one.after).sum();
            assert!(lasts < lots.lasts, "{seed}: {lasts:?}");
            for one in &schedule {
                match &one.blow {
                    Blow::Kill(whom) => assert_eq!((*whom, one.progress), (Whom::Supervisor, 0)),
                    Blow::Fault { worker, fault } => {
                        assert_eq!(fault, "segfault");
                        assert!(worker == "a" || one.progress == 0, "{one:?}");
                        assert!(one.progress < PROGRESS);
                    }
                }
            }
        }
        let drawn = draw(1, &lots(50_000, 20));
        let kills = drawn.iter().filter(|one| matches!(one.blow, Blow::Kill(_))).count();
        assert!((400..600).contains(&kills), "{kills} of {}", drawn.len());
    }

    #[test]
    fn the_seed_of_a_run_repeats_it_as_the_first_of_another_campaign() {
        let seeds: Vec<u64> = (1..=1000).map(|run| of_run(42, run)).collect();
        assert_eq!(seeds[0], 42);
        let others: std::collections::BTreeSet<u64> = seeds.iter().copied().collect();
        assert_eq!(others.len(), seeds.len());
        assert!(seeds.iter().all(|seed| *seed < SEEDS && of_run(*seed, 1) == *seed));
    }
}
