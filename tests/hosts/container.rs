//! As process 1: in a PID namespace, and in a container that holds nothing but the statically
//! linked program.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::skip::{lacks_program, lacks_root};
use crate::harness::{Bed, find, is_alive, kill, repository, text};
use nix::sys::signal::Signal;

/// A PID namespace that ends with its test.
pub(crate) struct Namespace(pub(crate) Child);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the program as process 1 of a new PID namespace.
pub(crate) fn as_init(bed: &Bed, yaml: &str, options: &[&str]) -> Namespace {
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

/// The process behind `unshare`, by its PID outside the namespace.
pub(crate) fn init_of(unshare: &Namespace) -> Option<i32> {
    let path = format!("/proc/{0}/task/{0}/children", unshare.0.id());
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

#[test]
fn process_1_reaps_strangers_forwards_signals_and_exits_with_the_critical_workers_code() {
    if lacks_root() {
        return;
    }
    for options in [&[][..], &["--no-guardian"]] {
        let bed = Bed::new();
        // Orphans of orphans, which no parent waits for.
        let script = "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 0.01 & sleep 0.02 & exit \
            0' &); done; sleep 0.5; turn=0; while [ \"$(ps -eo stat= | grep -c Z)\" != 0 ] && [ \
            $turn -lt 600 ]; do turn=$((turn + 1)); sleep 0.1; done; ps -eo stat= | grep -c Z > \
            zombies; echo UP; exec sleep 1d";
        let yaml = format!(
            "version: 1\nworkers:\n  w: {{ command: [sh, -c, {}], cwd: ., ready: {{ after: 0s }} \
                }}\n",
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

        let yaml = "version: 1\nworkers:\n  \
            job: { command: [sh, -c, exit 9], critical: true, restart: never, ready: { after: 1h \
            } }\n";
        let mut unshare = as_init(&bed, yaml, options);
        assert_eq!(unshare.0.wait().expect("our child").code(), Some(9), "{}", bed.log());
    }
}

/// Where `/proc` is of another PID namespace, the numbers there are those of strangers: none of them
/// is killed, and what could not do without refuses.
#[test]
fn no_stranger_is_killed_by_a_proc_of_another_namespace() {
    if lacks_root() {
        return;
    }
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'sleep 1000 & echo UP; exec sleep \
                1d'], ready: { log: UP } }\n  t: { worker: sleeper, isolation: thread }\n  c: { \
                worker: sleeper, isolation: thread, cell: box }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    // Each number that the other namespace gives to a child of a low one is taken here too.
    let script = r#"
        strangers=
        for i in $(seq 80); do sleep 1000 & strangers="$strangers $!"; done
        "$0" compare --fault panic --isolation process; echo "compare $?"
        "$0" measure isolation --quick; echo "measure $?"
        "$0" run -c "$1" & run=$!
        until "$0" status -c "$1" > status 2>&1; do sleep 0.1; done
        cat status
        kill -TERM $run; wait $run; echo "run $?"
        kill -TERM $strangers
        for one in $strangers; do wait $one; [ $? = 143 ] || echo "a stranger was killed: $one"; done
        echo END
    "#;
    let inner = bed.command(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child=KILL", "sh", "-c", script])
        .arg(inner.get_program())
        .arg(file)
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(bed.path("."))
        .stdin(Stdio::null());
    let output = command.output().expect("unshare");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("END") && !said.contains("a stranger was killed"), "{said}");
    assert!(said.contains("compare 1") && said.contains("run 0"), "{said}");
    let refusals =
        said.matches("/proc is of another PID namespace: the processes of a trial").count();
    assert_eq!(refusals, 2, "{said}");
    assert!(said.contains("what a killed supervisor has left is not found"), "{said}");
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
    if lacks_root() {
        return;
    }
    let bed = Bed::new();
    let root = bed.path("root");
    for directory in ["proc", "dev", "etc/supervisord-rs", "run", "var/lib", "var/log"] {
        std::fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    // Every container runtime gives /dev/null; here the test is the runtime.
    let null = nix::sys::stat::makedev(1, 3);
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::sys::stat::mknod(&root.join("dev/null"), nix::sys::stat::SFlag::S_IFCHR, mode, null)
        .expect("a device");
    std::fs::copy(static_program(), root.join("supervisord-rs")).expect("copied");
    std::fs::write(root.join("etc/passwd"), "app:x:4242:4242::/:/bin/sh\n").expect("written");
    std::fs::write(root.join("etc/group"), "app:x:4242:\n").expect("written");
    // The example of the documentation. The program is its own worker: there is no other executable
    // in this container.
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
            let status: serde_json::Value =
                serde_json::from_str(&verb(&["status", "--json"])).ok()?;
            let app = &status["workers"][0];
            (app["phase"] == "running" && app["generation"] == generation).then_some(())
        });
    };
    runs_as(1);
    verb(&["signal", "app", "SEGV"]);
    bed.wait_log("segfault in app (process)");
    runs_as(2);
    kill(init, Signal::SIGTERM);
    assert_eq!(unshare.0.wait().expect("our child").code(), Some(0), "{}", bed.log());
}

