//! What one more worker takes: memory of its own, of the kernel for it, and what shared memory
//! counts for.

mod meaning;
mod usage;

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workers::shared::Region;

use crate::Bench;
use crate::child::{self, Role};
use crate::figures::{Better, Entry, Measured, Place, Row, Table, Unit};
use crate::hosts::{Host, Sleeper};
use crate::memory::in_words;
use crate::peer::{self, Peer};
use crate::rounds::{Samples, Taken};
pub(super) use meaning::meaning;
use usage::{Kernel, Usage};

/// What a peer does for this axis.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Runs so many workers on threads of its own, as a supervisor does.
    Run { count: usize },
    /// Has so many threads that do nothing.
    Park { count: usize },
    /// Reads all of a region.
    Map,
}

/// What a peer holds until its end.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    sleepers: Vec<Sleeper>,
    regions: Vec<Region>,
}

impl Job {
    pub(crate) fn run(self, given: Vec<OwnedFd>, kept: &mut Kept) -> Result<Value, String> {
        match self {
            Self::Run { count } => kept.sleepers.extend(ready(count, Sleeper::start_here)?),
            Self::Park { count } => {
                for _ in 0..count {
                    let parked = || loop {
                        std::thread::park();
                    };
                    let thread = std::thread::Builder::new().spawn(parked);
                    thread.map_err(|error| format!("cannot start a thread: {error}"))?;
                }
            }
            Self::Map => {
                let fd = given.into_iter().next().ok_or("a region is missing")?;
                let region = Region::open(fd).map_err(in_words)?;
                let mut page = vec![0; 4096];
                for offset in (0..region.size()).step_by(page.len()) {
                    region.read(offset, &mut page).map_err(in_words)?;
                }
                kept.regions.push(region);
            }
        }
        Ok(Value::Null)
    }
}

/// So many workers that are ready.
fn ready(
    count: usize,
    mut start: impl FnMut() -> Result<Sleeper, String>,
) -> Result<Vec<Sleeper>, String> {
    let sleepers = (0..count).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
    sleepers.iter().try_for_each(Sleeper::await_ready)?;
    Ok(sleepers)
}

/// What is counted, in this order.
const SETUPS: [Setup; 5] =
    [Setup::BareThread, Setup::BareProcess, Setup::Thread, Setup::Cell, Setup::Process];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    BareThread,
    BareProcess,
    Thread,
    Cell,
    Process,
}

/// See [`crate::axes`].
pub(super) fn measure(bench: &Bench<'_>, measured: &mut Measured) -> Result<(), String> {
    let counts: &[usize] = bench.effort.pick(&[1, 10, 100], &[1, 10, 100, 1000]);
    let limit = "a thread that is parked; for processes this program when it waits for a byte";
    let titles = [
        ("pss", "Memory a worker (PSS: what it shares is divided among those that share it)"),
        ("private", "Memory a worker that no other one shares"),
        ("page-tables", "Page tables a worker"),
        ("kernel", "Kernel stacks and other kernel memory a worker (slab, not reclaimable)"),
    ];
    let mut tables = titles.map(|(name, title)| {
        Table::new(name, title, Unit::Bytes, Better::Less, limit).over(Unit::Count)
    });
    for &count in counts {
        let each = of_count(bench, count, 0.9 / counts.len() as f64);
        let fields: [fn(&Usage) -> Option<f64>; 4] = [
            |one| Some(one.pss),
            |one| Some(one.private),
            |one| Some(one.page_tables),
            |one| one.kernel,
        ];
        for (table, field) in tables.iter_mut().zip(fields) {
            table.rows.push(row(count, &each, field));
        }
    }
    measured.tables.extend(tables);
    measured.tables.push(shared(bench)?);
    bench.pace.advances(0.1);
    measured.notes.push(
        "Counted without what there is before the first worker: the supervisor, or the cell's own \
         process. What a supervisor holds of each worker (its board) is in the figure of threads \
         alone, whose process is the supervisor's."
            .to_owned(),
    );
    Ok(())
}

/// A row of one count: what each worker of so many takes.
fn row(
    count: usize,
    each: &[Result<Vec<Usage>, String>; 5],
    field: fn(&Usage) -> Option<f64>,
) -> Row {
    let taken: [Taken; 5] = std::array::from_fn(|at| {
        let usages = each[at].as_ref()?;
        let values: Option<Vec<f64>> = usages.iter().map(field).collect();
        let values = values.ok_or(
            "fewer than 100 workers are lost in what else the kernel's memory does meanwhile",
        )?;
        Ok(Samples { values, tails: Vec::new() })
    });
    let [bare_thread, bare_process, thread, cell, process] = &taken;
    let mut row = Row::new(format!("of {count}")).at("a worker", count as f64);
    row.limit = Entry::of(bare_thread);
    row.process_limit = Entry::of(bare_process);
    row.thread = Entry::beside(thread, Some(bare_thread));
    row.cell = Entry::beside(cell, Some(bare_thread));
    row.process = Entry::beside(process, Some(bare_process));
    row
}

