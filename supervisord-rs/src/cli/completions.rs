//! `completions`: what a shell completes: verbs and options, and the names of the workers that the
//! running supervisor has.

use std::collections::BTreeSet;

use clap::{Args, Command};
use clap_complete::Shell;

use super::Exit;
use super::output::{bytes, line};
use crate::control::client::Client;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(options: &Options, mut command: Command) -> Exit {
    let mut name = command.get_name().to_owned();
    if options.shell == Shell::Bash {
        // The generator writes a hyphen in two ways there, which do not match. The last line
        // of our own part registers the real name.
        name = name.replace('-', "_");
    }
    // Into memory first: the generator panics when it cannot write, and a reader may go away.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    let names = names_in(options.shell, &String::from_utf8_lossy(&script));
    script.extend_from_slice(names.as_bytes());
    let _ = bytes(&script);
    Exit::Done
}

/// `__workers`: the names that a shell completes, one a line; none where no supervisor answers.
pub(super) fn names(client: &Client) -> Exit {
    let Ok(status) = client.status() else { return Exit::Done };
    let mut names: BTreeSet<String> = status.supervisor.instances.into_keys().collect();
    for worker in status.workers {
        if worker.group != worker.base {
            names.insert(format!("{}:", worker.group));
        }
        names.insert(worker.name);
    }
    let _ = names.iter().all(|name| line(name));
    Exit::Done
}

/// The verbs that take them.
const VERBS: [&str; 10] =
    ["status", "start", "stop", "restart", "pause", "resume", "scale", "signal", "inject", "logs"];
const BASH: &str = include_str!("completions/names.bash");
const ZSH: &str = include_str!("completions/names.zsh");
const FISH: &str = include_str!("completions/names.fish");

/// What has a shell ask for the names, behind the verbs that take them: of the supervisor that the
/// line addresses by `-c` or `--socket`.
///
/// `script` completes all else. How its function is called is its generator's choice, which differs
/// from shell to shell: the script itself registers that name.
fn names_in(shell: Shell, script: &str) -> String {
    let (before, ours, between) = match shell {
        Shell::Bash => ("complete -F ", BASH, "|"),
        Shell::Zsh => ("compdef _", ZSH, "|"),
        Shell::Fish => ("", FISH, " "),
        _ => return String::new(),
    };
    let start = script.rfind(before).map_or(0, |at| at + before.len());
    let function = script[start..].split_whitespace().next().unwrap_or_default();
    ours.replace("GENERATED", function).replace("VERBS", &VERBS.join(between))
}
