//! The process of one run: how it is started, and kept in time.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{CLEARING, Campaign, Message, Planned, RUNNER, Said};
use crate::drill::bound::bound;
use crate::drill::verdict::Report;
use crate::service_manager::OWN;

/// One that is being made.
pub(super) struct Running {
    pub(super) planned: Planned,
    pub(super) child: Child,
    pub(super) begun: Instant,
    pub(super) limit: Duration,
    /// When it was told to end.
    pub(super) told: Option<Instant>,
    pub(super) directory: Option<PathBuf>,
    pub(super) step: usize,
    pub(super) report: Option<Report>,
    /// What it wrote on standard error, once that is all.
    pub(super) complaint: Option<String>,
    /// Whether it has said all.
    pub(super) is_silent: bool,
}

impl Campaign<'_> {
    pub(super) fn start(
        &self,
        planned: Planned,
        sender: &Sender<Message>,
    ) -> std::io::Result<Running> {
        let scenario = &self.scenarios[planned.scenario];
        let mut command = Command::new(OWN);
        command
            .arg0("supervisord-rs")
            .arg(RUNNER)
            .arg(&scenario.file)
            .args(["--campaign", &std::process::id().to_string()])
            .args(self.keep.then_some("--keep"))
            .args(self.is_parallel().then_some("--beside-others"))
            .args(["--run", &planned.run.to_string()])
            .args(["--random", &self.random.to_string()])
            .args(self.seed.map(|seed| format!("--seed={seed}")))
            .args(planned.schedules.iter().map(|file| format!("--schedules={}", file.display())))
            // Ctrl-C reaches this process alone, which then tells the runs.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let (number, lines, complaints) = (planned.number, sender.clone(), sender.clone());
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let moment = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let Some(moment) = moment else { continue };
                let _ = lines.send((number, Some(Said::Moment(moment))));
            }
            let _ = lines.send((number, None));
        });
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.map(|mut errors| errors.read_to_string(&mut text));
            let _ = complaints.send((number, Some(Said::Complaint(text))));
        });
        Ok(Running {
            planned,
            child,
            begun: Instant::now(),
            limit: bound(scenario),
            told: None,
            directory: None,
            step: 0,
            report: None,
            complaint: None,
            is_silent: false,
        })
    }
}

impl Running {
    /// Tells it to end: it clears away what it has.
    pub(super) fn tell_to_end(&mut self) {
        if self.told.is_none() {
            self.told = Some(Instant::now());
            self.signal(Signal::SIGTERM);
        }
    }

    pub(super) fn keep_in_time(&mut self) {
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
}

/// Those whose process has ended, and whose last word has come.
pub(super) fn take_over(running: &mut Vec<Running>) -> Vec<Running> {
    let is_over = |run: &mut Running| {
        let has_ended = matches!(run.child.try_wait(), Ok(Some(_)));
        has_ended && run.is_silent && run.complaint.is_some()
    };
    running.extract_if(.., is_over).collect()
}
