//! What a worker may do to the limits of its process, to who that is, to its descriptors, and to
//! what keeps it alive.

use std::hint::black_box;
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask, raise};
use nix::unistd::{Gid, Uid, getpid, setegid, seteuid, setuid};
use workers::{Context, Registry, WorkerError};

use crate::harness::skip::{Lack, skip};
use crate::harness::{Bed, Supervisor, is_root, kill};
use crate::{PLACES, Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "limits_that_a_thread_lowers_are_put_back_and_told",
        limits_that_a_thread_lowers_are_put_back_and_told,
    ),
    (
        "a_cell_whose_worker_allows_no_open_files_goes_on",
        a_cell_whose_worker_allows_no_open_files_goes_on,
    ),
    (
        "rights_that_a_thread_gives_up_are_put_back_or_told",
        rights_that_a_thread_gives_up_are_put_back_or_told,
    ),
    (
        "a_signal_that_a_thread_sends_to_its_process_is_no_order",
        a_signal_that_a_thread_sends_to_its_process_is_no_order,
    ),
    (
        "what_takes_the_last_words_of_a_thread_leaves_no_culprit",
        what_takes_the_last_words_of_a_thread_leaves_no_culprit,
    ),
    (
        "descriptors_that_a_worker_closes_are_missed_by_all_of_its_process",
        descriptors_that_a_worker_closes_are_missed_by_all_of_its_process,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry.function("vandal", "does something to its process; args: does, once", vandal)
}

#[derive(serde::Deserialize)]
struct Vandal {
    does: Does,
    /// Made where it has done it: the next run does nothing.
    once: PathBuf,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Does {
    LowerLimits,
    AllowNoFiles,
    GiveUpEffective,
    GiveUpAll,
    SignalItself,
    BlockAndCrash,
    OverflowWithoutStack,
    CloseAll,
}

fn vandal(context: &Context, args: Vandal) -> Result<(), WorkerError> {
    context.ready();
    if !args.once.exists() {
        std::fs::write(&args.once, "")?;
        break_it(args.does)?;
        context.log_line("has done it");
    }
    context.wait_for_stop();
    Ok(())
}

fn break_it(does: Does) -> Result<(), WorkerError> {
    let lower = |resource, soft| setrlimit(resource, soft, getrlimit(resource)?.1);
    match does {
        Does::LowerLimits => {
            for resource in [
                Resource::RLIMIT_MSGQUEUE,
                Resource::RLIMIT_FSIZE,
                Resource::RLIMIT_NPROC,
                Resource::RLIMIT_NOFILE,
            ] {
                lower(resource, 0)?;
            }
        }
        Does::AllowNoFiles => lower(Resource::RLIMIT_NOFILE, 0)?,
        Does::GiveUpEffective => {
            setegid(Gid::from_raw(65_534))?;
            seteuid(Uid::from_raw(65_534))?;
        }
        Does::GiveUpAll => setuid(Uid::from_raw(65_534))?,
        Does::SignalItself => {
            for signal in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGINT] {
                raise(signal)?;
            }
            nix::sys::signal::kill(getpid(), Signal::SIGTERM)?;
        }
        Does::BlockAndCrash => {
            let all = SigSet::all();
            pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&all), None)?;
            // SAFETY: none; it ends the process.
            unsafe { std::ptr::null_mut::<u32>().write_volatile(1) };
        }
        Does::OverflowWithoutStack => {
            let none = libc::stack_t {
                ss_sp: std::ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: 0,
            };
            // SAFETY: this thread has no signal stack from now on, and handles no signal.
            unsafe { libc::sigaltstack(&raw const none, std::ptr::null_mut()) };
            black_box(overflow(0));
        }
        Does::CloseAll => (3..1024).for_each(|number| {
            // SAFETY: none; others lose what they have. That is what the test is about.
            unsafe { libc::close(number) };
        }),
    }
    Ok(())
}

fn overflow(level: u64) -> u64 {
    let room = black_box([level; 512]);
    if room[7] == u64::MAX { 0 } else { black_box(overflow(room[7] + 1)) + 1 }
}

/// A supervisor of these, whose number comes with it, and in which that worker has begun.
fn begun<'a>(bed: &'a Bed, does: &str, place: &str) -> (Supervisor<'a>, i32) {
    let supervisor = start(bed, &yaml(bed, does, place));
    supervisor.wait_phase("beside", "running");
    supervisor.wait_phase("calm", "running");
    let pid = supervisor.status().supervisor.pid;
    // As a thread it may take the answer along.
    let _ = supervisor.client.start(&["v".into()], false);
    (supervisor, pid)
}

