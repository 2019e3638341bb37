//! argv → command → exit status; one file for each verb or family of verbs.

mod advise;
mod afterwards;
mod check;
mod compare;
mod completions;
mod drill;
mod exit;
mod explain;
mod faults;
mod following;
#[cfg(test)]
mod golden_tables;
mod harmless;
mod incidents;
mod inject;
mod logs;
mod man;
mod measure;
mod orders;
mod outcomes;
mod output;
mod phase;
mod place;
mod progress;
mod registered;
mod reload;
mod resource;
mod run;
mod schema;
mod sharing;
mod status;
mod stop_main;
mod stopped;
mod successor;
mod table;
mod time;
mod top;
mod touched;
mod waits;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use workers::Registry;

use crate::called;
use crate::control::client::Client;
use afterwards::Afterwards;
use exit::Exit;
use output::Colour;
use place::Place;

const EXIT_STATUSES: &str = "\
Exit status:
  0   done
  1   the operation failed, its answer could not be written, or the supervisor is too busy to
      accept the connection
  2   usage error
  3   (status) something is wrong with a worker, or one that was named is not up
  4   (status) unknown worker, no supervisor answers, or not permitted; (other verbs) refused or
      not permitted
  5   (other verbs) no such worker
  7   (other verbs) no supervisor answers
  70  (run) the guardian gave up: the supervisor died too often
  78  invalid configuration
`run --no-guardian` dies of the signal that killed it.";

/// A fault-isolation supervisor: runs workers as threads or as processes, keeps them running,
/// breaks them on purpose, and records exactly what each crash destroyed.
#[derive(Debug, Parser)]
#[command(name = "supervisord-rs", version, after_help = EXIT_STATUSES)]
#[command(arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
    /// When to use colours; `auto`: on a terminal, unless `NO_COLOR` is set.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    color: Colour,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the supervisor in the foreground.
    #[command(after_help = "\
It first becomes its own guardian: a tiny parent that restarts the supervisor after a thread
worker has killed it. As a unit with an fd store, or with --no-guardian, it is the supervisor.

Examples:
  supervisord-rs run -c config/process.yaml
  supervisord-rs run -c config/thread.yaml --no-guardian")]
    Run(run::Options),
    /// Run the same workers under each isolation, break one, and print who died with it. Needs no
    /// file and no root.
    #[command(after_help = "\
With -c FILE --worker NAME it runs the workers of FILE, and NAME under each isolation that it can
have. It touches no supervisor that runs, none of its directories, sockets and logs: each trial has
its own, in a temporary directory. Commands, `hooks:` and `start_before:` of FILE run for real.

Examples:
  supervisord-rs compare
  supervisord-rs compare --fault segfault,stack-overflow --isolation thread,process --json
  supervisord-rs compare -c app.yaml --worker api
  supervisord-rs compare -c app.yaml --worker api --fault segfault --expect thread=4,process=1")]
    Compare(compare::Options),
    /// Measure what threads, cells and processes cost on this machine, and say what the figures
    /// mean. Needs no file and no root.
    #[command(after_help = "\
Axes: memory, communication, switching, isolation, scalability, parallelism, time-slicing,
synchronisation. Each compares a worker as a thread, in a cell and as a process, beside its limit:
the bare loop that does the same without a supervisor. Cases take turns, round by round; a figure is
the median of its rounds. It ends with two sentences that follow from the figures. What cannot be
measured here says why. Leave the machine alone meanwhile: what else runs is in the figures.

All axes take less than ten minutes, with --quick less than one.

Examples:
  supervisord-rs measure --quick
  supervisord-rs measure communication switching
  supervisord-rs measure --html page.html
  supervisord-rs measure --json > figures.json")]
    Measure(measure::Options),
    /// Say for each worker whether it should be a thread, in a cell or a process, and why. Changes
    /// nothing.
    #[command(after_help = "\
The reasons: what only a process can be, who dies with it, what it shares, what it costs here (from
--figures, else measured in a few seconds), and its incidents, where a supervisor of the file runs.

