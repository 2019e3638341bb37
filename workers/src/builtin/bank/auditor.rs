//! Counts the money again and again, and the orders at the end.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ACCOUNTS, BALANCES, Bank, COUNTS_AT, DONE, FIRST_BALANCE, IS_CLOSING, MAKERS, MARKS_AT, Order,
    REPAIRS, SENT,
};
use crate::builtin::duration;
use crate::context::Context;
use crate::error::WorkerError;
use crate::shared::{Error, Queue};
use crate::worker::Worker;

/// Between two counts.
const PAUSE: Duration = Duration::from_secs(1);
/// For a permit to be free then.
const LAST_PERMIT: Duration = Duration::from_secs(5);

/// See the module.
pub(in crate::builtin) struct Auditor(Args);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::builtin) struct Args {
    #[serde(default = "time", deserialize_with = "duration::deserialize")]
    time: Duration,
    /// For the last orders to be done once no more are made: also those of a taker that is in
    /// backoff.
    #[serde(default = "last_orders", deserialize_with = "duration::deserialize")]
    last_orders: Duration,
}

fn last_orders() -> Duration {
    Duration::from_secs(30)
}

fn time() -> Duration {
    Duration::from_secs(60)
}

pub(in crate::builtin) fn schema() -> Value {
    json!({ "properties": {
        "time": { "type": "string", "description": "until the verdict", "default": "60s" },
        "last_orders": {
            "type": "string",
            "description": "for the last orders to be done, where some are lost",
            "default": "30s",
        },
    } })
}

/// What became of the orders that were sent.
#[derive(Default)]
struct Orders {
    sent: u64,
    /// Done more than once, since a taker or the maker died with it.
    again: u64,
    lost: u64,
    twice: u64,
}

impl Auditor {
    pub(in crate::builtin) fn new(args: Args) -> Result<Self, WorkerError> {
        Ok(Self(args))
    }

    fn audit(&self, context: &Context) -> Result<(), WorkerError> {
        let (jobs, gate) = (context.queue("jobs")?, context.semaphore("gate")?);
        let bank = Bank::of(context)?;
        context.ready();
        let end = Instant::now() + self.0.time;
        while Instant::now() < end {
            let done = count(&bank, context)?;
            context.status(format!("the total is right after {done} orders"));
            context.progress(1);
            if !context.sleep(PAUSE.min(end.saturating_duration_since(Instant::now()))) {
                return Ok(());
            }
        }
        bank.set(IS_CLOSING, 1)?;
        let end = Instant::now() + self.0.last_orders;
        while !is_over(&bank, &jobs)? && Instant::now() < end {
            if !context.sleep(Duration::from_millis(20)) {
                return Ok(());
            }
        }
        let done = count(&bank, context)?;
        let orders = orders(&bank)?;
        let permits = (0..gate.permits()).map(|_| gate.acquire(&context.at_most(LAST_PERMIT)));
        let missing = permits.collect::<Vec<_>>().iter().filter(|permit| permit.is_err()).count();
        let repairs = bank.word(REPAIRS)?;
        let Orders { sent, again, lost, twice } = orders;
        let text = format!(
            "{sent} orders sent, {done} times done: {again} again because a worker died, {lost} \
             lost, {twice} twice without a death; {repairs} changes taken back, {missing} permits \
             missing, the total is right"
        );
        if lost + twice > 0 || missing > 0 || sent == 0 {
            return Err(WorkerError::permanent(format!("verdict: wrong: {text}")));
        }
        context.log_line(format!("verdict: right: {text}"));
        Ok(())
    }
}

/// Whether all that was sent is done.
fn is_over(bank: &Bank, jobs: &Queue) -> Result<bool, Error> {
    let census = jobs.census();
    let is_empty = census.ready + census.taken + census.writing == 0;
    for maker in 0..MAKERS {
        let [next, sent] = [bank.word(SENT + 2 * maker)?, bank.word(SENT + 2 * maker + 1)?];
        if next != sent {
            return Ok(false);
        }
    }
    Ok(is_empty && orders(bank)?.lost == 0)
}

/// Counts the money. How many orders were done.
fn count(bank: &Bank, context: &Context) -> Result<u64, WorkerError> {
    let guard = bank.enter(&context.until_stop())?;
    let mut total = 0;
    for account in 0..ACCOUNTS {
        total += bank.word(BALANCES + account)?;
    }
    let done = bank.word(DONE)?;
    drop(guard);
    let right = ACCOUNTS * FIRST_BALANCE;
    if total != right {
        let text = format!("verdict: wrong: the total is {total}, not {right}");
        return Err(WorkerError::permanent(text));
    }
    Ok(done)
}

fn orders(bank: &Bank) -> Result<Orders, Error> {
    let mut orders = Orders::default();
    for maker in 0..MAKERS {
        let sent = bank.word(SENT + 2 * maker + 1)?;
        orders.sent += sent;
        for place in (1..=sent).map(|number| Order::place(maker, number)) {
            let is_marked = bank.byte(MARKS_AT + place)? != 0;
            match (bank.byte(COUNTS_AT + place)?, is_marked) {
                (0, _) => orders.lost += 1,
                (1, _) => {}
                (_, true) => orders.again += 1,
                (_, false) => orders.twice += 1,
            }
        }
    }
    Ok(orders)
}

impl Worker for Auditor {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let result = self.audit(context);
        let is_stop = |error: &WorkerError| {
            matches!(error.error().downcast_ref::<Error>(), Some(Error::GivenUp))
        };
        result.or_else(|error| if is_stop(&error) { Ok(()) } else { Err(error) })
    }
}
