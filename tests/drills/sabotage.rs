//! A drill that cannot fail is worth nothing: each kind of promise is broken once, and the drill
//! says so. The scenarios in `config/scenarios` show that the same expectations can be met.

use crate::harness::Bed;
use crate::run;

/// Two workers that count, and come back at once.
const TWO: &str = "version: 1
scenario: two
configuration:
  supervisor: { fault_injection: allow }
  defaults: { restart: { backoff: { initial: 0s } } }
  workers:
    a: { worker: ticker, args: { interval: 5ms } }
    b: { worker: ticker, args: { interval: 5ms } }
steps:
  - wait: { running: all }
  - mark: before
";

/// The scenario does not hold, and its report has these words.
#[track_caller]
fn fails(scenario: &str, words: &[&str]) {
    let bed = Bed::new();
    let (code, told) = run(&bed, scenario);
    assert_eq!(code, Some(1), "{told}");
    for words in words {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    assert!(told.contains("again: supervisord-rs drill run 'drill.yaml'"), "{told}");
}

/// The steps after the mark, with two workers.
#[track_caller]
fn two(steps: &str, words: &[&str]) {
    fails(&format!("{TWO}{steps}"), words);
}

#[test]
fn an_injector_that_does_nothing() {
    let deaf = "version: 1
scenario: deaf
configuration:
  supervisor: { fault_injection: allow }
  workers: { a: { command: [sh, -c, \"trap '' TERM; echo deaf; while :; do sleep 0.1; done\"], ready: { log: deaf }, stop: { timeout: 100ms } } }
steps:
  - wait: { running: all }
  - mark: before
  - inject: { worker: a, fault: signal-term }
  - expect: { lost: [a], within: 3s }
";
    fails(deaf, &["expected: lost: a, and no others", "lost: none; not lost: a"]);
}

#[test]
fn a_worker_that_dies_too() {
    let group = TWO.replace(
        "  workers:\n",
        "  groups: { g: { strategy: one-for-all, workers: [a, b] } }\n  workers:\n",
    );
    let steps = "  - inject: { worker: a, fault: segfault }\n  - expect: { lost: [a] }\n";
    fails(&(group + steps), &["seen:     lost: a b; b was PID", "generation 1", "generation 2"]);
}

#[test]
fn a_supervisor_that_restarts_a_neighbour_without_a_word() {
    two(
        "  - inject: { worker: a, fault: segfault }\n  - restart: b\n  - expect: { lost: [a] }\n",
        &[
            "seen:     lost: a b; b was PID",
            "incident 1: segfault in a (process): lost a, survived b",
        ],
    );
}

#[test]
fn a_worker_that_lives_and_works_no_more() {
    two(
        "  - signal: { worker: a, signal: STOP }\n  - expect: { lost: [], silent_damage: none, within: 3s }\n",
        &[
            "all others go on as before",
            "a makes no progress, as it did at the mark",
            "a works no more",
        ],
    );
}

#[test]
fn a_lost_line() {
    let gap = "version: 1
scenario: gap
configuration: { workers: { a: { command: [sh, -c, \"trap 'echo n 1; echo n 2; echo n 4' HUP; echo up; while :; do sleep 0.05; done\"], ready: { log: up } } } }
steps:
  - wait: { running: all }
  - mark: before
  - signal: { worker: a, signal: HUP }
  - expect: { numbered: { a: 'n ([0-9]+)' }, log: { a: 'n 5' }, within: 5s }
";
    fails(
        gap,
        &[
            "lines of a without a gap",
            "after 2 comes 4",
            "a line of a that matches `n 5`",
            "3 lines, and none does",
        ],
    );
}

#[test]
fn a_supervisor_that_dies() {
    let threads = TWO.replace("  defaults: { ", "  defaults: { isolation: thread, ");
    let steps = "  - inject: { worker: a, fault: segfault }\n  - expect: { lost: [a, b], supervisor: alive, within: 8s }\n";
    fails(&(threads + steps), &["expected: the supervisor alive", "seen:     another process"]);
}

#[test]
fn a_supervisor_that_lives_on() {
    two(
        "  - inject: { worker: a, fault: segfault }\n  - expect: { supervisor: { ended: 4 }, adopted: [b], within: 5s }\n",
        &[
            "expected: the supervisor ended for good",
            "adopted: b",
            "the supervisor is the same process as at the mark",
        ],
    );
}

#[test]
fn a_worker_that_is_not_adopted() {
    let killed = TWO.replace("fault_injection: allow", "on_death: kill, fault_injection: allow");
    let steps = "  - kill: supervisor\n  - expect: { lost: [], adopted: [a, b] }\n";
    fails(&(killed + steps), &["expected: lost: none", "adopted: a b", "lost: a b; a was PID"]);
}

#[test]
fn a_worker_that_comes_back_too_late_or_not_at_all() {
    let slow = TWO.replace("initial: 0s", "initial: 2s, jitter: 0");
    let steps = "  - inject: { worker: a, fault: segfault }\n  - expect: { lost: [a], back: { within: 1s } }\n";
    fails(&(slow + steps), &["expected: all back within 1s", "seen:     back after "]);
    let never = TWO.replace("restart: { backoff: { initial: 0s } }", "restart: never");
    fails(
        &(never + &steps.replace("1s }", "1s }, within: 5s")),
        &["not back: a was PID", "(finished"],
    );
}

#[test]
fn another_incident_than_the_one_that_was_expected() {
    let steps = "  - inject: { worker: a, fault: segfault }\n";
    let expecting = |what: &str| format!("{steps}  - expect: {{ incident: {what}, within: 5s }}\n");
    two(
        &expecting("{ worker: a, fault: panic }"),
        &["an incident with worker: a, fault: panic", "segfault in a (process)"],
    );
    two(&expecting("{ injected: false }"), &["an incident with injected: false"]);
    two(&expecting("{ signal: KILL }"), &["an incident with signal: SIGKILL"]);
    two(&expecting("{ lost: [a, b] }"), &["an incident with lost: a b"]);
    two(&expecting("none"), &["expected: no incident"]);
}

#[test]
fn a_phase_that_is_another() {
    two(
        "  - stop: a\n  - expect: { phase: { a: running, b: quarantined }, within: 3s }\n",
        &["expected: a running", "a is stopped", "expected: b quarantined", "b is running"],
    );
}

#[test]
fn a_thread_that_is_left_behind() {
    let threads = TWO.replace("  defaults: { ", "  defaults: { isolation: thread, heartbeat: 3s, ");
    let steps = "  - inject: { worker: a, fault: hang }\n  - expect: { lost: [a], silent_damage: none, within: 15s }\n";
    fails(&(threads + steps), &["expected: no silent damage", "threads left behind: 1"]);
}

#[test]
fn work_that_is_lost() {
    let busy =
        TWO.replace("ticker, args: { interval: 5ms }", "cpu-burner, args: { chunk: 1000000 }");
    let steps = "  - inject: { worker: a, fault: hang }\n  - expect: { work_lost: { at_most: 0 }, within: 5s }\n";
    let busy = busy.replace("  defaults: { ", "  defaults: { heartbeat: 2s, ");
    fails(
        &(busy + &steps.replace("hang", "signal-kill")),
        &["at most 0 units of work lost", "1 lost"],
    );
}

#[test]
fn an_order_that_is_not_carried_out() {
    let slow = TWO.replace(
        "ticker, args: { interval: 5ms } }\n    b",
        "ticker, stop: { timeout: 30s } }\n    b",
    );
    let steps = "  - inject: { worker: a, fault: ignore-stop }\n  - stop: { workers: a, within: 500ms }\n  - expect: { lost: [a] }\n";
    let slow =
        slow.replace("fault_injection: allow", "shutdown_timeout: 1s, fault_injection: allow");
    fails(&(slow + steps), &["step 4 (line 13, `stop`)", "expected: stop a"]);
}

#[test]
fn a_fault_that_the_supervisor_refuses() {
    two(
        "  - pause: a\n  - inject: { worker: a, fault: segfault }\n  - expect: { lost: [a] }\n",
        &["suspended"],
    );
}

#[test]
fn shared_memory_and_sockets_that_are_left_behind() {
    let _no_other = crate::alone();
    let bed = Bed::new();
    let name = format!("/dev/shm/supervisord-rs-drill-{}", std::process::id());
    let yaml = format!(
        "version: 1
scenario: leaving
configuration:
  workers:
    a:
      command: [python3, -c, \"import os, socket, time; open('{name}', 'w').close(); s = socket.socket(socket.AF_UNIX); s.bind(os.environ['SUPERVISORD_RS_TRIAL'] + '/left.sock'); print('made', flush=True); time.sleep(9999)\"]
      ready: {{ log: made }}
steps:
  - wait: {{ running: all }}
  - expect: {{ phase: {{ a: running }} }}
"
    );
    bed.write("drill.yaml", &yaml);
    let output = crate::drill_alone(&bed, &["run", "drill.yaml"]);
    std::fs::remove_file(&name).expect("the worker made it");
    let (code, told) = (output.status.code(), crate::harness::text(&output.stdout));
    assert_eq!(code, Some(1), "{told}");
    for words in ["at the end", "nothing left behind", "the shared memory ", "left.sock"] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    // Of runs that go on at once nothing says whose it is: it is looked for when all are over.
    let quiet = yaml.replace("s = socket.socket(socket.AF_UNIX); s.bind(os.environ['SUPERVISORD_RS_TRIAL'] + '/left.sock'); ", "");
    bed.write("drill.yaml", &quiet);
    let output = crate::drill_alone(&bed, &["run", "drill.yaml", "--jobs", "2"]);
    std::fs::remove_file(&name).expect("the worker made it");
    assert_eq!(output.status.code(), Some(1));
    let message = crate::harness::text(&output.stderr);
    assert!(message.contains(&format!("left behind: the shared memory {name}")), "{message}");
}

#[test]
fn what_was_broken_before_the_fault_is_an_error_of_the_scenario() {
    let broken = "version: 1
scenario: broken before
configuration:
  supervisor: { fault_injection: allow }
  workers:
    a: { worker: ticker }
    b: { command: [sh, -c, 'echo no disk; exit 3'], restart: never, ready: { after: 1h } }
steps:
  - WAIT
  - mark: before
  - inject: { worker: a, fault: segfault }
  - expect: { lost: [a] }
";
    for (step, words) in [
        ("wait: { running: all }", "step 1 (line 9, `wait`)"),
        ("wait: { phase: { a: running, b: failed } }", "step 3 (line 11, `inject`)"),
    ] {
        let bed = Bed::new();
        let (code, told) = run(&bed, &broken.replace("WAIT", step));
        assert_eq!(code, Some(78), "{told}");
        for words in [words, "UNSTEADY: broken before", "b does not run", "    | no disk"] {
            assert!(told.contains(words), "{words:?} is not in:\n{told}");
        }
    }
    let known = broken.replace("steps:", "already_broken: b\nsteps:");
    let (code, told) = run(&Bed::new(), &known.replace("WAIT", "wait: { running: all }"));
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_request_without_an_answer() {
    let port = crate::harness::free_port();
    let yaml = format!(
        "version: 1
scenario: asked
configuration:
  workers: {{ web: {{ command: [python3, -m, http.server, \"{port}\", --bind, 127.0.0.1], ready: {{ tcp: \"127.0.0.1:{port}\" }} }} }}
steps:
  - wait: {{ running: all }}
  - load: {{ http: \"http://127.0.0.1:{port}/\", clients: 2, for: 200ms }}
  - load: {{ http: \"http://127.0.0.1:{port}/\", clients: 2, while: [ restart: web ] }}
"
    );
    // By HTTP each waits for its answer. Connections alone fill the queue of the socket, and the
    // kernel has a client try again a second later: perhaps at the next server.
    fails(&yaml, &["step 3 (line 8, `load`)", "at most 0 requests without a good answer"]);
    let (code, told) = run(&Bed::new(), &yaml.replace("while: [ restart: web ]", "for: 200ms"));
    assert_eq!(code, Some(0), "{told}");
    let slow = yaml.replace("while: [ restart: web ]", "for: 1s, slowest: 1us");
    fails(&slow, &["each answer within 1us", "the slowest took "]);
    let elsewhere = yaml.replacen("http://127.0.0.1", "http://127.0.0.2", 1);
    let (code, told) = run(&Bed::new(), &elsewhere);
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("a good answer before the load begins"), "{told}");
}

#[test]
fn an_address_that_is_in_use_is_an_error_of_the_scenario() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound");
    let yaml = format!(
        "version: 1
scenario: taken
configuration:
  workers: {{ a: {{ command: [sleep, 1d], ready: {{ tcp: \"{address}\" }} }} }}
steps:
  - wait: {{ running: all }}
  - expect: {{ phase: {{ a: running }} }}
"
    );
    let (code, told) = run(&Bed::new(), &yaml);
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains(&format!("{address}, which a probe of a asks, is in use")), "{told}");
}

#[test]
fn the_other_scenarios_of_this_file_would_hold() {
    let bed = Bed::new();
    let steps = "  - inject: { worker: a, fault: segfault }
  - expect:
      lost: [a]
      supervisor: alive
      back: { within: 10s }
      incident: { worker: a, fault: segfault, injected: true, lost: [a] }
      phase: { a: running, b: running }
      silent_damage: none
";
    let (code, told) = run(&bed, &format!("{TWO}{steps}"));
    assert_eq!(code, Some(0), "{told}");
}
