//! `run`: the guardian, or the supervisor itself.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use workers::Registry;

use super::Exit;
use super::output::has_colour_on_stderr;
use super::place::{self, Place};
use crate::config::{Scale, Settings, Source};
use crate::daemon::hand_over::Gate;
use crate::daemon::in_force::{self, Origin};
use crate::drill::orphan;
use crate::isolation::launch::raise_limits;
use crate::isolation::passed;
use crate::record::journal::{self, Journal};
use crate::record::own_log::OwnLog;
use crate::record::past_limits;
use crate::record::worker_events;
use crate::service_manager::{self, InheritedDescriptors, ServiceManager};
use crate::{config, daemon, guardian};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Be the supervisor itself, without a guardian: it dies of the signal that kills it.
    #[arg(long)]
    no_guardian: bool,
    /// The supervisor's own log as JSON lines.
    #[arg(long)]
    log_json: bool,
    /// Start the supervisor again at once and for ever, however often it dies: for tests that kill
    /// it on purpose.
    #[arg(long, hide = true)]
    storm: bool,
    /// The configuration as a trial of `compare` has made it, instead of a file.
    #[arg(long, hide = true, value_name = "FILE")]
    trial: Option<PathBuf>,
    /// The process of that `compare`: the trial ends when it does.
    #[arg(long, hide = true, value_name = "PID", requires = "trial")]
    trial_of: Option<i32>,
}

pub(super) fn run(
    options: &Options,
    place: &Place,
    registry: Registry,
    arguments: &[OsString],
) -> ExitCode {
    daemon::signals::hold();
    let _ = service_manager::program();
    // What is opened or closed before this would be in its way.
    let mut inherited = match InheritedDescriptors::take() {
        Ok(inherited) => inherited,
        Err(error) => {
            let source = std::error::Error::source(&error);
            let source = source.map(|source| format!(": {source}")).unwrap_or_default();
            eprintln!("supervisord-rs: {error}{source}; nothing was taken over or started");
            return Exit::Failed.into();
        }
    };
    if let Err(errno) = past_limits::outlive_limits() {
        eprintln!(
            "supervisord-rs: cannot ignore XFSZ and XCPU, so a limit on the size of files or on \
             processor time would kill the supervisor: {errno}"
        );
    }
    raise_limits();
    say_that_signals_can_come();
    let mut gate = Gate::claim(&mut inherited);
    // With a new configuration we have something to refuse before anything is given to us; one that
    // is in force comes with all the rest.
    let is_anew = in_force::is_to_be_read_anew();
    if !is_anew && let Err(exit) = pass(gate.as_mut(), &mut inherited) {
        return exit.into();
    }
    let (settings, origin) = match settings(&inherited, options, place, &registry) {
        Ok(read) => read,
        Err(exit) => return exit.into(),
    };
    // Before anything else opens descriptors.
    if let Err(error) = passed::adopt(&settings, &mut inherited) {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        eprintln!("supervisord-rs: {error}: {source}");
        return Exit::Failed.into();
    }
    if is_anew && let Err(exit) = pass(gate.as_mut(), &mut inherited) {
        return exit.into();
    }
    if options.no_guardian || service_manager::is_managed() {
        start_log(options.log_json);
        if let Some(why) = worker_events::misread() {
            tracing::warn!("{why}");
        }
        daemon::run(settings, origin, registry, inherited, gate)
    } else {
        report_notify_socket_without_store();
        let guard = || guardian::run(arguments, options.storm, settings.supervisor.custody);
        match (&options.trial, options.trial_of) {
            (Some(file), Some(compare)) => in_trial(file, compare, guard),
            _ => guard(),
        }
    }
}

/// The guardian of a trial ends with its `compare`.
fn in_trial(file: &Path, compare: i32, guard: impl FnOnce() -> ExitCode) -> ExitCode {
    let code = if orphan::end_with(compare) { guard() } else { Exit::Failed.into() };
    orphan::clean_up_after(compare, file);
    code
}

