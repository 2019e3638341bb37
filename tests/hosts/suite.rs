//! The suite itself: it names a compiler that is too old, and leaves nothing on the machine.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{Bed, cgroups, kill, kill_together, repository, text};

/// Runs `tests/run` with this compiler, or none, in its `PATH`; a `cargo` that is called fails.
fn run_with(bed: &Bed, version: Option<&str>) -> (Option<i32>, String) {
    let bin = bed.path("bin");
    let _ = std::fs::remove_dir_all(&bin);
    std::fs::create_dir(&bin).expect("a directory");
    for program in ["bash", "dirname", "sed", "cut", "sort", "head", "mktemp", "env"] {
        symlink(format!("/usr/bin/{program}"), bin.join(program)).expect("a link");
    }
    let script = |name: &str, line: &str| {
        let path = bed.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{line}\n"));
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("ours");
    };
    script("cargo", "echo cargo was called; exit 99");
    // It has nothing to install.
    script("dpkg-query", "exit 0");
    if let Some(version) = version {
        script("rustc", &format!("echo 'rustc {version} (0123456 2020-01-01)'"));
    }
    let mut command = Command::new("/bin/bash");
    let output = command.arg(repository("tests/run")).env("PATH", &bin).output().expect("it runs");
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_compiler_that_is_too_old_is_named_before_anything_else_happens() {
    let bed = Bed::new();
    let manifest = std::fs::read_to_string(repository("Cargo.toml")).expect("Cargo.toml");
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let wanted = wanted.expect("the oldest compiler").trim_matches('"');
    for old in ["1.9.0", "1.63.0", "1.80.1-nightly"] {
        let (status, said) = run_with(&bed, Some(old));
        let line = format!(
            "tests/run: Rust {old} is too old: {wanted} or newer is needed (rustup update stable)\n"
        );
        assert_eq!((status, said.as_str()), (Some(1), line.as_str()));
    }
    let (status, said) = run_with(&bed, None);
    let line = format!(
        "tests/run: no Rust compiler: install Rust {wanted} or newer, see https://rustup.rs\n"
    );
    assert_eq!((status, said.as_str()), (Some(1), line.as_str()));
}

#[test]
fn a_supervisor_that_is_killed_with_its_guardian_leaves_no_cgroup() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let mut supervisor = bed.start(yaml);
    let worker = supervisor.wait_phase("a", "running").pid.expect("it runs");
    let places = cgroups::places(&bed.path("run"));
    if !places.iter().any(|path| path.exists()) {
        return cgroups::skip_without();
    }
    kill_together(&mut supervisor, true);
    assert!(places.iter().any(|path| path.exists()), "a dead supervisor removes no cgroup");
    kill(worker, Signal::SIGKILL);
    drop(supervisor);
    drop(bed);
    assert!(places.iter().all(|path| !path.exists()), "left: {places:?}");
}
