//! The scenarios in `config/scenarios`, each a part of the product's story.

use std::time::{Duration, Instant};

use crate::drill;
use crate::harness::skip::lacks_program;
use crate::harness::{Bed, repository, text};
use crate::reports::check_junit;

/// All of them take so long at most, on two processors.
const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn every_scenario_that_ships_holds_and_leaves_nothing() {
    if lacks_program("redis-server", "redis-server")
        || lacks_program("psql", "postgresql")
        || lacks_program("python3", "python3")
    {
        return;
    }
    let bed = Bed::new();
    let begun = Instant::now();
    let scenarios = repository("config/scenarios").display().to_string();
    let (junit, json) = (bed.path("out.xml"), bed.path("out.json"));
    let output = drill(
        &bed,
        &[
            "run",
            &scenarios,
            "--jobs",
            "2",
            "--junit",
            &junit.display().to_string(),
            "--json",
            &json.display().to_string(),
        ],
    );
    let told = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    let results: serde_json::Value =
        serde_json::from_slice(&std::fs::read(json).expect("written")).expect("JSON");
    let runs = results["runs"].as_array().expect("a list");
    assert!(runs.len() >= 30, "{}", runs.len());
    assert_eq!(results["held"], true);
    let cases = check_junit(&junit);
    assert_eq!(cases.len(), runs.len(), "a case for each run");
    assert!(cases.iter().all(|case| case.result == "passed"), "{cases:?}");
}
