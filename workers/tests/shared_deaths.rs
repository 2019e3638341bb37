//! What processes share, while they are killed at random instants.
//!
//! Some processes use one of each kind; some die at a random instruction, most are killed at a
//! random time, always by SIGKILL, and are replaced. Survivors check what they see; at the end
//! nothing is missing.
//!
//! `SHARED_DEATHS=100000 cargo test -p supervisord-rs-workers --test shared_deaths` for a long run;
//! `SHARED_SEED` for the same choices again (not the same instants).

#[path = "shared_deaths/ledger.rs"]
mod ledger;
#[path = "shared_deaths/random_instruction.rs"]
mod random_instruction;
#[path = "shared_deaths/roles.rs"]
mod roles;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ledger::{CHILDREN, Ledger};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use roles::{Life, Role, World};
use workers::shared::{Census, Holder, Wait};

/// Deaths of one world: then its memory is given back with its process.
const ROUND: usize = 500;
/// Nothing takes as long: who still waits then waits for ever.
const ENDLESS: Duration = Duration::from_secs(60);

fn main() {
    let name = "no_death_at_any_instant_harms_survivors";
    let mut arguments = std::env::args().skip(1);
    if std::env::args().any(|argument| argument == "--list") {
        return println!("{name}: test");
    }
    let filter = arguments.find(|argument| !argument.starts_with('-'));
    let whole = format!("shared_deaths::{name}");
    if filter.is_some_and(|filter| !whole.contains(&filter)) {
        return;
    }
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<usize>().ok();
    let deaths = number("SHARED_DEATHS").unwrap_or(1000);
    let seed = number("SHARED_SEED").unwrap_or_else(|| std::process::id() as usize);
    println!("test {name} ... {deaths} deaths, SHARED_SEED={seed}");
    let begun = Instant::now();
    for round in 0..deaths.div_ceil(ROUND) {
        let left = (deaths - round * ROUND).min(ROUND);
        let mut random = Random(seed as u64 + round as u64);
        let child = child(|| {
            let counts = storm(left, &mut random);
            println!("round {round}: {counts}");
        });
        let status = waitpid(child, None).expect("a child");
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "round {round}: {status:?}");
    }
    println!("test {name} ... ok, in {:.1?}", begun.elapsed());
}

/// Numbers for choices (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Below the limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

/// A process that does this, and fails if that panics.
fn child(work: impl FnOnce()) -> Pid {
    // SAFETY: needed because a program of its own would take longer to start than it lives. No
    // other thread runs, so that the child may do whatever its parent may.
    match unsafe { fork() }.expect("a process") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // Where the test itself is killed, nothing is left.
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: without what the parent has registered to be done at its exit.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
    }
}

/// A process.
struct Running {
    pid: Pid,
    role: Role,
    life: Life,
}

/// The processes that run now, by their places in the ledger.
struct Crew {
    world: World,
    ledger: Ledger,
    running: HashMap<usize, Running>,
    /// How often a message may be taken again, because it was with one that was killed.
    excused: HashMap<u64, u8>,
}

fn storm(deaths: usize, random: &mut Random) -> String {
    let ledger = Ledger::new();
    let mut crew =
        Crew { world: World::create(), ledger, running: HashMap::new(), excused: HashMap::new() };
    (0..CHILDREN).for_each(|place| crew.start(place, random));
    for _ in 0..deaths {
        // Some are killed, and all those that would live on.
        if crew.are_to_live() || random.below(20) > 0 {
            std::thread::sleep(Duration::from_micros(random.below(1000)));
            crew.kill(random.below(CHILDREN as u64) as usize);
        }
        let place = crew.collect();
        // A supervisor that knows, or none that does: then those that wait find out.
        if random.below(2) == 0 {
            crew.world.release_dead();
        }
        crew.start(place, random);
    }
    crew.stop();
    crew.check()
}

impl Crew {
    fn start(&mut self, place: usize, random: &mut Random) {
        // Each role has its places, so that none dies out.
        let role = Role::ALL[place % Role::ALL.len()];
        let instructions = (random.below(4) == 0).then(|| random.below(3000) as u32);
        let life = Life { rounds: random.below(4), instructions };
        let mut random = Random(random.below(u64::MAX));
        let (world, ledger) = (&self.world, &self.ledger);
        let child = child(|| {
            let world = world.for_this_process();
            role.work(&world, ledger, place, &mut random, life);
        });
        self.running.insert(place, Running { pid: child, role, life });
    }

