//! A random black-box storm: valid random configurations, orders of two clients, kills of workers
//! and of the supervisor, all at once. An independent model of the documentation's promises checks
//! the state at each quiet moment.
//!
//! `BLACK_BOX_STORM=3600 cargo test -p supervisord-rs --test storms black_box_storm -- --nocapture`
//! runs it for an hour; `BLACK_BOX_STORM_SEED=N` runs the round of one seed. Each round prints its
//! seed first. A seed repeats the actions, not their interleaving, which depends on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Bed, Supervisor, until};
use crate::storm::Random;
use crate::storm::configuration::{self, BYSTANDERS};
use crate::storm::model::Model;
use crate::storm::outside;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use supervisord_rs::control::client::{Client, ClientError};
use supervisord_rs::control::protocol::{Done, StatusReport};

/// Seconds in the suite.
const SECONDS: u64 = 20;
/// Orders of each client in a round.
const ORDERS: usize = 40;
/// The timeout of an order; it is answered by then in any case.
const OUTCOME: Duration = Duration::from_secs(10);
/// The deadline for an answer of a supervisor on a loaded machine, and for its successor to start.
const ANSWER: Duration = Duration::from_secs(60);

/// State that the threads of the storm share.
struct Storm<'a> {
    supervisor: &'a Supervisor<'a>,
    is_over: AtomicBool,
    wrong: Mutex<Vec<String>>,
    deaths: AtomicU64,
    kills: AtomicU64,
    /// The workers that the storm has struck: incidents may blame no other.
    struck: Mutex<BTreeSet<String>>,
}

