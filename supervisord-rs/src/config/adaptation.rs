//! What a trial changes in a configuration before it runs it: directories and addresses; in a
//! comparison also where some workers run. Everything else stays as it is written.
//!
//! It changes the tree and not the text, so that paths stay relative to the user's file, and a
//! change that the file does not allow is a problem at its place there.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::isolation::Isolation;
use super::kinds;
use super::node::{Entry, Node, Value};

/// The changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adaptation {
    /// Everything that the supervisor writes is below it.
    pub directory: PathBuf,
    /// What a comparison changes besides; `None`: a scenario, which runs the workers as written.
    pub compared: Option<Compared>,
    /// `supervisor.watchdog:`, if not as written.
    pub watchdog: Option<String>,
    /// In place of the addresses of `sockets:`.
    pub addresses: Vec<PrivateAddress>,
}

/// What a comparison changes: the fault that it orders is allowed, and the only one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Entries of `workers:` that run in `isolation`.
    pub moved: Vec<String>,
    /// Where they run.
    pub isolation: Isolation,
    /// Whether their panics are contained, whatever is written.
    pub contain: bool,
}

/// What stands in place of an address of `sockets:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateAddress {
    /// The address as written.
    pub written: String,
    /// The address of the trial.
    pub private: String,
    /// How texts mention the one, and then the other: probes, arguments, variables.
    pub mentions: Vec<(String, String)>,
}

impl Adaptation {
    /// The directory of the control socket in a trial's directory.
    #[must_use]
    pub fn runtime_dir(directory: &Path) -> PathBuf {
        directory.join("run")
    }

    /// What the supervisor of a trial reads instead of a file, in the trial's directory.
    #[must_use]
    pub fn configuration(directory: &Path) -> PathBuf {
        directory.join("configuration.json")
    }

    /// The directory of incidents in a trial's directory.
    #[must_use]
    pub fn state_dir(directory: &Path) -> PathBuf {
        directory.join("state")
    }

    /// The whole file, but for its workers.
    pub(super) fn of_file(&self, mut tree: Node) -> Node {
        let empty = Node { value: Value::Map(Vec::new()), ..tree.scalar_here("", true) };
        let written = tree.remove("supervisor").filter(|section| !section.is_null());
        let mut supervisor = written.unwrap_or_else(|| empty.clone());
        // A trial serves its own client alone, and echoes nothing.
        let _ = supervisor.remove("control");
        let mut set = |key: &str, value: &str| {
            let value = supervisor.scalar_here(value, false);
            supervisor.set(key, value);
        };
        set("runtime_dir", &Self::runtime_dir(&self.directory).to_string_lossy());
        set("state_dir", &Self::state_dir(&self.directory).to_string_lossy());
        set("log_dir", &self.directory.join("logs").to_string_lossy());
        set("echo", "never");
        if self.compared.is_some() {
            set("fault_injection", "allow");
        }
        if let Some(watchdog) = &self.watchdog {
            set("watchdog", watchdog);
        }
        tree.set("supervisor", supervisor);
        if self.compared.is_some()
            && let Some(resources) = value_of(&mut tree, "resources")
            && let Value::Map(resources) = &mut resources.value
        {
            // Where its users run is the trial's choice.
            for resource in resources {
                let _ = resource.value.remove("scope");
            }
        }
        if let Some(cell) = self.compared.as_ref().and_then(|compared| compared.isolation.cell())
            && let Some(mut cells) = tree.remove("cells")
        {
            if cells.is_null() {
                cells = empty;
            }
            if cells.get(cell).is_none() {
                let nothing = cells.scalar_here("", true);
                cells.set(cell, nothing);
            }
            tree.set("cells", cells);
        }
        tree.map_texts(&|text| self.text(text))
    }

