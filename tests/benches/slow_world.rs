//! The duration of the loop's turns while the world is slow, beside an undisturbed run: by the
//! clock, and by what the loop's thread had of a processor. The difference is the time in which the
//! machine ran something else.
//!
//! `cargo bench -p supervisord-rs --bench slow_world [-- PART-OF-A-NAME...]`; goals: 99 of 100
//! turns under 5 ms, none over 50 ms.

#[path = "../disturbances/mod.rs"]
mod disturbances;
#[path = "../harness/mod.rs"]
mod harness;

use std::time::Duration;

fn main() {
    // `cargo test --benches` runs it too: an undisturbed run shows that it works.
    let count = if std::env::args().any(|argument| argument == "--bench") { usize::MAX } else { 1 };
    println!(
        "milliseconds; status and restart: the slowest answer that a client saw; bare: the \
            slowest bare process meanwhile"
    );
    println!(
        "| disturbance                                       | turns, 99 % | longest | cpu, 99 % \
            | longest | status | restart | bare |"
    );
    println!(
        "|---------------------------------------------------|-------------|---------|-----------|---------|--------|---------|------|"
    );
    let parts: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(part));
    for disturbance in
        disturbances::ALL.iter().filter(|disturbance| is_wanted(disturbance.name)).take(count)
    {
        disturbance.run(|supervisor, probe| {
            let turns = supervisor.status().supervisor.turns;
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let us = |us: u64| Duration::from_micros(us);
            println!(
                "| {:<49} | {:>11.2} | {:>7.1} | {:>9.2} | {:>7.1} | {:>6.0} | {:>7.0} | {:>4.0} |",
                disturbance.name,
                ms(us(turns.p99_us)),
                ms(us(turns.longest_us)),
                ms(us(turns.cpu_p99_us)),
                ms(us(turns.cpu_longest_us)),
                ms(probe.status),
                ms(probe.restart),
                ms(probe.bare)
            );
        });
    }
}
