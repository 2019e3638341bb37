//! The shortest schedule that still fails: delta debugging (ddmin: Zeller, Hildebrandt 2002) over
//! the blows of a storm. What a candidate does is not always the same, so that two of three runs
//! decide. It runs nothing: it says which candidate is next, and hears what came of it.

use std::collections::BTreeSet;

/// The search.
#[derive(Clone, Debug)]
pub(crate) struct Shrink {
    /// What fails, by number: the best so far.
    kept: Vec<usize>,
    /// Into so many parts is it cut.
    parts: usize,
    /// Which part, and whether the part alone or all but the part.
    at: usize,
    is_complement: bool,
    /// Candidates that have held.
    held: BTreeSet<Vec<usize>>,
    /// The one that is asked about, and what its runs have said.
    asked: Option<Vec<usize>>,
    votes: Votes,
}

/// What runs of one candidate have said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Votes {
    failed: u32,
    held: u32,
}

impl Votes {
    /// Once two agree: whether it fails.
    const fn verdict(self) -> Option<bool> {
        match (self.failed, self.held) {
            (2.., _) => Some(true),
            (_, 2..) => Some(false),
            _ => None,
        }
    }
}

impl Shrink {
    /// Of `count` blows, which fail together.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            kept: (0..count).collect(),
            parts: 2,
            at: 0,
            is_complement: false,
            held: BTreeSet::new(),
            asked: None,
            votes: Votes::default(),
        }
    }

    /// The fewest that are known to fail.
    pub(crate) fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// What to run next. `None`: none of those that are kept can be left out.
    pub(crate) fn candidate(&mut self) -> Option<&[usize]> {
        while self.asked.is_none() {
            if self.kept.len() < 2 {
                return None;
            }
            if self.at >= self.parts {
                self.turn()?;
                continue;
            }
            let part = self.part();
            let asked: Vec<usize> = if self.is_complement {
                self.kept.iter().filter(|one| !part.contains(one)).copied().collect()
            } else {
                part
            };
            if self.held.contains(&asked) {
                self.at += 1;
            } else {
                self.asked = Some(asked);
            }
        }
        self.asked.as_deref()
    }

    /// A run of the candidate has ended.
    pub(crate) fn hear(&mut self, failed: bool) {
        self.votes.failed += u32::from(failed);
        self.votes.held += u32::from(!failed);
        let Some(fails) = self.votes.verdict() else { return };
        self.votes = Votes::default();
        let Some(asked) = self.asked.take() else { return };
        if !fails {
            self.held.insert(asked);
            self.at += 1;
            return;
        }
        self.parts = if self.is_complement { (self.parts - 1).max(2) } else { 2 };
        self.parts = self.parts.min(asked.len());
        self.kept = asked;
        (self.at, self.is_complement) = (0, false);
    }

    /// After all parts come all complements, and after these smaller parts.
    fn turn(&mut self) -> Option<()> {
        self.at = 0;
        // Of two parts each is the complement of the other.
        if !self.is_complement && self.parts > 2 {
            self.is_complement = true;
            return Some(());
        }
        self.is_complement = false;
        if self.parts >= self.kept.len() {
            return None;
        }
        self.parts = (self.parts * 2).min(self.kept.len());
        Some(())
    }

    fn part(&self) -> Vec<usize> {
        let count = self.kept.len();
        let cut = |at: usize| at * count / self.parts;
        self.kept[cut(self.at)..cut(self.at + 1)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::storm::schedule::Random;

    /// As the paper has it, without a cache.
    fn reference(kept: &[usize], parts: usize, fails: &dyn Fn(&[usize]) -> bool) -> Vec<usize> {
        let count = kept.len();
        if count < 2 {
            return kept.to_vec();
        }
        let part = |at: usize| &kept[at * count / parts..(at + 1) * count / parts];
        for at in 0..parts {
            if fails(part(at)) {
                return reference(part(at), 2.min(part(at).len()), fails);
            }
        }
        for at in 0..parts {
            let rest: Vec<usize> =
                kept.iter().filter(|one| !part(at).contains(one)).copied().collect();
            if fails(&rest) {
                return reference(&rest, (parts - 1).max(2).min(rest.len()), fails);
            }
        }
        if parts < count { reference(kept, (parts * 2).min(count), fails) } else { kept.to_vec() }
    }

    fn shrunk(count: usize, mut fails: impl FnMut(&[usize]) -> bool) -> (Vec<usize>, usize) {
        let mut shrink = Shrink::new(count);
        let mut runs = 0;
        while let Some(candidate) = shrink.candidate() {
            let failed = fails(candidate);
            shrink.hear(failed);
            runs += 1;
        }
        (shrink.kept().to_vec(), runs)
    }

    /// Fails where all of one of these sets are there: what bugs that need several blows do.
    fn random_predicate(random: &mut Random, count: usize) -> Vec<BTreeSet<usize>> {
        let bound = u64::try_from(count).expect("small");
        let number = |random: &mut Random| usize::try_from(random.below(bound)).expect("small");
        let sets = 1 + random.below(3);
        (0..sets)
            .map(|_| {
                let size = 1 + random.below(4);
                (0..size).map(|_| number(random)).collect()
            })
            .collect()
    }

    #[test]
    fn it_finds_what_the_algorithm_of_the_paper_finds_and_no_blow_of_it_can_be_left_out() {
        for seed in 0..2000 {
            let mut random = Random::new(seed);
            let count = 1 + usize::try_from(random.below(40)).expect("small");
            let sets = random_predicate(&mut random, count);
            // Half of them are not monotone: one blow too many hides the failure.
            let hides = (seed % 2 == 1).then(|| usize::try_from(random.below(40)).expect("small"));
            let fails = |candidate: &[usize]| {
                let has = |one: &usize| candidate.contains(one);
                candidate.len() == count
                    || sets.iter().any(|set| set.iter().all(has))
                        && hides.is_none_or(|hides| !candidate.contains(&hides))
            };
            let all: Vec<usize> = (0..count).collect();
            let (kept, _) = shrunk(count, fails);
            assert_eq!(kept, reference(&all, 2.min(count), &fails), "seed {seed}");
            assert!(fails(&kept), "seed {seed}");
            for left_out in &kept {
                let rest: Vec<usize> =
                    kept.iter().filter(|one| *one != left_out).copied().collect();
                assert!(rest.is_empty() || !fails(&rest), "seed {seed}: without {left_out}");
            }
        }
    }

    #[test]
    fn a_candidate_that_once_says_otherwise_is_outvoted() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            // Of three runs of a candidate one lies, whichever.
            let (mut last, mut run, mut liar) = (Vec::new(), 0, 0);
            let (kept, _) = shrunk(24, |candidate| {
                if last != candidate {
                    (last, run, liar) = (candidate.to_vec(), 0, random.below(3));
                }
                run += 1;
                let fails = candidate.contains(&3) && candidate.contains(&17);
                fails != (run - 1 == liar)
            });
            assert_eq!(kept, [3, 17], "seed {seed}");
        }
    }

    #[test]
    fn two_of_a_hundred_take_a_bounded_number_of_runs() {
        let (kept, runs) =
            shrunk(100, |candidate| candidate.contains(&4) && candidate.contains(&90));
        assert_eq!(kept, [4, 90]);
        assert!(runs < 120, "{runs}");
    }
}
