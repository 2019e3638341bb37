//! argv → command → exit status; one file for each verb or family of verbs.

mod check;
mod completions;
mod exit;
mod faults;
mod incidents;
mod log_file;
mod logs;
mod man;
mod orders;
mod output;
mod run;
mod status;
mod stopped;
mod top;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use workers::Registry;

use crate::control::client::Client;
use crate::drill::compare;
use crate::drill::trial::Isolation;
use exit::Exit;

const EXIT_STATUSES: &str = "\
Exit status:
  0   done
  1   the operation failed, or an expectation was not met
  2   usage error
  3   (status) something asked about is not running; backoff and quarantine count as not running
  4   (status) unknown worker, or no supervisor answers; (other verbs) refused or not permitted
  5   (other verbs) no such worker
  7   (other verbs) no supervisor answers
  70  (run) the guardian gave up: the supervisor died too often
  78  invalid configuration
`run --no-guardian` dies of the signal that killed it.";

/// A fault-isolation supervisor: runs workers as threads or as processes, keeps them running, breaks them on purpose,
/// and records exactly what each crash destroyed.
#[derive(Debug, Parser)]
#[command(name = "supervisord-rs", version, after_help = EXIT_STATUSES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

/// Where the supervisor is found.
#[derive(Args, Debug)]
struct Place {
    /// The supervisor's control socket. Default: that of the configuration given with -c, else of the default
    /// runtime directory.
    #[arg(long, global = true, env = "SUPERVISORD_RS_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration file. Default: ./supervisord-rs.yaml, else /etc/supervisord-rs/supervisord-rs.yaml.
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the supervisor in the foreground.
    #[command(after_help = "\
Without a service manager it first becomes its own guardian: a tiny parent that starts the supervisor again when a
thread worker has killed it, and leaves nothing behind. Under systemd, or with --no-guardian, it is the supervisor.

Examples:
  supervisord-rs run -c config/process.yaml
  supervisord-rs run -c config/thread.yaml --no-guardian")]
    Run(run::Options),
    /// Run the same workers under each isolation, break one, and print who died with it. Needs no file and no root.
    #[command(after_help = "\
Examples:
  supervisord-rs compare
  supervisord-rs compare --fault segfault,stack-overflow --isolation thread,process --json")]
    Compare(CompareOptions),
    /// Say whether a configuration is valid, and all that is wrong with it.
    #[command(
        after_help = "Examples:\n  supervisord-rs check config/mixed.yaml\n  supervisord-rs check --json < /dev/null"
    )]
    Check(check::Options),
    /// Show workers.
    #[command(
        after_help = "Examples:\n  supervisord-rs status\n  supervisord-rs status api db --json\n  supervisord-rs status --watch"
    )]
    Status(status::Options),
    /// Start workers and what they depend on; clears counts and quarantine.
    #[command(
        after_help = "Examples:\n  supervisord-rs start api\n  supervisord-rs start payments: --no-wait"
    )]
    Start(orders::Options),
    /// Stop workers, after what depends on them. They stay down until they are started.
    #[command(after_help = "Examples:\n  supervisord-rs stop api\n  supervisord-rs stop all")]
    Stop(orders::Options),
    /// Stop workers, then start them.
    #[command(after_help = "Examples:\n  supervisord-rs restart api\n  supervisord-rs restart payments:")]
    Restart(orders::Options),
    /// Suspend workers with all that they have started (SIGSTOP). Their heartbeats and probes are not missed.
    #[command(after_help = "Examples:\n  supervisord-rs pause api\n  supervisord-rs resume api")]
    Pause(orders::PauseOptions),
    /// Let suspended workers go on (SIGCONT).
    #[command(after_help = "Examples:\n  supervisord-rs resume api\n  supervisord-rs resume payments:")]
    Resume(orders::PauseOptions),
    /// Change the number of a worker's instances; the others are not touched.
    #[command(after_help = "\
It needs `instances:` in the worker's configuration, and holds until the supervisor ends.

Examples:
  supervisord-rs scale api 6
  supervisord-rs scale api 0 --no-wait")]
    Scale(orders::ScaleOptions),
    /// Send a signal to a worker's process.
    #[command(after_help = "Examples:\n  supervisord-rs signal api HUP\n  supervisord-rs signal db 9")]
    Signal(orders::SignalOptions),
    /// Commit a fault in a worker, and say what it destroyed. Needs `fault_injection: allow`.
    #[command(
        after_help = "Examples:\n  supervisord-rs inject b segfault\n  supervisord-rs inject b exit:3 --json"
    )]
    Inject(orders::InjectOptions),
    /// Show the captured output of workers.
    #[command(after_help = "Examples:\n  supervisord-rs logs api -n 50\n  supervisord-rs logs -f")]
    Logs(logs::Options),
    /// Watch workers by fault domain, with what they use; start, stop, restart them and follow their logs by a key.
    #[command(
        after_help = "Keys: arrows or j k choose, s start, x stop, r restart, p pause or resume, l logs, q quit."
    )]
    Top(top::Options),
    /// List the faults that can be committed, and what each is expected to destroy.
    #[command(after_help = "Examples:\n  supervisord-rs faults\n  supervisord-rs faults --json")]
    Faults(faults::Options),
    /// Show what failed, who was lost with it, and how long it took to see and to mend.
    #[command(after_help = "Examples:\n  supervisord-rs incidents\n  supervisord-rs incidents 7 --json")]
    Incidents(incidents::Options),
    /// Print everything that happens from now on, as JSON lines.
    #[command(
        after_help = "Examples:\n  supervisord-rs events\n  supervisord-rs events | jq 'select(.kind == \"incident\")'"
    )]
    Events,
    /// Have another supervisor take over, of a new binary: process workers and clients of their sockets notice nothing.
    #[command(after_help = "\
