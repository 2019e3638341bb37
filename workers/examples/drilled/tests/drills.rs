//! What a crash of one counter costs the other, in every isolation: the real program is broken, by
//! real faults.

use supervisord_rs::drill::Drill;

/// Two counters in one place.
fn counters(place: &str) -> Drill {
    Drill::of(env!("CARGO_BIN_EXE_drilled")).named(place).configuration(format!(
        "version: 1
supervisor: {{ fault_injection: allow }}
defaults: {{ {place}, restart: {{ backoff: {{ initial: 0s }} }} }}
workers: {{ api: {{ worker: counter }}, batch: {{ worker: counter }} }}
"
    ))
}

#[test]
fn a_crash_costs_what_the_isolation_says() {
    for (place, cost) in [
        ("isolation: process", "lost: [api], supervisor: alive"),
        ("isolation: thread, cell: both", "lost: [api, batch], supervisor: alive"),
        ("isolation: thread", "lost: [api, batch], supervisor: died"),
    ] {
        let back = format!("{cost}, back: {{ within: 30s }}, within: 60s");
        counters(place).inject("api", "segfault").expect(&back).assert_holds();
    }
}

#[test]
fn a_contained_panic_costs_its_worker_alone() {
    for place in ["isolation: thread", "isolation: thread, cell: both", "isolation: process"] {
        let contained = format!("{place}, on_panic: contain");
        let alone = "lost: [api], supervisor: alive, back: { within: 30s }, within: 60s";
        counters(&contained).inject("api", "panic").expect(alone).assert_holds();
    }
}

#[test]
fn no_number_is_lost_or_counted_twice() {
    for place in ["isolation: thread", "isolation: thread, cell: both", "isolation: process"] {
        let all = "numbered: { api: 'counted ([0-9]+)', batch: 'counted ([0-9]+)' }, within: 60s";
        let drill = counters(place).inject("api", "segfault");
        drill
            .step("wait: { progress: { api: 5, batch: 5 }, within: 60s }")
            .expect(all)
            .assert_holds();
    }
}

/// A drill that could not fail would show nothing.
#[test]
fn a_promise_that_the_isolation_does_not_keep_fails() {
    let drill = counters("isolation: thread, cell: both").inject("api", "segfault");
    let reports = drill.expect("lost: [api], within: 10s").run().expect("it runs");
    let failure = reports[0].failure.as_ref().expect("a cell shares one fate");
    assert!(failure.line().contains("lost: api batch"), "{}", failure.line());
}
