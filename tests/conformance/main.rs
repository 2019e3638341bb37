//! One suite for every driver, on real threads and processes: what the contract says holds for each
//! of them, as far as its capabilities say so. Each runs in a process of its own, whose children
//! are all that the driver may leave behind.
//!
//! | file | concept |
//! |---|---|
//! | `main` | the cases; the life of two workers, from launch to end |
//! | `failing` | a launch that fails |
//! | `adoption` | workers that outlive their supervisor, and who does not: threads, and `null` |
//! | `null` | the smallest driver |
//!
//! The workers belong to a separate program, which is this file: so it has its own `main`.

mod adoption;
mod failing;
#[path = "../harness/mod.rs"]
mod harness;
mod null;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use supervision::{
    Capabilities, Cause, Event, FaultDomain, Generation, Incarnation, Status, WorkerId,
};
use supervisord_rs::config::{self, Launch, Settings};
use supervisord_rs::isolation::contract::Driver;
use supervisord_rs::isolation::contract::means::adopting::Past;
use supervisord_rs::isolation::drivers::Persistence;
use supervisord_rs::isolation::resources::Resource;
use supervisord_rs::isolation::{Drivers, STANDARD};
use supervisord_rs::process_table;
use supervisord_rs::record::black_box::BlackBox;
use supervisord_rs::record::logs::{Logs, Surviving};
use supervisord_rs::service_manager::{FdStore, InheritedDescriptors};
use workers::{Context, Registry, Worker, WorkerError};

use harness::until;

/// Those that there are, and the one of this test.
fn drivers() -> &'static [&'static dyn Driver] {
    let null: &dyn Driver = &null::Null;
    Vec::leak(STANDARD.into_iter().chain([null]).collect())
}

/// A driver, and what it is tried with.
#[derive(Debug)]
struct Case {
    name: &'static str,
    /// What its workers are in a configuration.
    worker: &'static str,
    /// One that cannot be launched, and what its advice names. `None`: nothing that a worker says
    /// has a launch of this driver fail.
    broken: Option<(&'static str, &'static str)>,
}

/// At least one for each driver.
const CASES: [Case; 5] = [
    Case { name: "thread", worker: "{ worker: idler, isolation: thread }", broken: None },
    Case {
        name: "cell",
        worker: "{ worker: idler, isolation: thread, cell: shared }",
        broken: None,
    },
    Case {
        name: "process",
        worker: "{ worker: idler }",
        broken: Some(("{ worker: idler, cwd: /no/such/directory }", "working directory")),
    },
    Case {
        name: "process, a command",
        worker: "{ command: [sleep, '1000'] }",
        broken: Some(("{ command: [/no/such/program] }", "/no/such/program")),
    },
    Case { name: "null", worker: "{ command: [sleep, '1000'] }", broken: None },
];

/// If this variable is set, the program is the suite for one driver.
const CASE: &str = "CONFORMANCE_CASE";
/// What no worker is to inherit of it.
const OURS: [&str; 4] = [CASE, adoption::PREDECESSOR, "NOTIFY_SOCKET", "FDSTORE"];
/// On a busy machine, too.
const LIMIT: Duration = Duration::from_secs(20);

/// Signs what it was handed, and lives until it is asked to stop.
struct Idler;

impl Worker for Idler {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let handed = context.claim(HANDED).ok_or("not handed over")?;
        File::from(handed).write_all(b"signed\n")?;
        context.ready();
        context.wait_for_stop();
        Ok(())
    }
}

/// By which it claims what it is handed.
const HANDED: &str = "signed";

/// Memory of a worker's own.
#[derive(Debug)]
struct Memory;

/// What was made, by worker: once for each.
static MADE: Mutex<BTreeMap<String, File>> = Mutex::new(BTreeMap::new());

impl Resource for Memory {
    fn name(&self) -> &'static str {
        HANDED
    }

    fn is_for(&self, _: &Launch) -> bool {
        true
    }

    fn make(&self, launch: &Launch) -> io::Result<OwnedFd> {
        let memory = File::from(memfd_create(c"signed", MFdFlags::MFD_CLOEXEC)?);
        let given = memory.try_clone()?;
        let before = MADE.lock().expect("not poisoned").insert(launch.name.clone(), memory);
        assert!(before.is_none(), "{} was made twice", launch.name);
        Ok(given.into())
    }
}

