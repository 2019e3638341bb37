//! What this program is called by those who type its name: a program with workers of its own has
//! another name, and texts that name a command name that one.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;

/// As texts have it.
const WRITTEN: &str = "`supervisord-rs ";

static NAME: OnceLock<String> = OnceLock::new();

/// Takes it from the first argument of the program. A name that a shell would take apart is none.
pub(crate) fn by(argv_0: &OsStr) {
    let name = Path::new(argv_0).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let is_plain = |letter: char| letter.is_alphanumeric() || "._+-".contains(letter);
    if !name.is_empty() && name.chars().all(is_plain) {
        let _ = NAME.set(name.to_owned());
    }
}

/// A text with commands as they are typed here.
pub(crate) fn as_typed(text: &str) -> Cow<'_, str> {
    match NAME.get() {
        Some(name) if text.contains(WRITTEN) => text.replace(WRITTEN, &format!("`{name} ")).into(),
        Some(_) | None => text.into(),
    }
}

/// Examples of a `--help`, each on a line of its own, with commands as they are typed here.
pub(crate) fn in_examples(text: &str) -> String {
    let named = |name: &String| text.replace("  supervisord-rs ", &format!("  {name} "));
    NAME.get().map_or_else(|| text.to_owned(), named)
}