/// A worker in this place that does it, one beside it, and commands.
fn yaml(bed: &Bed, does: &str, place: &str) -> String {
    let once = bed.path("once");
    format!(
        "version: 1\nworkers:\n  beside: {{ worker: sleeper, {place} }}\n  calm: {{ command: [sleep, \
         1d] }}\n  v: {{ worker: vandal, args: {{ does: {does}, once: '{}' }}, {place}, stop: {{ \
         timeout: 300ms }}, autostart: false }}\n  next: {{ command: \
         'id -u; id -g; cat /proc/self/limits; exec sleep 1d', shell: true, autostart: false }}\n",
        once.display()
    )
}

fn limits_that_a_thread_lowers_are_put_back_and_told() {
    for place in PLACES {
        let bed = Bed::new();
        let (supervisor, before) = begun(&bed, "lower-limits", place);
        if place == PLACES[0] {
            let log = bed.wait_log("lowered these limits");
            assert!(log.contains("threads=\"beside, v\""), "{log}");
            let changed = supervisor.wait("all that has changed", |supervisor| {
                let changed = supervisor.status().supervisor.changed_limits;
                (changed.len() == 4).then_some(changed)
            });
            let expected = ["RLIMIT_FSIZE", "RLIMIT_MSGQUEUE", "RLIMIT_NOFILE", "RLIMIT_NPROC"];
            assert_eq!(changed, expected);
        } else {
            supervisor.wait_phase("v", "running");
        }
        supervisor.client.start(&["next".into()], true).expect("it starts");
        let output = supervisor.wait_output("next", "Max realtime timeout");
        let wanted =
            |line: &&str| line.starts_with("Max msgqueue") || line.starts_with("Max open files");
        let own = std::fs::read_to_string("/proc/self/limits").expect("procfs");
        let expected: Vec<&str> = own.lines().filter(wanted).collect();
        assert_eq!(output.lines().filter(wanted).collect::<Vec<_>>(), expected, "{place}");
        if place != PLACES[0] {
            assert!(supervisor.status().supervisor.changed_limits.is_empty(), "{place}");
        }
        assert_eq!(supervisor.status().supervisor.pid, before, "{place}");
        assert!(supervisor.incidents().is_empty(), "{place}");
        supervisor.stop();
    }
}

fn a_cell_whose_worker_allows_no_open_files_goes_on() {
    let bed = Bed::new();
    let place = PLACES[1];
    let (supervisor, _) = begun(&bed, "allow-no-files", place);
    supervisor.wait_output("v", "has done it");
    // Each is handed descriptors.
    supervisor.client.restart(&["v".into(), "beside".into()], true).expect("they go on");
    let told = "a worker has lowered the limit of open files of this process to 0; it is ";
    supervisor.wait("the cell to say so, once", |_| {
        (bed.output("cell-box").matches(told).count() == 1).then_some(())
    });
    assert!(supervisor.incidents().is_empty());
    supervisor.stop();
}

fn rights_that_a_thread_gives_up_are_put_back_or_told() {
    if !is_root() {
        return skip(Lack::Root, "only root has rights to give up");
    }
    for (does, told, changed) in [
        ("give-up-effective", "that is put back, for the worker too", ["group", "user"].as_slice()),
        ("give-up-all", "has no right to change that back", ["user"].as_slice()),
    ] {
        let bed = Bed::new();
        let (supervisor, before) = begun(&bed, does, PLACES[0]);
        let log = bed.wait_log(told);
        assert!(log.contains("threads=\"beside, v\""), "{does}: {log}");
        supervisor.wait("all that has changed", |supervisor| {
            (supervisor.status().supervisor.changed_identity == changed).then_some(())
        });
        if does == "give-up-effective" {
            supervisor.client.start(&["next".into()], true).expect("it starts");
            let output = supervisor.wait_output("next", "Max realtime timeout");
            assert!(output.starts_with("0\n0\n"), "{output}");
            supervisor.stop();
        } else {
            // Another is what it was.
            kill(before, Signal::SIGKILL);
            supervisor.wait_successor(before);
            assert!(supervisor.status().supervisor.changed_identity.is_empty());
            supervisor.client.start(&["next".into()], true).expect("it starts");
            let output = supervisor.wait_output("next", "Max realtime timeout");
            assert!(output.starts_with("0\n0\n"), "{output}");
            supervisor.stop();
        }
    }
    for place in &PLACES[1..] {
        let bed = Bed::new();
        let (supervisor, _) = begun(&bed, "give-up-all", place);
        supervisor.wait_output("v", "has done it");
        let pid = |name: &str| supervisor.worker(name).pid.expect("it runs");
        let user = |name: &str| {
            let line = std::fs::read_to_string(format!("/proc/{}/status", pid(name)));
            let line = line
                .expect("procfs")
                .lines()
                .find(|line| line.starts_with("Uid:"))
                .map(str::to_owned);
            line.and_then(|line| line.split_ascii_whitespace().nth(2).map(str::to_owned))
        };
        assert_eq!(user("v").as_deref(), Some("65534"), "{place}");
        let is_shared = *place == PLACES[1];
        let expected = if is_shared { "65534" } else { "0" };
        assert_eq!(user("beside").as_deref(), Some(expected), "{place}");
        assert!(supervisor.status().supervisor.changed_identity.is_empty(), "{place}");
        supervisor.stop();
    }
}

