//! `man`: the manual pages, made from the texts of `--help`.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use super::Exit;
use super::output::bytes;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The page of this verb, on standard output. Default: the page of the program.
    #[arg(conflicts_with = "to")]
    verb: Option<String>,
    /// All pages, as files in this directory, which is created if it does not exist.
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,
}

pub(super) fn run(options: &Options, command: Command) -> Exit {
    let (result, what) = match (&options.to, &options.verb) {
        (Some(directory), _) => (write_all(command, directory), directory.display().to_string()),
        (None, verb) => {
            let Some(command) = page_of(command, verb.as_deref()) else {
                eprintln!("supervisord-rs: no such verb: {}", verb.as_deref().unwrap_or_default());
                return Exit::Usage;
            };
            (page(command).map(|page| _ = bytes(&page)), "standard output".to_owned())
        }
    };
    match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("supervisord-rs: cannot write to {what}: {error}");
            Exit::Failed
        }
    }
}

/// The command that the page is about, with the program's name in front of its own.
fn page_of(mut program: Command, verb: Option<&str>) -> Option<Command> {
    let Some(verb) = verb else { return Some(program) };
    program.build();
    let found = program.find_subcommand(verb)?.clone();
    let name = format!("{}-{verb}", program.get_name());
    // A leaked name is fine: the program prints a page and ends.
    Some(found.name(&*name.leak()))
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn write_all(command: Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)
}
