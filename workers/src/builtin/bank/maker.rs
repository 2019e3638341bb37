//! Sends orders, one after the other, each with its own number.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Bank, IS_CLOSING, MAKERS, MARKS_AT, ORDERS_MAX, Order, SENT, unless_stopped};
use crate::builtin::duration;
use crate::context::Context;
use crate::error::WorkerError;
use crate::shared::Error;
use crate::worker::Worker;

/// See the module.
pub(in crate::builtin) struct Maker(Args);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::builtin) struct Args {
    #[serde(default)]
    number: u64,
    #[serde(default = "pause", deserialize_with = "duration::deserialize")]
    pause: Duration,
}

fn pause() -> Duration {
    Duration::from_millis(1)
}

pub(in crate::builtin) fn schema() -> Value {
    json!({ "properties": {
        "number": { "type": "integer", "description": "which maker it is, 0 to 7", "default": 0 },
        "pause": { "type": "string", "description": "between two orders", "default": "1ms" },
    } })
}

impl Maker {
    pub(in crate::builtin) fn new(args: Args) -> Result<Self, WorkerError> {
        if args.number >= MAKERS {
            return Err(format!("number: {} is not from 0 to {}", args.number, MAKERS - 1).into());
        }
        Ok(Self(args))
    }

    fn make(&self, context: &Context) -> Result<(), Error> {
        let (jobs, bank) = (context.queue("jobs")?, Bank::of(context)?);
        let (next, sent) = (SENT + 2 * self.0.number, SENT + 2 * self.0.number + 1);
        context.ready();
        while bank.word(IS_CLOSING)? == 0 && bank.word(sent)? < ORDERS_MAX {
            let number = bank.word(sent)? + 1;
            // The last run may have died between sending it and noting that.
            let is_repeated = bank.word(next)? == number;
            if is_repeated {
                bank.set_byte(MARKS_AT + Order::place(self.0.number, number), 1)?;
            }
            bank.set(next, number)?;
            let order = Order::new(self.0.number, number, is_repeated);
            jobs.send_value(&order, &context.until_stop())?;
            bank.set(sent, number)?;
            context.progress(1);
            if !context.sleep(self.0.pause) {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Worker for Maker {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        unless_stopped(self.make(context))
    }
}