Thread workers are stopped and started again. A binary that is not ready in time is rolled back: the old one goes on.

Examples:
  supervisord-rs reexec
  supervisord-rs reexec --binary ./target/release/supervisord-rs --timeout 10s")]
    Reexec(orders::ReexecOptions),
    /// Have the configuration read anew. An invalid one is refused, and nothing changes.
    #[command(after_help = "\
Another supervisor of the same binary reads the file and takes over: it starts what is new, restarts what has changed, and
leaves the rest alone. What is not in the file any more must have been stopped.

Examples:
  supervisord-rs reload")]
    Reload(orders::ReloadOptions),
    /// Stop everything and end the supervisor.
    #[command(after_help = "Examples:\n  supervisord-rs shutdown\n  supervisord-rs shutdown --now")]
    Shutdown(orders::ShutdownOptions),
    /// Write the manual pages.
    #[command(
        after_help = "Examples:\n  supervisord-rs man status | man -l -\n  supervisord-rs man --to /usr/local/share/man/man1"
    )]
    Man(man::Options),
    /// Write completions for a shell.
    #[command(after_help = "\
Examples:
  supervisord-rs completions bash > /etc/bash_completion.d/supervisord-rs
  supervisord-rs completions fish > ~/.config/fish/completions/supervisord-rs.fish")]
    Completions(completions::Options),
    /// For `ExecStopPost=` of a unit: what there is to do after the supervisor's end.
    #[command(name = "__stopped", hide = true)]
    Stopped(stopped::Options),
}

#[derive(Args, Debug)]
struct CompareOptions {
    /// Faults, separated by commas; see `faults`.
    #[arg(long, value_delimiter = ',', default_values_t = compare::DEFAULT_FAULTS.map(str::to_owned))]
    fault: Vec<String>,
    /// Isolations, separated by commas.
    #[arg(long, value_delimiter = ',', default_values = ["thread", "cell", "process"], value_parser = isolation)]
    isolation: Vec<Isolation>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn isolation(text: &str) -> Result<Isolation, String> {
    match text {
        "thread" => Ok(Isolation::Thread),
        "cell" => Ok(Isolation::Cell),
        "process" => Ok(Isolation::Process),
        _ => Err("write thread, cell or process".into()),
    }
}

/// Does what the arguments say.
pub(crate) fn main(arguments: &[OsString], registry: Registry) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a reader that went away is none either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let place = &cli.place;
    let exit = match cli.verb {
        Verb::Run(options) => return run::run(&options, place, registry, arguments),
        Verb::Compare(options) => {
            for fault in &options.fault {
                if let Err(error) = fault.parse::<workers::fault::Injection>() {
                    eprintln!("supervisord-rs: {error}");
                    return ExitCode::from(2);
                }
            }
            let (faults, isolations) = (options.fault, options.isolation);
            return compare::run(&compare::Options { faults, isolations, json: options.json });
        }
        Verb::Check(options) => check::run(&options, place, &registry),
        Verb::Faults(options) => faults::run(&options),
        Verb::Status(options) => status::run(&options, &client(place)),
        Verb::Start(options) => orders::start(&options, &client(place)),
        Verb::Stop(options) => orders::stop(&options, &client(place)),
        Verb::Restart(options) => orders::restart(&options, &client(place)),
        Verb::Pause(options) => orders::pause(&options, &client(place)),
        Verb::Resume(options) => orders::resume(&options, &client(place)),
        Verb::Scale(options) => orders::scale(&options, &client(place)),
        Verb::Top(options) => top::run(&options, &client(place)),
        Verb::Signal(options) => orders::signal(&options, &client(place)),
        Verb::Inject(options) => orders::inject(&options, &client(place)),
        Verb::Logs(options) => logs::run(&options, &client(place)),
        Verb::Incidents(options) => incidents::run(&options, &client(place)),
        Verb::Events => incidents::events(&client(place)),
        Verb::Reexec(options) => orders::reexec(&options, &client(place)),
        Verb::Reload(options) => orders::reload(&options, &client(place)),
        Verb::Shutdown(options) => orders::shutdown(&options, &client(place)),
        Verb::Man(options) => man::run(&options, Cli::command()),
        Verb::Completions(options) => completions::run(&options, Cli::command()),
        Verb::Stopped(options) => stopped::run(&options, place),
    };
    exit.into()
}

/// The client of the supervisor that is meant: `--socket`, else `$SUPERVISORD_RS_SOCKET`, else the runtime directory of
/// the configuration given, else the default one.
fn client(place: &Place) -> Client {
    let socket = place.socket.clone().unwrap_or_else(|| {
        let file = place.config.as_deref();
        crate::config::runtime_dir(file).join("control.sock")
    });
    Client::new(&socket)
}
