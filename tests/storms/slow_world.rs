//! Nothing holds the loop: whatever is slow outside, `status` and a restart of a healthy worker
//! take no longer than a second, and the healthy workers keep their processes. A busy machine makes
//! every process wait: a bare process beside each question measures how long, and the limit grows
//! with that. The loop's own work in a turn is bounded on any machine.
//!
//! `cargo bench -p supervisord-rs --bench slow_world` prints how long the loop's turns take
//! meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

/// For an answer.
const LIMIT: Duration = Duration::from_secs(1);
/// Of a processor's time, for any turn of the loop: what else a turn takes is the machine's.
const TURN: Duration = Duration::from_millis(50);
/// For 99 of 100 turns. A build without optimization takes several times as long.
const TURNS: Duration = Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 5 });

fn check(name: &str) {
    let _machine = crate::alone();
    let disturbance =
        crate::disturbances::ALL.iter().find(|one| one.name == name).expect("a disturbance");
    disturbance.run(|supervisor, probe| {
        println!(
            "{name}: status {:?}, restart {:?}, bare {:?}",
            probe.status, probe.restart, probe.bare
        );
        // A restart ends one process and starts another, and the question and its answer each take
        // a turn.
        let limit = LIMIT + 4 * probe.bare;
        assert!(
            probe.status < limit,
            "status took {:?}; log:\n{}",
            probe.status,
            supervisor.bed.log()
        );
        assert!(
            probe.restart < limit,
            "restart took {:?}; log:\n{}",
            probe.restart,
            supervisor.bed.log()
        );
        let status = supervisor.status();
        let turns = &status.supervisor.turns;
        assert!(
            Duration::from_micros(turns.cpu_longest_us) < TURN
                && Duration::from_micros(turns.cpu_p99_us) < TURNS,
            "the loop is busy with one thing for too long: {turns:?}"
        );
        let healthy = ["sleeper", "beating", "writer"];
        let hurt: BTreeMap<&str, u64> = status
            .workers
            .iter()
            .filter(|worker| healthy.iter().any(|base| worker.name.starts_with(base)))
            .filter(|worker| worker.generation != 1)
            .map(|worker| (worker.name.as_str(), worker.generation))
            .collect();
        assert_eq!(
            hurt,
            BTreeMap::new(),
            "healthy workers keep their processes; log:\n{}",
            supervisor.bed.log()
        );
    });
}

macro_rules! disturbances {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            check($name);
        })*

        #[test]
        fn every_disturbance_has_its_test() {
            let tested = [$($name),*];
            let all: Vec<&str> = crate::disturbances::ALL.iter().map(|one| one.name).collect();
            assert_eq!(all, tested);
        }
    };
}

disturbances! {
    an_ordinary_day: "nothing",
    a_keeper_of_descriptors_that_does_not_read: "keeper of descriptors stopped, a worker dies",
    a_tracer_that_does_not_look: "a traced worker dies",
    a_worker_with_many_sessions: "a worker with 300 sessions stops",
    an_environment_file_that_blocks: "an environment file becomes a FIFO",
    descriptors_that_block_on_close: "lingering sockets are sent to notify sockets",
    a_worker_that_spoils_what_it_shares: "a worker fills its own eventfd",
    a_successor_that_never_becomes_ready: "a successor never becomes ready",
    a_service_manager_that_does_not_read: "the service manager does not read",
    a_log_target_that_hangs: "a log target hangs, its worker crashes",
    clients_that_say_nothing: "64 quiet clients",
    strangers_that_send_datagrams: "a flood of foreign datagrams",
    workers_that_end_at_once: "200 workers that end at once",
    a_worker_with_many_sessions_without_cgroups: "the same sessions, without cgroups",
    workers_that_end_at_once_without_cgroups: "the same 200, without cgroups",
    strangers_that_send_datagrams_without_cgroups: "the same datagrams, without cgroups",
}
