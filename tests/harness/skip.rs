//! Things that a test needs and a machine may lack: a package, a right, a facility of the kernel.
//!
//! A test that lacks something returns at once, and reports that on standard error, past the test
//! program's capture of output: no skip is silent. The gate allows no skip ([`ALLOWED`]).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Names ([`Lack::name`]), separated by commas, of things that tests may lack; other skips are
/// failures. `none`: no skip. Without this variable every skip is allowed.
const ALLOWED: &str = "SUPERVISORD_RS_TEST_SKIPS";

/// A thing that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A package that the tests supervise.
    Package,
    /// The rights of root.
    Root,
    /// File systems that the test itself serves (fuse(4)).
    Fuse,
    /// The freezer of cgroups version 1: a process that is frozen in it does not even die of
    /// SIGKILL.
    Freezer,
    /// A cgroup of version 2 that the test may write to.
    Cgroup2,
    /// The addresses of the system's own log collectors, free for a test.
    Collector,
    /// Small file systems (mount(8)).
    Mount,
    /// Containers that podman runs.
    Podman,
    /// The language server of editors, from the npm registry.
    Editor,
}

impl Lack {
    const fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Root => "root",
            Self::Fuse => "fuse",
            Self::Freezer => "freezer",
            Self::Cgroup2 => "cgroup2",
            Self::Collector => "collector",
            Self::Mount => "mount",
            Self::Podman => "podman",
            Self::Editor => "editor",
        }
    }
}

/// Reports that this test is skipped, and why; fails where that is not allowed.
#[track_caller]
pub fn skip(lack: Lack, why: &str) {
    let allowed = std::env::var(ALLOWED).unwrap_or_else(|_| lack.name().to_owned());
    assert!(
        allowed.split(',').any(|name| name == lack.name()),
        "{why}, and {ALLOWED}={allowed} does not allow this test to be skipped (`{}` would)",
        lack.name()
    );
    report("SKIPPED", why);
}

/// Reports that this machine let the test show one side of a matter only. The test has run: that is
/// not a skip.
pub fn note(what: &str) {
    report("NOTE", what);
}

fn report(kind: &str, words: &str) {
    let thread = std::thread::current();
    let line = format!("{kind} {}: {words}\n", thread.name().unwrap_or("a test"));
    // One write, so that lines of tests that run at the same time stay whole.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Whether this test must be skipped because it does not run as root.
#[track_caller]
pub fn lacks_root() -> bool {
    let lacks = !nix::unistd::geteuid().is_root();
    if lacks {
        skip(Lack::Root, "it needs root");
    }
    lacks
}

/// Whether this test must be skipped because a program is not installed.
#[track_caller]
pub fn lacks_program(program: &str, package: &str) -> bool {
    let lacks = find_program(program).is_none();
    if lacks {
        skip_without(package);
    }
    lacks
}

/// Reports that this test is skipped because a Debian package is not installed.
#[track_caller]
pub fn skip_without(package: &str) {
    skip(Lack::Package, &format!("{package} is not installed (apt-get install {package})"));
}

/// Fails once, at the start, where a program is missing that nearly every test uses.
pub fn require_basics() {
    static LOOKED: Once = Once::new();
    LOOKED.call_once(|| {
        for (program, package) in
            [("python3", "python3"), ("setpriv", "util-linux"), ("ps", "procps")]
        {
            assert!(
                find_program(program).is_some(),
                "the tests need {program}: apt-get install {package}, or run tests/run"
            );
        }
    });
}

fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| Path::is_file(path))
}
