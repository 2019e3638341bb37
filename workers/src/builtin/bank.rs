//! A bank that several workers keep, as threads, in cells and as processes: orders go through a
//! queue, money lies in a region that a mutex guards, a semaphore lets a few in at a time. One that
//! is killed changes nothing of that: the total stays, no order is lost (`config/resources.yaml`).
//!
//! | file | has |
//! |---|---|
//! | `bank` | the ledger in shared memory |
//! | `maker`, `taker` | who sends orders, who carries them out |
//! | `auditor` | who counts, and says at the end whether all was right |

mod auditor;
mod maker;
mod taker;

use serde::{Deserialize, Serialize};

use crate::context::{Attached, Context};
use crate::shared::{Error, Guard, Locked, Mutex, Region, Wait};

pub(super) use auditor::{Auditor, schema as auditor_schema};
pub(super) use maker::{Maker, schema as maker_schema};
pub(super) use taker::Taker;

/// Accounts, and what each has at first.
const ACCOUNTS: u64 = 16;
const FIRST_BALANCE: u64 = 1000;
/// Makers, and the most orders of each.
const MAKERS: u64 = 8;
const ORDERS_MAX: u64 = 50_000;

// The ledger, in words of 8 bytes.
const IS_OPEN: u64 = 0;
const IS_CLOSING: u64 = 1;
const DONE: u64 = 2;
const REPAIRS: u64 = 3;
/// What a change begins with, so that half of one can be taken back.
const JOURNAL: u64 = 8;
const BALANCES: u64 = 16;
/// Of each maker two: the order that it is about to send, and the last that it has sent.
const SENT: u64 = 64;
// Behind them, a byte for each order.
const COUNTS_AT: usize = 4096;
const MARKS_AT: usize = COUNTS_AT + (MAKERS * ORDERS_MAX) as usize;
const SIZE: usize = MARKS_AT + (MAKERS * ORDERS_MAX) as usize;

/// An order was delivered again, since a taker died with it.
const DELIVERED_AGAIN: u8 = 1;

/// To move money from one account to another.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Order {
    maker: u64,
    /// From 1.
    number: u64,
    from: u64,
    to: u64,
    /// Whether its maker does not know whether it has sent it already.
    is_repeated: bool,
}

impl Order {
    fn new(maker: u64, number: u64, is_repeated: bool) -> Self {
        let from = (maker * 7 + number) % ACCOUNTS;
        let to = (from + 1 + number % (ACCOUNTS - 1)) % ACCOUNTS;
        Self { maker, number, from, to, is_repeated }
    }

    /// Its place among the bytes.
    fn place(maker: u64, number: u64) -> usize {
        (maker * ORDERS_MAX + number - 1) as usize
    }
}

/// The ledger, and the door to it.
struct Bank {
    door: Attached<Mutex>,
    ledger: Attached<Region>,
}

impl Bank {
    /// The one of this worker, opened if it is not open yet.
    fn of(context: &Context) -> Result<Self, Error> {
        let bank = Self { door: context.mutex("door")?, ledger: context.region("ledger")? };
        if bank.ledger.size() < SIZE {
            let (offset, length, size) = (0, SIZE, bank.ledger.size());
            return Err(Error::BeyondEnd { offset, length, size });
        }
        let mut guard = bank.enter(&context.until_stop())?;
        if bank.word(IS_OPEN)? == 0 {
            guard.change(|| {
                (0..ACCOUNTS).try_for_each(|one| bank.set(BALANCES + one, FIRST_BALANCE))?;
                bank.set(IS_OPEN, 1)
            })?;
        }
        drop(guard);
        Ok(bank)
    }

    /// Locks it. Where the last one died within a change, half of that is taken back first.
    fn enter(&self, wait: &Wait<'_>) -> Result<Guard<'_>, Error> {
        match self.door.lock(wait)? {
            Locked::Clean(guard) => Ok(guard),
            Locked::OwnerDied(recovery) => {
                if recovery.is_torn() {
                    self.take_back()?;
                    self.set(REPAIRS, self.word(REPAIRS)? + 1)?;
                }
                Ok(recovery.repaired())
            }
        }
    }

    /// Carries out an order; `between` is called when half of it is done.
    fn carry_out(&self, order: &Order, between: impl FnOnce()) -> Result<(), Error> {
        let (from, to) = (BALANCES + order.from, BALANCES + order.to);
        let place = Order::place(order.maker, order.number);
        let [balance, other] = [self.word(from)?, self.word(to)?];
        let [done, count] = [self.word(DONE)?, u64::from(self.byte(COUNTS_AT + place)?)];
        let entry = [from, balance, to, other, done, count, place as u64];
        for (index, value) in (1..).zip(entry) {
            self.set(JOURNAL + index, value)?;
        }
        self.set(JOURNAL, 1)?;
        let amount = balance.min(1 + order.number % 10);
        self.set(from, balance - amount)?;
        between();
        self.set(to, other + amount)?;
        self.set(DONE, done + 1)?;
        self.set_byte(COUNTS_AT + place, (count + 1).min(255) as u8)?;
        self.set(JOURNAL, 0)
    }

    fn take_back(&self) -> Result<(), Error> {
        if self.word(JOURNAL)? == 0 {
            return Ok(());
        }
        let entry = |index| self.word(JOURNAL + index);
        self.set(entry(1)?, entry(2)?)?;
        self.set(entry(3)?, entry(4)?)?;
        self.set(DONE, entry(5)?)?;
        self.set_byte(COUNTS_AT + entry(7)? as usize, entry(6)? as u8)?;
        self.set(JOURNAL, 0)
    }

    fn word(&self, index: u64) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.ledger.read(index as usize * 8, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn set(&self, index: u64, value: u64) -> Result<(), Error> {
        self.ledger.write(index as usize * 8, &value.to_ne_bytes())
    }

    fn byte(&self, at: usize) -> Result<u8, Error> {
        let mut byte = [0];
        self.ledger.read(at, &mut byte)?;
        Ok(byte[0])
    }

    fn set_byte(&self, at: usize, value: u8) -> Result<(), Error> {
        self.ledger.write(at, &[value])
    }
}

/// What ended because the worker is to stop is no failure.
fn unless_stopped(result: Result<(), Error>) -> Result<(), crate::WorkerError> {
    match result {
        Ok(()) | Err(Error::GivenUp) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
