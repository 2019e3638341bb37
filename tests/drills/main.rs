//! `drill`: scenarios that hold, scenarios that must not, and what is left of either.

mod bad_scenario;
mod disk;
mod ends;
mod first;
#[path = "../harness/mod.rs"]
mod harness;
mod library;
mod matrix;
mod pytest;
mod record;
mod reports;
mod sabotage;
mod shards;
mod shipped;
mod storms;

use std::process::{Command, Output};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use harness::{Bed, program, text};

/// Each drill looks for shared memory that is left, and nothing says whose that is.
static SHARED_MEMORY: RwLock<()> = RwLock::new(());

/// For a test with drills that leave no shared memory.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    SHARED_MEMORY.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test with drills that leave some: no other goes on.
fn alone() -> RwLockWriteGuard<'static, ()> {
    SHARED_MEMORY.write().unwrap_or_else(PoisonError::into_inner)
}

/// `drill` as a user would run it in the directory of the bed, with temporary files in `tmp`.
fn command(bed: &Bed, arguments: &[&str]) -> Command {
    std::fs::create_dir_all(bed.path("tmp")).expect("a directory");
    let mut command = program();
    command
        .arg("drill")
        .args(arguments)
        .current_dir(bed.directory.path())
        .env("TMPDIR", bed.path("tmp"));
    command
}

/// Runs it beside others, and looks that nothing is left.
fn drill(bed: &Bed, arguments: &[&str]) -> Output {
    let _others = beside_others();
    drill_alone(bed, arguments)
}

/// The same for one that holds [`alone`].
fn drill_alone(bed: &Bed, arguments: &[&str]) -> Output {
    let output = command(bed, arguments).output().expect("the program runs");
    assert_nothing_left(bed);
    output
}

/// Neither a process nor a directory of a run is there.
fn assert_nothing_left(bed: &Bed) {
    assert_eq!(bed.processes(), Vec::<i32>::new(), "processes were left");
    let left: Vec<_> = std::fs::read_dir(bed.path("tmp")).expect("readable").flatten().collect();
    assert!(left.is_empty(), "left: {left:?}");
}

/// Writes a scenario and runs it: the exit status, and all that was said.
fn run(bed: &Bed, scenario: &str) -> (Option<i32>, String) {
    bed.write("drill.yaml", scenario);
    let output = drill(bed, &["run", "drill.yaml"]);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}
