//! One of each kind, and what processes do with it until they are killed.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use workers::shared::{
    Condition, Error, Guard, Holder, Locked, Mutex, Queue, QueueSize, ReadLocked, Region, RwLock,
    Segment, Semaphore, Topic, Wait, WriteLocked,
};

use super::{ENDLESS, Ledger, Random, random_instruction};

const ACCOUNTS: usize = 8;
/// In all accounts together, always.
const TOTAL: u64 = 8000;
/// Behind the accounts: what is to be had by those that wait on the condition.
const TOKENS: usize = ACCOUNTS * 8;
const PERMITS: usize = 2;
/// The longest message, in bytes.
const MESSAGE: usize = 8192;

/// One of each kind.
pub(crate) struct World {
    pub(crate) queue: Queue,
    pub(crate) gate: Semaphore,
    pub(crate) door: Mutex,
    pub(crate) rules: RwLock,
    fresh: Condition,
    /// Guarded by the mutex.
    bank: Region,
    /// Guarded by the reader-writer lock.
    ruled_bank: Region,
    price: Topic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    Taker,
    Banker,
    Gatekeeper,
    Ruler,
    Reader,
    Giver,
    Waiter,
    Publisher,
    Watcher,
}

fn here() -> Holder {
    Holder::this_thread().expect("/proc")
}

fn twin(fd: BorrowedFd<'_>) -> OwnedFd {
    fd.try_clone_to_owned().expect("a descriptor")
}

/// A message of this number: its length and all its bytes follow from that.
fn message(number: u64) -> Vec<u8> {
    // Some are long, so that deaths come within their copies.
    let length = if number.is_multiple_of(4) { MESSAGE - 8 } else { (number * 7 % 200) as usize };
    let mut bytes = vec![number as u8; 8 + length];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The number of a message, which is whole.
pub(crate) fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(*bytes.first_chunk().expect("8 bytes at least"));
    assert!(bytes == message(number), "half a message: {bytes:?}");
    number
}

fn accounts(bank: &Region) -> [u64; ACCOUNTS] {
    std::array::from_fn(|index| {
        let mut bytes = [0; 8];
        bank.read(index * 8, &mut bytes).expect("within");
        u64::from_ne_bytes(bytes)
    })
}

fn set(bank: &Region, index: usize, value: u64) {
    bank.write(index * 8, &value.to_ne_bytes()).expect("within");
}

fn check(bank: &Region) {
    let accounts = accounts(bank);
    let total = accounts.iter().fold(0_u64, |sum, account| sum.wrapping_add(*account));
    assert_eq!(total, TOTAL, "{accounts:?}");
}

/// Some microseconds in which deaths come, or a millisecond in which they surely do.
fn work(random: &mut Random) {
    if random.below(16) == 0 {
        return std::thread::sleep(Duration::from_micros(random.below(2000)));
    }
    for _ in 0..random.below(100) {
        std::hint::spin_loop();
    }
}

/// Between the two halves the total is wrong.
fn transfer(bank: &Region, random: &mut Random) {
    let (from, to) = (random.below(8) as usize, random.below(8) as usize);
    let amount = random.below(100);
    let before = accounts(bank);
    set(bank, from, before[from].wrapping_sub(amount));
    work(random);
    let before = accounts(bank);
    set(bank, to, before[to].wrapping_add(amount));
}

fn repair(bank: &Region) {
    let rest = accounts(bank)[1..].iter().fold(0_u64, |sum, account| sum.wrapping_add(*account));
    set(bank, 0, TOTAL.wrapping_sub(rest));
}

impl World {
    pub(crate) fn create() -> Self {
        let bank = || {
            let bank = Region::create(4096).expect("made");
            repair(&bank);
            bank
        };
        let size = QueueSize { capacity: 16, message: MESSAGE, users: 32 };
        Self {
            queue: Queue::create(size, here()).expect("made"),
            gate: Semaphore::create(PERMITS, here()).expect("made"),
            door: Mutex::create(here()).expect("made"),
            rules: RwLock::create(8, here()).expect("made"),
            fresh: Condition::create().expect("made"),
            bank: bank(),
            ruled_bank: bank(),
            price: Topic::create(MESSAGE, here()).expect("made"),
        }
    }

    pub(crate) fn for_this_process(&self) -> Self {
        Self {
            queue: Queue::open(twin(self.queue.fd()), here()).expect("opened"),
            gate: Semaphore::open(twin(self.gate.fd()), here()).expect("opened"),
            door: Mutex::open(twin(self.door.fd()), here()).expect("opened"),
            rules: RwLock::open(twin(self.rules.fd()), here()).expect("opened"),
            fresh: Condition::open(twin(self.fresh.fd())).expect("opened"),
            bank: Region::open(twin(self.bank.fd())).expect("opened"),
            ruled_bank: Region::open(twin(self.ruled_bank.fd())).expect("opened"),
            price: Topic::open(twin(self.price.fd()), here()).expect("opened"),
        }
    }

    /// As a supervisor does that has seen a death.
    pub(crate) fn release_dead(&self) {
        let all =
            [self.queue.fd(), self.gate.fd(), self.door.fd(), self.rules.fd(), self.price.fd()];
        for fd in all {
            let segment = Segment::adopt(twin(fd)).expect("adopted");
            segment.release_dead().expect("/proc");
        }
    }

    /// The guard, of data that are whole: where no change was begun they must be so.
    fn locked<'a>(&'a self, locked: Locked<'a>) -> Guard<'a> {
        let guard = locked.or_repair(|recovery| {
            if recovery.is_torn() {
                repair(&self.bank);
            }
        });
        check(&self.bank);
        guard
    }

