//! The storm kills the supervisor again and again, at any moment: while it starts, while workers
//! restart, while logs rotate and descriptors move. Process workers, cells, shared sockets and
//! numbered lines of output continue undisturbed.
//!
//! `KILL_STORM=1000 cargo test -p supervisord-rs --test storms kill_storm -- --nocapture` runs it
//! at full length; `KILL_STORM_SEED` replays the moments. It kills the guardian a tenth as often;
//! in the middle of a hand-over, the old supervisor or the new one, `KILL_STORM_HAND_OVERS` times;
//! and twenty times under each disturbance of the supervisor's directories.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::skip::{Lack, skip};
use crate::harness::{Bed, EAGER, Supervisor, kill, open_files};
use nix::sys::signal::Signal;
use supervisord_rs::control::protocol::StatusReport;
use supervisord_rs::process_table::{self, Stat};

/// Deaths in the suite; the whole storm is a thousand.
const DEATHS: u64 = 40;
const PORT: u16 = 18_417;
/// Hand-overs in the suite in which a supervisor is killed.
const HAND_OVERS: u64 = 8;

/// xorshift64*: a seed replays on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}

/// A number of the environment.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Workers that write numbered lines to a file that two of them share: unchanged lines, and lines
/// with a prefix.
const SHARING: [(&str, &str, [&str; 2]); 2] =
    [("plain", "prefix: false", ["p1", "p2"]), ("added", "prefix: true", ["a1", "a2"])];

/// Twenty process workers (two of them serve, three write numbered lines through rotation), four
/// that write to two files, two cells of two, and one that fails by itself again and again.
fn configuration() -> String {
    let lines = "i=0; while :; do i=$((i+1)); echo $i; [ $((i % 50)) = 0 ] && sleep 0.02; done";
    let server = include_str!("../fixtures/http_server.py");
    let text = |text: &str| serde_json::to_string(text).expect("a string");
    let mut yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\n\
            defaults: {{ ready: {{ after: 0s }}, {EAGER} }}\nworkers:\n"
    );
    for number in 0..14 {
        yaml.push_str(&format!("  sleep{number}: {{ command: [sleep, 1d] }}\n"));
    }
    for number in 0..3 {
        yaml.push_str(&format!(
            "  lines{number}: {{ command: [sh, -c, {}], logs: {{ rotate: {{ size: 20KiB, keep: \
                100000 }} }} }}\n",
            text(lines)
        ));
    }
    for (file, format, workers) in SHARING {
        for name in workers {
            let lines = lines.replace("echo $i", &format!("echo {name} $i"));
            yaml.push_str(&format!(
                "  {name}: {{ command: [sh, -c, {}], logs: {{ stdout: {file}.log, {format}, \
                    rotate: {{ size: 20KiB, keep: 100000 }} }} }}\n",
                text(&lines)
            ));
        }
    }
    yaml.push_str(&format!(
        "  web: {{ command: [python3, -c, {}], instances: 2, sockets: [ {{ listen: \
            \"127.0.0.1:{PORT}\" }} ] }}\n",
        text(server)
    ));
    yaml.push_str("  code: { worker: ticker, isolation: process }\n");
    for number in 0..4 {
        yaml.push_str(&format!(
            "  cell{number}: {{ worker: ticker, isolation: thread, cell: batch{} }}\n",
            number % 2
        ));
    }
    yaml.push_str("  restless: { command: [sh, -c, sleep 0.1], restart: always }\n");
    yaml
}

/// All workers but the one that ends by itself: name → PID.
fn pids(status: &StatusReport) -> BTreeMap<String, Option<i32>> {
    let others = status.workers.iter().filter(|worker| worker.name != "restless");
    others.map(|worker| (worker.name.clone(), worker.pid)).collect()
}

