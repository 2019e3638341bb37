//! Instances, scaling, dependencies, order of starting, critical workers.

use std::time::{Duration, Instant};

use crate::harness::{Bed, find, kill, text};
use nix::sys::signal::Signal;

#[test]
fn instances_have_their_number_in_name_environment_arguments_and_files() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  api:\n    instances: 3\n    \
        command: [sh, -c, 'echo arg ${instance} ${name} env $OWN $SUPERVISOR_INSTANCE \
        $SUPERVISOR_PROCESS_NAME; exec sleep 1d']\n    \
                env: { OWN: 'i${instance}' }\n    ready: { after: 0s }\n";
    let supervisor = bed.start(yaml);
    let status = supervisor.wait_running();
    let names: Vec<&str> = status.workers.iter().map(|worker| worker.name.as_str()).collect();
    assert_eq!(names, ["api.1", "api.2", "api.3"]);
    for number in 1..=3 {
        let name = format!("api.{number}");
        let expected = format!("arg {number} {name} env i{number} {number} {name}\n");
        supervisor.wait_output(&name, &expected);
    }
    // Addressed together, by the base name and as a group.
    supervisor.client.stop(&["api".into()], true).expect("stopped");
    assert!(supervisor.status().workers.iter().all(|worker| worker.phase == "idle"));
    supervisor.client.start(&["api:".into()], true).expect("started");
    supervisor.wait_running();
    supervisor.stop();
}

#[test]
fn scaling_touches_only_the_difference() {
    let bed = Bed::new();
    let yaml = "version: 1\ngroups: { web: { workers: [api] } }\nworkers:\n  \
        api: { instances: 2, command: [sleep, 1d], ready: { after: 0s } }\n  \
                lb: { worker: ticker, depends_on: [api] }\n  single: { worker: ticker }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_running();
    supervisor.client.scale("api", 5, true).expect("scaled");
    let more = supervisor.wait_running();
    assert_eq!(more.workers.len(), 7, "{more:?}");
    for worker in &before.workers {
        assert_eq!(find(&more, &worker.name).pid, worker.pid, "{} was touched", worker.name);
    }
    assert!(
        more.workers
            .iter()
            .filter(|worker| worker.base == "api")
            .all(|worker| worker.group == "web")
    );
    let gone: Vec<i32> = ["api.2", "api.3", "api.4", "api.5"]
        .iter()
        .filter_map(|name| find(&more, name).pid)
        .collect();
    supervisor.client.scale("api", 1, true).expect("scaled");
    let fewer = supervisor.status();
    let names: Vec<&str> = fewer.workers.iter().map(|worker| worker.name.as_str()).collect();
    assert_eq!(names, ["api.1", "lb", "single"]);
    assert!(gone.iter().all(|pid| !crate::harness::is_alive(*pid)));
    for name in ["api.1", "lb", "single"] {
        assert_eq!(find(&fewer, name).pid, find(&before, name).pid, "{name} was touched");
    }
    // Those that are gone are nowhere: neither in the table nor among the logs.
    for verb in ["status", "logs"] {
        let output = bed.verb(&[verb, "api.2"]);
        assert!(text(&output.stderr).contains("called api.2; there are: api.1, lb"), "{output:?}");
        let shown = text(&bed.verb(&[verb]).stdout);
        assert!(!shown.contains("api.2"), "{shown}");
    }
    // Without any, it is still known.
    supervisor.client.scale("api", 0, true).expect("scaled");
    let output = bed.verb(&["status", "api"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), "api: no instances\n")
    );
    let output = bed.verb(&["start", "api"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(text(&output.stderr).contains("`supervisord-rs scale api 1`"), "{output:?}");
    supervisor.client.scale("api", 1, true).expect("scaled");
    // One that was scaled away comes back as a later incarnation of the same.
    supervisor.client.scale("api", 2, true).expect("scaled");
    assert_eq!(supervisor.wait_phase("api.2", "running").generation, 2);
    kill(supervisor.worker("api.2").pid.expect("running"), Signal::SIGKILL);
    supervisor.wait_generation("api.2", 3);
    let refused =
        supervisor.client.scale("single", 2, false).expect_err("no instances").to_string();
    assert!(refused.contains("instances: 1"), "{refused}");
    assert!(supervisor.client.scale("nobody", 2, false).is_err());
    let refused = bed.verb(&["scale", "api", "100000"]);
    assert_eq!(refused.status.code(), Some(2));
    supervisor.stop();
}

#[test]
fn a_soft_dependency_orders_the_start_and_is_not_required() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  cache: { command: [sh, -c, exit 1], restart: never, \
        ready: { after: 1h } }\n  \
                soft: { worker: ticker, depends_on: { cache: { is: ready, soft: true } } }\n  \
                hard: { worker: ticker, depends_on: { cache: ready } }\n  \
                job: { command: [sh, -c, 'sleep 0.1; touch done'], cwd: ., ready: { after: 1h } \
                }\n  \
                after: { command: [sh, -c, 'test -e done && exec sleep 1d'], cwd: ., depends_on: \
                { job: finished } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("cache", "finished");
    supervisor.wait_phase("soft", "running");
    supervisor.wait_phase("job", "finished");
    supervisor.wait_phase("after", "running");
    assert_eq!(supervisor.worker("hard").waits_for, ["cache"]);
    supervisor.stop();
}

#[test]
fn a_soft_dependency_that_cannot_come_is_not_waited_for_and_the_worker_says_so() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  bad: { command: [sh, -c, exit 5], restart: never, ready: \
        { after: 1h } }\n  \
                mid: { worker: ticker, depends_on: [bad] }\n  \
                s2: { command: [sleep, 1d], depends_on: { mid: { is: ready, soft: true } } }\n  \
                off: { worker: ticker, autostart: false }\n  \
                midoff: { worker: ticker, depends_on: [off] }\n  \
                s4: { command: [sleep, 1d], depends_on: { midoff: { is: ready, soft: true } } }\n";
    let supervisor = bed.start(yaml);
    for (worker, on) in [("s2", "mid"), ("s4", "midoff")] {
        supervisor.wait_phase(worker, "running");
        assert_eq!(supervisor.worker(worker).without, [on]);
    }
    let status = String::from_utf8_lossy(&bed.verb(&["status"]).stdout).into_owned();
    let noted = |worker: &str, note: &str| {
        let mut lines = status.lines().filter(|line| line.starts_with(&format!("{worker} ")));
        assert!(lines.any(|line| line.contains(note)), "{worker}: {note}: {status}");
    };
    noted("s2", "started without mid");
    noted("mid", "cannot start: bad has failed for good");
    noted("midoff", "off was never started (`start off`)");
    noted("off", "not started: autostart: false");
    for why in [
        "s2 starts without mid (soft dependency): mid cannot start: bad has failed for good",
        "s4 starts without midoff (soft dependency): midoff waits for off",
    ] {
        bed.wait_log(why);
    }
    let restarted = bed.verb(&["restart", "s2"]);
    let said = String::from_utf8_lossy(&restarted.stdout).into_owned();
    assert!(restarted.status.success(), "{said}");
    supervisor.stop();
}