Examples:
  supervisord-rs advise -c app.yaml
  supervisord-rs advise -c app.yaml --figures figures.json --json")]
    Advise(advise::Options),
    /// Run scenarios: break workers, and expect what becomes of them and of the others.
    #[command(after_help = "\
A scenario is a YAML file with a configuration, steps and expectations: docs/drills.md.

Examples:
  supervisord-rs drill init -c app.yaml > drill.yaml
  supervisord-rs drill run drill.yaml
  supervisord-rs drill matrix --only segfault,hang")]
    Drill(drill::Options),
    /// Show all errors of a configuration.
    #[command(after_help = "Examples:\n  supervisord-rs check --world config/mixed.yaml\n  \
                      supervisord-rs check --json < config/mixed.yaml")]
    Check(check::Options),
    /// Explain a key of the configuration: what it takes, its default, what it means.
    #[command(after_help = "\
Examples:
  supervisord-rs explain
  supervisord-rs explain restart
  supervisord-rs explain workers.restart.backoff.initial
  supervisord-rs explain --scenario expect")]
    Explain(explain::Options),
    /// Write the keys of the configuration as JSON Schema: editors complete, explain and mark by it.
    #[command(after_help = "\
A comment at the top of a file tells yaml-language-server where it is:
  # yaml-language-server: $schema=supervisord-rs.schema.json

Examples:
  supervisord-rs schema > supervisord-rs.schema.json
  supervisord-rs schema --scenario > scenario.schema.json")]
    Schema(schema::Options),
    /// Show workers.
    #[command(
        after_help = "Examples:\n  supervisord-rs status\n  supervisord-rs status api db --json\n  \
                      supervisord-rs status --watch\n  supervisord-rs status --wait running \
                      --timeout 30s"
    )]
    Status(status::Options),
    /// Start workers and what they depend on; clears counts and quarantine.
    #[command(
        after_help = "Examples:\n  supervisord-rs start api\n  supervisord-rs start payments: \
                      --no-wait"
    )]
    Start(orders::Options),
    /// Stop workers, after what depends on them. They stay down until they are started.
    #[command(after_help = "Examples:\n  supervisord-rs stop api\n  supervisord-rs stop all")]
    Stop(orders::Options),
    /// Stop workers, then start them.
    #[command(
        after_help = "Examples:\n  supervisord-rs restart api\n  supervisord-rs restart payments:"
    )]
    Restart(orders::Options),
    /// Suspend workers and all their descendants (SIGSTOP). Meanwhile no heartbeat or probe counts
    /// as missed.
    #[command(after_help = "Examples:\n  supervisord-rs pause api\n  supervisord-rs resume api")]
    Pause(orders::PauseOptions),
    /// Continue suspended workers (SIGCONT).
    #[command(
        after_help = "Examples:\n  supervisord-rs resume api\n  supervisord-rs resume payments:"
    )]
    Resume(orders::PauseOptions),
    /// Change the number of a worker's instances, without touching the others.
    #[command(after_help = "\
The worker needs `instances:` in its configuration. The new number holds until the supervisor ends.

Examples:
  supervisord-rs scale api 6
  supervisord-rs scale api 0 --no-wait")]
    Scale(orders::ScaleOptions),
    /// Send a signal to the processes of workers.
    #[command(
        after_help = "Examples:\n  supervisord-rs signal api HUP\n  supervisord-rs signal api \
                      reload\n  supervisord-rs signal db 9"
    )]
    Signal(orders::SignalOptions),
    /// Commit a fault in a worker, and show what it destroyed. Needs `fault_injection: allow`.
    #[command(
        after_help = "Examples:\n  supervisord-rs inject b segfault\n  supervisord-rs inject b \
                      exit:3 --json"
    )]
    Inject(inject::Options),
    /// Show the captured output of workers.
    #[command(
        after_help = "Examples:\n  supervisord-rs logs api -n 50\n  supervisord-rs logs --since \
                      10m --json\n  supervisord-rs logs -f"
    )]
    Logs(logs::Options),
    /// Watch workers and their resource usage by fault domain; start, stop, restart them and follow
    /// their logs by a key.
    #[command(
        after_help = "Keys: arrows or j k choose, s start, x stop, r restart, p pause or resume, l \
                      shows logs, Esc closes\nthem, q quits."
    )]
    Top(top::Options),
    /// List the faults, and what each should destroy.
    #[command(after_help = "Examples:\n  supervisord-rs faults\n  supervisord-rs faults --json")]
    Faults(faults::Options),
    /// List the registered code that `worker:` can name, and the arguments that it takes.
    #[command(after_help = "Examples:\n  supervisord-rs workers\n  supervisord-rs workers --json")]
    Workers(registered::Options),
    /// Show what failed, who was lost with it, and how long detection and recovery took.
    #[command(
        after_help = "Examples:\n  supervisord-rs incidents\n  supervisord-rs incidents 7 --json"
    )]
    Incidents(incidents::Options),
    /// Show what workers share, and use it from a shell.
    #[command(after_help = "\
