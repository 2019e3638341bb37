//! YAML → tree with places → document as written → [`Settings`]; every problem at once, each with its place.
//!
//! | file | concept |
//! |---|---|
//! | `tree` | the text as a tree that knows where everything stands; `defaults:` under it |
//! | `diagnostics` | problems, for people and for machines |
//! | `reader` | typed values out of the tree |
//! | `assemble` | the whole file: names become ids, contradictions found |
//! | `supervisor` | the supervisor's own part |
//! | `worker` | one worker; its keys are read by `surroundings`, `limits`, `restart`, `probes`, `sockets`, `logs`, `hooks`, `injections` |
//! | `instances` | one entry, several workers |
//! | `cycles` | workers that wait for each other for ever |
//! | `places` | the directories where nothing is said |
//! | `settings` | the result |

mod assemble;
mod cycles;
mod diagnostics;
mod hooks;
mod injections;
pub mod instances;
pub mod limits;
mod logs;
mod places;
pub mod probes;
mod reader;
mod restart;
pub mod settings;
mod sockets;
mod supervisor;
mod surroundings;
mod tree;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use diagnostics::{Diagnostics, Problem};
pub use places::SYSTEM_FILE;
pub use settings::{Isolation, Launch, Program, Settings, SupervisorSettings, default};
use workers::Registry;

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: &Path, registry: &Registry) -> Result<Settings, Diagnostics> {
    load_scaled(path, registry, &Scale::new())
}

/// How many instances there are to be at least, by the name that stands in the file, whatever the file says.
pub type Scale = BTreeMap<String, u32>;

/// The same, with as many instances as a predecessor had been told to have.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load_scaled(path: &Path, registry: &Registry, scale: &Scale) -> Result<Settings, Diagnostics> {
    let bytes = std::fs::read(path).map_err(|error| Diagnostics::unreadable(path, &error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        Diagnostics::unreadable(path, &format!("it is not UTF-8: {}", error.utf8_error()))
    })?;
    parse_scaled(&text, path, registry, scale)
}

/// Checks the text of a configuration. `path` is for messages, and for relative directories.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, path: &Path, registry: &Registry) -> Result<Settings, Diagnostics> {
    parse_scaled(text, path, registry, &Scale::new())
}

fn parse_scaled(
    text: &str,
    path: &Path,
    registry: &Registry,
    scale: &Scale,
) -> Result<Settings, Diagnostics> {
    let mut problems = Vec::new();
    let collected = reader::Problems::default();
    let tree = tree::parse(text, &mut problems);
    let settings = tree.and_then(|tree| assemble::assemble(&tree, path, registry, scale, &collected));
    problems.append(&mut collected.take());
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(Diagnostics::new(path, text, problems)),
    }
}

/// The runtime directory of a configuration, as far as it can be told without checking the rest: for clients that look
/// for the socket. Without a file, or with one that cannot be read: the default.
#[must_use]
pub fn runtime_dir(file: Option<&Path>) -> PathBuf {
    let named = file.and_then(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        let tree = tree::parse(&text, &mut Vec::new())?;
        let written = tree.get("supervisor")?.get("runtime_dir")?.text()?.to_owned();
        Some(places::relative_to(path, Path::new(&written)))
    });
    named.unwrap_or_else(places::runtime_dir)
}