#[test]
fn dependents_come_back_when_the_dependency_does() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  db: { command: [sh, -c, 'test ! -e broken && echo >&3 && \
        exec sleep 1d'], cwd: ., ready: { fd: 3 }, \
                restart: { backoff: { initial: 20ms, max: 50ms }, limit: { restarts: 2, within: \
                60s } } }\n  api: { worker: ticker, depends_on: [db] }\n";
    bed.write("broken", "");
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("db", "quarantined");
    assert_eq!(supervisor.worker("api").phase, "idle");
    std::fs::remove_file(bed.path("broken")).expect("there");
    // A manual start works at once, clears the counts, and brings back the dependents that wait.
    supervisor.client.start(&["db".into()], true).expect("started");
    supervisor.wait_phase("api", "running");
    supervisor.client.restart(&["db".into()], true).expect("restarted");
    supervisor.wait_phase("api", "running");
    supervisor.stop();
}

#[test]
fn no_more_start_at_once_than_is_allowed_and_none_sooner() {
    let bed = Bed::new();
    let mut yaml =
        "version: 1\nsupervisor: { start: { concurrency: 2, stagger: 300ms } }\nworkers:\n"
            .to_owned();
    for index in 0..6 {
        yaml.push_str(&format!(
            "  w{index}: {{ command: [sleep, 1d], autostart: false, ready: {{ after: 800ms }} }}\n"
        ));
    }
    let supervisor = bed.start(&yaml);
    let events = supervisor.client.events().expect("events");
    supervisor.client.start(&["all".into()], false).expect("ordered");
    // By the supervisor's own events: when it launched each worker, and how many were starting
    // then.
    let (mut on_their_way, mut launched, mut running) = (0, Vec::new(), 0);
    for event in events {
        let event = event.expect("an event");
        match (event.kind.as_str(), event.detail["to"].as_str()) {
            ("phase", Some("launching")) => {
                on_their_way += 1;
                launched.push(event.monotonic_us);
            }
            ("phase", Some("running")) => {
                on_their_way -= 1;
                running += 1;
            }
            _ => {}
        }
        assert!(on_their_way <= 2, "{on_their_way} at once");
        if running == 6 {
            break;
        }
    }
    // A busy machine may keep the supervisor from the first of two for a while, and not from the
    // second: then there is less between them. Without the 300 ms there would be nothing between
    // the two of each round.
    let apart = launched.windows(2).filter(|two| two[1] - two[0] >= 150_000).count();
    assert!(apart >= 3, "300 ms between two: {launched:?}");
    assert!(launched[5] - launched[0] >= 1_000_000, "three rounds of 800 ms: {launched:?}");
    supervisor.stop();
}

