//! The processes of runs and trials: some at once, each bounded in time. On standard output they
//! say what they do, a line of JSON each. An interrupt of this process ends all of them.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use serde::de::DeserializeOwned;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::isolation::exits::orphans;
use crate::service_manager::OWN;
use crate::waiting::until;

/// For one that was told to end to clear away what it has; then it is killed.
const CLEARING: Duration = Duration::from_secs(40);
/// Between two looks at them.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// The signal that came, or 0.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static WATCHED: Once = Once::new();

/// Those that go on. `S`: what is known of each; `M`: what they say.
pub(super) struct Processes<S, M> {
    running: Vec<Running<S>>,
    sender: Sender<Message<M>>,
    messages: Receiver<Message<M>>,
    /// The number of the next one.
    next: usize,
}

struct Running<S> {
    number: usize,
    state: S,
    child: Child,
    begun: Instant,
    limit: Duration,
    /// When it was told to end.
    told: Option<Instant>,
    /// What it wrote on standard error, once that is all.
    complaint: Option<String>,
    /// Whether it has said all.
    is_silent: bool,
}

/// One that has ended.
pub(super) struct Over<S> {
    pub(super) state: S,
    pub(super) took: Duration,
    /// Why it has not come to its end by itself; it holds where it has not said what came of it.
    pub(super) why: String,
    /// Whether it was told to end.
    pub(super) was_told: bool,
}

/// What one of them says, by its number.
type Message<M> = (usize, Said<M>);

enum Said<M> {
    Moment(M),
    Complaint(String),
    /// It has no more to say.
    Nothing,
}

impl<S, M: DeserializeOwned + Send + 'static> Processes<S, M> {
    /// None yet. From now on an interrupt is [`interrupted`], and what one that had to be killed
    /// leaves comes to this process.
    ///
    /// # Errors
    /// Those of prctl(2).
    pub(super) fn new() -> io::Result<Self> {
        prctl::set_child_subreaper(true)?;
        watch_signals();
        let (sender, messages) = channel();
        Ok(Self { running: Vec::new(), sender, messages, next: 0 })
    }

    /// How many go on.
    pub(super) fn count(&self) -> usize {
        self.running.len()
    }

    /// How long each goes on.
    pub(super) fn ages(&self) -> impl Iterator<Item = Duration> {
        self.running.iter().map(|run| run.begun.elapsed())
    }

    /// Starts this program with these arguments. After `limit` it is ended.
    ///
    /// # Errors
    /// Those of starting a process.
    pub(super) fn start<A: AsRef<std::ffi::OsStr>>(
        &mut self,
        state: S,
        limit: Duration,
        arguments: impl IntoIterator<Item = A>,
    ) -> io::Result<()> {
        let mut command = Command::new(OWN);
        command
            .arg0("supervisord-rs")
            .args(arguments)
            // Ctrl-C reaches this process alone, which then tells the others.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let number = self.next;
        self.next += 1;
        let (lines, complaints) = (self.sender.clone(), self.sender.clone());
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let moment = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let Some(moment) = moment else { continue };
                let _ = lines.send((number, Said::Moment(moment)));
            }
            let _ = lines.send((number, Said::Nothing));
        });
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.map(|mut errors| errors.read_to_string(&mut text));
            let _ = complaints.send((number, Said::Complaint(text)));
        });
        self.running.push(Running {
            number,
            state,
            child,
            begun: Instant::now(),
            limit,
            told: None,
            complaint: None,
            is_silent: false,
        });
        Ok(())
    }

    /// What one of them says next; `None`: nothing for so long.
    pub(super) fn hear(&mut self, wait: Duration) -> Option<(&mut S, M)> {
        let (at, moment) = loop {
            let (number, said) = self.messages.recv_timeout(wait).ok()?;
            let at = self.running.iter().position(|run| run.number == number);
            let Some(at) = at else { continue };
            match said {
                Said::Moment(moment) => break (at, moment),
                Said::Complaint(text) => self.running[at].complaint = Some(text),
                Said::Nothing => self.running[at].is_silent = true,
            }
        };
        Some((&mut self.running[at].state, moment))
    }

    /// Tells all to end: they clear away what they have.
    pub(super) fn tell_to_end(&mut self) {
        self.running.iter_mut().for_each(Running::tell_to_end);
    }

    /// Ends those whose time is over.
    pub(super) fn keep_in_time(&mut self) {
        self.running.iter_mut().for_each(Running::keep_in_time);
    }

    /// Those that have ended, and whose last word has come.
    pub(super) fn take_over(&mut self) -> Vec<Over<S>> {
        let is_over = |run: &mut Running<S>| {
            let has_ended = matches!(run.child.try_wait(), Ok(Some(_)));
            has_ended && run.is_silent && run.complaint.is_some()
        };
        self.running.extract_if(.., is_over).map(Running::over).collect()
    }
}

impl<S> Running<S> {
    fn tell_to_end(&mut self) {
        if self.told.is_none() {
            self.told = Some(Instant::now());
            self.signal(Signal::SIGTERM);
        }
    }

    fn keep_in_time(&mut self) {
        if self.begun.elapsed() > self.limit {
            self.tell_to_end();
        }
        if self.told.is_some_and(|told| told.elapsed() > CLEARING) {
            self.signal(Signal::SIGKILL);
        }
    }

    /// Our child, which has not been waited for: its number is its own.
    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn over(self) -> Over<S> {
        let why = match self.told {
            Some(_) if interrupted().is_some() => "it was interrupted".to_owned(),
            Some(_) => {
                format!("it did not end within {}", humantime::format_duration(self.limit))
            }
            None => format!("its process ended: {}", self.complaint.unwrap_or_default().trim()),
        };
        let took = self.begun.elapsed();
        Over { state: self.state, took, why, was_told: self.told.is_some() }
    }
}

/// Ends what those that had to be killed have left to this process. What cannot be ended.
pub(super) fn clear_away() -> Vec<String> {
    let is_empty = || {
        orphans::reap(|_| false, |_| {}, None);
        (!orphans::has_any()).then_some(())
    };
    // Their guardians stop everything in order.
    if until(CLEARING, PAUSE, is_empty).is_some() {
        return Vec::new();
    }
    orphans::kill_all().left.into_iter().map(|pid| format!("process {pid}")).collect()
}

/// The signal that has interrupted this process.
pub(super) fn interrupted() -> Option<i32> {
    Some(SIGNAL.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// In one of them: it ends when the process `other`, which has started it, does.
///
/// # Errors
/// That has ended already.
pub(super) fn end_with(other: i32) -> Result<(), String> {
    let is_there = || getppid().as_raw() == other;
    if prctl::set_pdeathsig(Signal::SIGTERM).is_err() || !is_there() {
        return Err("the drill that this belongs to has ended".to_owned());
    }
    Ok(())
}

/// From now on an interrupt ends the processes, and then this one.
fn watch_signals() {
    WATCHED.call_once(|| {
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]) else { return };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                SIGNAL.store(signal, Ordering::Relaxed);
            }
        });
    });
}
