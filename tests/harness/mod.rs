//! A real supervisor in its own directory, and the means to observe it from outside.
//!
//! Every wait is for a condition with a deadline, and prints the supervisor's log at the deadline.
//! When a supervisor is dropped, every test asserts that it has left no process behind.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses a part of it")]

pub mod cgroups;
pub mod dead_disk;
pub mod golden;
mod reading;
mod signals;
pub mod skip;

pub use reading::{join_in_time, read_in_time};
pub use signals::{Stopped, is_alive, kill, kill_together};

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use supervisord_rs::control::client::Client;
use supervisord_rs::control::protocol::{IncidentRecord, StatusReport, WorkerStatus};
use tempfile::TempDir;

/// Long enough for a loaded machine; a wait ends as soon as its condition holds.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Asks until there is an answer; `None` when the limit has passed.
pub fn until<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        let answer = question();
        if answer.is_some() || Instant::now() > end {
            return answer;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(2);

/// A policy that never delays a test: restarts at once, without a limit.
pub const EAGER: &str = "restart: { policy: on-failure, backoff: { initial: 0s, jitter: 0 }, \
    limit: { restarts: 1000000, within: 60s } }";

/// The program under test.
pub fn program() -> Command {
    program_of(Path::new(env!("CARGO_BIN_EXE_supervisord-rs")))
}

/// Another supervisor program, with its own workers.
fn program_of(path: &Path) -> Command {
    let mut command = Command::new(path);
    for variable in
        ["NOTIFY_SOCKET", "INVOCATION_ID", "SUPERVISORD_RS_SOCKET", "SUPERVISORD_RS_GUARDIAN"]
    {
        command.env_remove(variable);
    }
    if hides_cgroups() {
        hide_cgroups(&mut command);
    }
    command
}

/// `hidden`: every supervisor of the suite runs as on a host without cgroups.
const CGROUPS: &str = "SUPERVISORD_RS_TEST_CGROUPS";

/// Whether this run is one as on a host without cgroups.
pub fn hides_cgroups() -> bool {
    std::env::var_os(CGROUPS).is_some_and(|value| value == "hidden")
}

/// Hides the hierarchy of cgroups from a program and all that it starts, by a mount namespace;
/// without the right to one, by a variable that makes the supervisor ignore cgroups.
fn hide_cgroups(command: &mut Command) {
    use nix::errno::Errno;
    use nix::sched::{CloneFlags, unshare};
    if !is_root() {
        command.env("SUPERVISORD_RS_CGROUPS", "off");
        return;
    }
    let hide = || -> std::io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let nothing = std::ptr::null();
        // SAFETY: both calls get static C strings, or null where mount(2) allows it.
        let hidden = unsafe {
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            Errno::result(libc::mount(nothing, c"/".as_ptr(), nothing, flags, nothing.cast()))?;
            Errno::result(libc::umount2(c"/sys/fs/cgroup".as_ptr(), libc::MNT_DETACH))
        };
        match hidden {
            // It is not mounted.
            Ok(_) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    };
    // SAFETY: three system calls whose arguments need no heap memory, in a child that then
    // executes.
    unsafe { command.pre_exec(hide) };
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Name of the copy of the program in a bed that belongs to another user.
const COPY: &str = "supervisord-rs";

/// A directory for one supervisor after another.
pub struct Bed {
    pub directory: TempDir,
}

impl Bed {
    pub fn new() -> Self {
        skip::require_basics();
        Self {
            directory: TempDir::with_prefix("supervisord-rs-test-").expect("a temporary directory"),
        }
    }

    /// Waits for a condition where there is no [`Supervisor`] to ask.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        until(DEADLINE, condition)
            .unwrap_or_else(|| panic!("waited in vain for {what}; log:\n{}", self.log()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory above")).expect("a directory");
        fs::write(&path, text).expect("a file in the temporary directory");
        path
    }

    /// The program, with all its directories in this one.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.tell(program(), arguments)
    }

    /// The same of another program.
    pub fn command_of(&self, path: &Path, arguments: &[&str]) -> Command {
        self.tell(program_of(path), arguments)
    }

    fn tell(&self, mut command: Command, arguments: &[&str]) -> Command {
        command
            .args(arguments)
            .env("RUNTIME_DIRECTORY", self.path("run"))
            .env("STATE_DIRECTORY", self.path("state"))
            .env("LOGS_DIRECTORY", self.path("logs"))
            .env("SUPERVISORD_RS_SOCKET", self.path("run/control.sock"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end.
    pub fn verb(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    pub fn start(&self, yaml: &str) -> Supervisor<'_> {
        self.start_with(yaml, &[])
    }

    pub fn start_with(&self, yaml: &str, options: &[&str]) -> Supervisor<'_> {
        self.start_in(yaml, options, &[])
    }

    /// With these variables in its environment.
    pub fn start_in(
        &self,
        yaml: &str,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Supervisor<'_> {
        let supervisor = self.launch_in(yaml, options, environment);
        supervisor.wait("the supervisor to answer", |supervisor| supervisor.client.status().ok());
        supervisor
    }

    /// A supervisor that the test starts in a special way.
    pub fn attach(&self, mut command: Command) -> Supervisor<'_> {
        let child = command.spawn().expect("the program starts");
        let supervisor =
            Supervisor { bed: self, child, client: Client::new(&self.path("run/control.sock")) };
        supervisor.wait("the supervisor to answer", |supervisor| supervisor.client.status().ok());
        supervisor
    }

    /// Starts it by another program, such as prlimit(1), and waits until it answers.
    pub fn start_under(&self, wrapper: &[&str], yaml: &str, options: &[&str]) -> Supervisor<'_> {
        let file = self.write("supervisord-rs.yaml", yaml);
        let inner = self.command(&[]);
        let copy = Some(self.path(COPY)).filter(|copy| copy.exists());
        let program = copy.unwrap_or_else(|| inner.get_program().into());
        let log = File::create(self.path("supervisor.log")).expect("a log");
        let mut command = Command::new(wrapper[0]);
        command
            .args(&wrapper[1..])
            .arg(program)
            .arg("run")
            .args(options)
            .arg("-c")
            .arg(file)
            .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log);
        self.attach(command)
    }

    /// Gives the directory to another user, with a copy of the program in it, which
    /// [`start_under`](Self::start_under) takes: that user may have no way to the one that was
    /// built.
    pub fn give_to(&self, user: u32) {
        fs::copy(program().get_program(), self.path(COPY)).expect("copied");
        for path in [self.directory.path(), &self.path(COPY)] {
            std::os::unix::fs::chown(path, Some(user), Some(user)).expect("ours");
        }
    }

    /// Starts it without waiting for an answer.
    pub fn launch(&self, yaml: &str, options: &[&str]) -> Supervisor<'_> {
        self.launch_in(yaml, options, &[])
    }

    pub fn launch_in(
        &self,
        yaml: &str,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Supervisor<'_> {
        let file = self.write("supervisord-rs.yaml", yaml);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("supervisor.log"))
            .expect("a log");
        let child = self
            .command(&["run", "-c"])
            .arg(file)
            .args(options)
            .envs(environment.iter().copied())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the program starts");
        Supervisor { bed: self, child, client: Client::new(&self.path("run/control.sock")) }
    }

    /// The captured output of a worker.
    pub fn output(&self, worker: &str) -> String {
        String::from_utf8_lossy(
            &fs::read(self.path("logs").join(format!("{worker}.log"))).unwrap_or_default(),
        )
        .into_owned()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("supervisor.log")).unwrap_or_default()
    }

    /// Waits for words in the supervisor's log, and returns it. A thread of the supervisor writes
    /// the log: a line may come after the answer that tells of the same.
    #[track_caller]
    pub fn wait_log(&self, words: &str) -> String {
        self.wait(&format!("`{words}` in the log"), || {
            Some(self.log()).filter(|log| log.contains(words))
        })
    }

    /// Waits until nothing of a supervisor is left that ends without [`Supervisor::stop`]. A
    /// process that ends has no environment any more, by which it is found, while it still has the
    /// lock.
    #[track_caller]
    pub fn wait_ended(&self) {
        let holder = || {
            let text = fs::read_to_string(self.path("run/supervisor.lock")).ok()?;
            text.lines().next()?.trim().parse().ok()
        };
        self.wait("everything to end", || {
            (self.processes().is_empty() && !holder().is_some_and(is_alive)).then_some(())
        });
    }

    /// Waits until these processes are dead, and no other of this bed is there. A process that ends
    /// has no environment any more, by which [`processes`](Self::processes) finds it, while it still
    /// has its files and its locks.
    #[track_caller]
    pub fn wait_dead(&self, processes: &[i32]) {
        self.wait("the end of all", || {
            let is_over = self.processes().is_empty();
            (is_over && !processes.iter().any(|pid| is_alive(*pid))).then_some(())
        });
    }

    /// Processes that belong to this bed: their environment names it.
    pub fn processes(&self) -> Vec<i32> {
        let mark = self.directory.path().as_os_str().as_encoded_bytes();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if pid != std::process::id() as i32
                && environment.windows(mark.len()).any(|window| window == mark)
            {
                found.push(pid);
            }
        }
        found
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        cgroups::remove(&self.path("run"));
    }
}