In a `command:` that has the resource in its `uses:` it needs no supervisor. Elsewhere root and the
supervisor's own user may use it.

Exit status:
  0    done
  1    --timeout is over, the message is too long, the lock is poisoned, or a system call failed
  2    usage error
  4    no such resource, or one of another kind
  7    no supervisor answers
  `acquire` ends with the status of its command: 126 where that does not start, 127 where it is not
  there, 128 plus the signal where one has killed it.

Examples:
  supervisord-rs resource show
  supervisord-rs resource send jobs '{ \"number\": 7 }'
  supervisord-rs resource receive jobs --timeout 5s
  supervisord-rs resource acquire gate -- rsync -a data/ backup/")]
    Resource(resource::Options),
    /// Print events as they happen, as JSON lines, until interrupted or until the supervisor has
    /// ended in order.
    #[command(after_help = "Examples:\n  supervisord-rs events\n  supervisord-rs events | jq \
                      'select(.kind == \"incident\")'")]
    Events,
    /// Hand over to a supervisor of a new binary: process workers and clients of their sockets
    /// notice nothing.
    #[command(after_help = "\
Thread workers restart. A binary that is not prepared in time is ended, and nothing has changed.
If it fails while it takes over, the old binary continues in another process.

Examples:
  supervisord-rs reexec
  supervisord-rs reexec --binary ./target/release/supervisord-rs --timeout 10s")]
    Reexec(orders::ReexecOptions),
    /// Apply the changed configuration file. An invalid one changes nothing.
    #[command(after_help = "\
Another supervisor of the same binary reads the file and takes over. It starts new workers,
restarts those whose entry has changed and all threads of the supervisor, and leaves the rest
alone. Stop a worker before you remove it from the file. For an invalid file it prints what `check`
prints, and ends with 78.

Examples:
  supervisord-rs reload
  supervisord-rs reload --json")]
    Reload(reload::Options),
    /// Stop everything and end the supervisor.
    #[command(after_help = "Examples:\n  supervisord-rs shutdown\n  supervisord-rs shutdown --now")]
    Shutdown(orders::ShutdownOptions),
    /// Write the manual pages.
    #[command(
        after_help = "Examples:\n  supervisord-rs man status | man -l -\n  supervisord-rs man --to \
                      /usr/local/share/man/man1"
    )]
    Man(man::Options),
    /// Write completions for a shell.
    #[command(after_help = "\
Examples:
  supervisord-rs completions bash > /etc/bash_completion.d/supervisord-rs
  supervisord-rs completions fish > ~/.config/fish/completions/supervisord-rs.fish")]
    Completions(completions::Options),
    /// For completions: the names of workers, one a line.
    #[command(name = "__workers", hide = true)]
    Names,
    /// For `drill run`: one run of a scenario.
    #[command(name = "__drill", hide = true)]
    Drilled(drill::RunnerOptions),
    /// For `drill matrix`: one trial.
    #[command(name = "__trial", hide = true)]
    Tried(drill::TrialOptions),
    /// For `ExecStop=` of a unit: orders the end of the supervisor, and waits for it.
    #[command(name = "__stop", hide = true)]
    StopMain(stop_main::Options),
    /// For `ExecStopPost=` of a unit: cleans up after the supervisor's end.
    #[command(name = "__stopped", hide = true)]
    Stopped(stopped::Options),
}

