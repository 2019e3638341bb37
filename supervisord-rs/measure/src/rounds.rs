//! Repetitions in turns: what disturbs the machine for a while disturbs all cases alike.

use std::time::{Duration, Instant};

use crate::Bench;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    is_quick: bool,
    /// How often each case has its turn.
    pub(crate) rounds: usize,
    /// How long a turn takes, about.
    pub(crate) time: Duration,
}

impl Effort {
    /// All axes in less than ten minutes.
    #[must_use]
    pub const fn full() -> Self {
        Self { is_quick: false, rounds: 15, time: Duration::from_millis(20) }
    }

    /// All axes in less than a minute.
    #[must_use]
    pub const fn quick() -> Self {
        Self { is_quick: true, rounds: 5, time: Duration::from_millis(4) }
    }

    /// Whether it is the quick one.
    #[must_use]
    pub const fn is_quick(self) -> bool {
        self.is_quick
    }

    /// One of two.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        if self.is_quick { quick } else { full }
    }
}

/// What one turn of a case has measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    /// See [`crate::figures::Figure::p99`].
    pub(crate) tail: Option<f64>,
}

impl Sample {
    pub(crate) const fn of(value: f64) -> Self {
        Self { value, tail: None }
    }
}

/// What all turns of a case have measured, or why there is nothing.
pub(crate) type Taken = Result<Samples, String>;

/// See [`Taken`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    pub(crate) values: Vec<f64>,
    pub(crate) tails: Vec<f64>,
}

impl Samples {
    /// A figure that is known without measuring.
    pub(crate) fn known(value: f64) -> Taken {
        Ok(Self { values: vec![value], tails: Vec::new() })
    }

    /// What remains of each round without the other's of the same round.
    pub(crate) fn minus(taken: &Taken, other: &Taken) -> Taken {
        let (samples, other) = (taken.as_ref()?, other.as_ref()?);
        let pairs = samples.values.iter().zip(&other.values);
        Ok(Self { values: pairs.map(|(one, other)| one - other).collect(), tails: Vec::new() })
    }

    /// Each value changed.
    pub(crate) fn map(taken: &Taken, change: impl Fn(f64) -> f64) -> Taken {
        let samples = taken.as_ref()?;
        let all = |values: &[f64]| values.iter().map(|&value| change(value)).collect();
        Ok(Self { values: all(&samples.values), tails: all(&samples.tails) })
    }
}

/// One case: a turn of it.
type Turn<'a> = Box<dyn FnMut() -> Result<Sample, String> + 'a>;

/// Cases that take turns.
#[derive(Default)]
pub(crate) struct Rounds<'a> {
    cases: Vec<Turn<'a>>,
}

impl<'a> Rounds<'a> {
    /// Another case, whose number this returns.
    pub(crate) fn add(&mut self, turn: impl FnMut() -> Result<Sample, String> + 'a) -> usize {
        self.cases.push(Box::new(turn));
        self.cases.len() - 1
    }

    /// A case that cannot be measured.
    pub(crate) fn add_untaken(&mut self, why: impl Into<String>) -> usize {
        let why = why.into();
        self.add(move || Err(why.clone()))
    }

    /// All rounds, each forwards or backwards in turn; before them one that does not count, which
    /// warms up. A case that fails has no further turns. `part`: of the axis, what this is.
    pub(crate) fn run(mut self, bench: &Bench<'_>, rounds: usize, part: f64) -> Vec<Taken> {
        let mut taken: Vec<Taken> = self.cases.iter().map(|_| Ok(Samples::default())).collect();
        let count = self.cases.len();
        let turn = part / ((rounds + 1) * count.max(1)) as f64;
        for round in 0..=rounds {
            for place in 0..count {
                let case = if round % 2 == 0 { place } else { count - 1 - place };
                let outcome = if taken[case].is_ok() { Some((self.cases[case])()) } else { None };
                match (outcome, &mut taken[case]) {
                    (Some(Ok(_)), _) if round == 0 => {}
                    (Some(Ok(sample)), Ok(samples)) => {
                        samples.values.push(sample.value);
                        samples.tails.extend(sample.tail);
                    }
                    (Some(Err(why)), one) => *one = Err(why),
                    (_, _) => {}
                }
                bench.pace.advances(turn);
            }
        }
        taken
    }
}

/// Does it again, a few times, while nothing was to be seen in its time: the machine was held up.
pub(crate) fn until_seen<T>(
    mut work: impl FnMut() -> Result<Option<T>, String>,
) -> Result<Option<T>, String> {
    const TRIES: usize = 8;
    for _ in 1..TRIES {
        if let Some(seen) = work()? {
            return Ok(Some(seen));
        }
    }
    work()
}

/// How often something is to be done so that it takes about this time: found out by doing it more
/// and more often.
pub(crate) fn count_for(
    time: Duration,
    mut work: impl FnMut(usize) -> Result<(), String>,
) -> Result<usize, String> {
    let mut count = 1;
    loop {
        let begun = Instant::now();
        work(count)?;
        let took = begun.elapsed();
        if took * 4 >= time || count >= 1 << 26 {
            let each = took.as_nanos().max(1) as f64 / count as f64;
            return Ok((time.as_nanos() as f64 / each).max(1.0) as usize);
        }
        count *= 4;
    }
}

/// What doing something so often takes each time, in nanoseconds.
pub(crate) fn each(count: usize, mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..count).for_each(|_| work());
    begun.elapsed().as_nanos() as f64 / count.max(1) as f64
}