fn a_signal_that_a_thread_sends_to_its_process_is_no_order() {
    for place in PLACES {
        let bed = Bed::new();
        let (supervisor, before) = begun(&bed, "signal-itself", place);
        if place == PLACES[0] {
            let all = ["SIGHUP", "SIGUSR2", "SIGINT", "SIGTERM"];
            for signal in all {
                let log = bed.wait_log(&format!("signal=\"{signal}\""));
                assert!(log.contains("a thread worker sent this signal"), "{log}");
            }
            supervisor.wait_output("v", "has done it");
            assert!(supervisor.incidents().is_empty());
            let log = bed.log();
            assert!(!log.contains("shutting down") && !log.contains("reload"), "{log}");
        } else {
            let incident = supervisor.wait_incident(0);
            let said = &incident.sentence;
            assert_eq!(incident.ending.cause, "signal", "{place}: {said}");
            let is_known = place == PLACES[2];
            assert_eq!(incident.worker.as_deref(), is_known.then_some("v"), "{place}: {said}");
        }
        assert_eq!(supervisor.status().supervisor.pid, before, "{place}");
        assert_eq!(supervisor.worker("calm").generation, 1, "{place}");
        supervisor.stop();
    }
}

fn what_takes_the_last_words_of_a_thread_leaves_no_culprit() {
    for place in PLACES {
        for does in ["block-and-crash", "overflow-without-stack"] {
            let bed = Bed::new();
            let (supervisor, _) = begun(&bed, does, place);
            let incident = supervisor.wait_incident(0);
            let said = &incident.sentence;
            let what = format!("{place}, {does}: {said}");
            // The kernel says so much.
            let is_known = place == PLACES[2];
            let found = (incident.worker.as_deref(), incident.ending.cause.as_str());
            assert_eq!(found, (is_known.then_some("v"), "segfault"), "{what}");
            let lost: &[&str] = if is_known { &["v"] } else { &["beside", "v"] };
            assert_eq!(incident.lost, lost, "{what}");
            assert_eq!(incident.supervisor_died, place == PLACES[0], "{what}");
            // In a cell each of them may have done it, and has failed; the guardian counts the
            // deaths of the supervisor.
            let expected = if place == PLACES[0] { "domain-lost" } else { "segfault" };
            let ending = supervisor.wait_phase("v", "running").ending.expect("one");
            assert_eq!(ending.cause, expected, "{what}");
            supervisor.stop();
        }
    }
}

fn descriptors_that_a_worker_closes_are_missed_by_all_of_its_process() {
    for place in PLACES {
        let bed = Bed::new();
        let (supervisor, _) = begun(&bed, "close-all", place);
        if place == PLACES[2] {
            supervisor.wait_phase("v", "running");
        } else {
            let incident = supervisor.wait_incident(0);
            let said = &incident.sentence;
            assert_eq!(incident.worker, None, "{place}: {said}");
            assert_eq!(incident.lost, ["beside", "v"], "{place}: {said}");
            assert_eq!(incident.supervisor_died, place == PLACES[0], "{place}: {said}");
            supervisor.wait_phase("v", "running");
        }
        assert_eq!(supervisor.worker("calm").generation, 1, "{place}");
        supervisor.stop();
    }
}
