//! The example for pytest: each scenario is a test, and one that does not hold fails it.

use std::process::Command;

use crate::harness::skip::{Lack, skip};
use crate::harness::{Bed, program, repository, text};
use crate::{assert_nothing_left, beside_others};

const PYTEST: &str = "pytest";

/// `lost`: by a crash of a.
fn scenario(name: &str, lost: &str) -> String {
    format!(
        "version: 1
scenario: {name}
configuration:
  supervisor: {{ fault_injection: allow }}
  defaults: {{ restart: {{ backoff: {{ initial: 0s }} }} }}
  workers: {{ a: {{ worker: ticker }}, b: {{ worker: ticker }} }}
steps:
  - wait: {{ running: all }}
  - mark: before
  - inject: {{ worker: a, fault: segfault }}
  - expect: {{ lost: [{lost}], within: 20s }}
"
    )
}

#[test]
fn pytest_has_a_test_for_each_scenario_and_fails_with_what_was_seen() {
    let bed = Bed::new();
    let venv = bed.path("venv");
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    let pip = || {
        Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", PYTEST])
            .output()
    };
    let is_there = made.is_ok_and(|made| made.status.success())
        && pip().is_ok_and(|installed| installed.status.success());
    if !is_there {
        skip(Lack::Package, "no pytest from PyPI in a virtual environment");
        return;
    }
    bed.write("drills/holds.yaml", &scenario("it holds", "a"));
    bed.write("drills/fails.yaml", &scenario("it does not", "b"));
    std::fs::create_dir_all(bed.path("tmp")).expect("a directory");
    let _others = beside_others();
    let output = Command::new(venv.join("bin/python"))
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp"])
        .arg(bed.path("pytest"))
        .arg(repository("config/python/test_drills.py"))
        .env("SUPERVISORD_RS", program().get_program())
        .env("DRILLS", bed.path("drills"))
        .env("TMPDIR", bed.path("tmp"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(bed.directory.path())
        .output()
        .expect("pytest");
    let told = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for words in [
        "1 failed, 1 passed",
        "test_scenario[it does not]",
        "expected lost: b, and no others; seen: lost: a; not lost: b",
        "incident 1: segfault in a (process)",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    assert_nothing_left(&bed);
}
