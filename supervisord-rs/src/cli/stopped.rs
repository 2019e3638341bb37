//! `__stopped`: systemd runs it after the supervisor's end (`ExecStopPost=`, systemd.service(5)).
//!
//! It records how the supervisor ended, for its successor: only systemd has seen it. Where a
//! successor follows, it makes room in the unit's cgroup; where none follows, it ends what is left.
//! It must never make things worse: it reports a step that fails, and carries out the others.

use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use clap::Args;
use nix::sys::signal::Signal;
use workers::runtime::board::monotonic_ns;

use super::Exit;
use super::place::Place;
use crate::leftovers::UnitCgroup;
use crate::record::post_mortem::PostMortem;
use crate::service_manager::{Ending, LAST_DEATH, Predecessor};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The unit that has ended.
    #[arg(long)]
    unit: String,
    /// The unit belongs to a user's own service manager.
    #[arg(long)]
    user: bool,
}

/// What follows the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// systemd starts a successor because this one died; workers may run on and wait for it.
    Successor,
    /// The supervisor ended without having stopped its workers, and claims success. Only if this
    /// hook fails does `Restart=on-failure` see the death.
    SuccessorIfHookFails,
    /// There is no successor, or none that takes anything over.
    NoSuccessor,
}

/// What systemd reports (systemd.exec(5), "Environment Variables Set or Propagated by the Service
/// Manager").
#[derive(Debug)]
struct Said {
    /// `SERVICE_RESULT`.
    result: String,
    /// From `EXIT_CODE` and `EXIT_STATUS`; none when there was no process, or a real-time signal
    /// ended it.
    ending: Option<Ending>,
}

pub(super) fn run(options: &Options, place: &Place) -> Exit {
    let said = Said::from_env();
    let runtime_dir = place.runtime_dir_or_default();
    let story = PostMortem::read(&runtime_dir).unwrap_or_else(|error| {
        eprintln!("supervisord-rs: {error}");
        None
    });
    let died = story.as_ref().is_some_and(|story| !story.is_clean);
    if let (true, Some(story), Some(ending)) = (died, &story, said.ending) {
        let predecessor = Predecessor { pid: story.pid, ending, died_at_ns: monotonic_ns() };
        if let Err(error) = write_down(&runtime_dir, &predecessor) {
            eprintln!(
                "supervisord-rs: cannot write {LAST_DEATH} in {}: {error}",
                runtime_dir.display()
            );
        }
    }
    let next = next(&said, died, options.has_job());
    let cgroup = match UnitCgroup::own() {
        Ok(cgroup) => cgroup,
        Err(error) => {
            eprintln!(
                "supervisord-rs: cannot find the unit's cgroup, so processes that are left in it \
                 run on: {error}"
            );
            None
        }
    };
    match (next, cgroup) {
        (Next::NoSuccessor, Some(cgroup)) => {
            let ended = cgroup.end_all();
            if !ended.is_empty() {
                eprintln!(
                    "supervisord-rs: ended {} processes that were left over: {ended:?}",
                    ended.len()
                );
            }
        }
        (Next::Successor | Next::SuccessorIfHookFails, Some(cgroup)) if !options.has_subgroup() => {
            if let Err(error) = cgroup.make_room() {
                eprintln!(
                    "supervisord-rs: cannot make room for a successor in the unit's cgroup: {error}"
                );
            }
        }
        (Next::NoSuccessor | Next::Successor | Next::SuccessorIfHookFails, _) => {}
    }
    if next == Next::SuccessorIfHookFails {
        eprintln!(
            "supervisord-rs: the supervisor ended before it had stopped its workers: this counts \
             as a failure"
        );
        return Exit::Failed;
    }
    Exit::Done
}

/// `died`: whether there is a black box that was not closed in order. `has_job`: whether a person
/// has asked for a stop or a restart; systemd starts no successor by itself then.
fn next(said: &Said, died: bool, has_job: bool) -> Next {
    let is_bad_configuration = matches!(said.ending, Some(Ending::Exited(78)));
    match said.result.as_str() {
        _ if has_job || is_bad_configuration => Next::NoSuccessor,
        "success" if died => Next::SuccessorIfHookFails,
        "success" => Next::NoSuccessor,
        _ => Next::Successor,
    }
}

