//! In containers that podman and runc set up: read-only, without capabilities, of an ordinary user,
//! short of processes, and with a `/run` that is kept.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::harness::skip::{Lack, lacks_program, lacks_root, skip};
use crate::harness::{Bed, find, kill, repository, text, until};
use nix::sys::signal::Signal;
use supervisord_rs::control::client::Client;
use supervisord_rs::control::protocol::StatusReport;

/// Every podman command, with a store of images and containers of the bed's own.
fn podman(bed: &Bed) -> Command {
    let mut command = Command::new("podman");
    command
        .args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--log-level", "error"])
        .arg("--root")
        .arg(bed.path("podman/store"))
        .arg("--runroot")
        .arg(bed.path("podman/state"))
        .stdin(Stdio::null());
    command
}

/// A root directory with nothing in it but places to mount on: the programs are those of the host.
fn empty_root(bed: &Bed) -> std::path::PathBuf {
    let root = bed.path("root");
    for directory in ["proc", "dev", "sys", "etc", "run", "tmp", "usr", "program", "var"] {
        std::fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    for directory in ["bin", "sbin", "lib", "lib64"] {
        let link = root.join(directory);
        if !link.is_symlink() {
            symlink(Path::new("usr").join(directory), link).expect("a link");
        }
    }
    root
}

/// `podman run` with these options, of a container that is read-only and has no rights.
fn run(bed: &Bed, name: &str, options: &[&str], command: &[&str]) -> Command {
    let root = empty_root(bed);
    let program = crate::harness::program().get_program().to_owned();
    let program = Path::new(&program).parent().expect("a directory above");
    // podman's own defaults may be more than this host allows.
    let (_, files) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .expect("a limit");
    let mut run = podman(bed);
    run.args(["run", "--rm", "--name", name, "--network", "none", "--read-only"])
        .args(["--cap-drop", "ALL", "--security-opt", "no-new-privileges"])
        .args(["--ulimit", &format!("nofile={files}:{files}"), "--ulimit", "nproc=8192:8192"])
        .args(["--volume", "/usr:/usr:ro"])
        .args(["--volume", &format!("{}:/program:ro", program.display())])
        .args(["--env", &format!("SUPERVISORD_RS_BED={}", bed.directory.path().display())])
        .args(options)
        .arg("--rootfs")
        .arg(root)
        .args(command);
    run
}

/// Whether this test must be skipped, because there is no podman here that runs a container.
fn lacks_podman() -> bool {
    if lacks_root() || lacks_program("podman", "podman") || lacks_program("runc", "runc") {
        return true;
    }
    let bed = Bed::new();
    let output: Output = run(&bed, &name(&bed), &[], &["true"]).output().expect("it runs");
    if !output.status.success() {
        let why = text(&output.stderr);
        skip(Lack::Podman, &format!("podman runs no container: {}", why.trim()));
    }
    !output.status.success()
}

/// Of no other container on this machine.
fn name(bed: &Bed) -> String {
    let directory = bed.directory.path().file_name().expect("a name").to_string_lossy();
    format!("{directory}-{}", std::process::id())
}

/// The supervisor as process 1 of a container.
struct Container<'a> {
    bed: &'a Bed,
    name: String,
    child: Child,
}

impl<'a> Container<'a> {
    fn start(bed: &'a Bed, yaml: &str, options: &[&str]) -> Self {
        let file = bed.write("etc/supervisord-rs.yaml", yaml);
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bed.directory.path(), open).expect("ours");
        let log =
            std::fs::File::options().create(true).append(true).open(bed.path("supervisor.log"));
        let log = log.expect("a log");
        let name = name(bed);
        let volume = format!("{}:/etc/supervisord-rs.yaml:ro", file.display());
        let mut command = run(
            bed,
            &name,
            &[&["--volume", &volume][..], options].concat(),
            &["/program/supervisord-rs", "run", "-c", "/etc/supervisord-rs.yaml"],
        );
        command.stdout(log.try_clone().expect("a handle")).stderr(log);
        Self { bed, name, child: command.spawn().expect("podman starts") }
    }

    /// Process 1, by its PID outside.
    fn init(&self) -> Option<i32> {
        let output = podman(self.bed)
            .args(["inspect", "--format", "{{.State.Pid}}", &self.name])
            .output()
            .expect("it runs");
        text(&output.stdout).trim().parse().ok().filter(|pid| *pid > 1)
    }

    /// Waits until this condition holds for its status.
    #[track_caller]
    fn wait<T>(&self, what: &str, condition: impl Fn(&StatusReport) -> Option<T>) -> T {
        let init = self.bed.wait("process 1", || self.init());
        let socket = format!("/proc/{init}/root/run/s/run/control.sock");
        let client = Client::new(Path::new(&socket));
        self.bed.wait(what, || condition(&client.status().ok()?))
    }

    #[track_caller]
    fn wait_running(&self, generation: u64) -> StatusReport {
        self.wait("all workers to run", |status| {
            (status.workers.iter().all(|worker| worker.phase == "running")
                && find(status, "app").generation >= generation)
                .then(|| status.clone())
        })
    }

    /// What `podman stop` orders; the exit status of process 1.
    fn stop(mut self) -> Option<i32> {
        let init = self.init().expect("process 1");
        kill(init, Signal::SIGTERM);
        let status = until(crate::harness::DEADLINE, || self.child.try_wait().expect("our child"));
        status.and_then(|status| status.code())
    }

    /// As a runtime does whose patience has ended.
    fn kill(mut self) {
        kill(self.init().expect("process 1"), Signal::SIGKILL);
        self.child.wait().expect("our child");
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = podman(self.bed).args(["rm", "--force", "--time", "0", &self.name]).output();
            let _ = self.child.wait();
        }
        // Where podman's store lies on a file system that it has mounted itself.
        let _ =
            Command::new("umount").arg("-lq").arg(self.bed.path("podman/store/overlay")).status();
    }
}

