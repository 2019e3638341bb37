//! What is recorded can be read when the supervisor has ended.

use crate::harness::{Bed, text};

const YAML: &str = "version: 1\nworkers:\n  \
    hasty: { command: [sh, -c, 'echo about to fail; exit 3'], ready: { after: 5s }, restart: never }\n  \
    good: { command: [sh, -c, 'echo all is well; exec sleep 1d'] }\n";

#[test]
fn incidents_and_logs_are_read_from_their_files_when_the_supervisor_has_ended() {
    let bed = Bed::new();
    let supervisor = bed.start(YAML);
    supervisor.wait_incident(0);
    supervisor.wait_output("good", "all is well");
    supervisor.wait_output("hasty", "about to fail");
    supervisor.stop();

    let file = bed.path("supervisord-rs.yaml");
    let verb = |arguments: &[&str]| {
        let mut command = bed.command(&["-c"]);
        command.arg(&file).args(arguments).env_remove("SUPERVISORD_RS_SOCKET");
        command.output().expect("the program runs")
    };
    let shown = verb(&["incidents"]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(text(&shown.stdout).contains("incident 1: "), "{shown:?}");
    let said = text(&shown.stderr);
    assert!(said.contains("no supervisor runs; these are the incidents in"), "{said}");
    let one = verb(&["incidents", "1", "--json"]);
    assert!(text(&one.stdout).contains("\"exit_code\": 3"), "{one:?}");
    assert_eq!(verb(&["incidents", "7"]).status.code(), Some(1));

    let shown = verb(&["logs", "hasty"]);
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(text(&shown.stdout), "about to fail\n");
    assert!(text(&shown.stderr).contains("no supervisor runs"), "{shown:?}");
    let all = text(&verb(&["logs"]).stdout);
    assert!(all.contains("good | all is well") && all.contains("hasty | about"), "{all}");
    assert_eq!(verb(&["logs", "other"]).status.code(), Some(5));

    // Only a configuration says where the files are.
    let socket = bed.verb(&["incidents"]);
    assert_eq!(socket.status.code(), Some(7), "{socket:?}");
    assert_eq!(verb(&["stop", "good"]).status.code(), Some(7), "nothing else is read");
}
