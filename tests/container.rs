//! As process 1: in a PID namespace of its own, and in a container that holds nothing but the statically linked program.

mod harness;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use harness::{Bed, is_alive, is_root, kill, repository, text};
use nix::sys::signal::Signal;

/// A PID namespace that ends with its test.
struct Namespace(Child);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the program as process 1 of a new PID namespace.
fn as_init(bed: &Bed, yaml: &str, options: &[&str]) -> Namespace {
    assert!(is_root(), "this test makes a PID namespace: run it as root");
    let file = bed.write("supervisord-rs.yaml", yaml);
    let program = bed.command(&[]).get_program().to_owned();
    let log = std::fs::File::create(bed.path("supervisor.log")).expect("a log");
    let inner = bed.command(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child=KILL"])
        .arg(program)
        .args(["run", "-c"])
        .arg(file)
        .args(options)
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a handle"))
        .stderr(log);
    Namespace(command.spawn().expect("unshare"))
}

/// The process behind `unshare`, by its number out here.
fn init_of(unshare: &Namespace) -> Option<i32> {
    let path = format!("/proc/{0}/task/{0}/children", unshare.0.id());
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

#[test]
fn process_1_reaps_strangers_passes_signals_on_and_gives_the_critical_workers_exit_code() {
    for options in [&[][..], &["--no-guardian"]] {
        let bed = Bed::new();
        // Orphans of orphans, which nobody waits for.
        let script = "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 0.01 & sleep 0.02 & exit 0' &); done; sleep 0.5; ps -eo stat= | grep -c Z > zombies; echo UP; exec sleep 1d";
        let yaml = format!(
            "version: 1\nworkers:\n  w: {{ command: [sh, -c, {}], cwd: ., ready: {{ after: 0s }} }}\n",
            serde_json::to_string(script).expect("a string")
        );
        let mut unshare = as_init(&bed, &yaml, options);
        bed.wait("UP", || bed.output("w").contains("UP").then_some(()));
        let zombies = std::fs::read_to_string(bed.path("zombies")).expect("counted");
        assert_eq!(zombies.trim(), "0", "{options:?}");
        let init = init_of(&unshare).expect("process 1");
        kill(init, Signal::SIGTERM);
        let status = unshare.0.wait().expect("our child");
        assert_eq!(status.code(), Some(0), "an orderly end: {}", bed.log());
        assert!(!is_alive(init));

        let yaml = "version: 1\nworkers:\n  job: { command: [sh, -c, exit 9], critical: true, restart: never, ready: { after: 1h } }\n";
        let mut unshare = as_init(&bed, yaml, options);
        assert_eq!(unshare.0.wait().expect("our child").code(), Some(9), "{}", bed.log());
    }
}

/// The statically linked program, built once.
fn static_program() -> PathBuf {
    let target = repository("target/static");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--bin",
            "supervisord-rs",
            "--target",
            &triple,
            "--target-dir",
        ])
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(repository("."))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the static build fails");
    target.join(triple).join("debug/supervisord-rs")
}

#[test]
fn a_container_needs_nothing_but_the_static_program_and_a_configuration() {
    assert!(is_root(), "this test changes its root: run it as root");
    let bed = Bed::new();
    let root = bed.path("root");
    for directory in ["proc", "dev", "etc/supervisord-rs", "run", "var/lib", "var/log"] {
        std::fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    // Every container runtime gives /dev/null; here we are the runtime.
    let null = nix::sys::stat::makedev(1, 3);
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::sys::stat::mknod(&root.join("dev/null"), nix::sys::stat::SFlag::S_IFCHR, mode, null)
        .expect("a device");
    std::fs::copy(static_program(), root.join("supervisord-rs")).expect("copied");
    std::fs::write(root.join("etc/passwd"), "app:x:4242:4242::/:/bin/sh\n").expect("written");
    std::fs::write(root.join("etc/group"), "app:x:4242:\n").expect("written");
    // As the documentation has it. The program is its own worker: there is no other executable in this container.
    let recipe = std::fs::read_to_string(repository("docs/container.md")).expect("the recipe");
    assert!(
        recipe.contains("RUSTFLAGS=\"-C target-feature=+crt-static\" cargo build"),
        "as it is built here"
    );
    let (_, yaml) = recipe.split_once("```yaml\n").expect("a configuration");
    let (yaml, _) = yaml.split_once("```").expect("its end");
    std::fs::write(root.join("etc/supervisord-rs/supervisord-rs.yaml"), yaml).expect("written");
    let log = std::fs::File::create(bed.path("supervisor.log")).expect("a log");
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--pid", "--fork", "--mount", "--kill-child=KILL", "--root"])
        .arg(&root)
        .arg("--mount-proc")
        .args(["/supervisord-rs", "run"])
        .env_clear()
        .env("SUPERVISORD_RS_BED", bed.directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a handle"))
        .stderr(log);
    let mut unshare = Namespace(unshare.spawn().expect("unshare"));
    let init = bed.wait("process 1", || init_of(&unshare));
    let verb = |arguments: &[&str]| {
        let output = Command::new(root.join("supervisord-rs"))
            .args(arguments)
            .arg("--socket")
            .arg(root.join("run/supervisord-rs/control.sock"))
            .output();
        text(&output.expect("it runs").stdout)
    };
    let runs_as = |generation: u64| {
        bed.wait("the worker", || {
            let status: serde_json::Value = serde_json::from_str(&verb(&["status", "--json"])).ok()?;
            let app = &status["workers"][0];
            (app["phase"] == "running" && app["generation"] == generation).then_some(())
        });
    };
    runs_as(1);
    verb(&["signal", "app", "SEGV"]);
    bed.wait("the incident", || bed.log().contains("segfault in app (process)").then_some(()));
    runs_as(2);
    kill(init, Signal::SIGTERM);
    assert_eq!(unshare.0.wait().expect("our child").code(), Some(0), "{}", bed.log());
}
