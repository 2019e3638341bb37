//! `supervisord_rs::drill::Drill`, as the tests of another program would use it.

use supervisord_rs::drill::verdict::Verdict;
use supervisord_rs::drill::{Drill, DrillError};

const PROGRAM: &str = env!("CARGO_BIN_EXE_supervisord-rs");
const TWO: &str = "version: 1
supervisor: { fault_injection: allow }
defaults: { restart: { backoff: { initial: 0s } } }
workers: { a: { worker: ticker }, b: { worker: ticker } }
";

#[test]
fn a_promise_that_is_kept_and_one_that_is_not() {
    let _others = crate::beside_others();
    let drill = Drill::of(PROGRAM).named("two").configuration(TWO).inject("a", "segfault");
    drill
        .clone()
        .expect("lost: [a], back: { within: 10s }")
        .kill("supervisor")
        .expect("lost: [], adopted: [a, b]")
        .assert_holds();
    let reports = drill.expect("lost: [b], within: 5s").repeat(2).run().expect("it runs");
    let verdicts: Vec<Verdict> = reports.iter().map(|report| report.verdict).collect();
    assert_eq!(verdicts, [Verdict::Failed, Verdict::Failed]);
    let failure = reports[0].failure.as_ref().expect("why");
    assert!(failure.line().contains("lost: a; not lost: b"), "{}", failure.line());
}

#[test]
#[should_panic(expected = "FAILED: a drill, step 4")]
fn a_test_fails_with_what_was_seen() {
    let _others = crate::beside_others();
    Drill::of(PROGRAM)
        .configuration(TWO)
        .inject("a", "abort")
        .expect("lost: [], within: 5s")
        .assert_holds();
}

#[test]
fn a_drill_that_is_not_valid_says_where() {
    let _others = crate::beside_others();
    let drill = Drill::of(PROGRAM).configuration(TWO).inject("c", "segfault").expect("lost: [c]");
    let Err(DrillError::Refused(why)) = drill.run() else { panic!("there is no c") };
    assert!(why.contains("unknown worker `c`"), "{why}");
    let missing =
        Drill::of("/nonexistent/program").configuration(TWO).expect("phase: { a: running }");
    assert!(matches!(missing.run(), Err(DrillError::Start(_))));
}