#[test]
fn a_critical_worker_ends_the_supervisor_with_its_exit_code() {
    for (command, code) in [
        ("[sh, -c, 'sleep 0.1; exit 7']", 7),
        ("[sh, -c, 'sleep 0.1; exit 0']", 0),
        ("[sh, -c, 'sleep 0.1; kill -9 $$']", 137),
        ("[no-such-program]", 127),
    ] {
        for guardian in [true, false] {
            let bed = Bed::new();
            let yaml = format!(
                "version: 1\nworkers:\n  \
                    job: {{ command: {command}, critical: true, restart: never, ready: {{ after: \
                    1h }} }}\n  other: {{ worker: ticker }}\n"
            );
            let options: &[&str] = if guardian { &[] } else { &["--no-guardian"] };
            let mut supervisor = bed.launch(&yaml, options);
            assert_eq!(supervisor.wait_exit().code(), Some(code), "{command}: {}", bed.log());
            assert_eq!(bed.processes(), Vec::<i32>::new());
        }
    }
}

#[test]
fn a_group_that_keeps_failing_ends_the_supervisor_where_it_says_so() {
    let yaml = |escalate: bool| {
        format!(
            "version: 1\ngroups: {{ g: {{ workers: [w, other], limit: {{ restarts: 2, within: 60s \
                }}, escalate: {escalate} }} }}\nworkers:\n  \
             w: {{ command: [sh, -c, exit 1], ready: {{ after: 1h }}, restart: {{ backoff: {{ \
             initial: 1ms }} }} }}\n  other: {{ worker: ticker }}\n  good: {{ worker: ticker }}\n"
        )
    };
    for options in [&[][..], &["--no-guardian"]] {
        let bed = Bed::new();
        let mut supervisor = bed.launch(&yaml(true), options);
        assert_eq!(supervisor.wait_exit().code(), Some(1), "{}", bed.log());
        assert_eq!(bed.processes(), Vec::<i32>::new());
        let why = "exit status 1: group g has failed more often than its limit allows";
        assert!(bed.log().contains(why), "{}", bed.log());
    }
    let bed = Bed::new();
    let supervisor = bed.start(&yaml(false));
    supervisor.wait_phase("w", "quarantined");
    supervisor.wait_phase("good", "running");
    supervisor.stop();
}

#[test]
fn success_codes_are_no_failures_and_some_endings_are_final() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 1h } }\nworkers:\n  \
        fine: { command: [sh, -c, exit 2], restart: { success: [2, TERM] } }\n  \
        ended: { command: [sh, -c, 'kill $$'], restart: { success: [2, TERM] } }\n  \
        vain: { command: [sh, -c, exit 64], restart: { never_on: [64] } }\n";
    let supervisor = bed.start(yaml);
    for name in ["fine", "ended"] {
        let worker = supervisor.wait_phase(name, "finished");
        assert_eq!((worker.restarts, worker.last_incident), (0, None), "{name}");
    }
    let vain = supervisor.wait_phase("vain", "quarantined");
    assert_eq!(vain.restarts, 0);
    supervisor.stop();
}