/// The arguments; or help, or what is wrong with them, with colours as they choose.
fn parsed(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = as_typed(Cli::command()).color(Colour::of(arguments).into());
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Its examples name the program as this one is called.
fn as_typed(command: clap::Command) -> clap::Command {
    let examples = command.get_after_help().map(|text| called::in_examples(&text.to_string()));
    let command = match examples {
        Some(examples) => command.after_help(examples),
        None => command,
    };
    command.mut_subcommands(as_typed)
}

/// Does what the arguments say.
pub(crate) fn main(arguments: &[OsString], registry: Registry) -> ExitCode {
    let cli = match parsed(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors.
            if error.use_stderr() {
                let _ = error.print();
                return Exit::Usage.into();
            }
            output::is_printed(error.print());
            return exit::ended(Exit::Done).into();
        }
    };
    cli.color.choose();
    let place = &cli.place;
    let with_client = |verb: &dyn Fn(&Client) -> Exit| match place.client(&registry) {
        Ok(client) => verb(&client),
        Err(exit) => exit,
    };
    let afterwards = Afterwards { place, registry: &registry };
    // These verbs need no supervisor. A file that is named must be valid all the same.
    let without = |verb: &dyn Fn() -> Exit| match place.checked(&registry) {
        Ok(_) => verb(),
        Err(exit) => exit,
    };
    let exit = match cli.verb {
        Verb::Run(options) => return run::run(&options, place, registry, arguments),
        Verb::Compare(options) => compare::run(options, place, &registry),
        Verb::Measure(options) => without(&|| measure::run(&options, &registry)),
        Verb::Advise(options) => advise::run(&options, place, &registry),
        Verb::Drill(options) => drill::run(options, place, &registry),
        Verb::Drilled(options) => drill::one(&options, &registry),
        Verb::Tried(options) => drill::trial(options),
        Verb::Check(options) => check::run(&options, place, &registry),
        Verb::Explain(options) => without(&|| explain::run(&options)),
        Verb::Schema(options) => without(&|| schema::run(&options)),
        Verb::StopMain(options) => stop_main::run(&options),
        Verb::Stopped(options) => stopped::run(&options, place),
        Verb::Faults(options) => without(&|| faults::run(&options)),
        Verb::Workers(options) => without(&|| registered::run(&options, &registry)),
        Verb::Man(options) => without(&|| man::run(&options, Cli::command())),
        Verb::Names => with_client(&completions::names),
        Verb::Completions(options) => without(&|| completions::run(&options, Cli::command())),
        Verb::Status(options) => with_client(&|client| status::run(&options, client)),
        Verb::Start(options) => with_client(&|client| orders::start(&options, client)),
        Verb::Stop(options) => with_client(&|client| orders::stop(&options, client)),
        Verb::Restart(options) => with_client(&|client| orders::restart(&options, client)),
        Verb::Pause(options) => with_client(&|client| orders::pause(&options, client)),
        Verb::Resume(options) => with_client(&|client| orders::resume(&options, client)),
        Verb::Scale(options) => with_client(&|client| orders::scale(&options, client)),
        Verb::Top(options) => with_client(&|client| top::run(&options, client)),
        Verb::Signal(options) => with_client(&|client| orders::signal(&options, client)),
        Verb::Inject(options) => with_client(&|client| inject::inject(&options, client)),
        Verb::Logs(options) => with_client(&|client| logs::run(&options, client, afterwards)),
        Verb::Incidents(options) => {
            with_client(&|client| incidents::run(&options, client, afterwards))
        }
        Verb::Resource(options) => resource::run(&options, &|| place.client(&registry)),
        Verb::Events => with_client(&incidents::events),
        Verb::Reexec(options) => with_client(&|client| orders::reexec(&options, client)),
        Verb::Reload(options) => with_client(&|client| reload::run(&options, client)),
        Verb::Shutdown(options) => with_client(&|client| orders::shutdown(&options, client)),
    };
    exit::ended(exit).into()
}
