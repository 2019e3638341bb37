//! Counts primes by trial division: it never waits.

use std::hint::black_box;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::WorkerError;
use crate::worker::Worker;

/// `args:` of a cpu-burner.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Args {
    /// Numbers tried in one unit of work, 1 to 1 000 000. Default 1000.
    chunk: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { chunk: 1000 }
    }
}

/// For [`Registry::schema`](crate::Registry::schema).
pub(super) fn schema() -> Value {
    json!({ "properties": { "chunk": {
        "description": "numbers tried in one unit of work, 1 to 1 000 000", "default": 1000,
    } } })
}

/// Numbers tried between two signs of life: about a millisecond on an idle processor. Beside a
/// hundred other busy threads it is a hundred times that.
const BETWEEN_BEATS: u64 = 100;

/// See [`Args`].
#[derive(Debug)]
pub(super) struct CpuBurner {
    chunk: u64,
}

impl CpuBurner {
    pub(super) fn new(args: Args) -> Result<Self, WorkerError> {
        if !(1..=1_000_000).contains(&args.chunk) {
            return Err(format!("chunk: {} is not from 1 to 1000000", args.chunk).into());
        }
        Ok(Self { chunk: args.chunk.into() })
    }
}

impl Worker for CpuBurner {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let mut primes = 0_u64;
        let mut next = 2_u64;
        while !context.stop_requested() {
            let unit = context.begin(1);
            let end = next + self.chunk;
            while next < end {
                let stop = end.min(next + BETWEEN_BEATS);
                primes += (next..stop).filter(|&number| is_prime(number)).count() as u64;
                next = stop;
                context.tick();
            }
            black_box(primes);
            unit.done();
            // Back to the start before a single chunk would outlast a heartbeat.
            if next > 10_000_000 {
                context.log_line(format!("{primes} primes below {next}"));
                (primes, next) = (0, 2);
            }
        }
        Ok(())
    }
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_below_a_hundred_are_twenty_five() {
        assert_eq!((0..100).filter(|&number| is_prime(number)).count(), 25);
    }
}