/// A running supervisor.
pub struct Supervisor<'a> {
    pub bed: &'a Bed,
    /// The guardian, or the supervisor itself with `--no-guardian`.
    pub child: Child,
    pub client: Client,
}

impl Supervisor<'_> {
    /// Waits for a condition.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, condition: impl FnMut(&Self) -> Option<T>) -> T {
        self.wait_for(DEADLINE, what, condition)
    }

    #[track_caller]
    pub fn wait_for<T>(
        &self,
        limit: Duration,
        what: &str,
        mut condition: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        until(limit, || condition(self)).unwrap_or_else(|| {
            let status = self.client.status();
            panic!("waited in vain for {what}\nstatus: {status:#?}\nlog:\n{}", self.bed.log())
        })
    }

    #[track_caller]
    pub fn status(&self) -> StatusReport {
        self.wait("an answer", |supervisor| supervisor.client.status().ok())
    }

    /// The process that the test has started: the guardian, or the supervisor itself with
    /// `--no-guardian`.
    pub fn child_pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits until another supervisor than this one answers.
    #[track_caller]
    pub fn wait_successor(&self, before: i32) -> StatusReport {
        self.wait("a successor", |supervisor| {
            let status = supervisor.client.status().ok()?;
            (status.supervisor.pid != before).then_some(status)
        })
    }

    #[track_caller]
    pub fn worker(&self, name: &str) -> WorkerStatus {
        find(&self.status(), name)
    }

    /// Waits until every worker runs (and those with a board have made progress, if asked).
    #[track_caller]
    pub fn wait_running(&self) -> StatusReport {
        self.wait("all workers to run", |supervisor| {
            let status = supervisor.client.status().ok()?;
            status.workers.iter().all(|worker| worker.phase == "running").then_some(status)
        })
    }

    /// Waits until every worker runs and has made progress beyond `past`.
    #[track_caller]
    pub fn wait_progress(&self, past: Option<&StatusReport>) -> StatusReport {
        self.wait("all workers to make progress", |supervisor| {
            let status = supervisor.client.status().ok()?;
            let went_on = |worker: &WorkerStatus| {
                let before = past
                    .map(|past| find(past, &worker.name))
                    .and_then(|past| past.progress)
                    .unwrap_or(0);
                worker.phase == "running"
                    && worker.progress.is_none_or(|progress| progress > before)
            };
            status.workers.iter().all(went_on).then_some(status)
        })
    }

    /// Waits until a worker is in a phase.
    #[track_caller]
    pub fn wait_phase(&self, name: &str, phase: &str) -> WorkerStatus {
        self.wait(&format!("{name} to be {phase}"), |supervisor| {
            let worker = find(&supervisor.client.status().ok()?, name);
            (worker.phase == phase).then_some(worker)
        })
    }

    /// Waits until a worker has been launched as this generation, or a later one.
    #[track_caller]
    pub fn wait_generation(&self, name: &str, generation: u64) -> WorkerStatus {
        self.wait(&format!("generation {generation} of {name}"), |supervisor| {
            let worker = find(&supervisor.client.status().ok()?, name);
            (worker.generation >= generation).then_some(worker)
        })
    }

    /// Waits for words in the captured output of a worker.
    #[track_caller]
    pub fn wait_output(&self, worker: &str, words: &str) -> String {
        self.wait(&format!("`{words}` in the output of {worker}"), |supervisor| {
            let output = supervisor.bed.output(worker);
            output.contains(words).then_some(output)
        })
    }

    /// Waits for the settled incident with a number above `known`.
    #[track_caller]
    pub fn wait_incident(&self, known: u64) -> IncidentRecord {
        self.wait("an incident", |supervisor| {
            supervisor.client.incidents(1000).ok()?.into_iter().find(|record| record.id > known)
        })
    }

    pub fn incidents(&self) -> Vec<IncidentRecord> {
        self.client.incidents(100_000).expect("incidents")
    }

    /// Waits until supervisor and guardian have ended by themselves.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        until(DEADLINE, || self.child.try_wait().expect("a child of this test"))
            .unwrap_or_else(|| panic!("it does not end; log:\n{}", self.bed.log()))
    }

    /// Stops it in order, and proves that nothing is left.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.client.shutdown(false).expect("an order to shut down");
        let status = self.wait_exit();
        assert_eq!(
            self.bed.processes(),
            Vec::<i32>::new(),
            "left behind after an orderly end; log:\n{}",
            self.bed.log()
        );
        status
    }
}