/// As container runtimes set it up: root runs `before` in new namespaces, then `wrapper` runs the
/// program. The program writes to its own `/run`, or to `kept` if that is given.
fn in_container(bed: &Bed, yaml: &str, wrapper: &[&str], kept: Option<&Path>) -> Namespace {
    let file = bed.write("supervisord-rs.yaml", yaml);
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bed.directory.path(), open).expect("ours");
    let run = kept.map_or_else(
        || "mount -t tmpfs -o mode=1777 none /run".to_owned(),
        |kept| format!("mount --bind {} /run", kept.display()),
    );
    let script = format!(
        "set -e; mount --make-rprivate /; mount --bind / /; {run}; mount -o remount,bind,ro /; \
            exec \"$@\""
    );
    let log = std::fs::File::options().create(true).append(true).open(bed.path("supervisor.log"));
    let log = log.expect("a log");
    let mut command = Command::new("unshare");
    command
        .args([
            "--pid",
            "--fork",
            "--mount",
            "--mount-proc",
            "--kill-child=KILL",
            "sh",
            "-c",
            &script,
            "sh",
        ])
        .args(wrapper)
        .arg(crate::harness::program().get_program())
        .args(["run", "-c"])
        .arg(file)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SUPERVISORD_RS_BED", bed.directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a handle"))
        .stderr(log);
    Namespace(command.spawn().expect("unshare"))
}

/// The runtime directory in the containers of a test. These containers have no cgroup of their own:
/// two supervisors with one path would each end what the other has started, as if it were left
/// behind.
fn place(bed: &Bed) -> PathBuf {
    Path::new("/run").join(bed.directory.path().file_name().expect("a name"))
}

/// A configuration whose directories are all in `/run`, as on a read-only root.
fn on_run(bed: &Bed) -> String {
    let place = place(bed);
    let place = place.display();
    format!(
        "version: 1\nsupervisor: {{ runtime_dir: {place}, state_dir: {place}/state, log_dir: \
         {place}/log, echo: never }}\ndefaults: {{ restart: {{ policy: always, backoff: {{ initial: \
         0s, jitter: 0 }} }} }}\nworkers:\n  app: {{ command: [sleep, 1d] }}\n  sdk: {{ worker: \
         ticker }}\n"
    )
}

/// The status of the supervisor in a container.
fn status_of(
    bed: &Bed,
    container: &Namespace,
) -> Option<supervisord_rs::control::protocol::StatusReport> {
    let place = place(bed);
    let socket = format!("/proc/{}/root{}/control.sock", init_of(container)?, place.display());
    supervisord_rs::control::client::Client::new(Path::new(&socket)).status().ok()
}

fn wait_running(bed: &Bed, container: &Namespace, generation: u64) {
    bed.wait("all workers to run", || {
        let status = status_of(bed, container)?;
        (status.workers.iter().all(|worker| worker.phase == "running")
            && find(&status, "app").generation >= generation)
            .then_some(())
    });
}