impl Storm<'_> {
    fn complain(&self, what: String) {
        self.wrong.lock().expect("not poisoned").push(what);
    }

    fn strike(&self, worker: &str) {
        self.struck.lock().expect("not poisoned").insert(worker.to_owned());
    }

    /// An order, repeated until a supervisor has answered it: one that died may have accepted it or
    /// not.
    fn order(&self, what: &str, order: impl Fn(&Client) -> Result<Done, ClientError>) -> bool {
        let mut client = self.supervisor.client.clone_with(Some(OUTCOME));
        let end = Instant::now() + ANSWER;
        loop {
            let begun = Instant::now();
            let answer = order(&client);
            if begun.elapsed() > OUTCOME + ANSWER {
                self.complain(format!("{what}: answered after {:?}", begun.elapsed()));
            }
            match answer {
                Ok(_) => return true,
                // Accepted; the model decides about its effect.
                Err(ClientError::Failed(failure))
                    if ["failed", "superseded", "timed-out"].contains(&failure.error.as_str()) =>
                {
                    return true;
                }
                Err(ClientError::Failed(failure))
                    if ["refused", "not-running"].contains(&failure.error.as_str()) =>
                {
                    return false;
                }
                Err(error) if Instant::now() > end => {
                    self.complain(format!("{what}: {error}"));
                    return false;
                }
                Err(_) => {
                    // Supervisors may die faster than an outcome comes: the next order waits for
                    // its acceptance, or little more.
                    client = client.clone_with(Some(Duration::from_millis(1)));
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// One client, which gives random orders in its own territory.
fn client(storm: &Storm<'_>, model: &mut Model, random: &mut Random) {
    for _ in 0..ORDERS {
        // The pace of a client.
        std::thread::sleep(Duration::from_millis(random.below(60) as u64));
        let worker = random.below(model.territory.plans.len());
        let plan = model.territory.plans[worker].clone();
        let names = [plan.name.clone()];
        let wait = random.chance(30);
        match random.below(20) {
            0..=4 => {
                if storm.order("start", |client| client.start(&names, wait)) {
                    model.start(worker);
                }
            }
            5..=8 => {
                if storm.order("stop", |client| client.stop(&names, wait)) {
                    model.stop(worker);
                }
            }
            9..=11 => {
                if storm.order("restart", |client| client.restart(&names, wait)) {
                    model.start(worker);
                }
            }
            12 | 13 => {
                let instances = random.below(5) as u32;
                let scaled = model.territory.scaled.clone();
                if storm.order("scale", |client| client.scale(&scaled, instances, wait)) {
                    model.instances = instances;
                }
            }
            14 => {
                storm.order("pause", |client| client.pause(&names));
            }
            15 => {
                storm.order("resume", |client| client.resume(&names));
            }
            // To a worker that ignores it.
            16 => {
                storm.order("signal", |client| client.signal(&plan.name, Signal::SIGWINCH as i32));
            }
            17 => {
                let same = std::path::Path::new("/proc/self/exe");
                storm.order("reload", |client| client.reexec(Some(same), None));
            }
            _ => {
                // TERM to a thread of the supervisor orders the supervisor to end.
                let fault = random.pick(&["signal-kill", "signal-segv"]);
                storm.strike(&plan.name);
                storm.order("inject", |client| client.inject(&plan.name, fault));
            }
        }
    }
}

/// Kills workers, and now and then the supervisor, but no bystanders and no threads; injection
/// strikes those.
fn killer(storm: &Storm<'_>, random: &mut Random) {
    while !storm.is_over.load(Ordering::Relaxed) {
        // The pace of deaths.
        std::thread::sleep(Duration::from_millis(random.below(150) as u64));
        let Ok(status) = storm.supervisor.client.clone_with(None).status() else { continue };
        let spared = random.chance(75);
        let victims = status.workers.iter().filter(|worker| {
            worker.isolation == "process"
                && !BYSTANDERS.contains(&worker.name.as_str())
                && worker.pid.is_some()
        });
        let victims: Vec<_> = victims.collect();
        if !spared {
            let is_there = kill(Pid::from_raw(status.supervisor.pid), Signal::SIGKILL).is_ok();
            storm.deaths.fetch_add(u64::from(is_there), Ordering::Relaxed);
        } else if !victims.is_empty() {
            let victim = random.pick(&victims);
            storm.strike(&victim.name);
            let pid = Pid::from_raw(victim.pid.expect("filtered above"));
            // Only while the PID still belongs to that worker: the kernel reuses PIDs.
            if is_of(storm.supervisor.bed, pid) {
                storm
                    .kills
                    .fetch_add(u64::from(kill(pid, Signal::SIGKILL).is_ok()), Ordering::Relaxed);
            }
        }
    }
}

fn is_of(bed: &Bed, pid: Pid) -> bool {
    let mark = bed.directory.path().as_os_str().as_encoded_bytes();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.windows(mark.len()).any(|window| window == mark)
}

/// Checks that no worker runs twice, at any moment.
fn watcher(storm: &Storm<'_>) {
    let path = storm.supervisor.bed.directory.path();
    let twice = || -> BTreeMap<String, Vec<String>> {
        outside::incarnations(path).into_iter().filter(|(_, all)| all.len() > 1).collect()
    };
    while !storm.is_over.load(Ordering::Relaxed) {
        let first = twice();
        // The table is not a snapshot: the processes of a real finding are there a second time.
        let again = if first.is_empty() { BTreeMap::new() } else { twice() };
        let are_both_there = |(name, all): &(String, Vec<String>)| {
            let of = |one: &String| one.split(' ').next().map(str::to_owned);
            let known: Vec<_> = first.get(name).into_iter().flatten().map(of).collect();
            all.iter().filter(|one| known.contains(&of(one))).count() > 1
        };
        for (name, all) in again.into_iter().filter(are_both_there) {
            storm.complain(format!("two incarnations of {name}: {all:?}"));
        }
        // The pace of looks.
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn bystanders(status: &StatusReport) -> Vec<(String, Option<i32>, u64)> {
    let all = status.workers.iter().filter(|worker| BYSTANDERS.contains(&worker.name.as_str()));
    all.map(|worker| (worker.name.clone(), worker.pid, worker.generation)).collect()
}

/// One round; returns its errors and the numbers of deaths.
fn round(seed: u64) -> (Vec<String>, u64, u64) {
    let mut random = Random::new(seed);
    let configuration = configuration::random(&mut random);
    let bed = Bed::new();
    let supervisor = bed.start_with(&configuration.yaml, &["--storm"]);
    let first = supervisor.wait_running();
    let storm = Storm {
        supervisor: &supervisor,
        is_over: AtomicBool::new(false),
        wrong: Mutex::new(Vec::new()),
        deaths: AtomicU64::new(0),
        kills: AtomicU64::new(0),
        struck: Mutex::new(BTreeSet::new()),
    };
    let mut models = configuration.territories.map(Model::new);
    std::thread::scope(|scope| {
        scope.spawn(|| watcher(&storm));
        let mut killing = Random::new(seed ^ 0xdead);
        let storm = &storm;
        scope.spawn(move || killer(storm, &mut killing));
        let clients = models.iter_mut().zip([1, 2]).map(|(model, number)| {
            let mut random = Random::new(seed.rotate_left(17) ^ number);
            scope.spawn(move || client(storm, model, &mut random))
        });
        let clients: Vec<_> = clients.collect();
        let outcomes: Vec<_> =
            clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        storm.is_over.store(true, Ordering::Relaxed);
        outcomes.into_iter().for_each(|outcome| outcome.expect("a client that does not panic"));
    });
    let mut wrong = settle(&storm, &mut models, &first);
    wrong.extend(blamed(&storm));
    let (deaths, kills) = (storm.deaths.into_inner(), storm.kills.into_inner());
    wrong.extend(storm.wrong.into_inner().expect("not poisoned"));
    if !wrong.is_empty() {
        println!(
            "{}\n{}\nstatus: {:#?}",
            configuration.yaml,
            bed.log(),
            supervisor.client.status()
        );
    }
    let status = supervisor.stop();
    if !status.success() {
        wrong.push(format!("an end in order has status {status}"));
    }
    (wrong, deaths, kills)
}

/// A quiet moment: everything suspended is resumed, and the model's prediction becomes true, and
/// stays so.
fn settle(storm: &Storm<'_>, models: &mut [Model; 2], first: &StatusReport) -> Vec<String> {
    models.iter_mut().for_each(Model::may_strike_any);
    storm.order("resume", |client| client.resume(&["all".into()]));
    let differences = || -> Vec<String> {
        let Ok(status) = storm.supervisor.client.status() else { return vec!["no answer".into()] };
        let mut wrong: Vec<String> =
            models.iter().flat_map(|model| model.differences(&status)).collect();
        if bystanders(&status) != bystanders(first) {
            wrong.push(format!(
                "bystanders: {:?} were {:?}",
                bystanders(&status),
                bystanders(first)
            ));
        }
        wrong
    };
    match until(ANSWER, || differences().is_empty().then_some(())) {
        Some(()) => Vec::new(),
        None => differences(),
    }
}

/// Each incident has its own number, and blames only workers that were struck.
fn blamed(storm: &Storm<'_>) -> Vec<String> {
    let struck = storm.struck.lock().expect("not poisoned");
    let incidents = storm.supervisor.incidents();
    let mut known = BTreeSet::new();
    let mut wrong = Vec::new();
    for incident in incidents {
        if !known.insert(incident.id) {
            wrong.push(format!("two incidents {}", incident.id));
        }
        let is_innocent = incident.worker.as_ref().is_some_and(|worker| !struck.contains(worker));
        if is_innocent {
            wrong.push(format!("blamed without a strike: {}", incident.sentence));
        }
    }
    wrong
}

#[test]
fn a_storm_of_orders_and_deaths_breaks_no_promise() {
    let _machine = crate::beside_others();
    let seconds = number("BLACK_BOX_STORM").unwrap_or(SECONDS);
    let one = number("BLACK_BOX_STORM_SEED");
    let begun = Instant::now();
    let mut seed = one.unwrap_or_else(|| u64::from(std::process::id()) << 20);
    let (mut rounds, mut deaths, mut kills) = (0, 0, 0);
    let mut failed = Vec::new();
    loop {
        println!("BLACK_BOX_STORM_SEED={seed}");
        let (wrong, died, killed) = round(seed);
        (rounds, deaths, kills) = (rounds + 1, deaths + died, kills + killed);
        if !wrong.is_empty() {
            println!("BLACK_BOX_STORM_SEED={seed} breaks promises: {wrong:#?}");
            failed.push((seed, wrong));
        }
        if one.is_some() || begun.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        seed += 1;
    }
    println!(
        "{rounds} rounds, {deaths} deaths of the supervisor, {kills} of workers in {:?}",
        begun.elapsed()
    );
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(one.is_some() || (deaths > 0 && kills > 0), "a storm without deaths proves nothing");
}