/// Asks the web workers again and again, and keeps the failures.
fn clients(stop: &Arc<AtomicBool>, served: &Arc<AtomicU64>, failed: &Arc<Mutex<Vec<String>>>) {
    while !stop.load(Ordering::Relaxed) {
        let answer = TcpStream::connect(("127.0.0.1", PORT)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        match answer {
            Ok(answer) if answer.contains("200 OK") => drop(served.fetch_add(1, Ordering::Relaxed)),
            other => failed.lock().expect("not poisoned").push(format!("{other:?}")),
        }
        // The pace of a client.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Looks at the whole bed again and again: no worker may run twice.
fn watch(bed: &std::path::Path, stop: &Arc<AtomicBool>, doubled: &Arc<Mutex<Vec<String>>>) {
    let mark = bed.as_os_str().as_encoded_bytes().to_vec();
    while !stop.load(Ordering::Relaxed) {
        let mut seen: BTreeMap<Vec<u8>, Vec<(i32, Stat)>> = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if !environment.windows(mark.len()).any(|window| window == mark)
                || !crate::harness::is_alive(pid)
            {
                continue;
            }
            let name = environment
                .split(|&byte| byte == 0)
                .find_map(|variable| variable.strip_prefix(b"SUPERVISOR_PROCESS_NAME="));
            let Some(stat) = process_table::stat(pid) else { continue };
            // Only the leaders of sessions, since a worker may start processes itself.
            let is_leader = stat.session == pid;
            if let (Some(name), true) = (name, is_leader) {
                seen.entry(name.to_vec()).or_default().push((pid, stat));
            }
        }
        // The table is not a snapshot: one may have ended before another began.
        let is_there = |(pid, seen): &(i32, Stat)| {
            let now = process_table::stat(*pid);
            crate::harness::is_alive(*pid)
                && now.is_some_and(|now| now.start_time == seen.start_time)
        };
        seen.values_mut().for_each(|all| all.retain(is_there));
        let twice = seen.into_iter().filter(|(_, all)| all.len() > 1);
        doubled
            .lock()
            .expect("not poisoned")
            .extend(twice.map(|(name, all)| format!("{}: {all:?}", crate::harness::text(&name))));
        // The pace of looks, which take processor time from what they look at.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All files of a log, oldest first.
fn whole(bed: &Bed, name: &str) -> String {
    let logs = bed.path("logs");
    let mut files: BTreeMap<u32, std::path::PathBuf> = BTreeMap::new();
    for entry in std::fs::read_dir(&logs).expect("logs").flatten() {
        let file = entry.file_name().into_string().expect("UTF-8");
        let number =
            file.strip_prefix(&format!("{name}.log.")).and_then(|number| number.parse().ok());
        if let Some(number) = number {
            files.insert(number, entry.path());
        }
    }
    let files = files.into_values().rev().chain([logs.join(format!("{name}.log"))]);
    files.map(|file| std::fs::read_to_string(&file).expect("a log")).collect()
}

/// Every line of a counting worker is there once, in order, whichever file it is in.
fn check_lines(bed: &Bed, name: &str) -> usize {
    let mut count = 0;
    for line in whole(bed, name).lines() {
        count += 1;
        assert_eq!(line, count.to_string(), "{name}: a line is missing, twice, or torn");
    }
    count
}

/// The same for the lines of two workers in one file.
fn check_shared(bed: &Bed, file: &str, workers: [&str; 2]) {
    let mut counts = BTreeMap::from(workers.map(|worker| (worker.to_owned(), 0_u64)));
    for line in whole(bed, file).lines() {
        let own = line.split_once(" | ").map_or(line, |(_, own)| own);
        let (worker, number) =
            own.split_once(' ').unwrap_or_else(|| panic!("{file}: torn: {line:?}"));
        let count = counts.get_mut(worker).unwrap_or_else(|| panic!("{file}: torn: {line:?}"));
        *count += 1;
        assert_eq!(
            number,
            count.to_string(),
            "{file}: a line of {worker} is missing, twice, or torn"
        );
    }
    assert!(counts.values().all(|count| *count > 100), "{file}: {counts:?}");
}

#[test]
fn a_storm_of_deaths_costs_workers_nothing() {
    let _machine = crate::beside_others();
    let deaths = number("KILL_STORM", DEATHS);
    let seed = number("KILL_STORM_SEED", u64::from(std::process::id()));
    println!("KILL_STORM_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let bed = Bed::new();
    // The guardian gives up after ten deaths within a minute, unless the configuration raises the
    // limit.
    let supervisor = bed.start_with(&configuration(), &["--storm"]);
    let first = supervisor.wait("all to run", |supervisor| {
        let status = supervisor.client.status().ok()?;
        status
            .workers
            .iter()
            .all(|worker| worker.phase == "running" || worker.name == "restless")
            .then_some(status)
    });
    let before = pids(&first);
    let files_before = open_files(supervisor.child_pid());

    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (failed, doubled) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let client = std::thread::spawn({
        let (stop, served, failed) = (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&failed));
        move || clients(&stop, &served, &failed)
    });
    let watcher = std::thread::spawn({
        let (stop, doubled, path) =
            (Arc::clone(&stop), Arc::clone(&doubled), bed.directory.path().to_owned());
        move || watch(&path, &stop, &doubled)
    });

    let begun = Instant::now();
    let lock = bed.path("run/supervisor.lock");
    let mut last = first.supervisor.pid;
    for death in 0..deaths {
        // At any moment: while the next one starts as well as long after.
        let moment =
            Duration::from_micros(random.below(if death % 4 == 0 { 300_000 } else { 40_000 }));
        std::thread::sleep(moment);
        let pid = supervisor.wait("a supervisor", |_| {
            let pid: i32 = std::fs::read_to_string(&lock).ok()?.trim().parse().ok()?;
            (pid != last && crate::harness::is_alive(pid) || death == 0).then_some(pid)
        });
        kill(pid, Signal::SIGKILL);
        last = pid;
        if death % 20 == 19 {
            let status = supervisor.wait_successor(last);
            assert_eq!(pids(&status), before, "after {} deaths; log:\n{}", death + 1, bed.log());
        }
    }
    let status = supervisor.wait_successor(last);
    println!(
        "{deaths} deaths in {:?}, {} requests",
        begun.elapsed(),
        served.load(Ordering::Relaxed)
    );
    assert_eq!(
        pids(&status),
        before,
        "no process changed that had no fault of its own; log:\n{}",
        bed.log()
    );
    let asked = served.load(Ordering::Relaxed);
    supervisor
        .wait("more requests", |_| (served.load(Ordering::Relaxed) > asked + 20).then_some(()));
    stop.store(true, Ordering::Relaxed);
    client.join().expect("the client");
    watcher.join().expect("the watcher");
    assert_eq!(*failed.lock().expect("not poisoned"), Vec::<String>::new(), "failed requests");
    assert_eq!(*doubled.lock().expect("not poisoned"), Vec::<String>::new(), "a worker ran twice");
    // The store holds descriptors of running workers: those of the restless one come and go.
    let files_after = open_files(supervisor.child_pid());
    assert!(
        files_after <= files_before + 12,
        "{files_before} descriptors before, {files_after} after"
    );
    let sharing = SHARING.iter().flat_map(|(_, _, workers)| workers.iter());
    let writers: Vec<String> = ["lines0", "lines1", "lines2"]
        .iter()
        .chain(sharing)
        .map(|name| (*name).to_owned())
        .collect();
    supervisor.client.stop(&writers, true).expect("stopped");
    supervisor.stop();
    for name in ["lines0", "lines1", "lines2"] {
        assert!(check_lines(&bed, name) > 100, "{name} wrote");
    }
    for (file, _, workers) in SHARING {
        check_shared(&bed, file, workers);
    }
}

/// A disturbance while the storm kills supervisors, and its repair.
struct Disturbance {
    name: &'static str,
    spoil: fn(&Bed),
    heal: fn(&Bed),
    /// The words of the log about it.
    said: &'static str,
}

fn file_in_place_of(path: &std::path::Path) {
    let _ = std::fs::remove_dir_all(path);
    std::fs::write(path, "in the way").expect("written");
}

fn fill(bed: &Bed) {
    let mut filler = std::fs::File::create(bed.path("run/filler")).expect("a filler");
    // Fills the rest of the reserve too: only space that is allocated by then remains.
    while filler.write(&[0; 4096]).is_ok_and(|count| count > 0) {}
}

const DISTURBANCES: [Disturbance; 6] = [
    Disturbance {
        name: "an invalid file",
        spoil: |bed| drop(bed.write("supervisord-rs.yaml", "version: [")),
        heal: |bed| drop(bed.write("supervisord-rs.yaml", DISTURBED)),
        said: "has been changed and not reloaded",
    },
    Disturbance {
        name: "no file",
        spoil: |bed| std::fs::remove_file(bed.path("supervisord-rs.yaml")).expect("there"),
        heal: |bed| drop(bed.write("supervisord-rs.yaml", DISTURBED)),
        said: "cannot be read",
    },
    Disturbance {
        name: "no state directory",
        spoil: |bed| file_in_place_of(&bed.path("state")),
        heal: |bed| std::fs::remove_file(bed.path("state")).expect("there"),
        said: "cannot create the state directory",
    },
    Disturbance {
        name: "no log directory",
        spoil: |bed| file_in_place_of(&bed.path("logs")),
        heal: |bed| std::fs::remove_file(bed.path("logs")).expect("there"),
        said: "cannot create the log directory",
    },
    Disturbance {
        name: "no black box",
        spoil: |bed| {
            let _ = std::fs::remove_file(bed.path("run/blackbox.new"));
            std::fs::create_dir(bed.path("run/blackbox.new")).expect("in the way");
        },
        heal: |bed| std::fs::remove_dir(bed.path("run/blackbox.new")).expect("there"),
        said: "no room for",
    },
    Disturbance {
        name: "no runtime directory",
        spoil: |bed| file_in_place_of(&bed.path("run")),
        heal: |bed| std::fs::remove_file(bed.path("run")).expect("there"),
        said: "cannot create the runtime directory",
    },
];

const DISTURBED: &str = include_str!("../fixtures/disturbed.yaml");

/// The present supervisor, whether it answers or not: the guardian's child.
fn present(supervisor: &Supervisor<'_>) -> Option<i32> {
    let guardian = supervisor.child.id();
    let children =
        std::fs::read_to_string(format!("/proc/{guardian}/task/{guardian}/children")).ok()?;
    let pids = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
    pids.filter(|pid| crate::harness::is_alive(*pid)).find(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.windows(4).any(|window| window == b"\0run")
    })
}

fn storm_through(disturbance: &Disturbance, bed: &Bed) {
    let deaths = if std::env::var_os("KILL_STORM").is_some() { 20 } else { 3 };
    let supervisor = bed.start_with(DISTURBED, &["--storm"]);
    let before = pids(&supervisor.wait_running());
    (disturbance.spoil)(bed);
    let mut last = 0;
    for death in 0..deaths {
        let pid = supervisor.wait("another supervisor", |supervisor| {
            present(supervisor).filter(|pid| *pid != last)
        });
        // The test shows that it can take over.
        supervisor.wait("it to take over", |_| {
            (bed.log().matches("supervising socket=").count() > death).then_some(())
        });
        kill(pid, Signal::SIGKILL);
        last = pid;
    }
    bed.wait_log(disturbance.said);
    let pid = supervisor
        .wait("the last one", |supervisor| present(supervisor).filter(|pid| *pid != last));
    (disturbance.heal)(bed);
    let after = supervisor.wait("all to be well again", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let is_well =
            status.supervisor.troubles.is_empty() && status.supervisor.config_differs.is_none();
        (is_well && status.supervisor.pid == pid).then_some(status)
    });
    assert_eq!(pids(&after), before, "{}; log:\n{}", disturbance.name, bed.log());
    assert_eq!(
        bed.processes().len(),
        7,
        "guardian, supervisor, five processes of workers: none twice"
    );
    supervisor.stop();
}

#[test]
fn deaths_cost_workers_nothing_while_directories_fail_and_it_heals_without_a_restart() {
    let _machine = crate::beside_others();
    for disturbance in &DISTURBANCES {
        storm_through(disturbance, &Bed::new());
    }
}

/// As root only: the directory has a small file system of its own.
#[test]
fn a_runtime_directory_that_is_full_costs_workers_nothing() {
    let _machine = crate::beside_others();
    let full = Disturbance {
        name: "a full runtime directory",
        spoil: fill,
        heal: |bed| std::fs::remove_file(bed.path("run/filler")).expect("there"),
        said: "no room for",
    };
    with_small_runtime_directory("3m", |bed| storm_through(&full, bed));
    // Too small from the first: no worker is started, so none is lost later.
    with_small_runtime_directory("1m", |bed| {
        let mut supervisor = bed.launch(DISTURBED, &[]);
        let status = supervisor.wait_exit();
        let log = bed.log();
        assert!(log.contains("cannot create the black box"), "{status}: {log}");
        assert!(!status.success() && !log.contains("launched"), "{status}: {log}");
        assert_eq!(bed.processes(), Vec::<i32>::new());
    });
}

/// As root only, with a small file system for the runtime directory.
fn with_small_runtime_directory(size: &str, test: impl FnOnce(&Bed)) {
    let bed = Bed::new();
    let run = bed.path("run");
    std::fs::create_dir(&run).expect("a directory");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"])
        .arg(&run)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        skip(Lack::Mount, "a small file system cannot be mounted");
        return;
    }
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&bed)));
    let unmounted = Command::new("umount").arg("-l").arg(&run).status().expect("it runs");
    assert!(unmounted.success(), "{} stays mounted", run.display());
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