/// A worker is killed, and comes back; the container is stopped, and ends in order.
fn lives_and_ends(bed: &Bed, container: &mut Namespace) {
    wait_running(bed, container, 1);
    let init = init_of(container).expect("process 1");
    let app = find(&status_of(bed, container).expect("an answer"), "app");
    let outside = format!("/proc/{init}/root/proc/{}", app.pid.expect("running"));
    assert!(Path::new(&outside).exists(), "its number is that of its namespace");
    let mut kill_it = Command::new("nsenter");
    kill_it.args([
        "-t",
        &init.to_string(),
        "--pid",
        "--",
        "kill",
        "-9",
        &app.pid.expect("running").to_string(),
    ]);
    assert!(kill_it.status().expect("it runs").success());
    wait_running(bed, container, app.generation + 1);
    kill(init, Signal::SIGTERM);
    let status = container.0.wait().expect("our child");
    assert_eq!(status.code(), Some(0), "an orderly end: {}", bed.log());
}

#[test]
fn a_container_may_be_read_only_without_capabilities_of_an_ordinary_user_and_short_of_processes() {
    if lacks_root() {
        return;
    }
    let user =
        ["setpriv", "--reuid=4721", "--regid=4721", "--clear-groups", "--no-new-privs", "--"];
    let wrappers: [(&str, Vec<&str>); 4] = [
        ("root", vec![]),
        (
            "without capabilities",
            vec!["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"],
        ),
        ("an ordinary user", user.to_vec()),
        ("short of processes", [&["prlimit", "--nproc=24:24"], &user[..]].concat()),
    ];
    for (what, wrapper) in wrappers {
        let bed = Bed::new();
        let mut container = in_container(&bed, &on_run(&bed), &wrapper, None);
        lives_and_ends(&bed, &mut container);
        assert!(!bed.log().contains("panicked"), "{what}: {}", bed.log());
    }
}

#[test]
fn a_kept_run_directory_does_no_harm_in_the_next_container() {
    if lacks_root() {
        return;
    }
    let bed = Bed::new();
    let kept = bed.path("kept");
    std::fs::create_dir(&kept).expect("a directory");
    for round in 0..3 {
        // Killed each time: lock, socket and black box are those of a dead supervisor, with PIDs
        // that other processes have now.
        let mut container = in_container(&bed, &on_run(&bed), &[], Some(&kept));
        wait_running(&bed, &container, 1);
        let before = status_of(&bed, &container).expect("an answer");
        assert_eq!(before.workers.len(), 2, "round {round}");
        let all = bed.processes();
        container.0.kill().expect("ours");
        container.0.wait().expect("ours");
        // The kernel ends a namespace's processes after its first one: until then they hold the
        // lock.
        bed.wait_dead(&all);
    }
    let mut container = in_container(&bed, &on_run(&bed), &[], Some(&kept));
    lives_and_ends(&bed, &mut container);
}

/// Workers that print a line when they end in order.
fn orderly(count: usize) -> String {
    let script = "trap 'echo BYE; exit 0' TERM; echo UP; while :; do sleep 1d & wait $!; done";
    let script = serde_json::to_string(script).expect("a string");
    (0..count).fold(
        "version: 1\nsupervisor: { echo: never }\n\
        workers:\n"
            .to_owned(),
        |yaml, index| {
            format!(
                "{yaml}  w{index}: {{ command: [sh, -c, {script}] }}\n  \
            busy{index}: {{ worker: ticker, args: {{ interval: 1ms }} }}\n"
            )
        },
    )
}