fn registry() -> Registry {
    let idler = |_: serde_json::Value| -> Result<Idler, WorkerError> { Ok(Idler) };
    Registry::default().with("idler", "waits until it is asked to stop", idler)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|verb| verb == "__host") {
        workers::runtime::host::main(&registry());
    }
    if let Ok(name) = std::env::var(CASE) {
        let case = CASES.iter().find(|known| known.name == name).expect("a case");
        match std::env::var_os(adoption::PREDECESSOR) {
            Some(directory) => adoption::be_the_predecessor(case, directory.into()),
            None => conform(case),
        }
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let is_chosen = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let mut is_good = true;
    for name in CASES.iter().map(|case| case.name).filter(|name| is_chosen(name)) {
        println!("test {name} ...");
        if arguments.iter().any(|argument| argument == "--list") {
            continue;
        }
        let this = std::env::current_exe().expect("it runs");
        let status = Command::new(this).env(CASE, name).status().expect("it can be started");
        println!("test {name} ... {}", if status.success() { "ok" } else { "FAILED" });
        is_good &= status.success();
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn conform(case: &Case) {
    let mut world = World::begun(case, directory("one"), FdStore::none());
    world.takes_over_nothing_where_nothing_was_left();
    world.fails_where_there_is_no_descriptor();
    world.fails_by_what_is_missing(case.broken.map(|(_, missing)| missing));
    world.answers_a_launch_once();
    world.hands_registered_code_what_is_its_own();
    world.is_as_its_capabilities_say();
    world.ends_when_it_is_asked_to();
    world.can_be_launched_again();
    world.hands_the_next_one_the_same();
    world.pauses_alone_where_it_can();
    world.ends_without_being_asked();
    world.ends_with_its_domain();
    world.leaves_nothing_behind();
    adoption::takes_over_what_outlived_its_supervisor(case);
}

/// A new one.
fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("conformance-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

/// A driver with two workers, of which the second is to notice nothing.
struct World {
    drivers: Drivers,
    capabilities: &'static Capabilities,
    directory: PathBuf,
    black_box: Rc<BlackBox>,
    /// Whether its workers are registered code.
    is_sdk: bool,
    launched: BTreeMap<Incarnation, usize>,
    failed: BTreeMap<Incarnation, usize>,
    ended: BTreeMap<Incarnation, (Status, Cause)>,
}

const ONE: WorkerId = WorkerId(0);
const OTHER: WorkerId = WorkerId(1);

fn run(worker: WorkerId, generation: u64) -> Incarnation {
    Incarnation { worker, generation: Generation(generation) }
}

impl World {
    /// Nothing runs yet. `store`: what is kept for a successor.
    fn begun(case: &Case, directory: PathBuf, store: FdStore) -> Self {
        let mut settings = settings(case, &directory);
        if case.name == "null" {
            for worker in &settings.spec.workers {
                settings.spec.domains[worker.domain.index()].capabilities = &null::CAPABILITIES;
            }
        }
        let capabilities = settings.spec.capabilities(ONE);
        let names: Vec<&str> = settings.launches.iter().map(|one| one.name.as_str()).collect();
        let black_box = Rc::new(BlackBox::create(&directory, &names, 0).expect("a black box"));
        let carriers = black_box.carriers();
        let surviving = Surviving { carriers, carried: Vec::new(), store: store.clone() };
        let logs = Logs::start(None, None, surviving).expect("a thread");
        let environment: BTreeMap<OsString, OsString> =
            std::env::vars_os().filter(|(name, _)| !OURS.iter().any(|ours| name == ours)).collect();
        let persistence = Persistence { store, exit_records: None };
        let mut drivers = Drivers::with(
            drivers(),
            &settings,
            registry(),
            environment,
            logs,
            Rc::clone(&black_box),
            persistence,
        )
        .expect("descriptors");
        drivers.hand(&[&Memory]);
        let (launched, failed, ended) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let is_sdk = case.worker.contains("worker:");
        Self { drivers, capabilities, directory, black_box, is_sdk, launched, failed, ended }
    }

    /// Hears what has happened until this is true.
    fn hear(&mut self, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        let heard = until(LIMIT, || {
            self.drivers.collect();
            // As at each SIGCHLD.
            self.drivers.reap_orphans();
            self.drivers.look_at_remains();
            while let Some(event) = self.drivers.next_event() {
                self.note(event);
            }
            is_true(self).then_some(())
        });
        let (launched, ended) = (&self.launched, &self.ended);
        assert!(heard.is_some(), "not in time: {what}; launched {launched:?}, ended {ended:?}");
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::DomainEnded { members, culprit, ending, .. } => {
                assert_eq!(culprit, Some(run(ONE, 3)).into(), "it was to end for that one");
                for member in members {
                    let before = self.ended.insert(member, (ending.status, ending.cause));
                    assert_eq!(before, None, "{member:?} ended twice");
                }
            }
            Event::Launched { incarnation } => {
                *self.launched.entry(incarnation).or_default() += 1;
            }
            Event::LaunchFailed { incarnation, .. } => {
                *self.failed.entry(incarnation).or_default() += 1;
            }
            Event::Ended { incarnation, ending } => {
                let before = self.ended.insert(incarnation, (ending.status, ending.cause));
                assert_eq!(before, None, "{incarnation:?} ended twice");
            }
            Event::Ready { .. } | Event::Exited { .. } => {}
            other => panic!("not expected: {other:?}"),
        }
    }

    fn launch(&mut self, incarnation: Incarnation) {
        self.drivers.launch(incarnation, false);
        self.hear("launched", |world| world.launched.contains_key(&incarnation));
        assert!(self.drivers.is_live(incarnation));
    }

    fn takes_over_nothing_where_nothing_was_left(&mut self) {
        let mut inherited = InheritedDescriptors::default();
        let adopted = self.drivers.adopt(&mut inherited, &Past::new());
        assert!(adopted.fates.is_empty() && adopted.born.is_empty(), "{adopted:?}");
        self.drivers.begin(&inherited);
        assert!(!self.drivers.is_live(run(ONE, 1)));
        assert_eq!(self.drivers.next_event(), None);
    }

    fn answers_a_launch_once(&mut self) {
        self.launch(run(ONE, 1));
        self.launch(run(OTHER, 1));
        assert!(self.launched.values().all(|answers| *answers == 1), "{:?}", self.launched);
    }

    fn hands_registered_code_what_is_its_own(&mut self) {
        self.hear("signed", |world| {
            world.signed() == if world.is_sdk { vec![1, 1] } else { vec![] }
        });
    }

    fn hands_the_next_one_the_same(&mut self) {
        self.hear("signed", |world| {
            world.signed() == if world.is_sdk { vec![2, 1] } else { vec![] }
        });
    }

    /// How often what each worker is handed was signed.
    fn signed(&self) -> Vec<usize> {
        let made = MADE.lock().expect("not poisoned");
        ["one", "other"].iter().filter_map(|name| made.get(*name)).map(signatures).collect()
    }

    fn is_as_its_capabilities_say(&mut self) {
        let own = i32::try_from(std::process::id()).expect("a PID");
        let [one, other] = [ONE, OTHER].map(|worker| self.drivers.pid(worker));
        let is_same_domain = self.drivers.domain_of(ONE) == self.drivers.domain_of(OTHER);
        match self.capabilities.fault_domain {
            FaultDomain::Supervisor => assert_eq!((one, other), (Some(own), Some(own))),
            FaultDomain::Shared => assert!(one == other && one.is_some() && one != Some(own)),
            FaultDomain::Own => assert!(one.is_none() || one != other && one != Some(own)),
        }
        assert_eq!(is_same_domain, self.capabilities.fault_domain != FaultDomain::Own);
        assert!(self.capabilities.has_limits || self.drivers.limits_of(ONE).is_none());
        let is_a_process = one.is_some() && one != other && one != Some(own);
        assert_eq!(self.capabilities.has_own_process, is_a_process);
    }

    fn ends_when_it_is_asked_to(&mut self) {
        self.drivers.stop(run(ONE, 1), LIMIT);
        self.hear("stopped", |world| world.ended.contains_key(&run(ONE, 1)));
        assert!(!self.drivers.is_live(run(ONE, 1)) && self.drivers.is_live(run(OTHER, 1)));
        // One that has ended takes no more orders.
        self.drivers.stop(run(ONE, 1), LIMIT);
        self.drivers.kill(run(ONE, 1));
    }

    fn can_be_launched_again(&mut self) {
        self.launch(run(ONE, 2));
        assert!(!self.drivers.is_live(run(ONE, 1)), "the last one stays what it is");
        self.drivers.confirm(run(ONE, 2));
        let confirmed = self.drivers.next_event();
        let is_confirmed = matches!(confirmed, Some(Event::Confirmed { .. } | Event::Ready { .. }));
        assert!(is_confirmed, "{confirmed:?}");
        while self.drivers.next_event().is_some() {}
    }

    fn pauses_alone_where_it_can(&mut self) {
        let state = |world: &Self, worker| {
            let stat = world.drivers.pid(worker).and_then(process_table::stat);
            stat.map(|stat| stat.state)
        };
        self.drivers.pause(run(ONE, 2));
        if self.capabilities.can_be_paused {
            self.hear("paused", |world| state(world, ONE) == Some('T'));
        }
        assert_ne!(state(self, OTHER), Some('T'));
        self.drivers.resume(run(ONE, 2));
        self.hear("resumed", |world| state(world, ONE) != Some('T'));
    }

    fn ends_without_being_asked(&mut self) {
        self.drivers.kill(run(ONE, 2));
        self.hear("killed", |world| world.ended.contains_key(&run(ONE, 2)));
        let (status, _) = self.ended[&run(ONE, 2)];
        if self.capabilities.can_be_killed_alone {
            assert_eq!(status, Status::Signaled { signal: 9, core_dumped: false });
        } else {
            assert_eq!(status, Status::Abandoned, "it is left behind");
        }
        assert!(self.drivers.is_live(run(OTHER, 1)), "no other ends with it");
    }

    fn ends_with_its_domain(&mut self) {
        // That would be the end of this process.
        if self.capabilities.is_of_supervisor() {
            return;
        }
        self.launch(run(ONE, 3));
        self.drivers.recycle(self.drivers.domain_of(ONE), run(ONE, 3));
        self.hear("recycled", |world| world.ended.contains_key(&run(ONE, 3)));
        let is_shared = self.capabilities.is_shared();
        assert_eq!(self.ended.contains_key(&run(OTHER, 1)), is_shared, "all of it, nothing else");
    }

    fn leaves_nothing_behind(mut self) {
        self.drivers.stop(run(OTHER, 1), LIMIT);
        self.hear("stopped", |world| world.ended.contains_key(&run(OTHER, 1)));
        self.holds_nothing();
    }

    /// All have ended, and that is the end.
    fn holds_nothing(mut self) {
        assert!(self.drivers.end_all(), "all processes die");
        drop(self.drivers);
        assert_eq!(process_table::children(), Vec::<i32>::new(), "no process is left");
        let answers = [&self.launched, &self.failed];
        let is_once = answers.iter().all(|answers| answers.values().all(|count| *count == 1));
        assert!(is_once, "each launch is answered once: {answers:?}");
        std::fs::remove_dir_all(&self.directory).expect("it is ours");
    }
}

/// How often something was signed.
fn signatures(memory: &File) -> usize {
    let length = memory.metadata().expect("open").len();
    usize::try_from(length).expect("short") / "signed\n".len()
}

fn settings(case: &Case, directory: &Path) -> Settings {
    let (at, yaml) = (directory.display(), case.worker);
    let broken = case.broken.map_or(yaml, |(broken, _)| broken);
    let text = format!(
        "version: 1\nsupervisor: {{ runtime_dir: {at}, state_dir: {at}, log_dir: {at} }}\n\
         workers:\n  one: {yaml}\n  other: {yaml}\n  broken: {broken}\n"
    );
    let parsed = config::parse(&text, &directory.join("c.yaml"), &registry());
    parsed.unwrap_or_else(|problems| panic!("{text}: {problems}"))
}
