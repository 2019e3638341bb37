//! The cost of a restart beside the bare system calls: the benchmark kills a supervised command
//! again and again, and the child of a bare loop of spawn and wait. Both in one run, in turns;
//! ratios carry over to other machines, times do not.
//!
//! `cargo bench -p supervisord-rs --bench restart`

#[path = "../harness/mod.rs"]
mod harness;

use std::process::{Command, Stdio};
use std::time::Instant;

use harness::{Bed, EAGER, find, kill};
use nix::sys::signal::Signal;
use workers::runtime::board::monotonic_ns;

const ROUNDS: usize = 300;

fn main() {
    // `cargo test --benches` runs it too: a few rounds show that it works.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 10 };
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nworkers:\n  a: {{ command: [sleep, 1d], ready: {{ after: 0s }}, {EAGER} }}\n"
    );
    let supervisor = bed.start(&yaml);
    let mut pid = find(&supervisor.wait_running(), "a").pid.expect("running");
    let mut events = supervisor.client.events().expect("events");

    let (mut own, mut whole, mut bare_spawn, mut bare_whole) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let struck = monotonic_ns() / 1000;
        kill(pid, Signal::SIGKILL);
        let (mut seen, mut executed) = (None, None);
        while executed.is_none() {
            let event = events.next().expect("the stream goes on").expect("an event");
            match (event.kind.as_str(), event.detail["from"].as_str(), event.detail["to"].as_str())
            {
                // The event of the death comes first; the launch is answered after execve.
                ("phase", Some("running"), _) => seen = Some(event.monotonic_us),
                ("phase", Some("launching"), Some("starting")) => {
                    executed = Some(event.monotonic_us)
                }
                _ => {}
            }
        }
        let (seen, executed) = (seen.expect("a death"), executed.expect("a launch"));
        own.push(executed - seen);
        whole.push(executed - struck);
        pid = supervisor.wait("the replacement", |supervisor| {
            find(&supervisor.client.status().ok()?, "a").pid.filter(|new| *new != pid)
        });

        let mut child =
            Command::new("sleep").arg("1d").stdin(Stdio::null()).spawn().expect("sleep");
        let begun = Instant::now();
        kill(child.id() as i32, Signal::SIGKILL);
        child.wait().expect("our child");
        let waited = Instant::now();
        let mut next = Command::new("sleep").arg("1d").stdin(Stdio::null()).spawn().expect("sleep");
        bare_spawn.push(waited.elapsed().as_micros() as u64);
        bare_whole.push(begun.elapsed().as_micros() as u64);
        next.kill().expect("our child");
        next.wait().expect("our child");
    }
    drop(events);
    supervisor.stop();

    println!(
        "{rounds} restarts of a killed command, backoff 0; median (90th percentile) in microseconds"
    );
    println!("| from → to                 | supervised | bare spawn + wait | ratio |");
    println!("|---------------------------|------------|-------------------|-------|");
    row("death seen → execve done ", &mut own, &mut bare_spawn);
    row("SIGKILL sent → execve done", &mut whole, &mut bare_whole);
}

fn row(name: &str, supervised: &mut [u64], bare: &mut [u64]) {
    let at = |list: &mut [u64], percent: usize| {
        list.sort_unstable();
        list[list.len() * percent / 100]
    };
    let (own, own_90, limit, limit_90) =
        (at(supervised, 50), at(supervised, 90), at(bare, 50), at(bare, 90));
    println!(
        "| {name} | {own} ({own_90}) | {limit} ({limit_90}) | {:.2} |",
        own as f64 / limit as f64
    );
}
