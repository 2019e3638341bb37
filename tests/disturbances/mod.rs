//! A slow world: everything outside the supervisor that could hold its loop, one disturbance at a
//! time, each beside twenty healthy workers under load. The test asserts with them, the benchmark
//! prints the duration of turns.
#![allow(dead_code, unreachable_pub, reason = "the test and the benchmark each use a part of it")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Bed, Stopped, Supervisor, kill, variable};

/// The duration of a disturbance, while the probes run.
const LASTS: Duration = Duration::from_secs(3);

/// One way in which the world is slow.
pub struct Disturbance {
    pub name: &'static str,
    /// Workers beside the healthy ones: lines of YAML.
    workers: fn(&Bed) -> String,
    options: &'static [&'static str],
    environment: fn(&Bed) -> Vec<(String, String)>,
    /// Causes the disturbance, runs the probes meanwhile, and ends it.
    trouble: fn(&Supervisor<'_>, &mut Probe<'_>),
}

/// Every disturbance. Each could hold a loop for seconds or for ever.
pub const ALL: [Disturbance; 16] = [
    plain("nothing", no_workers, quiet),
    plain("keeper of descriptors stopped, a worker dies", victim, stopped_keeper),
    plain("a traced worker dies", victim, traced_worker),
    plain("a worker with 300 sessions stops", large_tree, stop_large_tree),
    plain("an environment file becomes a FIFO", fed_worker, fifo_as_env_file),
    plain("lingering sockets are sent to notify sockets", victim, lingering_sockets),
    plain("a worker fills its own eventfd", hostile_worker, filled_eventfd),
    plain("a successor never becomes ready", no_workers, stuck_successor),
    Disturbance {
        name: "the service manager does not read",
        workers: victim,
        options: &["--no-guardian"],
        environment: deaf_manager,
        trouble: silent_manager,
    },
    plain("a log target hangs, its worker crashes", hanging_log, crash_loop),
    plain("64 quiet clients", no_workers, quiet_clients),
    plain("a flood of foreign datagrams", victim, datagram_flood),
    plain("200 workers that end at once", restless, crash_loop),
    without_cgroups("the same sessions, without cgroups", large_tree, stop_large_tree),
    without_cgroups("the same 200, without cgroups", restless, crash_loop),
    without_cgroups("the same datagrams, without cgroups", victim, datagram_flood),
];

/// Where there are no cgroups, or they are not ours to use.
const fn without_cgroups(
    name: &'static str,
    workers: fn(&Bed) -> String,
    trouble: fn(&Supervisor<'_>, &mut Probe<'_>),
) -> Disturbance {
    let environment = |_: &Bed| vec![("SUPERVISORD_RS_CGROUPS".to_owned(), "off".to_owned())];
    Disturbance { name, workers, options: &[], environment, trouble }
}

const fn plain(
    name: &'static str,
    workers: fn(&Bed) -> String,
    trouble: fn(&Supervisor<'_>, &mut Probe<'_>),
) -> Disturbance {
    Disturbance { name, workers, options: &[], environment: |_| Vec::new(), trouble }
}

impl Disturbance {
    /// Runs it and passes on the probes' figures, while the supervisor still runs.
    pub fn run(&self, judge: impl FnOnce(&Supervisor<'_>, &Probe<'_>)) {
        let bed = Bed::new();
        let environment = (self.environment)(&bed);
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let yaml = format!("{HEALTHY}{}", (self.workers)(&bed));
        let supervisor = bed.start_in(&yaml, self.options, &environment);
        for number in 0..20 {
            let name = ["sleeper", "beating", "writer", "spare"][number % 4];
            supervisor.wait_phase(&format!("{name}.{}", number / 4 + 1), "running");
        }
        let (status, restart, bare) = Default::default();
        let mut probe = Probe { supervisor: &supervisor, status, restart, bare };
        (self.trouble)(&supervisor, &mut probe);
        judge(&supervisor, &probe);
        supervisor.stop();
    }
}

/// Twenty healthy workers, five of each kind. The probes restart `spare`.
const HEALTHY: &str = include_str!("../fixtures/healthy.yaml");

/// The questions of a person meanwhile, and the time of the slowest answer.
pub struct Probe<'a> {
    supervisor: &'a Supervisor<'a>,
    pub status: Duration,
    pub restart: Duration,
    /// The slowest of as many bare processes, from spawn to end: this machine makes every process
    /// wait that long just now.
    pub bare: Duration,
}

impl Probe<'_> {
    /// Asks for this long.
    fn go_on(&mut self, lasts: Duration) {
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            self.ask();
        }
    }

    /// Asks until this is so.
    fn go_on_until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + crate::harness::DEADLINE;
        loop {
            self.ask();
            if is_so() {
                return;
            }
            assert!(Instant::now() < end, "waited in vain for {what}");
        }
    }

    fn ask(&mut self) {
        let client = &self.supervisor.client;
        let log = || self.supervisor.bed.log();
        let begun = Instant::now();
        if let Err(error) = client.status() {
            panic!("status: {error}; log:\n{}", log());
        }
        self.status = self.status.max(begun.elapsed());
        let begun = Instant::now();
        if let Err(error) = client.restart(&["spare.1".into()], true) {
            panic!("restart: {error}; log:\n{}", log());
        }
        self.restart = self.restart.max(begun.elapsed());
        let begun = Instant::now();
        Command::new("true").stdin(Stdio::null()).status().expect("a process");
        self.bare = self.bare.max(begun.elapsed());
    }
}