    /// Whether none of them dies by itself.
    fn are_to_live(&self) -> bool {
        self.running.values().all(|running| running.life.instructions.is_none())
    }

    fn kill(&self, place: usize) {
        kill(self.running[&place].pid, Signal::SIGKILL).expect("our child");
    }

    /// Waits until one dies, and returns its place.
    fn collect(&mut self) -> usize {
        let status = waitpid(Pid::from_raw(-1), None).expect("children");
        let pid = status.pid().expect("of a child");
        let found = self.running.iter().find(|(_, running)| running.pid == pid);
        let (place, role) = found.map(|(place, running)| (*place, running.role)).expect("a child");
        let is_killed = matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _));
        assert!(is_killed, "a {role:?} ended otherwise: {status:?}");
        self.running.remove(&place);
        if let Some(number) = self.ledger.take_current(place) {
            *self.excused.entry(number).or_default() += 1;
        }
        place
    }

    /// Tells all to end, and waits for them.
    fn stop(&mut self) {
        self.ledger.order_stop();
        let deadline = Instant::now() + ENDLESS;
        for (place, Running { pid, role, .. }) in self.running.drain() {
            loop {
                match waitpid(pid, Some(WaitPidFlag::WNOHANG)).expect("our child") {
                    WaitStatus::StillAlive if Instant::now() > deadline => {
                        kill(pid, Signal::SIGKILL).expect("our child");
                        panic!("a {role:?} waits for ever");
                    }
                    WaitStatus::StillAlive => std::thread::yield_now(),
                    WaitStatus::Exited(_, 0) => break,
                    status => {
                        let is_killed =
                            matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _));
                        assert!(is_killed, "a {role:?} ended otherwise: {status:?}");
                        if let Some(number) = self.ledger.take_current(place) {
                            *self.excused.entry(number).or_default() += 1;
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Nothing is missing.
    fn check(&self) -> String {
        let world = self.world.for_this_process();
        world.release_dead();
        let mut left = 0;
        let end = Instant::now() + ENDLESS;
        loop {
            let message = match world.queue.take(&Wait::at_most(Duration::from_millis(200))) {
                Ok(message) => message,
                // This process may have stood still in its first attempt.
                Err(_) if world.queue.census() != Census::default() && Instant::now() < end => {
                    continue;
                }
                Err(_) => break,
            };
            left += 1;
            let number = roles::number_of(&message.to_vec());
            self.ledger.deliver(number);
            message.acknowledge().expect("taken");
        }
        assert_eq!(world.queue.census(), Census::default());
        let (mut sent, mut again) = (0, 0);
        for number in 0..self.ledger.numbers() {
            let delivered = self.ledger.deliveries(number);
            let excused = self.excused.get(&number).copied().unwrap_or_default();
            if self.ledger.was_sent(number) {
                sent += 1;
                assert!(delivered >= 1, "message {number} was sent and is lost");
            }
            assert!(
                delivered <= 1 + excused,
                "message {number} was taken {delivered} times; {excused} of its takers were killed"
            );
            again += u32::from(delivered > 1);
        }
        assert_eq!(world.gate.holders(), [], "a permit is missing");
        let all = (0..world.gate.permits()).map(|_| world.gate.acquire(&Wait::none()));
        let all = all.collect::<Result<Vec<_>, _>>().expect("all permits");
        drop(all);
        assert_eq!(world.rules.readers(), []);
        world.check_banks(&Wait::at_most(ENDLESS));
        let (torn, recoveries) = (world.queue.torn(), world.door.recoveries());
        let users = world.queue.users();
        assert_eq!(users.len(), 2, "the parent and this one: {users:?}");
        assert!(users.contains(&Holder::this_thread().expect("/proc")));
        format!(
            "{sent} messages sent, {again} taken again, {torn} torn, {left} left; \
             {recoveries} owners of the mutex died; {} with a message in work",
            self.excused.len()
        )
    }
}
