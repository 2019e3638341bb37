//! YAML → tree with places → document as written → [`Settings`]; every problem at once, each with
//! its place.
//!
//! | file | concept |
//! |---|---|
//! | `source` | the text, and where it came from |
//! | `tree` | the text as a tree that knows where everything stands; `defaults:` under it |
//! | `diagnostics` | problems, for people and for machines |
//! | `reader` | typed values out of the tree |
//! | `assemble` | the whole file: names become ids, contradictions found |
//! | `supervisor` | the supervisor's own part |
//! | `worker` | one worker; its keys are read by `surroundings`, `limits`, `restart`, `probes`, `sockets`, `logs`, `hooks`, `injections` |
//! | `instances` | one entry, several workers |
//! | `cycles` | workers that wait for each other for ever |
//! | `pattern` | regular expressions |
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
mod pattern;
mod places;
pub mod probes;
mod reader;
mod restart;
pub mod settings;
mod sockets;
mod source;
mod supervisor;
mod surroundings;
mod tree;
mod worker;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use diagnostics::{Diagnostics, Problem};
pub use pattern::Pattern;
pub use places::SYSTEM_FILE;
pub use settings::{Isolation, Launch, Program, Settings, SupervisorSettings, default};
pub use source::Source;
use workers::Registry;

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: &Path, registry: &Registry) -> Result<Settings, Diagnostics> {
    Source::read(path)?.settings(registry, &Scale::new())
}

/// How many instances there are to be at least, by the name that stands in the file, whatever the
/// file says.
pub type Scale = BTreeMap<String, u32>;

/// Checks the text of a configuration. `path` is for messages, and for relative directories.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, path: &Path, registry: &Registry) -> Result<Settings, Diagnostics> {
    Source::of(path, text.to_owned()).settings(registry, &Scale::new())
}

/// The name of the control socket in the runtime directory.
pub const SOCKET: &str = "control.sock";

/// The runtime directory where no configuration names one.
#[must_use]
pub fn default_runtime_dir() -> PathBuf {
    places::runtime_dir()
}

/// What to say of variables of the environment that name no place, and are ignored.
#[must_use]
pub fn ignored_variables() -> Vec<String> {
    places::ignored()
}

/// The runtime directory of a configuration without checking the rest: for what has to go on with a
/// file that is not valid.
///
/// # Errors
/// Why it cannot be told.
pub fn written_runtime_dir(path: &Path) -> Result<PathBuf, String> {
    let text = read(path)?;
    let problems = reader::Problems::default();
    let tree = tree::parse(&text, &problems);
    if let Some(problem) = problems.take().kept.into_iter().next() {
        return Err(problem.message);
    }
    let written = tree.as_ref().and_then(|tree| tree.get("supervisor")?.get("runtime_dir"));
    match written.map(|written| written.text().filter(|text| !text.is_empty())) {
        None => Ok(places::runtime_dir()),
        Some(Some(text)) => Ok(places::relative_to(path, Path::new(text))),
        Some(None) => Err("`supervisor.runtime_dir:` is no path".into()),
    }
}

/// Bytes of a file at most: a hundred times what ten thousand workers need is a mistake, and would
/// take all memory.
const SIZE_MAX: u64 = 8 << 20;

/// Opens it without waiting. A FIFO waits for its writer, and a device may have no end: they are
/// refused, but for what the caller has open already (`/dev/stdin`, `<(...)` in a shell).
fn open(path: &Path) -> io::Result<File> {
    let open_already = ["/dev/stdin", "/dev/fd", "/proc/self/fd"];
    if open_already.iter().any(|prefix| path.starts_with(prefix)) {
        return File::open(path);
    }
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else {
        "a device"
    };
    Err(io::Error::other(format!("it is {what}, and no regular file")))
}

/// The text of a configuration file.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = open(path).map_err(|error| error.to_string())?;
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(format!("it is larger than {} MiB", SIZE_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {}", error.utf8_error()))
}