#[test]
fn the_exit_status_of_status_tells_failed_workers() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  good: { worker: ticker }\n  \
        bad: { command: [sh, -c, exit 1], ready: { after: 1h }, restart: { backoff: { initial: \
        1h, max: 1h } } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("good", "running");
    supervisor.wait_phase("bad", "backoff");
    for (arguments, code) in [
        (&["status"][..], 3),
        (&["status", "good"], 0),
        (&["status", "bad"], 3),
        (&["status", "nobody"], 4),
    ] {
        assert_eq!(bed.verb(arguments).status.code(), Some(code), "{arguments:?}");
    }
    supervisor.stop();
    assert_eq!(bed.verb(&["status"]).status.code(), Some(4));
}

#[test]
fn a_stop_during_a_restart_loop_is_prompt_and_lasts() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 1h }, restart: { backoff: { initial: 5ms, \
        max: 5ms }, limit: { restarts: 1000000, within: 1s } } }\n\
        workers: { loop: { command: [sh, -c, exit 1] }, clock: { command: [sh, -c, exit 1] } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait("some restarts", |supervisor| {
        (supervisor.worker("loop").restarts > 20).then_some(())
    });
    let begun = Instant::now();
    supervisor.client.stop(&["loop".into()], true).expect("stopped");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let generation = supervisor.worker("loop").generation;
    // Another worker in the same loop is the clock: by the time it has restarted again, this one
    // would have too.
    supervisor.wait_generation("clock", supervisor.worker("clock").generation + 20);
    assert_eq!(supervisor.worker("loop").generation, generation);
    supervisor.stop();
}

#[test]
fn waiting_for_an_order_has_a_limit() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  slow: { command: [sleep, 1d], autostart: false, ready: { \
        after: 1h } }\n";
    let supervisor = bed.start(yaml);
    let begun = Instant::now();
    let output = bed.verb(&["start", "slow", "--timeout", "200ms"]);
    assert_eq!(output.status.code(), Some(1));
    let message = crate::harness::text(&output.stderr);
    assert!(
        message.contains("no outcome within 200ms") && begun.elapsed() < Duration::from_secs(10),
        "{message}"
    );
    assert_eq!(supervisor.worker("slow").phase, "starting", "the order stands");
    assert!(bed.verb(&["restart", "slow", "--no-wait"]).status.success());
    supervisor.stop();
}

/// Each notes in one file when it is up and when it goes.
#[test]
fn members_of_a_group_start_in_the_order_of_its_list_and_stop_in_reverse() {
    for (strategy, after_a_death) in
        [("rest-for-one", "-b +a +b"), ("one-for-all", "-b -c +c +a +b")]
    {
        let bed = Bed::new();
        let script = "trap 'echo -$SUPERVISOR_PROCESS_NAME >>order; exit 0' TERM; \
                      echo +$SUPERVISOR_PROCESS_NAME >>order; echo >&4; \
                      while :; do sleep 0.01; done";
        let worker = format!(
            "{{ command: [sh, -c, {script:?}], cwd: ., ready: {{ fd: 4 }}, stop: {{ timeout: 1m \
                }} }}"
        );
        let yaml = format!(
            "version: 1\ngroups: {{ g: {{ workers: [c, a, b], strategy: {strategy} }} }}\n\
                workers:\n  \
             a: {worker}\n  b: {worker}\n  c: {worker}\n"
        );
        let supervisor = bed.start(&yaml);
        supervisor.wait_running();
        let expect = |what: &str, order: &str| {
            let path = bed.path("order");
            let noted = || std::fs::read_to_string(&path).unwrap_or_default();
            let count = order.split(' ').count();
            bed.wait(what, || (noted().lines().count() >= count).then_some(()));
            let noted: Vec<String> = noted().lines().map(str::to_owned).collect();
            assert_eq!(noted.join(" "), order, "{strategy}: {what}; log:\n{}", bed.log());
            std::fs::write(&path, "").expect("ours");
        };
        expect("the start", "+c +a +b");
        supervisor.client.restart(&["g:".into()], true).expect("restarted");
        expect("a restart", "-b -a -c +c +a +b");
        kill(supervisor.worker("a").pid.expect("it runs"), Signal::SIGKILL);
        expect("a death of a", after_a_death);
        supervisor.wait_running();
        supervisor.stop();
        expect("the end", "-b -a -c");
    }
}
