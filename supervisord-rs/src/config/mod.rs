//! YAML → tree with places → document as written → [`Settings`]; every problem at once, each with
//! its place.
//!
//! | file | concept |
//! |---|---|
//! | `checking` | from the text to settings |
//! | `source` | the text, and where it came from |
//! | `adaptation` | what a trial changes in it |
//! | `tree`, `node` | the text as a tree with the place of everything; `defaults:` under it |
//! | `remainder` | a file with an error of syntax, without the entry that has it |
//! | `syntax` | what the YAML parser objects to, in plain words |
//! | `problems` | where reading collects what it finds |
//! | `diagnostics` | problems, for people and for machines |
//! | `quote` | the lines of the file that a problem shows |
//! | `nearest`, `foreign` | what a misspelt key stands for, and one of another supervisor |
//! | `later` | keys of later versions, and what does their work today |
//! | `schema` | the keys that can stand in a file, in tables |
//! | `reader`, `scalars` | typed values out of the tree |
//! | `assemble` | the whole file: names become ids, contradictions found |
//! | `entries` | the entries of `workers:`, and their names |
//! | `supervisor` | the supervisor's own part |
//! | `hooks` | commands that run when something happens |
//! | `worker` | one worker; the rows down to `by_kind` read its keys |
//! | `program`, `arguments`, `code` | what it runs, with which arguments; what code says of them |
//! | `made`, `maker`, `caught` | what comes of asking it; in a process; where it panics |
//! | `execution` | as whom, where, with what around it |
//! | `taken` | the arguments that registered code takes, for people |
//! | `limits`, `logs`, `sockets` | what it may use; its output; its sockets |
//! | `scheduler` | when its threads get a processor, and which |
//! | `dependencies`, `restart`, `stop` | what it waits for, when it comes back, how it ends |
//! | `resources`, `uses`, `users` | what workers share; what one gets of it; whether all can |
//! | `probes`, `injections` | readiness and health; faults |
//! | `by_kind` | keys that only one kind of worker has |
//! | `instances` | one entry, several workers |
//! | `cycles` | workers that wait for ever |
//! | `pattern` | regular expressions |
//! | `places` | the default directories |
//! | `world` | what is not there on this machine |
//! | `env_file` | the text of an `env_file` |
//! | `kinds` | the kinds of isolation |
//! | `scenario` | what a drill does to a configuration, and expects of it |
//! | `settings`, `isolation` | the result: types that know none of those who read them |

mod adaptation;
mod arguments;
mod assemble;
mod by_kind;
mod caught;
mod checking;
mod code;
mod cycles;
mod dependencies;
mod diagnostics;
mod entries;
pub(crate) mod env_file;
pub(crate) mod execution;
mod foreign;
mod hooks;
mod injections;
pub mod instances;
mod isolation;
pub mod kinds;
mod later;
mod limits;
mod logs;
mod made;
pub(crate) mod maker;
mod mechanism;
pub(crate) mod memory;
mod nearest;
mod node;
mod pattern;
mod places;
mod probes;
mod problem;
mod problems;
mod program;
mod quote;
mod reader;
mod remainder;
pub(crate) mod resources;
mod restart;
mod scalars;
pub mod scenario;
mod scheduler;
pub mod schema;
pub mod settings;
mod size;
mod sockets;
mod source;
mod stop;
mod supervisor;
mod syntax;
mod taken;
mod tree;
mod users;
mod uses;
mod variant;
mod words;
mod worker;
mod world;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use adaptation::{Adaptation, Compared, PrivateAddress};
pub use diagnostics::{Diagnostics, Located};
pub(crate) use injections::id_of;
pub use kinds::Kind;
pub use pattern::Pattern;
pub use places::SYSTEM_FILE;
pub use problem::Problem;
pub use problems::World;
pub use settings::{Isolation, Launch, Program, Settings, SupervisorSettings, default};
pub use source::Source;
pub use taken::{Argument, taken};
pub(crate) use uses::missing_for;
use workers::Registry;

/// The keys of a configuration.
#[must_use]
pub fn configuration_keys() -> &'static schema::Table {
    &assemble::TOP
}

/// The keys of a scenario.
#[must_use]
pub fn scenario_keys() -> &'static schema::Table {
    &scenario::TABLE
}

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: &Path, registry: &Registry) -> Result<Settings, Diagnostics> {
    Source::read(path)?.settings(registry, &Scale::new())
}

/// The same without making its workers to see whether they can be made.
///
/// # Errors
/// All that is wrong with it but the arguments of workers.
pub fn load_believed(path: &Path, registry: &Registry) -> Result<Settings, Diagnostics> {
    Source::read(path)?.believed(registry)
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
/// Why it is unknown.
pub fn written_runtime_dir(path: &Path) -> Result<PathBuf, String> {
    let text = read(path)?;
    let problems = problems::Problems::new(path, World::Ignored);
    let tree = tree::parse(&text, &problems);
    if let Some(problem) = problems.take().kept.into_iter().next() {
        return Err(problem.message);
    }
    let written = tree.as_ref().and_then(|tree| tree.get("supervisor")?.get("runtime_dir"));
    match written.map(|written| written.text().filter(|text| !text.is_empty())) {
        None => Ok(places::runtime_dir()),
        Some(Some(text)) => Ok(places::relative_to(path, Path::new(text))),
        Some(None) => Err("`supervisor.runtime_dir:` is not a path".into()),
    }
}

/// Bytes of a file at most: a hundred times what ten thousand workers need is a mistake, and would
/// take all memory.
pub(crate) const SIZE_MAX: u64 = 8 << 20;

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
    Err(io::Error::other(format!("it is {what}, not a regular file")))
}

/// The text of a configuration file.
fn read(path: &Path) -> Result<String, String> {
    text_of(read_bytes(path).map_err(|error| error.to_string())?)
}

/// The text that a file's content is.
///
/// # Errors
/// It is too large, or no text.
pub(crate) fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > SIZE_MAX {
        return Err(format!("it is larger than {} MiB", SIZE_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = env_file::line_at(error.as_bytes(), error.utf8_error().valid_up_to());
        format!("its line {line} is not UTF-8: save it as UTF-8 text")
    })
}

/// The content of a file, as far as it may be large, without waiting for anything but a disk.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