impl Drop for Supervisor<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = until(DEADLINE, || self.bed.processes().is_empty().then_some(()));
        let left = self.bed.processes();
        if !left.is_empty() {
            for &pid in &left {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            let _ = writeln!(std::io::stderr(), "left behind: {left:?}");
            assert!(
                std::thread::panicking(),
                "processes left behind: {left:?}; log:\n{}",
                self.bed.log()
            );
        }
    }
}

/// A worker of a report.
#[track_caller]
pub fn find(status: &StatusReport, name: &str) -> WorkerStatus {
    let found = status.workers.iter().find(|worker| worker.name == name);
    found.unwrap_or_else(|| panic!("no worker {name} in {status:?}")).clone()
}

/// A number of `/proc/PID/status`, such as `VmRSS` (kB) or `voluntary_ctxt_switches`.
pub fn proc_status(path: &Path, field: &str) -> u64 {
    let text = fs::read_to_string(path.join("status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The sum of a field over all threads of a process.
pub fn proc_threads(pid: i32, field: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a live process");
    tasks.flatten().map(|task| proc_status(&task.path(), field)).sum()
}

/// A variable in the environment of a process.
///
/// Waits for it: a process that was just born shows the environment of its parent until it has
/// executed its program, and none at all in between.
#[track_caller]
pub fn variable(pid: i32, name: &str) -> String {
    let value = until(DEADLINE, || supervisord_rs::process_table::variable(pid, name));
    let value = value.unwrap_or_else(|| panic!("process {pid} never had {name}"));
    String::from_utf8(value).expect("UTF-8")
}

/// Open descriptors of a process.
pub fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a live process").count()
}

/// Open descriptors of a process: those of the threads that carry output, and the others.
///
/// Those of a thread are [`DESCRIPTORS`](supervisord_rs::record::logs::DESCRIPTORS) at most, and
/// there are [`CARRIERS`](supervisord_rs::record::black_box::CARRIERS) threads at most. On a disk
/// that is slow for a moment, threads hang in their writes; others replace them, and their
/// descriptors stay for the next time. So the first number grows in steps, up to a bound; the
/// second must not grow.
pub fn open_files_by_use(pid: i32) -> (usize, usize) {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("a live process").flatten();
    let names = links
        .filter_map(|link| fs::read_link(link.path()).ok())
        .map(|path| path.display().to_string());
    let carries = |name: &String| {
        name.starts_with("pipe:") || name == "/dev/null" || name.starts_with("/memfd:text")
    };
    let (carrying, others): (Vec<String>, Vec<String>) = names.partition(carries);
    (carrying.len(), others.len())
}

/// A TCP port that is free now, and that no one else takes by chance before it is used: the kernel
/// chooses from those above 32,767 (ip(7), `ip_local_port_range`), and each test program begins
/// elsewhere.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    let next = || {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        u16::try_from(FIRST + number % COUNT).expect("below 32,000")
    };
    let mut ports = std::iter::repeat_with(next).take(COUNT as usize);
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).expect("a free port")
}

/// A terminal that no child of the test inherits: it is closed when the test closes it.
pub fn terminal(size: Option<&nix::pty::Winsize>) -> nix::pty::OpenptyResult {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let terminal = nix::pty::openpty(size, None).expect("a terminal");
    for side in [&terminal.master, &terminal.slave] {
        fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("an open descriptor");
    }
    terminal
}

/// Whether a process blocks or catches a signal.
pub fn holds(pid: i32, signal: nix::sys::signal::Signal) -> Option<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mask = |field: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        u64::from_str_radix(mask.trim(), 16).unwrap_or(0)
    };
    let bit = 1_u64 << (signal as u32 - 1);
    ((mask("SigBlk:") | mask("SigCgt:")) & bit != 0).then_some(())
}

/// Whether a process has its standard input open a second time: it reads `/dev/stdin`.
pub fn reads_stdin(pid: i32) -> Option<()> {
    let stdin = fs::read_link(format!("/proc/{pid}/fd/0")).ok()?;
    let links = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let same = links.filter(|link| fs::read_link(link.path()).is_ok_and(|path| path == stdin));
    (same.count() > 1).then_some(())
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