/// Takes what a predecessor that lives has to give.
fn pass(gate: Option<&mut Gate>, inherited: &mut InheritedDescriptors) -> Result<(), Exit> {
    gate.map_or(Ok(()), |gate| gate.take(inherited)).map_err(|why| {
        eprintln!("supervisord-rs: the previous supervisor does not give way: {why}");
        Exit::Failed
    })
}

/// To our guardian, which passes signals on to a supervisor that has said anything.
fn say_that_signals_can_come() {
    if service_manager::guardian_pid().is_some()
        && let Some(guardian) = ServiceManager::from_env()
    {
        guardian.status("starting");
    }
}

/// A `NOTIFY_SOCKET` without an fd store does not remove the guardian.
fn report_notify_socket_without_store() {
    if let Some(name) = std::env::var_os(service_manager::NOTIFY_SOCKET) {
        eprintln!(
            "supervisord-rs: NOTIFY_SOCKET ({}) has no fd store, so the supervisor has its own \
             guardian (a unit needs FileDescriptorStoreMax=)",
            name.display()
        );
    }
}

/// The settings to run: those of a predecessor that died, otherwise those of the file. Prints all
/// problems where neither is valid.
fn settings(
    inherited: &InheritedDescriptors,
    options: &Options,
    place: &Place,
    registry: &Registry,
) -> Result<(Settings, Origin), Exit> {
    let said = |problems: &dyn std::fmt::Display| {
        eprintln!("{problems}");
        Exit::InvalidConfiguration
    };
    match in_force::kept(inherited).map(|kept| kept.settings(registry, &Scale::new())) {
        Some(Ok(settings)) => return Ok((settings, Origin::Predecessor)),
        Some(Err(problems)) => {
            // Only another binary reads the same text in another way.
            let _ = said(&problems);
            eprintln!(
                "supervisord-rs: this binary refuses the configuration in force, so it reads the \
                 file"
            );
        }
        None => {}
    }
    if let Some(file) = &options.trial {
        let source = trial_source(file).map_err(|error| {
            said(&format_args!("supervisord-rs: cannot read {}: {error}", file.display()))
        })?;
        let settings = source.settings(registry, &Scale::new());
        return Ok((settings.map_err(|problems| said(&problems))?, Origin::File));
    }
    let Some(file) = place.config.clone().or_else(place::default_file) else {
        return Err(said(&format_args!(
            "supervisord-rs: no configuration: name one with -c FILE, or write \
             ./supervisord-rs.yaml or {}",
            config::SYSTEM_FILE
        )));
    };
    if service_manager::guardian_pid().is_none() {
        place::say_ignored();
    }
    // Checked before the guardian starts too: so an invalid file is reported once, not by each
    // restart of a supervisor.
    let settings = config::load(&file, registry).map_err(|problems| said(&problems))?;
    Ok((settings, Origin::File))
}

fn trial_source(file: &Path) -> io::Result<Source> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// The supervisor's own log goes to standard error, or with its fields to the journal where that is
/// the same; `RUST_LOG` chooses what of it, `info` by default.
fn start_log(json: bool) {
    let journal = if json || !journal::has_stderr() { None } else { Journal::open().ok() };
    let log = tracing_subscriber::registry().with(worker_events::chosen());
    let own = worker_events::of_the_process();
    if let Some(journal) = journal {
        let journal = journal.with_filter(own);
        worker_events::install(log.with(journal).with(worker_events::layer()));
        return;
    }
    if let Err(error) = OwnLog::start(json) {
        eprintln!(
            "supervisord-rs: cannot start the log's thread, so a reader of the log that stops can \
             stop the supervisor: {error}"
        );
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(OwnLog::default)
        // A closed terminal is no reason to die: by default, a failed write is reported on it,
        // which panics.
        .log_internal_errors(false)
        .with_ansi(has_colour_on_stderr());
    if json {
        let lines = lines.json().with_filter(own);
        worker_events::install(log.with(lines).with(worker_events::layer()));
    } else {
        let lines = lines.compact().with_target(false).with_filter(own);
        worker_events::install(log.with(lines).with(worker_events::layer()));
    }
}