/// Writes a whole file under another name, then renames it: a reader finds the old or the new.
fn write_down(runtime_dir: &Path, predecessor: &Predecessor) -> std::io::Result<()> {
    let new = runtime_dir.join("last-death.new");
    std::fs::write(&new, format!("{predecessor}\n"))?;
    std::fs::rename(new, runtime_dir.join(LAST_DEATH))
}

impl Said {
    fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Self {
            result: variable("SERVICE_RESULT"),
            ending: ending(&variable("EXIT_CODE"), &variable("EXIT_STATUS")),
        }
    }
}

/// `exited` and a number, `killed` or `dumped` and a signal's name without SIG.
fn ending(code: &str, status: &str) -> Option<Ending> {
    match code {
        "exited" => status.parse().ok().map(Ending::Exited),
        "killed" | "dumped" => Signal::from_str(&format!("SIG{status}"))
            .ok()
            .map(|signal| Ending::Signaled(signal as i32)),
        _ => None,
    }
}

impl Options {
    /// Whether systemd has a stop or restart job for the unit.
    fn has_job(&self) -> bool {
        let jobs = self.systemctl(&["list-jobs", "--plain", "--no-legend"]);
        has_stop_job(&jobs, &self.unit)
    }

    /// Whether systemd itself starts the supervisor in a subgroup beside its workers
    /// (`DelegateSubgroup=`, 254).
    fn has_subgroup(&self) -> bool {
        !self
            .systemctl(&["show", "--value", "--property=DelegateSubgroup", &self.unit])
            .trim()
            .is_empty()
    }

    /// The output of systemctl; nothing when it fails.
    fn systemctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("systemctl");
        if self.user {
            command.arg("--user");
        }
        match command.args(arguments).output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => {
                eprintln!("supervisord-rs: cannot ask systemctl: {error}");
                String::new()
            }
        }
    }
}

/// Each line has a number, a unit, a type and a state.
fn has_stop_job(jobs: &str, unit: &str) -> bool {
    let is_it = |of, kind| of == unit && ["stop", "restart", "try-restart"].contains(&kind);
    jobs.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|job| matches!(*job, [_, of, kind, ..] if is_it(of, kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_systemd_are_parsed() {
        assert_eq!(ending("exited", "3"), Some(Ending::Exited(3)));
        assert_eq!(ending("killed", "KILL"), Some(Ending::Signaled(9)));
        assert_eq!(ending("dumped", "SEGV"), Some(Ending::Signaled(11)));
        for (code, status) in [("", ""), ("exited", "x"), ("killed", "RTMIN+3"), ("other", "1")] {
            assert_eq!(ending(code, status), None, "{code} {status}");
        }
    }

    #[test]
    fn leftovers_are_ended_only_without_a_successor() {
        let check = |result: &str, ending, died, has_job, expected| {
            let said = Said { result: result.into(), ending: Some(ending) };
            assert_eq!(next(&said, died, has_job), expected, "{said:?} {died} {has_job}");
        };
        let (fine, killed) = (Ending::Exited(0), Ending::Signaled(9));
        check("success", fine, false, false, Next::NoSuccessor);
        check("success", fine, false, true, Next::NoSuccessor);
        check("success", fine, true, false, Next::SuccessorIfHookFails);
        check("success", Ending::Signaled(1), true, false, Next::SuccessorIfHookFails);
        check("signal", killed, true, false, Next::Successor);
        check("watchdog", Ending::Signaled(6), true, false, Next::Successor);
        check("exit-code", Ending::Exited(1), true, false, Next::Successor);
        check("exit-code", Ending::Exited(78), true, false, Next::NoSuccessor);
        check("timeout", killed, true, true, Next::NoSuccessor);
    }

    #[test]
    fn only_this_units_stop_counts() {
        let jobs = "12 other.service stop running\n13 supervisord-rs.service start waiting\n";
        assert!(!has_stop_job(jobs, "supervisord-rs.service"));
        assert!(has_stop_job(jobs, "other.service"));
        assert!(has_stop_job("7 a.service restart waiting", "a.service"));
        assert!(!has_stop_job("", "a.service"));
    }
}