    pub(crate) fn check_banks(&self, wait: &Wait<'_>) {
        drop(self.locked(self.door.lock(wait).expect("in time")));
        self.rule(wait, |_| ()).expect("in time");
    }

    fn rule(&self, wait: &Wait<'_>, work: impl FnOnce(&Region)) -> Result<(), Error> {
        let mut guard = match self.rules.write(wait)? {
            WriteLocked::Clean(guard) => guard,
            WriteLocked::WriterDied(recovery) => {
                if recovery.is_torn() {
                    repair(&self.ruled_bank);
                }
                recovery.repaired()
            }
        };
        check(&self.ruled_bank);
        guard.change(|| work(&self.ruled_bank));
        Ok(())
    }

    fn look(&self, wait: &Wait<'_>) -> Result<(), Error> {
        match self.rules.read(wait)? {
            ReadLocked::Clean(_guard) => check(&self.ruled_bank),
            ReadLocked::WriterDied(recovery) => {
                if recovery.is_torn() {
                    repair(&self.ruled_bank);
                }
                check(&self.ruled_bank);
                drop(recovery.repaired());
            }
        }
        Ok(())
    }
}

/// When a process dies by itself.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    /// After so many rounds of its work,
    pub(crate) rounds: u64,
    /// and so many instructions; none: it is killed, some time.
    pub(crate) instructions: Option<u32>,
}

impl Role {
    pub(crate) const ALL: [Self; 10] = [
        Self::Sender,
        Self::Taker,
        Self::Banker,
        Self::Gatekeeper,
        Self::Ruler,
        Self::Reader,
        Self::Giver,
        Self::Waiter,
        Self::Publisher,
        Self::Watcher,
    ];

    /// Works until the order to stop. A panic is what the test is there to find.
    pub(crate) fn work(
        self,
        world: &World,
        ledger: &Ledger,
        place: usize,
        random: &mut Random,
        life: Life,
    ) {
        let mut seen = 0;
        for round in 0.. {
            if ledger.is_stopping() {
                return;
            }
            if let Some(instructions) = life.instructions.filter(|_| round == life.rounds) {
                random_instruction::begin(instructions);
            }
            let is_stopping = || ledger.is_stopping();
            let wait = Wait::at_most(ENDLESS);
            let wait = wait.or_if(&is_stopping);
            let result = match self {
                Self::Sender => send(world, ledger, &wait),
                Self::Taker => take(world, ledger, place, random, &wait),
                Self::Banker => world.door.lock(&wait).map(|locked| {
                    world.locked(locked).change(|| transfer(&world.bank, random));
                }),
                Self::Gatekeeper => world.gate.acquire(&wait).map(|permit| {
                    work(random);
                    assert!(world.gate.holders().contains(&here()), "its permit is another's");
                    drop(permit);
                }),
                Self::Ruler => world.rule(&wait, |bank| transfer(bank, random)),
                Self::Reader => world.look(&wait),
                Self::Giver => give(world, &wait),
                Self::Waiter => wait_for_token(world, &wait),
                Self::Publisher => {
                    world.price.publish(&message(random.below(1 << 40)), &wait).map(drop)
                }
                Self::Watcher => watch(world, &mut seen, &wait),
            };
            match result {
                Ok(()) | Err(Error::GivenUp) => {}
                Err(error) => panic!("{self:?}: {error:?}"),
            }
        }
    }
}

fn send(world: &World, ledger: &Ledger, wait: &Wait<'_>) -> Result<(), Error> {
    let Some(number) = ledger.next() else {
        std::thread::sleep(Duration::from_millis(1));
        return Ok(());
    };
    world.queue.send(&message(number), wait)?;
    ledger.send(number);
    Ok(())
}

fn take(
    world: &World,
    ledger: &Ledger,
    place: usize,
    random: &mut Random,
    wait: &Wait<'_>,
) -> Result<(), Error> {
    let message = world.queue.take(wait)?;
    let number = number_of(&message.to_vec());
    ledger.begin(place, number);
    work(random);
    message.acknowledge()?;
    ledger.end(place, number);
    Ok(())
}

fn tokens(world: &World) -> u64 {
    let mut bytes = [0; 8];
    world.bank.read(TOKENS, &mut bytes).expect("within");
    u64::from_ne_bytes(bytes)
}

fn set_tokens(world: &World, tokens: u64) {
    world.bank.write(TOKENS, &tokens.to_ne_bytes()).expect("within");
}

fn give(world: &World, wait: &Wait<'_>) -> Result<(), Error> {
    let mut guard = world.locked(world.door.lock(wait)?);
    guard.change(|| set_tokens(world, (tokens(world) + 1).min(100)));
    world.fresh.signal();
    Ok(())
}

fn wait_for_token(world: &World, wait: &Wait<'_>) -> Result<(), Error> {
    let mut guard = world.locked(world.door.lock(wait)?);
    while tokens(world) == 0 {
        guard = world.locked(world.fresh.wait(&world.door, guard, wait)?);
    }
    guard.change(|| set_tokens(world, tokens(world) - 1));
    Ok(())
}

fn watch(world: &World, seen: &mut u64, wait: &Wait<'_>) -> Result<(), Error> {
    world.price.wait_after(*seen, wait)?;
    let mut bytes = [0; MESSAGE];
    let value = world.price.read(&mut bytes)?.expect("there was one");
    assert!(value.number > *seen, "back in time");
    *seen = value.number;
    number_of(&bytes[..value.length]);
    Ok(())
}