/// No process survives the guardian's death: as documented, everything stops in order, and nothing
/// is left.
#[test]
fn a_guardian_that_is_killed_at_any_moment_ends_everything_and_leaves_nothing() {
    let _machine = crate::beside_others();
    let deaths = number("KILL_STORM", DEATHS).div_ceil(10);
    let seed = number("KILL_STORM_SEED", u64::from(std::process::id()));
    println!("KILL_STORM_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let yaml = "version: 1\nworkers:\n  s: { command: [sleep, 1d], ready: { after: 0s }, \
        instances: 5 }\n  \
                p: { worker: ticker, isolation: process }\n  \
                c: { worker: ticker, isolation: thread, cell: batch }\n  \
                t: { worker: ticker, isolation: thread }\n";
    for _ in 0..deaths {
        let bed = Bed::new();
        let mut supervisor = bed.launch(yaml, &[]);
        // The subject: a death at any moment of a start.
        std::thread::sleep(Duration::from_micros(random.below(300_000)));
        supervisor.child.kill().expect("our child");
        supervisor.child.wait().expect("our child");
        supervisor.wait("no process to be left", |supervisor| {
            supervisor.bed.processes().is_empty().then_some(())
        });
    }
}

/// There are two supervisors for a moment, and one of them is killed, or both: exactly one
/// continues, and no worker notices.
#[test]
fn a_death_in_the_middle_of_a_hand_over_costs_workers_nothing() {
    let _machine = crate::beside_others();
    let deaths = number("KILL_STORM_HAND_OVERS", HAND_OVERS);
    let seed = number("KILL_STORM_SEED", u64::from(std::process::id()));
    println!("KILL_STORM_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        s: { command: [sleep, 1d], instances: 5 }\n  \
                p: { worker: ticker, isolation: process }\n  \
                c: { worker: ticker, isolation: thread, cell: batch }\n";
    let bed = Bed::new();
    let supervisor = bed.start_with(yaml, &["--storm"]);
    let before = pids(&supervisor.wait_running());
    let (stop, doubled) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let watcher = std::thread::spawn({
        let (stop, doubled, path) =
            (Arc::clone(&stop), Arc::clone(&doubled), bed.directory.path().to_owned());
        move || watch(&path, &stop, &doubled)
    });
    let lock = bed.path("run/supervisor.lock");
    let holder = || std::fs::read_to_string(&lock).ok()?.trim().parse::<i32>().ok();
    for round in 0..deaths {
        let old = supervisor.status().supervisor.pid;
        let verb = if random.below(2) == 0 { "reexec" } else { "reload" };
        let mut order = bed
            .command(&[verb])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        // The subject: a death at any moment.
        std::thread::sleep(Duration::from_micros(random.below(250_000)));
        let victims = match random.below(3) {
            0 => vec![Some(old)],
            1 => vec![holder()],
            _ => vec![holder(), Some(old)],
        };
        for pid in victims.into_iter().flatten().filter(|pid| crate::harness::is_alive(*pid)) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
        order.wait().expect("our child");
        let status = supervisor.wait("a supervisor that goes on", |supervisor| {
            supervisor
                .client
                .status()
                .ok()
                .filter(|status| crate::harness::is_alive(status.supervisor.pid))
        });
        assert_eq!(pids(&status), before, "round {round}, {verb}; log:\n{}", bed.log());
    }
    stop.store(true, Ordering::Relaxed);
    watcher.join().expect("the watcher");
    assert_eq!(*doubled.lock().expect("not poisoned"), Vec::<String>::new(), "a worker ran twice");
    supervisor.stop();
}