fn no_workers(_: &Bed) -> String {
    String::new()
}

/// The worker that the disturbance hits.
fn victim(_: &Bed) -> String {
    let text = "import time\nwhile True: time.sleep(1)";
    format!("  victim: {{ command: [python3, -c, {}], heartbeat: 1h }}\n", quoted(text))
}

fn large_tree(_: &Bed) -> String {
    let text = include_str!("../fixtures/large_tree.py");
    format!("  tree: {{ command: [python3, -c, {}] }}\n", quoted(text))
}

fn fed_worker(bed: &Bed) -> String {
    bed.write("fed.env", "A=1\n");
    "  fed: { command: [sleep, 1d], env_file: fed.env, autostart: false }\n".into()
}

fn hostile_worker(_: &Bed) -> String {
    "  hostile: { worker: ticker, isolation: process, stop: { timeout: 2s } }\n".into()
}

fn hanging_log(bed: &Bed) -> String {
    let fifo = bed.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let shell = "yes | head -c 200000; exit 1";
    format!(
        "  hangs: {{ command: [sh, -c, {}], autostart: false, logs: {{ stdout: {} }} }}\n",
        quoted(shell),
        fifo.display()
    )
}

fn restless(_: &Bed) -> String {
    "  hangs: { command: [\"false\"], autostart: false, instances: 200 }\n".into()
}

fn quiet(_: &Supervisor<'_>, probe: &mut Probe<'_>) {
    probe.go_on(LASTS);
}

fn stopped_keeper(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    let guardian = supervisor.child_pid();
    let _stopped = Stopped::new(guardian);
    kill(pid_of(supervisor, "victim"), Signal::SIGKILL);
    probe.go_on(LASTS);
}

/// The kernel reports a death to the tracer first, and to the parent once the tracer has waited.
fn traced_worker(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    let victim = pid_of(supervisor, "victim");
    let generation = supervisor.worker("victim").generation;
    let mut tracer = Script::run(include_str!("../fixtures/tracer.py"), &[victim.to_string()]);
    tracer.wait_ready();
    kill(victim, Signal::SIGKILL);
    probe.go_on(LASTS);
    drop(tracer);
    probe.go_on_until("the victim to be back", || {
        supervisor.worker("victim").generation > generation
    });
}

fn stop_large_tree(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    supervisor.wait_output("tree", "grown");
    let other = supervisor.client.clone_with(None);
    std::thread::scope(|scope| {
        let order = scope.spawn(move || other.stop(&["tree".into()], true));
        probe.go_on_until("the tree to be gone", || order.is_finished());
        order.join().expect("the client").expect("stopped");
    });
}

fn fifo_as_env_file(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    let path = supervisor.bed.path("fed.env");
    std::fs::remove_file(&path).expect("our file");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    supervisor.client.start(&["fed".into()], false).expect("an order");
    probe.go_on(LASTS);
    probe.go_on_until("the FIFO to stop its launches", || {
        let message = supervisor.worker("fed").ending.and_then(|ending| ending.message);
        message.is_some_and(|message| message.contains("cannot read its env_file"))
    });
    // Any reader that is left gets its end of file.
    let _ =
        File::options().read(true).write(true).open(&path).map(|mut fifo| fifo.write_all(b"A=1\n"));
}

/// A socket with unsent bytes and SO_LINGER blocks the process that closes it last (socket(7)).
fn lingering_sockets(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    let pid = supervisor.status().supervisor.pid;
    let addresses =
        [variable(pid_of(supervisor, "victim"), "NOTIFY_SOCKET"), variable(pid, "NOTIFY_SOCKET")];
    // Suspended until the sender has closed its own: otherwise it may be the last to close them.
    let receivers = [supervisor.child_pid(), pid].map(Stopped::new);
    let mut sender = Script::run(include_str!("../fixtures/lingering.py"), &addresses);
    sender.wait_ready();
    drop(receivers);
    probe.go_on(LASTS);
}

/// Worker and supervisor share the open description: the worker can change its status flags and its
/// count.
fn filled_eventfd(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    let pid = pid_of(supervisor, "hostile");
    // Suspended, so that it does not read the count again.
    let _stopped = Stopped::new(pid);
    let script = include_str!("../fixtures/filled_eventfd.py");
    Script::run(script, &[pid.to_string()]).wait_ready();
    supervisor.client.restart(&["hostile".into()], false).expect("an order");
    probe.go_on(LASTS);
}

