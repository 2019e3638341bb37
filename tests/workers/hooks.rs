//! Hooks: which events they get, and that nothing they do or fail to do disturbs a worker.

use crate::harness::{Bed, Stopped, find, is_alive};
use supervisord_rs::process_table::children_of;

#[test]
fn hooks_get_the_event_as_json_and_each_transition_its_own() {
    let bed = Bed::new();
    let yaml = "version: 1\nhooks:\n  - { on: [failed, recovered, quarantined, running, stopped], \
        command: [sh, -c, 'cat >> HOOKS'] }\nworkers:\n  \
        w: { command: [sh, -c, 'test -e once && exec sleep 1d; touch once; exit 5'], cwd: DIR, \
        ready: { after: 50ms }, restart: { backoff: { initial: 10ms } } }\n  \
        q: { command: [sh, -c, exit 1], ready: { after: 1h }, restart: { limit: { restarts: 0, \
        within: 60s } }, hooks: [ { on: quarantined, command: [sh, -c, 'cat > OWN'] } ] }\n"
        .replace("HOOKS", bed.path("hooks.jsonl").to_str().expect("UTF-8"))
        .replace("OWN", bed.path("own.json").to_str().expect("UTF-8"))
        .replace("DIR", bed.directory.path().to_str().expect("UTF-8"));
    let supervisor = bed.start(&yaml);
    supervisor.wait("its second incarnation", |supervisor| {
        let w = find(&supervisor.client.status().ok()?, "w");
        (w.generation == 2 && w.phase == "running").then_some(())
    });
    supervisor.wait_phase("q", "quarantined");
    supervisor.client.stop(&["w".into()], true).expect("stopped");
    let read = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(bed.path("hooks.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let is_there = |event: &str, worker: &str| {
        read().into_iter().find(|record| record["event"] == event && record["worker"] == worker)
    };
    for (event, worker) in [
        ("failed", "w"),
        ("recovered", "w"),
        ("running", "w"),
        ("stopped", "w"),
        ("failed", "q"),
        ("quarantined", "q"),
    ] {
        supervisor.wait(&format!("{event} of {worker}"), |_| is_there(event, worker));
    }
    assert_eq!(is_there("failed", "w").expect("seen")["detail"]["ending"]["exit_code"], 5);
    supervisor.wait("the worker's own hook", |_| bed.path("own.json").exists().then_some(()));
    supervisor.stop();
}

#[test]
fn a_hook_that_hangs_fails_or_is_missing_disturbs_no_worker() {
    let bed = Bed::new();
    let yaml = "version: 1\nhooks:\n  - { on: failed, command: [sleep, 1d], timeout: 3s }\n  \
        - { on: failed, command: [no-such-hook] }\n  - { on: failed, command: ['false'] }\n\
        workers:\n  \
        w: { command: [sh, -c, exit 1], ready: { after: 1h }, restart: { backoff: { initial: 1ms, \
        max: 1ms }, limit: { restarts: 1000000, within: 60s } } }\n  good: { worker: ticker }\n";
    let supervisor = bed.start(yaml);
    let good = supervisor.wait_phase("good", "running");
    supervisor.wait("many failures", |supervisor| {
        (find(&supervisor.client.status().ok()?, "w").generation > 200).then_some(())
    });
    supervisor.wait("dropped hooks", |supervisor| {
        (supervisor.status().supervisor.dropped_hooks > 0).then_some(())
    });
    let running = || {
        let own = supervisor.status().supervisor.pid;
        children_of(own)
            .into_iter()
            .filter(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line.starts_with("sleep"))
            })
            .count()
    };
    assert!(running() <= 8, "{} hooks at once", running());
    supervisor.client.stop(&["w".into()], true).expect("stopped");
    supervisor.wait("words about them", |supervisor| {
        let log = supervisor.bed.log();
        (log.contains("killed after 3s")
            && log.contains("cannot execute no-such-hook")
            && log.contains("it ended with exit status 1"))
        .then_some(())
    });
    assert_eq!(supervisor.worker("good").pid, good.pid);
    supervisor.stop();
}

