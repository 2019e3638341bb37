//! Makes workers in a process of its own, to see whether they can be made: the same binary, as
//! `__make`. Whatever the code does there (it exits, aborts, hangs, runs out of memory) is an
//! answer, and ends neither a verb nor a supervisor.
//!
//! A question and its answer are a line each, on a socket that is the child's standard input.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::set_hook;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use workers::Registry;
use workers::runtime::offspring;

use super::caught::{caught, note};
use super::made::{LIMIT, Made};
use crate::process_table;

/// The word that makes this program such a child.
pub(crate) const VERB: &str = "__make";
/// For the child to begin: a busy machine takes its time to start a program. None is asked then.
const TO_BEGIN: Duration = Duration::from_secs(10);
/// For a process that has closed its socket to end.
const TO_END: Duration = Duration::from_secs(5);

/// Whether this process is the program, which can be started once more, and not a test of it.
static IS_PROGRAM: AtomicBool = AtomicBool::new(false);

/// This process is the program: its binary knows the verb.
pub(crate) fn is_program() {
    IS_PROGRAM.store(true, Ordering::Relaxed);
}

/// Whether there can be such a child.
pub(super) fn is_available() -> bool {
    IS_PROGRAM.load(Ordering::Relaxed)
}

#[derive(Serialize, Deserialize)]
struct Question<'a> {
    kind: &'a str,
    args: Json,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Ready,
    Made(Made),
}

/// The child, which answers one question after the other.
pub(super) struct Maker {
    child: Child,
    stream: BufReader<UnixStream>,
    /// What it and all that it starts has in its environment.
    mark: String,
}

/// The variable with the mark of a child, and of all that the code starts there.
const MARK: &str = "SUPERVISORD_RS_MAKER";
/// So often what has the mark is looked for: it may be starting more.
const LOOKS: usize = 20;

impl Maker {
    /// `None`: it does not come up.
    pub(super) fn start() -> Option<Self> {
        let (ours, theirs) = UnixStream::pair().ok()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("supervisord-rs").arg(VERB);
        // What it would say there is none of its business.
        command.env_remove("NOTIFY_SOCKET");
        // What the code starts there must not hold what a caller waits for the end of.
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let mark = mark();
        command.env(MARK, &mark);
        let child = command.spawn().ok()?;
        drop(command);
        ours.set_read_timeout(Some(TO_BEGIN)).ok()?;
        let mut maker = Self { child, stream: BufReader::new(ours), mark };
        matches!(maker.receive(), Ok(Some(Answer::Ready))).then_some(maker)
    }

    /// Makes a worker there. After [`Made::Late`] and [`Made::Died`] it answers no more.
    pub(super) fn ask(&mut self, kind: &str, args: Json) -> Made {
        match self.exchange(kind, args) {
            Ok(Some(Answer::Made(made))) => made,
            Ok(Some(Answer::Ready)) => Made::Unknown,
            Ok(None) => self.died(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Made::Late,
            Err(_) => self.died(),
        }
    }

    fn exchange(&mut self, kind: &str, args: Json) -> std::io::Result<Option<Answer>> {
        let mut line = serde_json::to_vec(&Question { kind, args })?;
        line.push(b'\n');
        let mut stream = self.stream.get_ref();
        stream.set_write_timeout(Some(LIMIT))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(&line)?;
        self.receive()
    }

    /// `None`: it has closed its end.
    fn receive(&mut self) -> std::io::Result<Option<Answer>> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line)?;
        if length == 0 { Ok(None) } else { Ok(Some(serde_json::from_str(&line)?)) }
    }

    fn died(&mut self) -> Made {
        let end = Instant::now() + TO_END;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Made::Died(how(status)),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
                Ok(None) | Err(_) => return Made::Died("closed what it answers by".to_owned()),
            }
        }
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // What it has started is below it as long as it lives, whatever has become of that.
            offspring::kill_all_of(self.child.id().cast_signed());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What is left of a child that has ended itself.
        let marked = || {
            let has_it = |pid: &i32| {
                process_table::variable(*pid, MARK).as_deref() == Some(self.mark.as_bytes())
            };
            let mut all = process_table::pids();
            all.retain(has_it);
            all
        };
        for _ in 0..LOOKS {
            if marked().is_empty() {
                return;
            }
            offspring::kill(&marked);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Another one for each child of each process.
fn mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{count}", std::process::id(), moment.as_nanos())
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("called exit({code})"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
            format!("ended its process by {name}")
        }
        (None, None) => "ended its process".to_owned(),
    }
}

/// The child's main function: answers until its parent has no more questions.
pub(crate) fn serve(registry: &Registry) -> ExitCode {
    // Its parent may be killed while the code hangs. The thread that started this waits for it.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    // What the code starts stays below this process, where its parent finds it.
    let _ = prctl::set_child_subreaper(true);
    // No core dump of what is only asked.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    // A panic is an answer, and prints nothing.
    set_hook(Box::new(note));
    let Ok(stream) = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let answer = |line: &[u8]| (&stream).write_all(line).is_ok();
    if !answer(&line(&Answer::Ready)) {
        return ExitCode::FAILURE;
    }
    let mut lines = BufReader::new(&stream).lines();
    while let Some(Ok(question)) = lines.next() {
        let Ok(Question { kind, args }) = serde_json::from_str(&question) else {
            return ExitCode::FAILURE;
        };
        let made = caught(|| line(&Answer::Made(Made::of(registry, kind, &args))));
        let panicked = |said| line(&Answer::Made(Made::Panicked(said)));
        if !answer(&made.unwrap_or_else(panicked)) {
            return ExitCode::FAILURE;
        }
    }
    // Nothing of the code that was asked runs here any more.
    signal_hook::low_level::exit(0)
}

/// An answer, as the socket has it. Its texts are the code's too.
fn line(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}