/// A binary that passes `check` and then does nothing.
fn stuck_successor(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    let script = "#!/bin/sh\n[ \"$1\" = check ] && exit 0\nexec sleep 1d\n";
    let binary = supervisor.bed.write("stuck", script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&binary, mode).expect("our file");
    let other = supervisor.client.clone_with(None);
    std::thread::scope(|scope| {
        let order = scope.spawn(move || other.reexec(Some(&binary), Some(LASTS)));
        probe.go_on_until("the successor to be given up", || order.is_finished());
        order.join().expect("the client").expect_err("it never becomes ready");
    });
}

/// A socket whose owner never reads; its queue is full before the supervisor starts.
fn deaf_manager(bed: &Bed) -> Vec<(String, String)> {
    let name = format!("supervisord-rs-test/deaf/{}", bed.directory.path().display());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name"));
    // It lives as long as the test, so that its senders keep waiting.
    std::mem::forget(socket.expect("a socket"));
    vec![("NOTIFY_SOCKET".into(), format!("@{name}")), ("FDSTORE".into(), "4096".into())]
}

fn silent_manager(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    let name = format!("supervisord-rs-test/deaf/{}", supervisor.bed.directory.path().display());
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let full = UnixDatagram::unbound().expect("a socket");
    full.set_nonblocking(true).expect("a socket");
    while full.send_to_addr(b"STATUS=full", &address).is_ok() {}
    for _ in 0..3 {
        kill(pid_of(supervisor, "victim"), Signal::SIGKILL);
        probe.go_on(LASTS / 3);
    }
}

fn crash_loop(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    // The test holds the reading end and does not read.
    let fifo = supervisor.bed.path("fifo");
    let _held =
        fifo.exists().then(|| File::options().read(true).write(true).open(&fifo).expect("a FIFO"));
    supervisor.client.start(&["hangs".into()], false).expect("an order");
    probe.go_on(LASTS);
    let written = supervisor.bed.output("writer.1").len();
    probe.go_on_until("others' output to go on", || {
        supervisor.bed.output("writer.1").len() > written
    });
    let _ = supervisor.client.stop(&["hangs".into()], false);
}

/// Half of them subscribe to events and never read one; half of them never ask.
fn quiet_clients(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    let socket = supervisor.client.socket();
    let connect = || {
        let stream = UnixStream::connect(socket).expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        stream
    };
    let ask = b"GET /v1/events HTTP/1.1\r\nhost: supervisord-rs\r\n\r\n";
    let held: Vec<UnixStream> = (0..64).map(|_| connect()).collect();
    held.iter().for_each(|mut stream| stream.write_all(ask).expect("room for one request"));
    probe.go_on(LASTS);
    let more: Vec<UnixStream> = (0..64).map(|_| connect()).collect();
    probe.go_on(LASTS);
    // The first of them were readers of events all the time.
    let is_stream = |mut stream: &UnixStream| {
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200 OK")
    };
    let streams = held.iter().filter(|stream| is_stream(stream)).count();
    assert!(streams >= 32, "{streams} of 64 got a stream of events");
    drop((held, more));
}

fn datagram_flood(supervisor: &Supervisor<'_>, probe: &mut Probe<'_>) {
    let address = variable(pid_of(supervisor, "victim"), "NOTIFY_SOCKET");
    let name = SocketAddr::from_abstract_name(address.trim_start_matches('@')).expect("a name");
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UnixDatagram::unbound().expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            while !stop.load(Ordering::Relaxed) {
                if socket.send_to_addr(b"STATUS=foreign", &name).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                } else {
                    // The queue is full: the pace of the flood.
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let _ends = Ends(&stop);
        probe.go_on(LASTS);
        // More than any queue holds (net.unix.max_dgram_qlen): the supervisor takes them.
        probe.go_on_until("a flood", || sent.load(Ordering::Relaxed) > 2000);
    });
    assert_eq!(supervisor.worker("victim").status_text, None, "a stranger's words");
}

/// Ends a thread of the test, also after a failure: its scope waits for it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn pid_of(supervisor: &Supervisor<'_>, worker: &str) -> i32 {
    supervisor.wait(&format!("a process of {worker}"), |supervisor| {
        let worker = supervisor.worker(worker);
        worker.pid.filter(|_| worker.phase == "running")
    })
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

/// A Python script beside the supervisor; it ends when this is dropped.
struct Script(Child);

impl Script {
    fn run(text: &str, arguments: &[String]) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", text]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.spawn().expect("python3"))
    }

    fn wait_ready(&mut self) {
        let mut output = BufReader::new(self.0.stdout.as_mut().expect("a pipe"));
        let mut line = String::new();
        let mut said = String::new();
        while line.trim() != "ready" {
            line.clear();
            let length = output.read_line(&mut line).expect("a line");
            said.push_str(&line);
            assert!(length > 0, "the script ends before it is ready: {said}");
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let mut rest = String::new();
        let _ = self.0.stdout.take().map(|mut output| output.read_to_string(&mut rest));
        let _ = self.0.wait();
    }
}