#[test]
fn a_death_in_which_no_worker_was_lost_has_its_recovery_too() {
    let bed = Bed::new();
    let yaml = "version: 1\nhooks:\n  - { on: [failed, recovered], command: [sh, -c, 'cat >> \
        HOOKS'] }\nworkers:\n  \
        w: { command: [sleep, 1d], ready: { after: 0s } }\n"
        .replace("HOOKS", bed.path("hooks.jsonl").to_str().expect("UTF-8"));
    let supervisor = bed.start(&yaml);
    let before = supervisor.wait_running();
    crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
    supervisor.wait("both events", |_| {
        let text = std::fs::read_to_string(bed.path("hooks.jsonl")).ok()?;
        let told = |event: &str| text.contains(&format!("\"event\":\"{event}\""));
        (told("failed") && told("recovered")).then_some(())
    });
    supervisor.stop();
}

#[test]
fn the_time_of_a_hook_does_not_run_while_the_supervisor_does_not() {
    let bed = Bed::new();
    let hook = "echo $$ >begun.new; mv begun.new begun; until [ -e go ]; do sleep 0.01; done; \
        touch done";
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    command: [sleep, 1d]\n    ready: {{ after: 0s }}\n    \
            hooks: [ {{ on: [running], command: [sh, -c, \"cd {} && {hook}\"], timeout: 3s }} ]\n",
        bed.path("").display()
    );
    let supervisor = bed.start_with(&yaml, &["--no-guardian"]);
    let begun = supervisor.wait("the hook", |_| std::fs::read_to_string(bed.path("begun")).ok());
    let hook: i32 = begun.trim().parse().expect("a number");
    let own = supervisor.child_pid();
    // As in a suspended container. They go on in this order: a hook that ends while the supervisor
    // stands still would prove nothing.
    let suspended = [own, hook].map(Stopped::new);
    // The pause is the subject of the test: it is longer than the hook's time.
    std::thread::sleep(std::time::Duration::from_secs(4));
    bed.write("go", "");
    drop(suspended);
    supervisor.wait("its end", |_| {
        let is_over = bed.path("done").exists() || bed.log().contains("a hook failed");
        is_over.then_some(())
    });
    assert!(!bed.log().contains("a hook failed"), "{}", bed.log());
    supervisor.stop();
}

/// One in its group, one in another session, one that has also wiped its environment.
#[test]
fn what_a_hook_leaves_behind_ends_with_it() {
    let leave = "trap '' TERM HUP; sleep 300 & setsid sleep 300 & setsid env -i sleep 300 &";
    // Each is called so only after setsid(1) and env(1) have done their part.
    let wait = "until [ $(pgrep -c -P $$ -x sleep) = 3 ]; do :; done";
    for how in ["on", "off"] {
        let bed = Bed::new();
        let yaml = format!(
            "version: 1\nworkers:\n  good: {{ worker: ticker }}\n  w:\n    \
                command: [sleep, 1d]\n    ready: {{ after: 0s }}\n    \
             hooks: [ {{ on: [running], command: [sh, -c, \"cd {}; {leave} {wait}; \
             pgrep -P $$ -x sleep >left.new; mv left.new left\"] }} ]\n",
            bed.path("").display()
        );
        let supervisor = bed.start_in(&yaml, &[], &[("SUPERVISORD_RS_CGROUPS", how)]);
        supervisor.wait_phase("w", "running");
        let left = supervisor.wait("the hook", |_| std::fs::read_to_string(bed.path("left")).ok());
        let left: Vec<i32> = left.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(left.len(), 3, "{how}: {left:?}");
        supervisor
            .wait("all of them to end", |_| left.iter().all(|pid| !is_alive(*pid)).then_some(()));
        assert!(!bed.log().contains("a hook failed"), "{how}: {}", bed.log());
        let worker = supervisor.worker("w");
        assert_eq!((worker.phase.as_str(), worker.generation), ("running", 1), "{how}");
        supervisor.stop();
    }
}