/// All setups in turns.
fn of_count(bench: &Bench<'_>, count: usize, part: f64) -> [Result<Vec<Usage>, String>; 5] {
    let rounds = if count >= 1000 { 3 } else { bench.effort.pick(3, 5) };
    let mut each = SETUPS.map(|_| Ok(Vec::new()));
    // A worker has a board, a wake-up, an output and, as a process, a socket; its host as many.
    let needed = 5 * count as u64 + 100;
    for round in 0..rounds {
        for place in 0..SETUPS.len() {
            let at = if round % 2 == 0 { place } else { SETUPS.len() - 1 - place };
            if let Ok(usages) = &mut each[at] {
                let usage = if child::descriptors() < needed {
                    let has = child::descriptors();
                    Err(format!("{count} workers need {needed} descriptors, {has} are allowed"))
                } else {
                    of_setup(SETUPS[at], count)
                };
                match usage {
                    Ok(usage) => usages.push(usage),
                    Err(why) => each[at] = Err(why),
                }
            }
            bench.pace.advances(part / (rounds * SETUPS.len()) as f64);
        }
    }
    each
}

/// What each of so many takes there.
fn of_setup(setup: Setup, count: usize) -> Result<Usage, String> {
    match setup {
        Setup::BareThread => of_peer(Job::Park { count }, count),
        Setup::Thread => of_peer(Job::Run { count }, count),
        Setup::Cell => {
            let host = Host::start()?;
            // Until it waits for orders: the first worker has come and gone.
            let first = ready(1, || host.run(false))?;
            first.iter().try_for_each(Sleeper::stop)?;
            let before = Usage::of(&[host.pid()], Kernel::now())?;
            let _sleepers = ready(count, || host.run(false))?;
            Ok(Usage::of(&[host.pid()], Kernel::now())?.since(&before).divided(count))
        }
        Setup::Process => {
            let kernel = Kernel::now();
            let hosts = (0..count).map(|_| Host::start()).collect::<Result<Vec<_>, _>>()?;
            let mut each = hosts.iter();
            let _sleepers = ready(count, || each.next().ok_or("no host")?.run(true))?;
            let pids: Vec<i32> = hosts.iter().map(Host::pid).collect();
            Ok(Usage::of(&pids, Kernel::now().since(&kernel))?.divided(count))
        }
        Setup::BareProcess => {
            let kernel = Kernel::now();
            let mut idle = Idle(Vec::new());
            let (theirs, _ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
                .map_err(|error| format!("a pipe: {}", error.desc()))?;
            for _ in 0..count {
                let input = theirs.try_clone().map_err(|error| error.to_string())?;
                idle.0.push(child::start(Role::Idle, input)?);
            }
            let pids: Vec<i32> = idle.0.iter().map(child::pid).collect();
            usage::await_sleep(&pids)?;
            Ok(Usage::of(&pids, Kernel::now().since(&kernel))?.divided(count))
        }
    }
}

/// In a process of its own, as its supervisor would be, so that nothing else of this one counts.
fn of_peer(job: Job, count: usize) -> Result<Usage, String> {
    let peer = Peer::start(Place::Process)?;
    let pid = peer.pid().ok_or("a peer without a process")?;
    // What the first worker brings besides itself.
    let first = match job {
        Job::Park { .. } => Job::Park { count: 1 },
        Job::Run { .. } | Job::Map => Job::Run { count: 1 },
    };
    peer.ask::<Value>(peer::Job::Memory(first), &[], &[])?;
    let before = Usage::of(&[pid], Kernel::now())?;
    peer.ask::<Value>(peer::Job::Memory(job), &[], &[])?;
    Ok(Usage::of(&[pid], Kernel::now())?.since(&before).divided(count))
}

/// Processes that wait, until their end.
struct Idle(Vec<std::process::Child>);

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|child| drop(child.kill()));
        self.0.iter_mut().for_each(|child| drop(child.wait()));
    }
}

/// A region that several processes use: each shows it as its own, and it is there once.
fn shared(bench: &Bench<'_>) -> Result<Table, String> {
    const USERS: usize = 4;
    let size: usize = bench.effort.pick(8, 64) << 20;
    let region = Region::create(size).map_err(in_words)?;
    let peers = Peer::start_many(Place::Process, USERS)?;
    let pids: Vec<i32> = peers.iter().filter_map(Peer::pid).collect();
    // What they need besides is in memory before.
    let small = Region::create(4096).map_err(in_words)?;
    for peer in &peers {
        peer.ask::<Value>(peer::Job::Memory(Job::Map), &[], &[small.fd().as_fd()])?;
    }
    let before = Usage::of(&pids, Kernel::default())?;
    for peer in &peers {
        peer.ask::<Value>(peer::Job::Memory(Job::Map), &[], &[region.fd().as_fd()])?;
    }
    let now = Usage::of(&pids, Kernel::default())?.since(&before);
    let mut table = Table::new(
        "shared",
        &format!("A region of shared memory that {USERS} processes use, added up"),
        Unit::Bytes,
        Better::Less,
        "its size",
    );
    let limit = Samples::known(size as f64);
    // This process has it too and never touches it, so that it has no share.
    for (name, value) in [("RSS counts it for each", now.rss), ("PSS counts it once", now.pss)] {
        let mut row = Row::new(name);
        row.limit = Entry::of(&limit);
        row.process = Entry::beside(&Samples::known(value), Some(&limit));
        table.rows.push(row);
    }
    Ok(table)
}