/// How often the test kills a guardian: a few times by default, more in the long run.
fn kills() -> usize {
    std::env::var("SUPERVISORD_RS_GUARDIAN_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

const ORDERLY: usize = 4;

fn byes(bed: &Bed) -> usize {
    (0..ORDERLY).map(|index| bed.output(&format!("w{index}")).matches("BYE").count()).sum()
}

fn all_up(
    bed: &Bed,
    client: &supervisord_rs::control::client::Client,
    other_than: Option<i32>,
) -> (i32, i32) {
    bed.wait("all workers to run", || {
        let status = client.status().ok()?;
        let guardian =
            status.supervisor.guardian.filter(|&guardian| Some(guardian) != other_than)?;
        let up = |worker: &supervisord_rs::control::protocol::WorkerStatus| {
            worker.phase == "running"
                && (!worker.name.starts_with('w')
                    || bed.output(&worker.name).matches("UP").count()
                        > bed.output(&worker.name).matches("BYE").count())
        };
        status.workers.iter().all(up).then_some((guardian, status.supervisor.pid))
    })
}

#[test]
fn a_guardian_that_is_killed_ends_everything_in_order_and_the_next_run_starts() {
    let bed = Bed::new();
    let yaml = orderly(ORDERLY);
    for round in 1..=kills() {
        let supervisor = bed.start(&yaml);
        let (guardian, pid) = all_up(&bed, &supervisor.client, None);
        assert_eq!(guardian, supervisor.child_pid());
        kill(guardian, Signal::SIGKILL);
        bed.wait("the supervisor to end", || (!is_alive(pid)).then_some(()));
        bed.wait("everything to be gone", || bed.processes().is_empty().then_some(()));
        assert_eq!(byes(&bed), round * ORDERLY, "each worker was asked to end: {}", bed.log());
    }
}

/// Another supervisor above the one under test.
struct Above(Child);

impl Above {
    fn start(bed: &Bed, mut command: Command) -> Self {
        let inner = bed.command(&[]);
        let log =
            std::fs::File::options().create(true).append(true).open(bed.path("supervisor.log"));
        let log = log.expect("a log");
        command
            .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log);
        Self(command.spawn().expect("it starts"))
    }

    /// Ends it by the signal that it understands as an order to end.
    fn end(mut self, bed: &Bed, signal: Signal) {
        kill(self.0.id() as i32, signal);
        self.0.wait().expect("our child");
        bed.wait("everything to be gone", || bed.processes().is_empty().then_some(()));
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service directory, as runit and s6 have it.
fn service(bed: &Bed) -> PathBuf {
    let directory = bed.path("services/supervisor");
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = bed.write("supervisord-rs.yaml", &orderly(ORDERLY));
    let program = crate::harness::program().get_program().to_owned();
    let run = format!("#!/bin/sh\nexec 2>&1 {} run -c {}\n", program.display(), file.display());
    std::fs::write(directory.join("run"), run).expect("written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.join("run"), mode).expect("ours");
    bed.path("services")
}

#[test]
fn under_runit_and_s6_a_killed_guardian_is_followed_by_another_run_every_time() {
    if lacks_program("runsvdir", "runit") || lacks_program("s6-svscan", "s6") {
        return;
    }
    for (program, end) in [("runsvdir", Signal::SIGHUP), ("s6-svscan", Signal::SIGTERM)] {
        let bed = Bed::new();
        let mut command = Command::new(program);
        command.arg(service(&bed));
        let above = Above::start(&bed, command);
        let client = supervisord_rs::control::client::Client::new(&bed.path("run/control.sock"));
        let mut killed = None;
        for round in 1..=kills() {
            let (guardian, pid) = all_up(&bed, &client, killed);
            kill(guardian, Signal::SIGKILL);
            killed = Some(guardian);
            bed.wait("the supervisor to end", || (!is_alive(pid)).then_some(()));
            bed.wait("each worker to be asked to end", || {
                (byes(&bed) == round * ORDERLY).then_some(())
            });
        }
        // Now the supervisor itself: its guardian starts another, and the supervisor above notices
        // nothing.
        let (guardian, pid) = all_up(&bed, &client, killed);
        kill(pid, Signal::SIGKILL);
        bed.wait("a successor", || {
            let supervisor = client.status().ok()?.supervisor;
            (supervisor.pid != pid && supervisor.guardian == Some(guardian)).then_some(())
        });
        above.end(&bed, end);
        assert_eq!(
            byes(&bed),
            (kills() + 1) * ORDERLY,
            "{program} ends it in order: {}",
            bed.log()
        );
    }
}

#[test]
fn tini_forwards_signals_and_gives_the_exit_status() {
    if lacks_program("tini", "tini") {
        return;
    }
    let bed = Bed::new();
    let file = bed.write("supervisord-rs.yaml", &orderly(ORDERLY));
    let mut command = Command::new("tini");
    command
        .args(["-s", "--"])
        .arg(crate::harness::program().get_program())
        .args(["run", "-c"])
        .arg(&file);
    let mut above = Above::start(&bed, command);
    let client = supervisord_rs::control::client::Client::new(&bed.path("run/control.sock"));
    all_up(&bed, &client, None);
    kill(above.0.id() as i32, Signal::SIGTERM);
    assert_eq!(above.0.wait().expect("our child").code(), Some(0), "{}", bed.log());
    assert_eq!((byes(&bed), bed.processes()), (ORDERLY, vec![]));
}
