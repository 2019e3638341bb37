//! A part of a campaign, which another machine or job does the rest of.

use std::fmt;
use std::str::FromStr;

/// The trials K, K + N, K + 2 N, ... of a campaign: those of shard K of N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Which, from 1.
    pub(crate) number: u32,
    /// Of how many.
    pub(crate) of: u32,
}

/// The variables of those that run a job several times at once: the number of the job, the number
/// of the first one, how many there are, and the step between two numbers.
struct Array {
    number: &'static str,
    first: First,
    count: &'static str,
}

enum First {
    Is(u32),
    /// A variable says so; another one the step between two numbers.
    Said(&'static str, &'static str),
}

const ARRAYS: [Array; 4] = [
    // GitLab, `parallel:`
    Array { number: "CI_NODE_INDEX", first: First::Is(1), count: "CI_NODE_TOTAL" },
    Array { number: "CIRCLE_NODE_INDEX", first: First::Is(0), count: "CIRCLE_NODE_TOTAL" },
    Array {
        number: "BUILDKITE_PARALLEL_JOB",
        first: First::Is(0),
        count: "BUILDKITE_PARALLEL_JOB_COUNT",
    },
    Array {
        number: "SLURM_ARRAY_TASK_ID",
        first: First::Said("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"),
        count: "SLURM_ARRAY_TASK_COUNT",
    },
];

/// What stands for the variables of a CI.
const AUTO: &str = "auto";

impl Shard {
    /// The only one.
    pub(crate) const WHOLE: Self = Self { number: 1, of: 1 };

    /// Whether the trial with this number, from 1, belongs to it.
    pub(crate) fn has(self, trial: usize) -> bool {
        let (number, of) = (self.number as usize, self.of as usize);
        trial > 0 && (trial - 1) % of == number - 1
    }

    fn new(number: u32, of: u32) -> Option<Self> {
        (number >= 1 && number <= of).then_some(Self { number, of })
    }

    /// By the variables that CI systems and array jobs set.
    fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let number = |name: &str| variable(name)?.trim().parse::<u32>().ok();
        for array in ARRAYS {
            let (Some(at), Some(count)) = (number(array.number), number(array.count)) else {
                continue;
            };
            let (first, step) = match array.first {
                First::Is(first) => (first, 1),
                First::Said(first, step) => {
                    (number(first).unwrap_or(0), number(step).unwrap_or(1).max(1))
                }
            };
            let place = at.checked_sub(first).map(|steps| steps / step + 1);
            return place.and_then(|place| Self::new(place, count)).ok_or_else(|| {
                format!("{}={at} is not one of {}={count}", array.number, array.count)
            });
        }
        let names: Vec<&str> = ARRAYS.iter().map(|array| array.number).collect();
        Err(format!("none of these variables is set with its count: {}", names.join(", ")))
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == AUTO {
            return Self::of_environment(|name| std::env::var(name).ok());
        }
        let parsed = text.split_once('/').and_then(|(number, of)| {
            Self::new(number.trim().parse().ok()?, of.trim().parse().ok()?)
        });
        parsed.ok_or_else(|| "write K/N with K from 1 to N, such as 2/4; or auto".to_owned())
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trial_is_in_one_shard_and_shards_are_alike() {
        let shards: Vec<Shard> = (1..=3).filter_map(|number| Shard::new(number, 3)).collect();
        for trial in 1..=20 {
            assert_eq!(shards.iter().filter(|shard| shard.has(trial)).count(), 1, "{trial}");
        }
        let count = |shard: &Shard| (1..=20).filter(|trial| shard.has(*trial)).count();
        assert_eq!(shards.iter().map(count).collect::<Vec<_>>(), [7, 7, 6]);
        assert!((1..=20).all(|trial| Shard::WHOLE.has(trial)));
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        assert_eq!("2/4".parse(), Ok(Shard { number: 2, of: 4 }));
        for wrong in ["0/4", "5/4", "2", "a/b", "1/0", "-1/2", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_variables_of_ci_systems_are_counted_as_each_counts() {
        let shard = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(known, _)| *known == name);
            Shard::of_environment(|name| find(name).map(|(_, value)| (*value).to_owned()))
        };
        let is = |number, of| Ok(Shard { number, of });
        assert_eq!(shard(&[("CI_NODE_INDEX", "4"), ("CI_NODE_TOTAL", "4")]), is(4, 4));
        assert_eq!(shard(&[("CIRCLE_NODE_INDEX", "0"), ("CIRCLE_NODE_TOTAL", "2")]), is(1, 2));
        let buildkite = [("BUILDKITE_PARALLEL_JOB", "1"), ("BUILDKITE_PARALLEL_JOB_COUNT", "2")];
        assert_eq!(shard(&buildkite), is(2, 2));
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "14"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
            ("SLURM_ARRAY_TASK_COUNT", "3"),
        ];
        assert_eq!(shard(&slurm), is(3, 3));
        assert!(shard(&[("CI_NODE_INDEX", "5"), ("CI_NODE_TOTAL", "4")]).is_err());
        // A runner without `parallel:` sets the total alone.
        let none = shard(&[("CI_NODE_TOTAL", "1")]).expect_err("no number");
        assert!(none.contains("CI_NODE_INDEX") && none.contains("SLURM_ARRAY_TASK_ID"), "{none}");
    }
}
