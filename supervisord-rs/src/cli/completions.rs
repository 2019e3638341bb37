//! `completions`: scripts for the completion of shells.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

use super::Exit;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(options: &Options, mut command: Command) -> Exit {
    let name = command.get_name().to_owned();
    // Into memory first: the generator panics when it cannot write, and a reader may go away.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Failed,
    }
}
