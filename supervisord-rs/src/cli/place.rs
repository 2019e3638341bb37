//! Which supervisor a verb addresses. If the arguments do not identify it, that is an error, and
//! never another supervisor: `-c stagin.yaml stop all` must not stop the default supervisor's
//! workers.
//!
//! Workers are not made to see whether they can be: a verb that orders or shows launches none, and
//! must reach the supervisor also where a maker has come to hang or to panic.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use workers::Registry;

use super::Exit;
use crate::config::{self, Diagnostics, Settings};
use crate::control::client::Client;

/// Names the socket where neither `--socket` nor `-c` is given.
const SOCKET: &str = "SUPERVISORD_RS_SOCKET";

/// The address of the supervisor.
#[derive(Args, Debug)]
pub(super) struct Place {
    /// The supervisor's control socket. Default: that of the configuration given with -c, else
    /// $SUPERVISORD_RS_SOCKET, else that of the default configuration, else the one in the default
    /// runtime directory.
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// The configuration file. Default: ./supervisord-rs.yaml, else
    /// /etc/supervisord-rs/supervisord-rs.yaml.
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl Place {
    /// The client of the addressed supervisor.
    ///
    /// # Errors
    /// The exit status of the verb when the supervisor is not clear; the reason has been printed.
    pub(super) fn client(&self, registry: &Registry) -> Result<Client, Exit> {
        let in_file = self.checked(registry)?;
        let given = self.socket.clone().or_else(|| Some(in_file?.join(config::SOCKET)));
        let given = given.or_else(|| set(std::env::var_os(SOCKET)));
        let socket = match given {
            Some(socket) => socket,
            None => Self::by_default(registry)?.join(config::SOCKET),
        };
        Ok(Client::new(&socket))
    }

    /// The runtime directory of the file that `run` and `check` take by default. Errors outside
    /// `supervisor:` do not matter: verbs find the supervisor while its file is edited.
    fn by_default(registry: &Registry) -> Result<PathBuf, Exit> {
        let Some(file) = default_file() else {
            say_ignored();
            return Ok(config::default_runtime_dir());
        };
        match config::load_believed(&file, registry) {
            Ok(settings) => {
                say_ignored();
                Ok(settings.supervisor.runtime_dir)
            }
            Err(problems) => match config::written_runtime_dir(&file) {
                Ok(directory) if is_place_clear(&problems) => {
                    say_ignored();
                    Ok(directory)
                }
                Ok(_) | Err(_) => Err(unclear(&file, &problems, "")),
            },
        }
    }

    /// The runtime directory of the file given with `-c`, if one is. Every verb checks it: a
    /// missing or invalid file does not tell where its supervisor is.
    ///
    /// # Errors
    /// The file is not valid; its errors have been printed.
    pub(super) fn checked(&self, registry: &Registry) -> Result<Option<PathBuf>, Exit> {
        let Some(file) = &self.config else { return Ok(None) };
        match config::load_believed(file, registry) {
            Ok(settings) => Ok(Some(settings.supervisor.runtime_dir)),
            Err(problems) => Err(unclear(file, &problems, ", without -c")),
        }
    }

    /// The configuration that says where the files of the supervisor are; `None` where only a
    /// socket is named, or there is no file.
    ///
    /// # Errors
    /// That file has errors; they have been printed.
    pub(super) fn settings(&self, registry: &Registry) -> Result<Option<Settings>, Exit> {
        if self.socket.is_some() {
            return Ok(None);
        }
        let by_default = || match set(std::env::var_os(SOCKET)) {
            Some(_) => None,
            None => default_file(),
        };
        let Some(file) = self.config.clone().or_else(by_default) else { return Ok(None) };
        config::load_believed(&file, registry).map(Some).map_err(|problems| {
            eprintln!("{problems}");
            eprintln!(
                "supervisord-rs: no supervisor runs, and {} must be valid to find the files of the \
                 last one: correct it",
                file.display()
            );
            Exit::InvalidConfiguration
        })
    }

    /// The runtime directory as far as known, for callers that must continue in any case.
    pub(super) fn runtime_dir_or_default(&self) -> PathBuf {
        let Some(file) = &self.config else { return config::default_runtime_dir() };
        config::written_runtime_dir(file).unwrap_or_else(|why| {
            let default = config::default_runtime_dir();
            eprintln!(
                "supervisord-rs: cannot tell the runtime directory from {}: {why}; going on with \
                 {}",
                file.display(),
                default.display()
            );
            default
        })
    }
}

/// Prints the errors of a file that names the supervisor, and what to do.
fn unclear(file: &Path, problems: &Diagnostics, without: &str) -> Exit {
    eprintln!("{problems}");
    eprintln!(
        "supervisord-rs: {} names the supervisor's socket, and cannot be read for it: correct \
         the file, or use --socket PATH{without}",
        file.display()
    );
    Exit::InvalidConfiguration
}

/// Whether all errors are in parts of the file that do not locate the supervisor.
fn is_place_clear(problems: &Diagnostics) -> bool {
    let elsewhere = ["workers.", "defaults.", "groups.", "cells.", "hooks["];
    let is_elsewhere = |path: &str| elsewhere.iter().any(|part| path.starts_with(part));
    problems.problems().len() == problems.count()
        && problems.problems().iter().all(|problem| is_elsewhere(&problem.path))
}

/// `supervisord-rs.yaml` here, else the system's.
pub(super) fn default_file() -> Option<PathBuf> {
    // A file that exists and cannot be read is an error, and no reason to read the other one.
    let is_there = |path: &&Path| {
        path.symlink_metadata()
            .map_or_else(|error| error.kind() != std::io::ErrorKind::NotFound, |_| true)
    };
    ["supervisord-rs.yaml", config::SYSTEM_FILE]
        .into_iter()
        .map(Path::new)
        .find(is_there)
        .map(Into::into)
}

/// Reports environment variables that do not name a directory.
pub(super) fn say_ignored() {
    for line in config::ignored_variables() {
        eprintln!("supervisord-rs: {line}");
    }
}

/// An empty variable counts as not set.
fn set(variable: Option<OsString>) -> Option<PathBuf> {
    variable.filter(|value| !value.is_empty()).map(PathBuf::from)
}
