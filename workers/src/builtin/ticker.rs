//! One unit of work each interval.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::WorkerError;
use crate::worker::Worker;

/// `args:` of a ticker.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Args {
    /// The time between two units of work. Default `10ms`.
    #[serde(deserialize_with = "super::duration::deserialize")]
    interval: Duration,
    /// A line to print at each unit; `{n}` is its number in this incarnation. Default: none.
    say: Option<String>,
}

impl Default for Args {
    fn default() -> Self {
        Self { interval: Duration::from_millis(10), say: None }
    }
}

/// For [`Registry::schema`](crate::Registry::schema).
pub(super) fn schema() -> Value {
    json!({ "properties": {
        "interval": { "description": "the time between two units of work", "default": "10ms" },
        "say": {
            "description": "a line to print at each unit; `{n}` is its number in this incarnation",
        },
    } })
}

/// See [`Args`].
#[derive(Debug)]
pub(super) struct Ticker {
    args: Args,
}

impl Ticker {
    pub(super) fn new(args: Args) -> Result<Self, WorkerError> {
        Ok(Self { args })
    }
}

impl Worker for Ticker {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let mut number = 0_u64;
        context.ready();
        while context.sleep(self.args.interval) {
            number += 1;
            if let Some(line) = &self.args.say {
                context.log_line(line.replace("{n}", &number.to_string()));
            }
            context.progress(1);
        }
        Ok(())
    }
}