/// All directories are on a file system of their own, as the documentation advises.
const PLACES: &str = "version: 1\nsupervisor: { runtime_dir: /run/s/run, state_dir: /run/s/state, \
    log_dir: /run/s/log, echo: never }\n\
                      workers:\n  app: { command: [sleep, 1d], restart: always }\n  \
                      sdk: { worker: ticker }\n";
const TMPFS: [&str; 2] = ["--tmpfs", "/run/s:mode=1777"];

/// `docs/container.md` names the same.
#[test]
fn the_documentation_names_places_that_an_ordinary_user_may_write() {
    let recipe = std::fs::read_to_string(repository("docs/container.md")).expect("the recipe");
    let recipe = recipe.split_whitespace().collect::<Vec<_>>().join(" ");
    for advice in
        ["runtime_dir: /run/s/run, state_dir: /run/s/state, log_dir: /run/s/log", &TMPFS.join(" ")]
    {
        assert!(recipe.contains(advice), "{advice}");
    }
}

#[test]
fn podman_stops_it_in_order_as_root_as_an_ordinary_user_and_short_of_processes() {
    if lacks_podman() {
        return;
    }
    let user = ["--user", "4721:4721"];
    let few = ["--pids-limit", "24"];
    let settings: [(&str, Vec<&str>); 4] = [
        ("root", vec![]),
        ("an ordinary user", user.to_vec()),
        ("root, short of processes", few.to_vec()),
        ("a user, short of processes", [user, few].concat()),
    ];
    for (what, options) in settings {
        let bed = Bed::new();
        let container = Container::start(&bed, PLACES, &[&TMPFS[..], &options].concat());
        let app = find(&container.wait_running(1), "app");
        let pid = app.pid.expect("running").to_string();
        let killed = podman(&bed).args(["exec", &container.name, "kill", "-9", &pid]).output();
        let killed = killed.expect("it runs");
        assert!(killed.status.success(), "{what}: {}", text(&killed.stderr));
        container.wait_running(app.generation + 1);
        assert_eq!(container.stop(), Some(0), "{what}: {}", bed.log());
        assert!(!bed.log().contains("panicked"), "{what}: {}", bed.log());
        assert_eq!(bed.processes(), Vec::<i32>::new(), "{what}");
    }
}

#[test]
fn a_container_with_too_few_processes_for_its_workers_answers_and_ends_in_order() {
    if lacks_podman() {
        return;
    }
    let bed = Bed::new();
    let yaml =
        format!("{PLACES}  many: {{ instances: 60, command: [sleep, 1d], restart: always }}\n");
    let container = Container::start(&bed, &yaml, &[&TMPFS[..], &["--pids-limit", "40"]].concat());
    let count = |status: &StatusReport, phase: &str| {
        status.workers.iter().filter(|worker| worker.phase == phase).count()
    };
    let status = container.wait("some to run and some to wait", |status| {
        (count(status, "running") > 10 && count(status, "backoff") > 10).then(|| status.clone())
    });
    let waiting = status.workers.iter().find(|worker| worker.phase == "backoff").expect("one");
    let ended = format!("{:?}", waiting.ending);
    assert!(ended.contains("EAGAIN"), "{ended}");
    // It says what to raise.
    bed.wait_log("pids.max");
    assert_eq!(container.stop(), Some(0), "{}", bed.log());
    assert!(!bed.log().contains("panicked"), "{}", bed.log());
    assert_eq!(bed.processes(), Vec::<i32>::new());
}

#[test]
fn a_run_directory_that_podman_keeps_does_no_harm_in_the_next_container() {
    if lacks_podman() {
        return;
    }
    let bed = Bed::new();
    let kept = bed.path("kept");
    std::fs::create_dir(&kept).expect("a directory");
    let volume = format!("{}:/run", kept.display());
    for round in 0..3 {
        let container = Container::start(&bed, PLACES, &["--volume", &volume]);
        assert_eq!(container.wait_running(1).workers.len(), 2, "round {round}");
        let all = bed.processes();
        container.kill();
        bed.wait_dead(&all);
    }
    let container = Container::start(&bed, PLACES, &["--volume", &volume]);
    container.wait_running(1);
    assert_eq!(container.stop(), Some(0), "{}", bed.log());
}
