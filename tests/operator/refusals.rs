//! What is refused, and by what exit status: a refused order changes nothing, and says what to do.

use crate::harness::{Bed, text};

fn refusal(bed: &Bed, arguments: &[&str], status: i32, words: &str) {
    let output = bed.verb(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
    assert!(said.contains(words), "{arguments:?}: no `{words}` in: {said}");
}

#[test]
fn what_the_supervisor_refuses_ends_with_4_and_changes_nothing() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\n\
        defaults: { ready: { after: 0s } }\nworkers:\n  \
        api: { instances: 2, command: [sleep, 1d] }\n  \
        down: { command: [sleep, 1d], autostart: false }\n  \
        deaf: { command: [sh, -c, 'trap \"\" TERM; echo deaf; until [ -e GO ]; do sleep 0.1; done'], \
        stop: { timeout: 1h } }\n";
    let go = bed.path("go");
    let mut supervisor = bed.start(&yaml.replace("GO", &go.display().to_string()));
    supervisor.wait_output("deaf", "deaf");
    supervisor.wait_phase("api.2", "running");
    refusal(&bed, &["inject", "down", "signal-kill"], 4, "down is not running: start it first");
    refusal(&bed, &["reexec", "--binary", "/bin/true"], 4, "nothing has changed");
    let missing = "cannot execute /no/such: No such file or directory: correct its path\n";
    refusal(&bed, &["reexec", "--binary", "/no/such"], 4, missing);
    refusal(&bed, &["scale", "api.1", "3"], 4, "`supervisord-rs scale api 3` makes it 3 of them");
    refusal(&bed, &["inject", "api", "signal-kill"], 5, "name one of them, such as api.1");

    let output = bed.verb(&["shutdown", "--no-wait"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let why = "the supervisor is shutting down";
    for order in [&["scale", "api", "4"][..], &["start", "down"], &["stop", "api"]] {
        refusal(&bed, order, 4, why);
    }
    let shown = text(&bed.verb(&["status"]).stdout);
    assert!(shown.contains(why), "{shown}");
    assert!(!shown.contains("api.3"), "what was refused must not be there: {shown}");
    std::fs::write(go, "").expect("a file");
    supervisor.wait_exit();
}

#[test]
fn a_group_without_its_colon_is_answered_with_the_command_that_has_it() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\ngroups: { g: { workers: [a, b] } }\n\
        workers:\n  a: { command: [sleep, 1d] }\n  b: { command: [sleep, 1d] }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    for verb in ["start", "stop", "restart", "pause", "resume"] {
        refusal(&bed, &[verb, "g"], 5, &format!("g is a group: `{verb} g:`"));
    }
    refusal(&bed, &["signal", "g", "HUP"], 5, "g is a group: `signal g:`");
    refusal(&bed, &["status", "g"], 4, "g is a group: `status g:`");
    refusal(&bed, &["logs", "g"], 5, "g is a group: `logs g:`");
    refusal(&bed, &["inject", "g", "signal-kill"], 5, "g is a group: name one of its workers");
    supervisor.stop();
}

#[test]
fn a_list_of_known_names_has_none_that_scale_has_taken_away() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  api: { instances: 1, command: [sleep, 1d], ready: { \
        after: 0s } }\n";
    let supervisor = bed.start(yaml);
    for number in ["2", "1"] {
        let output = bed.verb(&["scale", "api", number]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let noun = if number == "1" { "1 instance," } else { "2 instances," };
        assert!(text(&output.stdout).contains(noun), "{output:?}");
    }
    refusal(&bed, &["start", "api.2"], 5, "no worker is called api.2; there are: api.1\n");
    supervisor.stop();
}

#[test]
fn a_reload_does_not_claim_to_start_what_scale_has_taken_away() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  api: { instances: 2, command: [sleep, 1d], ready: { \
        after: 0s } }\n";
    let supervisor = bed.start(yaml);
    for number in ["3", "2"] {
        let output = bed.verb(&["scale", "api", number]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    bed.write("supervisord-rs.yaml", &yaml.replace("instances: 2", "instances: 3"));
    let output = bed.verb(&["reload"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!said.contains("started"), "{said}");
    let row = "  not there  api.3 (`scale` has taken them away, and brings them back)";
    assert!(said.contains(row), "{said}");
    assert_eq!(supervisor.status().workers.len(), 2);
    supervisor.stop();
}