    /// An entry of `workers:`, with `defaults:` under it.
    pub(super) fn of_worker(&self, name: &str, mut node: Node) -> Node {
        if let Some(logs) = value_of(&mut node, "logs") {
            for stream in ["stdout", "stderr"] {
                change(value_of(logs, stream), &private_sink);
            }
        }
        if let Some(Value::List(sockets)) =
            value_of(&mut node, "sockets").map(|sockets| &mut sockets.value)
        {
            for socket in sockets {
                let written = match &socket.value {
                    Value::Map(_) => value_of(socket, "listen"),
                    Value::Scalar { .. } | Value::List(_) => Some(socket),
                };
                change(written, &|text| self.listen(text));
            }
        }
        if let Some(compared) = &self.compared {
            let _ = node.remove("inject");
            if compared.moved.iter().any(|moved| moved == name) {
                compared.move_worker(&mut node);
            }
        }
        node
    }

    fn listen(&self, text: &str) -> String {
        let known = self.addresses.iter().find(|address| address.written == text);
        known.map_or_else(|| text.to_owned(), |address| address.private.clone())
    }

    /// A text in which each address of `sockets:` is the private one.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mentions = self.addresses.iter().flat_map(|address| &address.mentions);
        mentions.fold(text.to_owned(), |text, (from, to)| replace_whole(&text, from, to))
    }
}

impl Compared {
    fn move_worker(&self, node: &mut Node) {
        let cell = self.isolation.cell();
        let word = self.isolation.kind.word;
        if node.get("isolation").and_then(Node::text).unwrap_or(kinds::DEFAULT.word) != word {
            let isolation = node.scalar_here(word, true);
            node.set("isolation", isolation);
        }
        if node.get("cell").and_then(Node::text) != cell {
            let _ = node.remove("cell");
            if let Some(cell) = cell {
                let cell = node.scalar_here(cell, false);
                node.set("cell", cell);
            }
        }
        if self.isolation.capabilities().can_be_killed_alone {
            // It says what happens to a thread.
            let _ = node.remove("on_hang");
        }
        if self.contain {
            let contain = node.scalar_here("contain", true);
            node.set("on_panic", contain);
        }
    }
}

fn value_of<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|entry: &&mut Entry| entry.key == key).map(|entry| &mut entry.value)
}

fn change(node: Option<&mut Node>, how: &dyn Fn(&str) -> String) {
    if let Some(Node { value: Value::Scalar { text, .. }, .. }) = node {
        *text = how(text);
    }
}

/// A target of output that is the trial's own: a name in its log directory.
fn private_sink(written: &str) -> String {
    match written {
        "journald" | "syslog" => format!("{written}.log"),
        path if path.starts_with('/') || path.split('/').any(|part| part == "..") => {
            path.trim_start_matches('/').replace('/', "-")
        }
        other => other.to_owned(),
    }
}

/// Replaces an address where it is not a part of a longer one.
fn replace_whole(text: &str, from: &str, to: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, found) = rest.split_at(at);
        let after = &found[from.len()..];
        let is_whole = !(before.ends_with(is_part) || after.starts_with(is_part));
        result.push_str(before);
        result.push_str(if is_whole { to } else { from });
        rest = after;
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_replaced_where_it_is_whole() {
        let replaced = |text: &str| replace_whole(text, "127.0.0.1:80", "127.0.0.1:4711");
        assert_eq!(replaced("http://127.0.0.1:80/x"), "http://127.0.0.1:4711/x");
        assert_eq!(replaced("a=127.0.0.1:80,b"), "a=127.0.0.1:4711,b");
        for other in ["127.0.0.1:8080", "1127.0.0.1:80", "x"] {
            assert_eq!(replaced(other), other);
        }
    }

    #[test]
    fn no_output_goes_to_a_log_of_the_system() {
        assert_eq!(private_sink("/var/log/api-${instance}.log"), "var-log-api-${instance}.log");
        assert_eq!(private_sink("../api.log"), "..-api.log");
        assert_eq!(private_sink("journald"), "journald.log");
        for own in ["terminal", "null", "inherit", "api.log", "sub/api.log"] {
            assert_eq!(private_sink(own), own);
        }
    }
}
