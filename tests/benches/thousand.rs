//! A thousand workers beside a bare loop of spawn and wait for as many: launch, all killed and all
//! back, all stopped, and what each costs in memory. Both in one run; ratios carry over to other
//! machines, times do not.
//!
//! `cargo bench -p supervisord-rs --bench thousand`

#[path = "../harness/mod.rs"]
mod harness;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Bed, EAGER, Supervisor, kill};
use nix::sys::signal::Signal;

const WORKERS: usize = 1000;
const LIMIT: Duration = Duration::from_secs(120);

fn main() {
    // `cargo test --benches` runs it too: a few workers show that it works.
    let count = if std::env::args().any(|argument| argument == "--bench") { WORKERS } else { 20 };
    let bare = bare(count);
    let own = supervised(count);
    println!("{count} commands (`sleep`), milliseconds");
    println!("| what                            | supervised | bare spawn + wait | ratio |");
    println!("|---------------------------------|------------|-------------------|-------|");
    for (name, own, bare) in [
        ("launch → last one up           ", own.up, bare.up),
        ("all killed at once → all back  ", own.back, bare.back),
        ("order to stop → last one gone  ", own.gone, bare.gone),
    ] {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("| {name} | {:.0} | {:.0} | {:.2} |", ms(own), ms(bare), ms(own) / ms(bare));
    }
    println!(
        "memory of the supervisor with all of them up: {} KiB (PSS), {:.1} KiB for each worker",
        own.pss, own.pss_each
    );
}

struct Times {
    up: Duration,
    back: Duration,
    gone: Duration,
    pss: u64,
    pss_each: f64,
}

fn spawn(count: usize) -> Vec<Child> {
    (0..count)
        .map(|_| Command::new("sleep").arg("1d").stdin(Stdio::null()).spawn().expect("sleep"))
        .collect()
}

fn bare(count: usize) -> Times {
    let begun = Instant::now();
    let children = spawn(count);
    let up = begun.elapsed();
    let begun = Instant::now();
    let mut next = Vec::new();
    for child in &children {
        kill(child.id() as i32, Signal::SIGKILL);
    }
    for mut child in children {
        child.wait().expect("our child");
        next.append(&mut spawn(1));
    }
    let back = begun.elapsed();
    let begun = Instant::now();
    for child in &next {
        kill(child.id() as i32, Signal::SIGTERM);
    }
    for mut child in next {
        child.wait().expect("our child");
    }
    Times { up, back, gone: begun.elapsed(), pss: 0, pss_each: 0.0 }
}

fn supervised(count: usize) -> Times {
    let yaml = |count: usize| {
        format!(
            "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
                w: {{ instances: {count}, command: [sleep, 1d], ready: {{ after: 0s }} }}\n"
        )
    };
    let empty = Bed::new();
    let supervisor = empty.start(&yaml(0));
    let base = pss(supervisor.status().supervisor.pid);
    supervisor.stop();

    let bed = Bed::new();
    let begun = Instant::now();
    let supervisor = bed.start(&yaml(count));
    wait_all(&supervisor, 1);
    let up = begun.elapsed();
    let pss = pss(supervisor.status().supervisor.pid);
    let pids: Vec<i32> =
        supervisor.status().workers.iter().filter_map(|worker| worker.pid).collect();
    let begun = Instant::now();
    for pid in pids {
        kill(pid, Signal::SIGKILL);
    }
    wait_all(&supervisor, 2);
    let back = begun.elapsed();
    let begun = Instant::now();
    supervisor.client.stop(&["all".into()], true).expect("stopped");
    let gone = begun.elapsed();
    supervisor.stop();
    Times { up, back, gone, pss, pss_each: (pss as f64 - base as f64) / count as f64 }
}

fn wait_all(supervisor: &Supervisor<'_>, generation: u64) {
    supervisor.wait_for(LIMIT, "all to run", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let is_up = |worker: &supervisord_rs::control::protocol::WorkerStatus| {
            worker.phase == "running" && worker.generation >= generation
        };
        status.workers.iter().all(is_up).then_some(())
    });
}

fn pss(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
