//! One suite for every driver, on real threads and processes: what the contract says holds for each
//! of them, as far as its capabilities say so. Each runs in a process of its own, whose children
//! are all that the driver may leave behind.
//!
//! The workers belong to a separate program, which is this file: so it has its own `main`.

#[path = "../harness/mod.rs"]
mod harness;
mod null;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Duration;

use supervision::{
    Capabilities, Cause, Event, FaultDomain, Generation, Incarnation, Status, WorkerId,
};
use supervisord_rs::config::{self, Settings};
use supervisord_rs::isolation::contract::Driver;
use supervisord_rs::isolation::contract::means::adopting::Past;
use supervisord_rs::isolation::drivers::Persistence;
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

/// Each with what its workers are in a configuration.
const CASES: [(&str, &str); 5] = [
    ("thread", "{ worker: idler, isolation: thread }"),
    ("cell", "{ worker: idler, isolation: thread, cell: shared }"),
    ("process", "{ worker: idler }"),
    ("process, a command", "{ command: [sleep, '1000'] }"),
    ("null", "{ command: [sleep, '1000'] }"),
];

/// If this variable is set, the program is the suite for one driver.
const CASE: &str = "CONFORMANCE_CASE";
/// On a busy machine, too.
const LIMIT: Duration = Duration::from_secs(20);

/// Lives until it is asked to stop.
struct Idler;

impl Worker for Idler {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        context.ready();
        context.wait_for_stop();
        Ok(())
    }
}

fn registry() -> Registry {
    let idler = |_: serde_json::Value| -> Result<Idler, WorkerError> { Ok(Idler) };
    Registry::default().with("idler", "waits until it is asked to stop", idler)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|verb| verb == "__host") {
        workers::host::main(&registry());
    }
    if let Ok(name) = std::env::var(CASE) {
        let (name, yaml) = CASES.into_iter().find(|(known, _)| *known == name).expect("a case");
        conform(name, yaml);
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = CASES.iter().filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter)));
    let mut is_good = true;
    for (name, _) in chosen {
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

fn conform(name: &str, yaml: &str) {
    let mut world = World::new(name, yaml);
    world.takes_over_nothing_where_nothing_was_left();
    world.answers_a_launch_once();
    world.is_as_its_capabilities_say();
    world.ends_when_it_is_asked_to();
    world.can_be_launched_again();
    world.pauses_alone_where_it_can();
    world.ends_without_being_asked();
    world.ends_with_its_domain();
    world.leaves_nothing_behind();
}

/// A driver with two workers, of which the second is to notice nothing.
struct World {
    drivers: Drivers,
    capabilities: &'static Capabilities,
    directory: PathBuf,
    launched: BTreeMap<Incarnation, usize>,
    ended: BTreeMap<Incarnation, (Status, Cause)>,
}

const ONE: WorkerId = WorkerId(0);
const OTHER: WorkerId = WorkerId(1);

fn run(worker: WorkerId, generation: u64) -> Incarnation {
    Incarnation { worker, generation: Generation(generation) }
}

impl World {
    fn new(name: &str, yaml: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("conformance-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut settings = settings(yaml, &directory);
        if name == "null" {
            for worker in &settings.spec.workers {
                settings.spec.domains[worker.domain.index()].capabilities = &null::CAPABILITIES;
            }
        }
        let capabilities = settings.spec.capabilities(ONE);
        let names: Vec<&str> = settings.launches.iter().map(|one| one.name.as_str()).collect();
        let black_box = Rc::new(BlackBox::create(&directory, &names, 0).expect("a black box"));
        let store = FdStore::none();
        let carriers = black_box.carriers();
        let surviving = Surviving { carriers, carried: Vec::new(), store: store.clone() };
        let logs = Logs::start(None, None, surviving).expect("a thread");
        let environment: BTreeMap<OsString, OsString> =
            std::env::vars_os().filter(|(name, _)| name != CASE).collect();
        let persistence = Persistence { store, exit_records: None };
        let drivers = Drivers::with(
            drivers(),
            &settings,
            registry(),
            environment,
            logs,
            black_box,
            persistence,
        )
        .expect("descriptors");
        let (launched, ended) = (BTreeMap::new(), BTreeMap::new());
        Self { drivers, capabilities, directory, launched, ended }
    }

    /// Hears what has happened until this is true.
    fn hear(&mut self, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        let heard = until(LIMIT, || {
            self.drivers.collect();
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
                assert_eq!(culprit, Some(run(ONE, 3)), "it was to end for that one");
                for member in members {
                    let before = self.ended.insert(member, (ending.status, ending.cause));
                    assert_eq!(before, None, "{member:?} ended twice");
                }
            }
            Event::Launched { incarnation } => {
                *self.launched.entry(incarnation).or_default() += 1;
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
    }

    fn ends_when_it_is_asked_to(&mut self) {
        self.drivers.stop(run(ONE, 1));
        self.hear("stopped", |world| world.ended.contains_key(&run(ONE, 1)));
        assert!(!self.drivers.is_live(run(ONE, 1)) && self.drivers.is_live(run(OTHER, 1)));
        // One that has ended takes no more orders.
        self.drivers.stop(run(ONE, 1));
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
        self.drivers.stop(run(OTHER, 1));
        self.hear("stopped", |world| world.ended.contains_key(&run(OTHER, 1)));
        assert!(self.drivers.end_all(), "all processes die");
        drop(self.drivers);
        assert_eq!(process_table::children(), Vec::<i32>::new(), "no process is left");
        let answers = self.launched.values().all(|answers| *answers == 1);
        assert!(answers, "each launch is answered once: {:?}", self.launched);
        std::fs::remove_dir_all(&self.directory).expect("it is ours");
    }
}

fn settings(yaml: &str, directory: &Path) -> Settings {
    let at = directory.display();
    let text = format!(
        "version: 1\nsupervisor: {{ runtime_dir: {at}, state_dir: {at}, log_dir: {at} }}\n\
         workers:\n  one: {yaml}\n  other: {yaml}\n"
    );
    let parsed = config::parse(&text, &directory.join("c.yaml"), &registry());
    parsed.unwrap_or_else(|problems| panic!("{text}: {problems}"))
}
