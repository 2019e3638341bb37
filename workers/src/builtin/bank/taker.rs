//! Carries out orders.

use std::time::Duration;

use super::{Bank, DELIVERED_AGAIN, MARKS_AT, Order, unless_stopped};
use crate::context::Context;
use crate::error::WorkerError;
use crate::shared::Error;
use crate::worker::Worker;

/// To write into the ledger, and a receipt.
const WRITING: Duration = Duration::from_micros(200);

/// See the module.
pub(in crate::builtin) struct Taker;

impl Taker {
    fn take(context: &Context) -> Result<(), Error> {
        let (jobs, gate) = (context.queue("jobs")?, context.semaphore("gate")?);
        let bank = Bank::of(context)?;
        context.ready();
        loop {
            let message = jobs.take(&context.until_stop())?;
            let order: Order = message.value()?;
            let permit = gate.acquire(&context.until_stop())?;
            let mut guard = bank.enter(&context.until_stop())?;
            if message.deliveries() > 1 {
                let place = Order::place(order.maker, order.number);
                bank.set_byte(MARKS_AT + place, DELIVERED_AGAIN)?;
            }
            // Many deaths strike here,
            guard.change(|| {
                bank.carry_out(&order, || {
                    let _ = context.sleep(WRITING);
                })
            })?;
            drop(guard);
            // or here: then it is done, and done again.
            let _ = context.sleep(WRITING);
            message.acknowledge()?;
            drop(permit);
            context.progress(1);
        }
    }
}

impl Worker for Taker {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        unless_stopped(Self::take(context))
    }
}
