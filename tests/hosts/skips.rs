//! On a machine without the real programs the suite passes and says what it left out; the gate does
//! not.

use std::os::unix::fs::symlink;
use std::process::{Command, Output};

use crate::harness::{Bed, text};

/// Runs tests of this program with the basics in its `PATH`, and nothing else.
fn without_real_programs(bed: &Bed, allowed: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["real_programs::etcd", "container::tini", "real_programs::postgresql"]);
    command.env("PATH", bed.path("bin")).env_remove("SUPERVISORD_RS_TEST_SKIPS");
    command.envs(allowed.map(|allowed| ("SUPERVISORD_RS_TEST_SKIPS", allowed)));
    command.output().expect("it runs")
}

#[test]
fn what_is_not_installed_is_skipped_by_name_and_the_gate_allows_no_skip() {
    let bed = Bed::new();
    std::fs::create_dir(bed.path("bin")).expect("a directory");
    for program in ["python3", "setpriv", "ps"] {
        let path = format!("/usr/bin/{program}");
        symlink(path, bed.path("bin").join(program)).expect("a link");
    }
    let output = without_real_programs(&bed, None);
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && told.contains("3 passed"), "{told}{errors}");
    let mut packages = vec!["etcd-server", "tini"];
    if crate::harness::is_root() {
        packages.push("postgresql");
    }
    for package in packages {
        let reason = format!("{package} is not installed (apt-get install {package})");
        assert!(errors.contains("SKIPPED ") && errors.contains(&reason), "{errors}");
    }

    // Skips for other reasons do not help.
    for allowed in ["none", "fuse,freezer"] {
        let output = without_real_programs(&bed, Some(allowed));
        let told = text(&output.stdout);
        assert!(!output.status.success() && told.contains("3 failed"), "{told}");
        assert!(told.contains("etcd-server is not installed"), "{told}");
    }
}
